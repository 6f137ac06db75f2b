"""Stage ``score_likelihood``: nats per test image and the likelihood columns of an entry."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from genbench.base import GenerativeModel, Likelihood
from genbench.config.dependencies import shared_settings
from genbench.config.params import Entry, Params
from genbench.data.splits import load_split
from genbench.files import read_json, sha256, write_npz
from genbench.hardware import device as devices
from genbench.progress import Progress
from genbench.scoring.likelihood import diagnose, plan_for, score_chunk, score_options, summarise
from genbench.scoring.records import Record, write_record
from genbench.seeding import generator_for
from genbench.training.checkpoints import Workspace, workspace
from genbench.weights import load

__all__ = ["run"]


def run(params: Params, entry: str) -> None:
    """Write ``likelihood.json`` and ``nats.npz`` of an entry; a killed run goes on with the chunks
    that it has.
    """
    block, out = params.entry(entry), params.run(entry)
    device = devices.setup(params.compute)
    model = load(out, device=device)
    model.to(memory_format=torch.channels_last)  # the faster layout for convolutions
    machine = devices.identity(params.compute, device)
    made_from = {
        "weights": sha256(out / "weights.safetensors"),
        "options": dict(block.score),
        "kind": machine["kind"],
    }
    if model.likelihood is Likelihood.NONE:
        write_npz(out / "nats.npz", {})
        write_record(out / "likelihood.json", Record(entry, {}, made_from=made_from))
        return
    x, y = load_split(params.data(block.dataset), block.dataset, "test")
    identity = {
        "entry": entry,
        "code": read_json(params.fingerprint(entry, "score_likelihood"))["hash"],
        **made_from,
        "data": sha256(params.data(block.dataset)),
        "score": block.score,
        "seed": block.seed,
        "protocol": shared_settings(params, "score_likelihood"),
        **machine,
    }
    with workspace(
        params.checkpoints, f"{params.profile}-{entry}-score_likelihood", identity
    ) as work:
        prepared = _prepare(model, block, work)
        plans = plan_for(model, block, params.protocol, len(x))
        results, total, done = {}, sum(len(plan.chunks) for plan in plans), 0
        with Progress(f"score {entry}", total, unit="chunks") as progress:
            for plan in plans:
                parts = []
                for number in range(len(plan.chunks)):
                    compute = partial(score_chunk, model, plan, number, x, y, block)
                    chunk = work.chunk(f"{plan.purpose}-{number}", compute)
                    parts.append(chunk["log_p"])
                    done += 1
                    progress.update(done)
                results[plan.purpose] = plan, np.concatenate(parts)
        record, arrays = summarise(
            model, block, results, None if y is None else y.numpy(), prepared
        )
        metrics = {**record.metrics, **diagnose(model, x, y, block, params.protocol)}
        write_npz(out / "nats.npz", arrays)
        write_record(out / "likelihood.json", replace(record, metrics=metrics, made_from=made_from))


def _prepare(model: GenerativeModel, entry: Entry, work: Workspace) -> dict[str, float]:
    """``prepare_likelihood``, once per checkpoint: its result and the buffers that it may have set
    are kept.
    """
    options, _ = score_options(model, entry)
    kept = work.load("prepared.pt", device=model.device)
    if kept is None:
        rng = generator_for("prepare_likelihood", entry.name, entry.seed, device=model.device)
        kept = {
            "values": model.prepare_likelihood(rng=rng, **options),
            "buffers": dict(model.named_buffers()),
        }
        work.save("prepared.pt", kept)
    for name, value in kept["buffers"].items():
        model.get_buffer(name).copy_(value)
    values: dict[str, float] = kept["values"]
    return values
