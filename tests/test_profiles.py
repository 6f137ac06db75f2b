"""The committed profiles: they hold the same entries, every option in them is one, and every entry
of the smallest trains, samples and scores.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Generator

from genbench.base import Likelihood
from genbench.config.load import load_params
from genbench.data.datasets import spec_of
from genbench.data.splits import Dataset
from genbench.pipeline.validate import check_params
from genbench.registry import build
from genbench.scoring.likelihood import score_options
from tests.training import fit

ROOT = Path(__file__).resolve().parents[1]
QUICK, SMOKE, FULL = (load_params(profile, root=ROOT) for profile in ("quick", "smoke", "full"))


@pytest.mark.parametrize("profile", ["quick", "smoke", "full"])
def test_every_option_is_one(profile: str) -> None:
    assert check_params(load_params(profile, root=ROOT)) == {}


@pytest.mark.parametrize("profile", ["smoke", "full"])
def test_the_other_profiles_hold_every_entry_of_quick(profile: str) -> None:
    other = load_params(profile, root=ROOT).entries
    for name, entry in QUICK.entries.items():
        assert name in other
        same = [
            (
                e.model,
                e.dataset,
                e.seed,
                e.arch.get("conditional", False),
                e.arch.get("joint", False),
            )
            for e in (entry, other[name])
        ]
        assert same[0] == same[1], name


@pytest.mark.processor
@pytest.mark.parametrize("precision", ["auto", "float32"])
@pytest.mark.parametrize(
    ("profile", "name"),
    [(p.profile, name) for p in (QUICK, FULL) for name, entry in p.entries.items() if entry.train],
)
def test_an_entry_trains_with_its_own_settings(profile: str, name: str, precision: str) -> None:
    """Two steps of every entry, in its own precision and layout: a setting that a processor cannot
    run must not pass. Batches are cut.
    """
    entry = {"quick": QUICK, "full": FULL}[profile].entry(name)
    given = entry.train.get("arithmetic", {}).get("cpu", {}).get("precision", "float32")
    if (given == "float32" and precision == "auto") or (
        profile == "full" and precision == "float32" and given != "float32"
    ):
        pytest.skip(
            "it has the other precision"
            if given == "float32"
            else "one precision of the large networks is enough"
        )
    spec = spec_of(entry.dataset)
    torch.manual_seed(0)
    x = torch.randint(0, spec.levels, (256, 1, 28, 28), dtype=torch.uint8)
    y = torch.arange(256) % 10 if spec.classes else None
    data = Dataset(
        entry.dataset,
        spec,
        x,
        y,
        x[:2],
        None if y is None else y[:2],
        x[:2],
        None if y is None else y[:2],
    )
    few = {"buffer_size": 4, "persistent_chains": 4, "mcmc_steps": 2}
    arch = {**entry.arch, **{key: few[key] for key in few if key in entry.arch}}
    train = {**entry.train, "steps": 2, "validations": 1, "validate_images": 2}
    train["batch_size"] = min(4 if profile == "quick" else 2, train["batch_size"])
    train["arithmetic"] = {
        "cpu": {
            **train.get("arithmetic", {}).get("cpu", {}),
            "precision": precision if profile == "quick" else given,
        }
    }
    fitted = fit(
        build(dataclasses.replace(entry, arch=arch), spec), data, entry=name, seed=0, **train
    )
    assert fitted.history[-1]["step"] == 2


@pytest.mark.parametrize("name", SMOKE.entries)
def test_an_entry_of_smoke_trains_samples_and_scores(name: str) -> None:
    entry = SMOKE.entry(name)
    spec = spec_of(entry.dataset)
    torch.manual_seed(0)
    x = torch.randint(0, spec.levels, (64, 1, 28, 28), dtype=torch.uint8)
    y = torch.arange(64) % 10 if spec.classes else None
    data = Dataset(
        entry.dataset,
        spec,
        x,
        y,
        x[:8],
        None if y is None else y[:8],
        x[:8],
        None if y is None else y[:8],
    )
    copies = entry.model in ("train_copy", "partial_copy")
    arch = {**entry.arch, "size": 64} if copies else entry.arch
    model = build(dataclasses.replace(entry, arch=arch), spec)
    train = {**entry.train, "steps": min(4, entry.train.get("steps", 0)), "validations": 1}
    fit(model, data, entry=name, seed=0, **train)
    labels = torch.tensor([3, 7]) if model.conditional else None
    drawn = model.sample(2, labels, rng=Generator().manual_seed(0), **entry.sample)
    assert (drawn.shape, drawn.dtype) == ((2, 1, 28, 28), torch.uint8)
    assert int(drawn.max()) < spec.levels
    if model.likelihood is not Likelihood.NONE:
        preparing, scoring = score_options(model, entry)
        model.prepare_likelihood(rng=Generator().manual_seed(0), **preparing)
        log_p = model.log_likelihood(x[:2], labels, rng=Generator().manual_seed(0), **scoring)
        assert bool((log_p < 0).all())
