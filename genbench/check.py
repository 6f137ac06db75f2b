"""All entries of a profile checked before any work starts, so that a typing error costs a second and not a night."""

from __future__ import annotations

from genbench import metrics
from genbench.base import GenerativeModel
from genbench.data import spec_of
from genbench.errors import bind_options
from genbench.fit import fit
from genbench.likelihood import score_options
from genbench.optim import check_optim
from genbench.params import Entry, Params
from genbench.registry import build

__all__ = ["check_entry", "check_params"]


def check_entry(entry: Entry) -> GenerativeModel:
    """Check all blocks of an entry against the signatures that they are passed to; returns its untrained model.

    Raises:
        UserError: names the key, what it got and what is legal.
    """
    model, where = build(entry, spec_of(entry.dataset)), f"entries.{entry.name}"
    bind_options(fit, entry.train, where=f"{where}.train", skip=("model", "data", "entry", "seed", "device", "resume"))
    check_optim(model, entry.train, where=f"{where}.train")
    bind_options(model.sample, entry.sample, where=f"{where}.sample", skip=("n", "y", "rng"))
    score_options(model, entry)
    return model


def check_params(params: Params) -> None:
    """Check every entry and every metric of a profile; UserError on the first mistake."""
    for dataset in params.datasets:
        spec_of(dataset)
    for name in params.metrics:
        metrics.metric(name)
    for entry in params.entries.values():
        check_entry(entry)
