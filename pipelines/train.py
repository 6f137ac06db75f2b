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


def run(params: Params, entry: str) -> None:
    """Write ``weights.safetensors``, ``history.csv``, ``cost.json`` and ``provenance.json`` of an
    entry; resumes a killed run.
    """
    block, out = params.entry(entry), params.run(entry)
    device = devices.setup(params.compute)
    data = load(params.data(block.dataset), block.dataset)
    torch.manual_seed(seed_for("init", entry, block.seed))
    model = build(block, data.spec)
    with blamed(block.model):  # its phases are asked for here and in fit; a mistake is the model's
        options = TrainOptions.of(model, block.train, device, where=f"entries.{entry}.train")
    precision = options.arithmetic.precision
    identity = {
        "entry": entry,
        "code": read_json(params.fingerprint(entry, "train"))["hash"],
        "model": block.model,
        "seed": block.seed,
        "arch": block.arch,
        "train": block.train,
        "data": sha256(params.data(block.dataset)),
        "precision": precision,
        **devices.identity(params.compute, device),
    }
    with workspace(params.checkpoints, f"{params.profile}-{entry}-train", identity) as work:
        run_identity = RunIdentity(entry, block.seed)
        fitted = fit(model, data, options, run_identity, device=device, checkpoints=work)
        save(model, out / "weights.safetensors", entry=block)
        write_text(out / "history.csv", to_csv(fitted.history))
        cost = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "steps": options.steps,
            "train_seconds": fitted.seconds,
            "train_images_per_second": fitted.images_per_second,
            "peak_memory_mb": devices.peak_memory_mb(device),
        }
        write_json(out / "cost.json", cost)
        write_json(out / "provenance.json", _provenance(params, device, precision, block.train))


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
