"""Stage ``sample``: an entry's images."""

from __future__ import annotations

import time
from functools import partial

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
    """One chunk of an entry's samples, drawn whole: ``images`` uint8 (size, H, W), ``seconds`` (),
    and ``labels`` 0..classes-1 repeated.
    """
    labels = (
        torch.arange(number * size, (number + 1) * size) % model.spec.classes
        if model.conditional
        else None
    )
    rng = generator_for("sample", entry.name, entry.seed, number, device=model.device)
    begun = time.monotonic()
    images = model.sample(
        size, None if labels is None else labels.to(model.device), rng=rng, **entry.sample
    ).cpu()
    shape = (size, 1, model.spec.height, model.spec.width)
    if (
        images.dtype != torch.uint8
        or tuple(images.shape) != shape
        or int(images.max()) >= model.spec.levels
    ):
        raise ValueError(
            f"{entry.model}.sample must return uint8 {shape} below {model.spec.levels}, got "
            f"{images.dtype} {tuple(images.shape)} up to {int(images.max())}"
        )
    arrays = {"images": images[:, 0].numpy(), "seconds": np.array(time.monotonic() - begun)}
    return arrays if labels is None else {**arrays, "labels": labels.numpy()}


def run(params: Params, entry: str) -> None:
    """Write ``samples.npz`` and ``sampling.json`` of an entry; a killed run goes on with the chunks
    that it has.
    """
    block, out, protocol = params.entry(entry), params.run(entry), params.protocol
    device = devices.setup(params.compute)
    model = load(out, device=device)
    bind_options(
        model.sample, block.sample, where=f"entries.{entry}.sample", skip=("n", "y", "rng")
    )
    precision = resolve(block.sample.get("precision", "float32"), device)
    check_operations(model, precision, device, where=f"entries.{entry}.sample.precision")
    name, matches = model.describe_sampler(**block.sample)
    size = protocol.sample_chunk if model.independent_draws else protocol.samples
    count = -(-protocol.samples // size)
    identity = {
        "entry": entry,
        "code": read_json(params.fingerprint(entry, "sample"))["hash"],
        "weights": sha256(out / "weights.safetensors"),
        "sample": block.sample,
        "seed": block.seed,
        "chunk": size,
        "precision": precision,
        **devices.identity(params.compute, device),
    }
    with workspace(params.checkpoints, f"{params.profile}-{entry}-sample", identity) as work:
        chunks = []
        with Progress(f"sample {entry}", count, unit="chunks") as progress:
            for number in range(count):
                compute = partial(draw_chunk, model, block, number, size)
                chunks.append(work.chunk(str(number), compute))
                progress.update(number + 1)
        joined = {
            key: np.concatenate([c[key] for c in chunks])[: protocol.samples]
            for key in chunks[0]
            if key != "seconds"
        }
        write_npz(out / "samples.npz", joined)
        about = {
            "sampler": name,
            "matches_likelihood": None if model.likelihood is Likelihood.NONE else matches,
            "n": protocol.samples,
            "options": dict(block.sample),
            "weights": identity["weights"],
            "sample_ms_per_image": 1000 * sum(float(c["seconds"]) for c in chunks) / (count * size),
            "peak_memory_mb": devices.peak_memory_mb(device),
            "precision": precision,
            **devices.identity(params.compute, device),
        }
        write_json(out / "sampling.json", about)
