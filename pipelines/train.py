"""Stage ``train``: an entry's weights."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import genbench
from genbench.config.params import Params
from genbench.data.splits import load
from genbench.files import read_json, sha256, write_json, write_text
from genbench.hardware import device as devices
from genbench.pipeline.git import commit_of
from genbench.registry import blamed, build
from genbench.seeding import seed_for
from genbench.training.checkpoints import workspace
from genbench.training.fit import fit
from genbench.training.history import to_csv
from genbench.training.options import TrainOptions
from genbench.training.randomness import RunIdentity
from genbench.weights import save

__all__ = ["run"]


def run(
    params: Params,
    name: str,
    *,
    fingerprint: Path,
    unfinished: Path,
    data: Path,
    weights: Path,
    history: Path,
    cost: Path,
    provenance: Path,
) -> None:
    """Train an entry; a killed run goes on from its last checkpoint.

    Arguments:
        params: the profile.
        name: the entry.
        fingerprint: read: that of this stage.
        unfinished: where checkpoints are kept meanwhile.
        data: read: the arrays of its data set.
        weights: written: the trained weights.
        history: written: losses and learning rates.
        cost: written: size, time and memory.
        provenance: written: commit, versions and hardware.
    """
    entry = params.entry(name)
    device = devices.setup(params.compute)
    dataset = load(data, entry.dataset)
    torch.manual_seed(seed_for("init", name, entry.seed))
    model = build(entry, dataset.spec)
    with blamed(entry.model):  # fit calls it too; here a mistake in it is told as the model's
        model.phases()
    options = TrainOptions.of(model, entry.train, device, where=f"entries.{name}.train")
    precision = options.arithmetic.precision
    identity = {
        "entry": name,
        "code": read_json(fingerprint)["hash"],
        "model": entry.model,
        "seed": entry.seed,
        "arch": entry.arch,
        "train": entry.train,
        "data": sha256(data),
        "precision": precision,
        **devices.identity(params.compute, device),
    }
    with workspace(unfinished.parent, unfinished.name, identity) as work:
        run_identity = RunIdentity(name, entry.seed)
        fitted = fit(model, dataset, options, run_identity, device=device, checkpoints=work)
        save(model, weights, entry=entry)
        write_text(history, to_csv(fitted.history))
        costs = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "steps": options.steps,
            "train_seconds": fitted.seconds,
            "train_cpu_seconds": fitted.cpu_seconds,
            "train_images_per_second": fitted.images_per_second,
            "peak_memory_mb": devices.peak_memory_mb(device),
        }
        write_json(cost, costs)
        write_json(provenance, _provenance(params, device, precision, entry.train))


def _provenance(
    params: Params, device: torch.device, precision: str, train: Mapping[str, Any]
) -> dict[str, object]:
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "genbench": genbench.__version__,
    }
    return {
        "git": _version(params.root),
        "versions": versions,
        "hardware": devices.hardware(device),
        **devices.identity(params.compute, device),
        "precision": precision,
        "at_once": devices.entries_at_once(),
        "train": dict(train),
    }


def _version(root: Path) -> str | None:
    """The commit, or None where git does not tell; then why is said on standard error, unless there
    just is no repository.
    """
    commit, reason = commit_of(root)
    if reason is not None:
        print(f"the commit is not recorded: {reason}", file=sys.stderr, flush=True)
    return commit
