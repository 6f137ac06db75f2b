"""Trained weights: a safetensors file that carries what is needed to rebuild its model, and a checksum of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from genbench.base import DataSpec, GenerativeModel
from genbench.errors import UserError
from genbench.files import write_bytes
from genbench.params import Entry
from genbench.registry import build

__all__ = ["load", "save"]

_FORMAT, _WITHOUT_CHECKSUM = "genbench-2", "genbench-1"
_CHECKSUM = "sha256"
_MEND = "`genbench run` finds that out and makes it again; or delete it and train the entry again"


def save(model: GenerativeModel, path: Path, *, entry: Entry) -> None:
    """Write parameters and buffers with what is needed to rebuild the model, atomically; equal content gives equal bytes."""
    identity = {"entry": entry.name, "model": entry.model, "dataset": entry.dataset, "seed": entry.seed, "arch": entry.arch}
    about = {"format": _FORMAT, "spec": asdict(model.spec), **identity}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    about[_CHECKSUM] = _checksum(about, state)
    # One key of metadata: the order of several is random.
    write_bytes(path, safetensors.torch.save(state, {"genbench": json.dumps(about, sort_keys=True)}))


def _checksum(about: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """SHA-256 over all that a file holds, in an order of its own."""
    read = json.loads(json.dumps(about))  # tuples are lists there, and keys text
    digest = hashlib.sha256(json.dumps(read, sort_keys=True).encode())
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load(run: str | PathLike[str], *, device: torch.device | str = "cpu") -> GenerativeModel:
    """The trained model of a run, in eval mode on ``device``.

    Arguments:
        run: a run folder such as ``runs/quick/made``, or its ``weights.safetensors``.
        device: a torch device.

    Raises:
        FileNotFoundError: there are no weights there.
        UserError: damaged, no genbench checkpoint, or one of another architecture; names the file and the difference.
    """
    path = Path(run)
    path = path if path.suffix == ".safetensors" else path / "weights.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; train the entry first: genbench run --entries {path.parent.name}")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("genbench", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # not a mapping
    except SafetensorError as error:
        raise UserError(f"{path} is no safetensors file, or truncated ({error}); {_MEND}") from error
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); {_MEND}") from error
    form = about.get("format") if isinstance(about, dict) else about
    if form not in (_FORMAT, _WITHOUT_CHECKSUM):
        raise UserError(f"{path} is no genbench checkpoint: its format is {form!r}, not {_FORMAT!r}; {_MEND}")
    noted = about.pop(_CHECKSUM, None)
    if form == _FORMAT and noted != _checksum(about, state):
        raise UserError(f"{path} is damaged: its content is not that of the checksum in it; {_MEND}")
    entry = Entry(about["entry"], about["model"], about["dataset"], about["seed"], about["arch"], {}, {}, {})
    with torch.random.fork_rng(devices=[]):  # a constructor draws initial weights; the caller's random state is not ours to move
        model = build(entry, DataSpec(**about["spec"]))
    _fill(model, state, path)
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
            f"{path} belongs to another architecture of {type(model).__name__} than this version of the code: {listed}. Train the entry again"
        )
    model.load_state_dict(state)
