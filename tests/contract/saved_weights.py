"""Weights that are saved and loaded give the same model."""

from __future__ import annotations

from pathlib import Path

import torch

from genbench import weights as checkpoint
from genbench.base import GenerativeModel, Likelihood
from genbench.config.params import Entry
from tests.contract.cases import Case
from tests.contract.images import every_image, labels_of, rng

__all__ = ["check_checkpoint"]


def check_checkpoint(case: Case, model: GenerativeModel, path: Path) -> None:
    """Saved and loaded, it is the same model: tensors, samples and scores."""
    checkpoint.save(model, path, entry=Entry("toy", case.model, "mnist", 0, case.arch, {}, {}, {}))
    loaded = checkpoint.load(path)
    assert (
        not loaded.training
        and type(loaded) is type(model)
        and loaded.spec == model.spec
        and loaded.conditional == model.conditional
    )
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(
        ours[k].dtype == theirs[k].dtype
        and torch.equal(ours[k].nan_to_num(), theirs[k].nan_to_num())
        for k in ours
    )
    y = labels_of(model, 50)
    assert torch.equal(*(m.sample(50, y, rng=rng(7)) for m in (model, loaded))), (
        "samples differ after loading"
    )
    if model.likelihood is not Likelihood.NONE:
        x = every_image(model.spec)[:50]
        assert model.prepare_likelihood(rng=rng(4)) == loaded.prepare_likelihood(rng=rng(4))
        assert torch.equal(*(m.log_likelihood(x, y, rng=rng(5)) for m in (model, loaded))), (
            "scores differ after loading"
        )
