"""Stage ``sample``: an entry's images."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from genbench.base import GenerativeModel, Likelihood
from genbench.config.params import Entry, Params
from genbench.errors import bind_options
from genbench.files import read_json, sha256, write_json, write_npz
from genbench.hardware import device as devices
from genbench.hardware.precision import check_operations, resolve
from genbench.progress import Progress
from genbench.seeding import generator_for
from genbench.training.checkpoints import workspace
from genbench.weights import load

__all__ = ["draw_chunk", "run"]


def draw_chunk(
    model: GenerativeModel, entry: Entry, number: int, size: int
) -> dict[str, np.ndarray]:
    """One chunk of an entry's samples, drawn whole: ``images`` uint8 (size, H, W), ``seconds`` and
    ``cpu_seconds`` (), and ``labels`` 0..classes-1 repeated.
    """
    labels = None
    if model.conditional:
        labels = torch.arange(number * size, (number + 1) * size) % model.spec.classes
    rng = generator_for("sample", entry.name, entry.seed, number, device=model.device)
    begun, worked = time.monotonic(), time.process_time()
    y = None if labels is None else labels.to(model.device)
    images = model.sample(size, y, rng=rng, **entry.sample).cpu()
    shape = (size, 1, model.spec.height, model.spec.width)
    is_right = images.dtype == torch.uint8 and tuple(images.shape) == shape
    if not is_right or int(images.max()) >= model.spec.levels:
        raise ValueError(
            f"{entry.model}.sample must return uint8 {shape} below {model.spec.levels}, got "
            f"{images.dtype} {tuple(images.shape)} up to {int(images.max())}"
        )
    arrays = {
        "images": images[:, 0].numpy(),
        "seconds": np.array(time.monotonic() - begun),
        "cpu_seconds": np.array(time.process_time() - worked),
    }
    return arrays if labels is None else {**arrays, "labels": labels.numpy()}


def run(
    params: Params,
    name: str,
    *,
    fingerprint: Path,
    unfinished: Path,
    weights: Path,
    samples: Path,
    sampling: Path,
) -> None:
    """Draw an entry's samples; a killed run goes on with the chunks that it has.

    Arguments:
        params: the profile.
        name: the entry.
        fingerprint: read: that of this stage.
        unfinished: where chunks are kept meanwhile.
        weights: read: its weights.
        samples: written: ``images`` uint8 (n, H, W), and ``labels`` int64 (n,) of conditional
            entries.
        sampling: written: how they were drawn.
    """
    entry, protocol = params.entry(name), params.protocol
    device = devices.setup(params.compute)
    model = load(weights, device=device)
    where = f"entries.{name}.sample"
    bind_options(model.sample, entry.sample, where=where, skip=("n", "y", "rng"))
    precision = resolve(entry.sample.get("precision", "float32"), device)
    check_operations(model, precision, device, where=f"{where}.precision")
    sampler, matches = model.describe_sampler(**entry.sample)
    size = protocol.sample_chunk if model.independent_draws else protocol.samples
    count = -(-protocol.samples // size)
    machine = devices.identity(params.compute, device)
    identity = {
        "entry": name,
        "code": read_json(fingerprint)["hash"],
        "weights": sha256(weights),
        "sample": entry.sample,
        "seed": entry.seed,
        "chunk": size,
        "precision": precision,
        **machine,
    }
    with workspace(unfinished.parent, unfinished.name, identity) as work:
        chunks = []
        with Progress(f"sample {name}", count, unit="chunks") as progress:
            for number in range(count):
                compute = partial(draw_chunk, model, entry, number, size)
                chunks.append(work.chunk(str(number), compute))
                progress.update(number + 1)
        joined = {
            key: np.concatenate([chunk[key] for chunk in chunks])[: protocol.samples]
            for key in chunks[0]
            if key not in ("seconds", "cpu_seconds")
        }
        write_npz(samples, joined)
        seconds = sum(float(chunk["seconds"]) for chunk in chunks)
        cpu_seconds = sum(float(chunk["cpu_seconds"]) for chunk in chunks)
        record = {
            "sampler": sampler,
            "matches_likelihood": None if model.likelihood is Likelihood.NONE else matches,
            "n": protocol.samples,
            "options": dict(entry.sample),
            "weights": identity["weights"],
            "sample_ms_per_image": 1000 * seconds / (count * size),
            "sample_cpu_ms_per_image": 1000 * cpu_seconds / (count * size),
            "at_once": devices.entries_at_once(),
            "peak_memory_mb": devices.peak_memory_mb(device),
            "precision": precision,
            **machine,
        }
        write_json(sampling, record)
