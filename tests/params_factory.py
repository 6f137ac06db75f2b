"""Values of params.yaml for invented projects; the one place that knows the protocol's names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from genbench.config.load import load_params
from genbench.config.params import Entry, ImageCount, Protocol

__all__ = [
    "IMAGES",
    "committed_entries",
    "dump",
    "likelihood_images",
    "protocol",
    "written_entry",
    "written_images",
    "written_protocol",
]

IMAGES: Mapping[int, int] = {1: 64, 10: 16, 200: 16}
"""Network passes per image -> test images of a likelihood that takes so many passes or more."""


def likelihood_images(images: Mapping[int, int]) -> dict[str, tuple[ImageCount, ...]]:
    """The keyword of the protocol that holds this table, which is of the form of ``IMAGES``."""
    return {"likelihood_images": tuple(ImageCount(least, n) for least, n in sorted(images.items()))}


def protocol(
    *,
    samples: int = 64,
    sample_chunk: int = 64,
    images: Mapping[int, int] = IMAGES,
    references: int = 64,
) -> Protocol:
    """A protocol."""
    return Protocol(
        samples=samples,
        sample_chunk=sample_chunk,
        **likelihood_images(images),
        feature_reference_images=references,
    )


def written_protocol(**numbers: Any) -> dict[str, Any]:
    """The same as it stands in params.yaml."""
    values = protocol(**numbers).plain()
    del values["inception_sha256"]
    return values


def written_images(images: Mapping[int, int]) -> list[dict[str, int]]:
    """The value of ``likelihood_images`` in params.yaml that holds this table."""
    return written_protocol(images=images)["likelihood_images"]


def written_entry(entry: Entry) -> dict[str, Any]:
    """What an entry can be read from in params.yaml, with all of its keys and all that it
    inherits.
    """
    values: dict[str, Any] = json.loads(json.dumps(asdict(entry)))
    del values["name"]
    return values


def committed_entries(profile: str) -> dict[str, dict[str, Any]]:
    """All entries of a committed profile, each with all that it inherits."""
    params = load_params(profile, root=Path(__file__).resolve().parents[1])
    return {name: written_entry(entry) for name, entry in params.entries.items()}


def dump(raw: Mapping[str, Any]) -> str:
    """YAML text, in which no two places share what they have by aliases."""
    return yaml.safe_dump(json.loads(json.dumps(raw)), sort_keys=False)
