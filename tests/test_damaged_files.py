"""Files of an entry that are damaged as a whole, or cannot be read."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genbench.cli.info import print_info
from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.files import read_npz, write_bytes, write_npz
from genbench.tracking.runs import tracked_runs
from tests import damage
from tests.damage import JSON_FILES, VALUES, check_left_out, report


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project of two finished entries, ``made`` and ``vae``."""
    return damage.two_entries(tmp_path, monkeypatch)


def test_the_example_is_whole(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(params) == ({"made", "vae"}, {})
    assert {one.entry.name for one in tracked_runs(params)[0]} == {"made", "vae"}
    print_info("quick", "made")
    assert "nats: 400" in capsys.readouterr().out


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "binary": lambda data: b"\xff\x00\xfe" + data,
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "file",
    [
        *JSON_FILES,
        "history.csv",
        "samples.npz",
        "weights.safetensors",
        "pictures/interpolation.png",
    ],
)
def test_a_damaged_file(
    params: Params, file: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Layout.of(params).run_dir("made").path / file
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    check_left_out(params, file)
    print_info("quick", "made")
    printed = capsys.readouterr().out
    assert Path(file).name in printed
    assert ("fid_mnist: 12.5" in printed) == (file != "quality.json"), (
        "the scores in other files are shown all the same"
    )


@pytest.mark.parametrize("value", [*VALUES, float("nan"), float("inf")], ids=repr)
@pytest.mark.parametrize("file", JSON_FILES)
def test_a_value_of_another_type_in_place_of_a_record(
    params: Params, file: str, value: object
) -> None:
    if file == "pictures/pictures.json" and value == []:
        value = [[]]  # an empty list is a record of no pictures
    (Layout.of(params).run_dir("made").path / file).write_text(json.dumps(value))
    check_left_out(params, file)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"entry": "made", "entry": 1}', '{"a": ' * 500 + "1" + "}" * 500, "1" * 5000],
)
def test_json_that_no_stage_writes(params: Params, text: str) -> None:
    Layout.of(params).run_dir("made").quality.write_text(text)
    check_left_out(params, "quality.json")


def test_a_file_that_may_not_be_read(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of another user; who runs the tests may be allowed to read everything."""
    read = Path.read_text

    def denied(self: Path, *args: Any, **kwargs: Any) -> str:
        if self == Layout.of(params).run_dir("made").quality:
            raise PermissionError(13, "Permission denied", str(self))
        return read(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", denied)
    check_left_out(params, "quality.json")
    assert "no permission" in report(params)[1]["made"]


def test_a_folder_in_place_of_a_file(params: Params) -> None:
    path = Layout.of(params).run_dir("made").quality
    path.unlink()
    path.mkdir()
    check_left_out(params, "quality.json")


# ---------------------------------------------------------------------- arrays


class Malice:
    """An object whose unpickling ends the process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exit, (13,)


def _saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _of_objects() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, images=np.array([Malice()] * 3, dtype=object))
    return buffer.getvalue()


IMAGES = np.zeros((120, 28, 28), np.uint8)


ARRAYS: dict[str, dict[str, np.ndarray] | bytes] = {
    "no array": {},
    "other keys": {"pictures": IMAGES},
    "float": {"images": IMAGES.astype(np.float32)},
    "another shape": {"images": IMAGES[:, None]},
    "no images": {"images": IMAGES[:0]},
    "fewer images": {"images": IMAGES[:7]},
    "objects": _of_objects(),
    "a pickle": pickle.dumps(Malice()),
    "an npy file": _saved(IMAGES),
    "text as labels": {"images": IMAGES, "labels": np.array(["1"] * 120)},
    "too few labels": {"images": IMAGES, "labels": np.zeros(7, np.int64)},
    "too large labels": {"images": IMAGES, "labels": np.full(120, 10)},
    "negative labels": {"images": IMAGES, "labels": np.full(120, -1)},
}


@pytest.mark.parametrize("content", ARRAYS.values(), ids=ARRAYS)
def test_samples_of_another_form(params: Params, content: dict[str, np.ndarray] | bytes) -> None:
    path = Layout.of(params).run_dir("made").samples
    if isinstance(content, bytes):
        write_bytes(path, content)
    else:
        write_npz(path, content)
    whole, missing = report(params)
    assert whole == {"vae"}
    assert "samples" in missing["made"]
    assert list(tracked_runs(params)[1]) == ["made"]


def test_any_flipped_byte_of_an_npz_file_is_an_error_that_names_it_or_harmless(
    tmp_path: Path,
) -> None:
    path = tmp_path / "samples.npz"
    np.savez_compressed(
        path, images=np.arange(400, dtype=np.uint8).reshape(4, 10, 10), labels=np.arange(4)
    )
    data, named = path.read_bytes(), 0
    for i in range(len(data)):
        path.write_bytes(data[:i] + bytes([data[i] ^ 0x55]) + data[i + 1 :])
        try:
            read_npz(path)
        except ValueError as error:
            named += "samples.npz is corrupt" in str(error)
    assert named > len(data) / 2
