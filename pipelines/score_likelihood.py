"""Stage ``score_likelihood``: nats per test image and the likelihood columns of an entry."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from genbench.base import GenerativeModel, Likelihood
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


def run(
    params: Params,
    name: str,
    *,
    fingerprint: Path,
    unfinished: Path,
    data: Path,
    weights: Path,
    likelihood: Path,
    nats: Path,
) -> None:
    """Score the likelihood of test images; a killed run goes on with the chunks that it has.

    Arguments:
        params: the profile.
        name: the entry.
        fingerprint: read: that of this stage.
        unfinished: where chunks are kept meanwhile.
        data: read: the arrays of its data set.
        weights: read: its weights.
        likelihood: written: the record of scores.
        nats: written: the likelihood of each image.
    """
    entry = params.entry(name)
    device = devices.setup(params.compute)
    model = load(weights, device=device)
    model.to(memory_format=torch.channels_last)  # the faster layout for convolutions
    machine = devices.identity(params.compute, device)
    made_from = {
        "weights": sha256(weights),
        "options": dict(entry.score),
        "kind": machine["kind"],
    }
    if model.likelihood is Likelihood.NONE:
        write_npz(nats, {})
        write_record(likelihood, Record(name, {}, made_from=made_from))
        return
    x, y = load_split(data, entry.dataset, "test")
    identity = {
        "entry": name,
        "code": read_json(fingerprint)["hash"],
        **made_from,
        "data": sha256(data),
        "score": entry.score,
        "seed": entry.seed,
        "likelihood_images": params.protocol.plain()["likelihood_images"],
        **machine,
    }
    with workspace(unfinished.parent, unfinished.name, identity) as work:
        prepared = _prepare(model, entry, work)
        plans = plan_for(model, entry, params.protocol, len(x))
        results, total, done = {}, sum(len(plan.chunks) for plan in plans), 0
        with Progress(f"score {name}", total, unit="chunks") as progress:
            for plan in plans:
                parts = []
                for number in range(len(plan.chunks)):
                    compute = partial(score_chunk, model, plan, number, x, y, entry)
                    chunk = work.chunk(f"{plan.purpose}-{number}", compute)
                    parts.append(chunk["log_p"])
                    done += 1
                    progress.update(done)
                results[plan.purpose] = plan, np.concatenate(parts)
        labels = None if y is None else y.numpy()
        record, arrays = summarise(model, entry, results, labels, prepared)
        metrics = {**record.metrics, **diagnose(model, x, y, entry, params.protocol)}
        write_npz(nats, arrays)
        write_record(likelihood, replace(record, metrics=metrics, made_from=made_from))


def _prepare(model: GenerativeModel, entry: Entry, work: Workspace) -> dict[str, float]:
    """``prepare_likelihood``, once for the weights: its result and the buffers that it may have set
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
