"""Params files of tests: the protocol, which names its parameters here alone, and the entries of
committed profiles.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genbench.config.params import Entry, Protocol, load_params

__all__ = [
    "PASSES",
    "block_of",
    "committed_entries",
    "likelihood_images",
    "protocol",
    "written_protocol",
]

PASSES = (1, 10, 200)


def likelihood_images(images: Sequence[int], passes: Sequence[int] = PASSES) -> dict[str, Any]:
    """The parameters of the protocol that say how many test images a likelihood is of, by the
    network passes from which on each number holds.
    """
    (_, many_passes, very_many_passes), (few, many, very_many) = passes, images
    return {
        "likelihood_images": few,
        "likelihood_images_many_passes": many,
        "many_passes": many_passes,
        "likelihood_images_very_many_passes": very_many,
        "very_many_passes": very_many_passes,
    }


def written_protocol(
    *,
    samples: int = 64,
    sample_chunk: int = 64,
    images: Sequence[int] = (64, 16, 16),
    passes: Sequence[int] = PASSES,
    reference: int = 64,
) -> dict[str, Any]:
    """The block ``protocol`` of params.yaml."""
    return {
        "samples": samples,
        "sample_chunk": sample_chunk,
        **likelihood_images(images, passes),
        "feature_reference_images": reference,
    }


def protocol(**numbers: Any) -> Protocol:
    """The same as it is loaded."""
    return Protocol(**written_protocol(**numbers))


def block_of(entry: Entry) -> dict[str, Any]:
    """The block of params.yaml that an entry can be read from, with all of its keys."""
    block: dict[str, Any] = json.loads(json.dumps(asdict(entry)))
    del block["name"]
    return block


def committed_entries(profile: str) -> dict[str, dict[str, Any]]:
    """The blocks of all entries of a committed profile."""
    params = load_params(profile, root=Path(__file__).resolve().parents[1])
    return {name: block_of(entry) for name, entry in params.entries.items()}
