"""All entries of a profile checked before any work starts, so that a typing error costs a second
and not a night.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Generator

from genbench.base import GenerativeModel, Traceable
from genbench.config.origins import naming_source
from genbench.config.params import Entry, Params
from genbench.data.datasets import spec_of
from genbench.errors import Mistakes, UserError, bind_options
from genbench.hardware.compute import Compute
from genbench.hardware.precision import check_operations, computes_bfloat16
from genbench.registry import BrokenModel, blamed, build
from genbench.scoring.likelihood import score_options
from genbench.scoring.sample_scores import metric
from genbench.training.options import TrainOptions

__all__ = ["check_entry", "check_params", "emulating"]


def check_entry(entry: Entry, compute: Compute) -> GenerativeModel:
    """Check all options of an entry, and of their values those that a model checks before it is
    trained; returns the untrained model.

    Arguments:
        entry: the entry.
        compute: whose device chooses among the arithmetics of training.

    Raises:
        UserError: names the key, what it got and what is legal.
        BrokenModel: the model cannot be imported or built, or raises something else than a
            UserError when it is asked about its options.
    """
    with blamed(entry.model):
        return _checked(entry, compute)


def _checked(entry: Entry, compute: Compute) -> GenerativeModel:
    model, where = build(entry, spec_of(entry.dataset)), f"entries.{entry.name}"
    device = torch.device(compute.device)
    TrainOptions.of(model, entry.train, device, where=f"{where}.train")
    bind_options(model.sample, entry.sample, where=f"{where}.sample", skip=("n", "y", "rng"))
    check_operations(
        model, entry.sample.get("precision", "float32"), device, where=f"{where}.sample.precision"
    )
    preparing, scoring = score_options(model, entry)
    with _named(f"{where}.score"):
        model.check_likelihood_options(preparing, scoring)
    if entry.sample and isinstance(model, Traceable):
        with _named(f"{where}.sample"):
            _start_sampling(model, entry)
    return model


def _start_sampling(model: GenerativeModel, entry: Entry) -> None:
    """Draw the first frame of one image: models check the values of their sampler's options when
    they begin.
    """
    assert isinstance(model, Traceable)
    y = torch.zeros(1, dtype=torch.int64) if model.conditional else None
    was_training = model.training
    next(iter(model.eval().frames(1, y, rng=Generator().manual_seed(0), **entry.sample)))
    model.train(was_training)


@contextmanager
def _named(where: str) -> Iterator[None]:
    """A mistake that a model finds in its options, with their place before its name."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}.{error}") from error


def check_params(params: Params, names: Iterable[str] | None = None) -> dict[str, str]:
    """Check the data sets, the metrics and the entries of a profile.

    Arguments:
        params: the profile.
        names: entries to check; None for all.

    Returns:
        The entries whose model cannot be imported or built, each with the reason: they cannot run,
        but they are in no other's way.

    Raises:
        UserError: the first mistake in each data set, metric and entry, all of them in one error.
    """
    mistakes, broken = Mistakes(), {}
    for dataset in params.datasets:
        with mistakes.noting():
            spec_of(dataset)
    for family in params.metrics:
        with mistakes.noting():
            metric(family)
    for name in params.entries if names is None else names:
        with mistakes.noting(), naming_source(params, name):
            try:
                check_entry(params.entries[name], params.compute)
            except BrokenModel as error:
                broken[name] = str(error)
    mistakes.tell()
    return broken


def emulating(params: Params, names: Iterable[str] | None = None) -> list[str]:
    """The entries that ask for bfloat16, in training or sampling, on a device that only emulates
    it.
    """
    device = torch.device(params.compute.device)
    if computes_bfloat16(device):
        return []
    asked = {}
    for name in params.entries if names is None else names:
        entry = params.entries[name]
        asked[name] = (
            entry.train.get("arithmetic", {}).get(device.type, {}).get("precision"),
            entry.sample.get("precision"),
        )
    return [name for name, precisions in asked.items() if "bfloat16" in precisions]
