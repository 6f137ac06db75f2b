"""All entries of a profile checked before any work starts, so that a typing error costs a second and not a night."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from genbench import metrics
from genbench.backend import Backend
from genbench.base import GenerativeModel
from genbench.data import spec_of
from genbench.errors import UserError, bind_options
from genbench.fit import fit
from genbench.likelihood import score_options
from genbench.optim import check_optim
from genbench.params import Compute, Entry, Params
from genbench.registry import BrokenModel, build

__all__ = ["check_entry", "check_params"]


def check_entry(entry: Entry, compute: Compute) -> GenerativeModel:
    """Check all blocks of an entry against the signatures that they are passed to; returns its untrained model.

    Arguments:
        entry: the entry.
        compute: whose device chooses among the backends of training.

    Raises:
        UserError: names the key, what it got and what is legal.
        BrokenModel: the model's file cannot be imported.
    """
    model, where = build(entry, spec_of(entry.dataset)), f"entries.{entry.name}"
    bind_options(fit, entry.train, where=f"{where}.train", skip=("model", "data", "entry", "seed", "device", "resume"))
    check_optim(model, entry.train, where=f"{where}.train")
    Backend.of(entry.train.get("backend", {}), torch.device(compute.device), where=f"{where}.train.backend")
    bind_options(model.sample, entry.sample, where=f"{where}.sample", skip=("n", "y", "rng"))
    _, scoring = score_options(model, entry)
    if scoring.get("draws", 1) < 1:
        raise UserError(f"{where}.score.draws: must be at least 1, got {scoring['draws']}")
    return model


def check_params(params: Params, names: Iterable[str] | None = None) -> dict[str, str]:
    """Check the data sets, the metrics and the entries of a profile.

    Arguments:
        params: the profile.
        names: entries to check; None for all.

    Returns:
        The entries whose model cannot be imported, each with the reason: they cannot run, but they are in no other's way.

    Raises:
        UserError: the first mistake in params.yaml.
    """
    for dataset in params.datasets:
        spec_of(dataset)
    for metric in params.metrics:
        metrics.metric(metric)
    broken = {}
    for name in params.entries if names is None else names:
        try:
            check_entry(params.entries[name], params.compute)
        except BrokenModel as error:
            broken[name] = str(error)
    return broken
