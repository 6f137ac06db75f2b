"""Trained weights: a safetensors file that carries what is needed to rebuild its model, and a
checksum of itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from os import PathLike
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from genbench.base import DataSpec, GenerativeModel
from genbench.config.params import Entry
from genbench.errors import UserError
from genbench.files import write_bytes
from genbench.registry import build
from genbench.weights_file import CHECKSUM, FORMAT, checksum, read_weights

__all__ = ["load", "save"]


def save(model: GenerativeModel, path: Path, *, entry: Entry) -> None:
    """Write parameters and buffers with what is needed to rebuild the model, atomically; equal
    content gives equal bytes.
    """
    identity = {
        "entry": entry.name,
        "model": entry.model,
        "dataset": entry.dataset,
        "seed": entry.seed,
        "arch": entry.arch,
    }
    metadata = {"format": FORMAT, "spec": asdict(model.spec), **identity}
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    content = (
        (name, str(x.dtype), x.shape, x.reshape(-1).view(torch.uint8).numpy().data)
        for name, x in state.items()
    )
    metadata[CHECKSUM] = checksum(metadata, content)
    # One key of metadata: the order of several is random.
    write_bytes(
        path, safetensors.torch.save(state, {"genbench": json.dumps(metadata, sort_keys=True)})
    )


def load(run: str | PathLike[str], *, device: torch.device | str = "cpu") -> GenerativeModel:
    """The trained model of a run, in eval mode on ``device``.

    Arguments:
        run: a run folder such as ``runs/quick/made``, or its ``weights.safetensors``.
        device: a torch device.

    Raises:
        FileNotFoundError: there are no weights there.
        UserError: damaged, no weights of genbench, or one of another architecture; names the file
            and the difference.
    """
    path = Path(run)
    path = path if path.suffix == ".safetensors" else path / "weights.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; train the entry first: genbench run --entries "
            f"{path.parent.name}"
        )
    _, metadata, data = read_weights(path)
    identity = {key: metadata[key] for key in ("model", "dataset", "seed", "arch")}
    entry = Entry(name=metadata["entry"], **identity, train={}, sample={}, score={})
    with torch.random.fork_rng(
        devices=[]
    ):  # a constructor draws initial weights; the caller's random state is not ours to move
        model = build(entry, DataSpec(**metadata["spec"]))
    _fill(model, safetensors.torch.load(data), path)
    return model.to(device).eval()


def _fill(model: GenerativeModel, state: dict[str, Tensor], path: Path) -> None:
    own = model.state_dict()
    problems = [f"{name} is missing" for name in own.keys() - state.keys()]
    problems += [f"{name} is unknown" for name in state.keys() - own.keys()]
    problems += [
        f"{name} has shape {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    if problems:
        listed = "; ".join(sorted(problems)[:5])
        raise UserError(
            f"{path} belongs to another architecture of {type(model).__name__} than this version "
            f"of the code: {listed}. Train the entry again"
        )
    model.load_state_dict(state)
