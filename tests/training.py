"""Trains a model by keywords, those of a block `train` of params.yaml, as the stage does."""

from __future__ import annotations

from typing import Any

from genbench.base import GenerativeModel
from genbench.data.splits import Dataset
from genbench.training import fit as loop
from genbench.training.checkpoints import Workspace
from genbench.training.history import Fitted
from genbench.training.options import TrainOptions
from genbench.training.randomness import RunIdentity

__all__ = ["fit"]


def fit(
    model: GenerativeModel,
    data: Dataset,
    *,
    entry: str = "toy",
    seed: int = 0,
    device: str = "cpu",
    checkpoints: Workspace | None = None,
    **block: Any,
) -> Fitted:
    """Train a model as the entry of that name and seed."""
    options = TrainOptions.of(model, block, device, where=f"entries.{entry}.train")
    identity = RunIdentity(entry, seed)
    return loop.fit(model, data, options, identity, device=device, checkpoints=checkpoints)
