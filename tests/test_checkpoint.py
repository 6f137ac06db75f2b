"""Weights on disk: whatever is damaged in their file, they are either as they were or not
loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

from genbench.config.params import Entry
from genbench.data.datasets import spec_of
from genbench.errors import UserError
from genbench.registry import build
from genbench.weights import load, save
from genbench.weights_file import read_weights

ENTRY = Entry(
    "made",
    "made",
    "mnist",
    0,
    {"hidden": [1], "head": "logistic_mixture", "mixtures": 1},
    {},
    {},
    {},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The weights of a small model."""
    save(build(ENTRY, spec_of("mnist")), tmp_path / "weights.safetensors", entry=ENTRY)
    return tmp_path / "weights.safetensors"


def test_a_flipped_bit_anywhere_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    whole = load(path).state_dict()
    header = 8 + int.from_bytes(content[:8], "little")
    places = [*range(header), *range(header, len(content), 997)]
    noticed = []
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            loaded = load(path).state_dict()
        except UserError as error:
            noticed.append(str(error))
            continue
        assert loaded.keys() == whole.keys() and all(
            torch.equal(loaded[name], whole[name]) for name in whole
        ), place
    assert all(str(path) in text and "`genbench run`" in text for text in noticed)
    # A space at the end of the header may be another character that JSON does not mind.
    assert len(noticed) > len(places) - 30


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 400, 1000, 5000, -1, -100])
def test_a_truncated_file_is_named(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"weights\.safetensors is (damaged|no safetensors file)"):
        load(path)


def test_two_tensors_in_each_others_place_are_noticed(path: Path) -> None:
    with safetensors.safe_open(path, "pt") as file:
        # Not a mapping.
        metadata, state = (file.metadata(), {name: file.get_tensor(name) for name in file.keys()})
    name = max(state, key=lambda key: state[key].numel())
    state[name] = state[name].flip(0)
    safetensors.torch.save_file(state, path, metadata)
    with pytest.raises(UserError, match="its content is not that of the checksum in it"):
        load(path)


def test_weights_of_a_version_without_checksums_are_still_read(path: Path) -> None:
    with safetensors.safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["genbench"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # not a mapping
    del about["sha256"]
    safetensors.torch.save_file(
        state, path, {"genbench": json.dumps(about | {"format": "genbench-1"})}
    )
    loaded = load(path).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    # The present format has one.
    safetensors.torch.save_file(state, path, {"genbench": json.dumps(about)})
    with pytest.raises(UserError, match="checksum"):
        load(path)


def test_options_that_json_changes_are_no_damage(tmp_path: Path) -> None:
    """Tuples come back as lists."""
    entry = Entry(
        "made",
        "made",
        "mnist",
        0,
        {"hidden": (1,), "head": "logistic_mixture", "mixtures": 1},
        {},
        {},
        {},
    )
    save(build(entry, spec_of("mnist")), tmp_path / "weights.safetensors", entry=entry)
    load(tmp_path)


@pytest.mark.parametrize("dtype", safetensors.torch._TYPES.values(), ids=str)
def test_a_checksum_is_of_any_type(tmp_path: Path, dtype: torch.dtype) -> None:
    """Written by torch, which reading does without."""
    state = {
        "some": torch.ones(2, 3).to(dtype),
        "none": torch.ones(0, 3).to(dtype),
        "one": torch.tensor(1.0).to(dtype),
    }
    model = SimpleNamespace(spec=spec_of("mnist"), state_dict=lambda: state)
    save(model, tmp_path / "weights.safetensors", entry=ENTRY)  # type: ignore[arg-type]
    found = read_weights(tmp_path / "weights.safetensors").arrays
    assert {name: (array.shape, array.tobytes()) for name, array in found.items()} == {
        name: (tuple(x.shape), x.reshape(-1).view(torch.uint8).numpy().tobytes())
        for name, x in state.items()
    }
