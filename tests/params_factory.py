"""Blocks of params.yaml for invented projects; the one place that knows the protocol's names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from genbench.config.params import Entry, Protocol

__all__ = ["IMAGES", "block_of", "likelihood_images", "protocol", "protocol_block"]

IMAGES: Mapping[int, int] = {1: 64, 10: 16, 200: 16}
"""Network passes per image -> test images of a likelihood that takes so many passes or more."""


def likelihood_images(images: Mapping[int, int]) -> dict[str, Any]:
    """The parameters of the protocol that hold this table, which is of the form of ``IMAGES``."""
    (_, few), (many_passes, many), (very_many_passes, very_many) = sorted(images.items())
    return {
        "likelihood_images": few,
        "likelihood_images_many_passes": many,
        "many_passes": many_passes,
        "likelihood_images_very_many_passes": very_many,
        "very_many_passes": very_many_passes,
    }


def block_of(entry: Entry) -> dict[str, Any]:
    """The block of params.yaml that an entry can be read from, with all of its keys."""
    block: dict[str, Any] = json.loads(json.dumps(asdict(entry)))
    del block["name"]
    return block


def protocol_block(
    *,
    samples: int = 64,
    sample_chunk: int = 64,
    images: Mapping[int, int] = IMAGES,
    references: int = 64,
) -> dict[str, Any]:
    """The block ``protocol`` of params.yaml."""
    return {
        "samples": samples,
        "sample_chunk": sample_chunk,
        **likelihood_images(images),
        "feature_reference_images": references,
    }


def protocol(
    *,
    samples: int = 64,
    sample_chunk: int = 64,
    images: Mapping[int, int] = IMAGES,
    references: int = 64,
) -> Protocol:
    """The same as it is loaded."""
    block = protocol_block(
        samples=samples, sample_chunk=sample_chunk, images=images, references=references
    )
    return Protocol(**block)
