"""What metrics are functions of: checked features of a set of images; and the checks that they
share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from genbench.errors import UserError

__all__ = ["LIBRARY", "FeatureSet", "TooFewSamples", "need", "need_pair"]


LIBRARY: Mapping[str, str] = {"torch_fidelity": version("torch-fidelity")}
"""For the details of metrics that torch-fidelity computes."""


class TooFewSamples(UserError):
    """A metric needs more images than there are. ``keys`` are the metrics that are withheld for
    that, the message is the reason.
    """

    def __init__(self, keys: Sequence[str], message: str) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Features of N images by one extractor, all on the CPU.

    Attributes:
        extractor: its name, the suffix of the metrics' keys.
        features: float32 (N, D), finite.
        logits: float32 (N, C), finite, of the extractor's classifier; None where it has none.
        labels: int64 (N,) that the images were sampled with, or that real images have; None without
            labels.
        images: uint8 (N, 1, H, W), the images themselves; None where no metric asks for them.
        training: of reference images, the same of images that models are trained on; else None.
        memo: what metrics have computed of the set, by name, for others that need the same.
    """

    extractor: str
    features: Tensor
    logits: Tensor | None = None
    labels: Tensor | None = None
    images: Tensor | None = None
    training: FeatureSet | None = None
    memo: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_matrix(f"{self.extractor} features", self.features, len(self.features))
        if self.logits is not None:
            _check_matrix(f"{self.extractor} logits", self.logits, len(self.features))
        if self.labels is not None:
            kind, shape = self.labels.dtype, tuple(self.labels.shape)
            if kind != torch.int64 or shape != (len(self),):
                raise UserError(
                    f"labels: must be int64 of shape ({len(self)},), got {kind} {shape}"
                )
        if self.images is not None and len(self.images) != len(self):
            raise UserError(f"images: must be {len(self)}, one a row, got {len(self.images)}")

    def __len__(self) -> int:
        return len(self.features)


def _check_matrix(name: str, values: Tensor, rows: int) -> None:
    right = values.ndim == 2 and values.dtype == torch.float32 and len(values) == rows
    if not right or values.numel() == 0:
        raise UserError(
            f"{name}: must be a float32 matrix of {rows} > 0 rows, got {values.dtype} "
            f"{tuple(values.shape)}"
        )
    bad = int((~values.isfinite()).any(1).sum())
    if bad:
        raise UserError(
            f"{name}: {bad} of {rows} rows hold NaN or infinity; the images or the extractor's "
            "weights are broken"
        )


def need(keys: Sequence[str], images: int, minimum: int, why: str) -> None:
    """Raise TooFewSamples unless there are ``minimum`` images; ``why`` completes "needs at least N
    images: ".
    """
    if images < minimum:
        raise TooFewSamples(keys, f"needs at least {minimum} images ({why}), got {images}")


def need_pair(
    keys: Sequence[str], generated: FeatureSet, reference: FeatureSet, minimum: int, why: str
) -> None:
    """Raise unless both sets are features of one extractor and one width, with ``minimum`` images
    each.

    Raises:
        UserError: different extractors or widths.
        TooFewSamples: one of them is too small.
    """
    if generated.extractor != reference.extractor:
        names = f"extractor {generated.extractor!r}, reference features of {reference.extractor!r}"
        raise UserError(f"generated features are of {names}; they must be of one")
    width, other = generated.features.shape[1], reference.features.shape[1]
    if width != other:
        raise UserError(
            f"generated features have {width} dimensions, reference features {other}; they must "
            "agree"
        )
    need(keys, len(generated), minimum, f"{why}; generated")
    need(keys, len(reference), minimum, f"{why}; reference")
