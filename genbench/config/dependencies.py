"""Which parameters a stage reads: what DVC compares to know whether it must run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genbench.config.params import Entry, Params

__all__ = ["entry_settings", "shared_settings"]

_ENTRY: Mapping[str, tuple[str, ...]] = {
    "train": ("model", "dataset", "seed", "arch", "train"),
    "sample": ("model", "dataset", "seed", "sample"),
    "visuals": ("model", "dataset", "seed", "sample"),
    "score_likelihood": ("model", "dataset", "seed", "score"),
    "score_samples": ("dataset",),
}

_PROTOCOL: Mapping[str, tuple[str, ...]] = {
    "features": ("feature_reference_images",),
    "sample": ("samples", "sample_chunk"),
    "score_likelihood": (
        "likelihood_images",
        "likelihood_images_many_passes",
        "many_passes",
        "likelihood_images_very_many_passes",
        "very_many_passes",
    ),
}


def entry_settings(params: Params, stage: str, entry: Entry) -> dict[str, Any]:
    """The parameters that a stage of an entry reads, named as in params.yaml but for the
    ``entries.<entry>.`` in front.

    Arguments:
        params: the profile.
        stage: one of :data:`genbench.pipeline.fingerprints.ENTRY_STAGES`.
        entry: the entry.
    """
    own = {name: getattr(entry, name) for name in _ENTRY[stage]}
    metrics = {"metrics": list(params.metrics)} if stage == "score_samples" else {}
    return {**own, **shared_settings(params, stage), **metrics}


def shared_settings(params: Params, stage: str) -> dict[str, Any]:
    """The parameters outside of ``entries`` that a stage reads, named as in params.yaml."""
    return {f"protocol.{name}": getattr(params.protocol, name) for name in _PROTOCOL.get(stage, ())}
