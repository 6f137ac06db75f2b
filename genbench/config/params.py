"""What a params file holds, typed: entries, the protocol, and the profile as a whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from genbench.errors import UserError, near
from genbench.hardware.compute import Compute

__all__ = ["Entry", "ImageCount", "Params", "Protocol"]

_MAX_SAMPLES = 1_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the benchmark: a model on a data set with a seed and its options, with all that
    it inherits.
    """

    name: str
    model: str
    dataset: str
    seed: int
    arch: Mapping[str, Any]
    train: Mapping[str, Any]
    sample: Mapping[str, Any]
    score: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ImageCount:
    """How many test images a likelihood is computed on.

    Attributes:
        from_passes: network passes per image from which on this number holds.
        images: test images, evenly spaced.
    """

    from_passes: int
    images: int


@dataclass(frozen=True, slots=True)
class Protocol:
    """How entries are scored (docs/protocol.md).

    Attributes:
        samples: images sampled per entry.
        sample_chunk: images per independently seeded chunk of sampling.
        likelihood_images: test images for likelihoods, by what they cost; ``from_passes`` begins
            with 1 and rises.
        feature_reference_images: test images whose features are the reference of the sample scores.
        inception_sha256: SHA-256 of an Inception weights file that is accepted besides the
            published one; None accepts that one alone.
    """

    samples: int
    sample_chunk: int
    likelihood_images: tuple[ImageCount, ...]
    feature_reference_images: int
    inception_sha256: str | None = None

    def __post_init__(self) -> None:
        if self.inception_sha256 is not None and not re.fullmatch(
            "[0-9a-f]{64}", self.inception_sha256
        ):
            raise UserError(
                "protocol.inception_sha256: must be 64 hexadecimal digits in lower case, got "
                f"{self.inception_sha256!r}"
            )
        for name in ("samples", "sample_chunk", "feature_reference_images"):
            if getattr(self, name) < 1:
                raise UserError(f"protocol.{name}: must be at least 1, got {getattr(self, name)}")
        for name in ("samples", "sample_chunk"):
            if getattr(self, name) > _MAX_SAMPLES:
                raise UserError(
                    f"protocol.{name}: must be at most {_MAX_SAMPLES}, got {getattr(self, name)}"
                )
        self._check_image_counts()

    def _check_image_counts(self) -> None:
        where, above = "protocol.likelihood_images", 0
        if not self.likelihood_images:
            raise UserError(f"{where}: must have at least {{from_passes: 1, images: N}}")
        for i, count in enumerate(self.likelihood_images):
            if i == 0 and count.from_passes != 1:
                raise UserError(f"{where}[0].from_passes: must be 1, got {count.from_passes}")
            if count.from_passes <= above:
                raise UserError(
                    f"{where}[{i}].from_passes: must be above the {above} before it, got "
                    f"{count.from_passes}"
                )
            if count.images < 1:
                raise UserError(f"{where}[{i}].images: must be at least 1, got {count.images}")
            above = count.from_passes

    def images_for(self, passes: int) -> int:
        """Test images for a likelihood of so many network passes per image."""
        images = self.likelihood_images[0].images
        for count in self.likelihood_images:
            if count.from_passes <= passes:
                images = count.images
        return images

    def plain(self) -> dict[str, Any]:
        """The protocol as params.yaml has it, which is as JSON gives it back."""
        return {**asdict(self), "likelihood_images": [asdict(c) for c in self.likelihood_images]}


@dataclass(frozen=True, slots=True)
class Params:
    """A profile: its parameters, and the project that it is in. Its files are where
    :class:`genbench.config.layout.Layout` says.

    Attributes:
        root: the project's folder.
        profile: its name.
        entries: by name, in the order of the file, each with all that it inherits.
        datasets: names of the data sets.
        metrics: names of the metrics.
        protocol: how entries are scored.
        compute: where the work is done.
        inherited: entry -> path of a value in it -> the place where that is written, for values
            that the entry does not write itself, as in ``{"made-s1": {"train.steps":
            "entries.made"}}``.
    """

    root: Path
    profile: str
    entries: Mapping[str, Entry]
    datasets: tuple[str, ...]
    metrics: tuple[str, ...]
    protocol: Protocol
    compute: Compute
    inherited: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def entry(self, name: str) -> Entry:
        """The entry of that name; UserError with near matches if there is none."""
        if name not in self.entries:
            raise UserError(
                f"{name!r} is no entry of profile {self.profile!r}{near(name, self.entries)}"
            )
        return self.entries[name]
