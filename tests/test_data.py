"""Downloads, parsing and splits, on files made here and on the real ones."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import struct
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

import genbench.data
from genbench.base import DataSpec
from genbench.cli.decorator import command
from genbench.data import datasets, download, splits
from genbench.data.binary_mnist import parse_amat
from genbench.data.mirror import mirror
from genbench.data.mnist import SIZES, parse_idx, raw_files
from genbench.data.raw_file import RawFile
from genbench.data.splits import Dataset
from genbench.errors import UserError
from genbench.files import write_npz


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes())


def published(content: bytes, url: str = "") -> RawFile:
    return RawFile(
        "mnist", "file.gz", (url,) if url else (), "md5", hashlib.md5(content).hexdigest()
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_idx_round_trip() -> None:
    array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    assert np.array_equal(parse_idx(idx(array), "x"), array)


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-9],
        lambda b: b"no gzip",
        lambda b: gzip.compress(b"\0\0"),
        lambda b: gzip.compress(gzip.decompress(b)[:-1]),
    ],
)
def test_damaged_idx_is_named(damage: object) -> None:
    with pytest.raises(UserError, match="labels-file"):
        parse_idx(damage(idx(np.zeros((2, 3), np.uint8))), "labels-file")  # type: ignore[operator]


def test_amat_parses_each_digit() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (3, 784))
    text = "".join(" ".join(map(str, row)) + " \n"[1:] for row in bits)
    assert np.array_equal(parse_amat(text.encode(), "x").reshape(3, -1), bits)
    with pytest.raises(UserError, match="truncated"):
        parse_amat(text.encode()[:-3], "x")
    with pytest.raises(UserError, match="other values"):
        parse_amat(text.replace("1", "2").encode(), "x")


def test_download_is_verified_and_kept(tmp_path: Path, server: str) -> None:
    (tmp_path / "file.gz").write_bytes(b"content")
    file, raw = published(b"content", f"{server}/file.gz"), tmp_path / "raw"
    assert download.fetch(file, raw=raw, mirror=None) == b"content"
    (tmp_path / "file.gz").unlink()
    assert download.fetch(file, raw=raw, mirror=None) == b"content", (
        "the second time comes from the cache"
    )


def test_second_address_serves_when_the_first_is_dead_or_corrupt(
    tmp_path: Path, server: str
) -> None:
    (tmp_path / "good").write_bytes(b"content")
    (tmp_path / "bad").write_bytes(b"conten")
    file = RawFile(
        "mnist",
        "f",
        (f"{server}/gone", f"{server}/bad", f"{server}/good"),
        "md5",
        hashlib.md5(b"content").hexdigest(),
    )
    assert download.fetch(file, raw=tmp_path / "raw", mirror=None) == b"content"


def test_corrupt_download_leaves_nothing(tmp_path: Path, server: str) -> None:
    (tmp_path / "file.gz").write_bytes(b"conten")
    with pytest.raises(UserError, match=r"file\.gz.*\n.*md5.*6 bytes.*\n.*GENBENCH_MIRROR"):
        download.fetch(
            published(b"content", f"{server}/file.gz"), raw=tmp_path / "raw", mirror=None
        )
    assert not (tmp_path / "raw").exists()


def test_offline_names_address_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)http://127\.0\.0\.1:9/f.*set GENBENCH_MIRROR"):
        download.fetch(published(b"x", "http://127.0.0.1:9/f"), raw=tmp_path, mirror=None)


def test_truncated_cache_is_downloaded_again(tmp_path: Path, server: str) -> None:
    (tmp_path / "file.gz").write_bytes(b"content")
    cached = tmp_path / "raw" / "mnist" / "file.gz"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"cont")
    download.fetch(published(b"content", f"{server}/file.gz"), raw=tmp_path / "raw", mirror=None)
    assert cached.read_bytes() == b"content"


@pytest.mark.parametrize("scheme", ["folder", "address"])
def test_mirror_replaces_the_official_addresses(tmp_path: Path, server: str, scheme: str) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "file.gz").write_bytes(b"content")
    place = str(tmp_path) if scheme == "folder" else server
    assert download.fetch(published(b"content"), raw=tmp_path / "raw", mirror=place) == b"content"
    (tmp_path / "mnist" / "file.gz").write_bytes(b"corrupt")
    with pytest.raises(UserError, match=r"corrupt.*md5"):
        download.fetch(published(b"content"), raw=tmp_path / "raw", mirror=place)
    (tmp_path / "mnist" / "file.gz").unlink()
    with pytest.raises(UserError, match="GENBENCH_MIRROR: cannot read"):
        download.fetch(published(b"content"), raw=tmp_path / "raw", mirror=place)


def test_a_mirror_may_be_laid_out_as_torchvision_does(tmp_path: Path, server: str) -> None:
    """``MNIST/raw`` holds the archives and, beside them, what is in them; the archives may be
    gone.
    """
    array = np.arange(6, dtype=np.uint8)
    packed = idx(array)
    plain = gzip.decompress(packed)
    file = RawFile(
        "mnist",
        "f.gz",
        (),
        "md5",
        hashlib.md5(packed).hexdigest(),
        ("MNIST/raw/f.gz", "MNIST/raw/f"),
        hashlib.sha256(plain).hexdigest(),
    )
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "f.gz").write_bytes(packed)
    (raw / "f").write_bytes(plain)
    for left, content in (("f.gz", packed), ("f", plain)):
        for place in (str(tmp_path), f"{tmp_path}/", server):
            assert download.fetch(file, raw=tmp_path / "no", mirror=place) == content
        assert np.array_equal(parse_idx(content, "f"), array)
        (raw / left).write_bytes(b"corrupt")
        for place in (str(tmp_path), server):
            with pytest.raises(UserError, match=rf"MNIST/raw/{left} is corrupt"):
                download.fetch(file, raw=tmp_path / "no", mirror=place)
        (raw / left).unlink()
    for place in (str(tmp_path), server):
        with pytest.raises(
            UserError,
            match=(
                r"cannot read .*mnist/f\.gz .*, nor .*MNIST/raw/f\.gz .*, nor .*MNIST/raw/f "
                r".*unset it to download"
            ),
        ):
            download.fetch(file, raw=tmp_path / "no", mirror=place)


def test_mnist_is_the_same_from_every_layout(tmp_path: Path) -> None:
    """The real archives, and what they hold, in torchvision's layout; the checksum of what they
    hold is ours.
    """
    given = mirror()
    if given is None or "://" in given:
        pytest.skip("GENBENCH_MIRROR names no folder")
    raw, expected = (
        tmp_path / "MNIST" / "raw",
        download.prepare("mnist", raw=tmp_path, mirror=given),
    )
    raw.mkdir(parents=True)
    for file in raw_files():
        packed = download.from_mirror(file, given)
        (raw / file.name.removesuffix(".gz")).write_bytes(
            gzip.decompress(packed) if packed.startswith(b"\x1f\x8b") else packed
        )
    found = download.prepare("mnist", raw=tmp_path / "no", mirror=str(tmp_path))
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_dead_mirror_is_asked_once(tmp_path: Path) -> None:
    file = RawFile("mnist", "f", (), "md5", "0", ("MNIST/raw/f",))
    with pytest.raises(
        UserError,
        match=r"cannot read http://127\.0\.0\.1:9/mnist/f \([^;]*\); correct GENBENCH_MIRROR",
    ):
        download.fetch(file, raw=tmp_path, mirror="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("~/data", "{home}/data"),
        ("data", "{here}/data"),
        ("../x", "{here}/../x"),
        ("/abs", "/abs"),
        ("http://a/b", "http://a/b"),
        ("file:///a b", "file:///a b"),
        ("", None),
        (None, None),
    ],
)
def test_a_mirror_is_absolute_before_a_stage_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, found: str | None
) -> None:
    """DVC starts stages in the project's folder, `genbench` is called elsewhere too."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GENBENCH_MIRROR", given or "")
    if given is None:
        monkeypatch.delenv("GENBENCH_MIRROR")
    expected = found and found.format(home=tmp_path / "home", here=tmp_path / "here")
    assert mirror() == expected
    command(typer.Typer())(lambda: None)()
    monkeypatch.chdir(tmp_path)
    assert mirror() == expected


def test_a_home_that_is_nobodys_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENBENCH_MIRROR", "~no-such-user/data")
    with pytest.raises(UserError, match="GENBENCH_MIRROR: cannot expand '~no-such-user/data'"):
        mirror()


def test_unknown_data_set_lists_near_matches() -> None:
    with pytest.raises(UserError, match="did you mean 'mnist'"):
        datasets.spec_of("mnits")
    for plumbing in ("download", "splits", "mnist.", "os"):
        with pytest.raises(UserError, match="is no data set"):
            datasets.source(plumbing)


def test_every_module_that_is_no_plumbing_is_a_data_set() -> None:
    assert datasets.dataset_names() == ["binary_mnist", "mnist"]
    for name in datasets.dataset_names():
        assert datasets.sizes_of(name).keys() == {"train", "valid", "test"}
        assert all(isinstance(file, RawFile) for file in datasets.source(name).raw_files())


NEW = """
import numpy as np
from genbench.base import DataSpec
from genbench.data.raw_file import RawFile
SPEC = DataSpec(height=2, width=3, levels=256)
SIZES = {"train": 3, "valid": 2, "test": 1}
def raw_files():
    return [RawFile("bars", "bars.bin", (), "sha1", %r)]
def splits(contents):
    (data,) = contents.values()
    x = np.frombuffer(data, np.uint8).reshape(6, 2, 3)
    return {"train_x": x[:3], "valid_x": x[3:5], "test_x": x[5:]}
"""


def test_a_new_data_set_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genbench.data, "__path__", [*genbench.data.__path__, str(tmp_path)])
    content = bytes(range(36))
    (tmp_path / "bars.py").write_text(NEW % hashlib.sha1(content).hexdigest())
    (tmp_path / "bars").mkdir()
    (tmp_path / "bars" / "bars.bin").write_bytes(content)
    (tmp_path / "empty.py").write_text("SPEC = None\n")
    try:
        assert "bars" in datasets.dataset_names()
        arrays = download.prepare("bars", raw=tmp_path / "raw", mirror=str(tmp_path))
        write_npz(tmp_path / "bars.npz", arrays)
        data = splits.load(tmp_path / "bars.npz", "bars")
        assert data.spec == DataSpec(2, 3, 256)
        assert data.test_x.flatten().tolist() == list(range(30, 36))
        assert data.train_y is None
        write_npz(tmp_path / "bars.npz", arrays | {"valid_x": arrays["valid_x"][:1]})
        with pytest.raises(UserError, match=r"valid_x must be uint8 \(2, 2, 3\)"):
            splits.load(tmp_path / "bars.npz", "bars")
        with pytest.raises(UserError, match=r"empty\.py: .* must define SIZES, raw_files, splits"):
            datasets.spec_of("empty")
    finally:
        for name in ("bars", "empty"):
            sys.modules.pop(f"genbench.data.{name}", None)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "test_x must be uint8 .*, and is missing"),
        (
            {"test_x": np.zeros((2, 28, 28), np.float32)},
            r"test_x must be uint8 .*, got float32 \(2, 28, 28\)",
        ),
        (
            {"test_x": np.zeros((2, 27, 28), np.uint8)},
            r"test_x must be uint8 .*, got uint8 \(2, 27, 28\)",
        ),
        (
            {"test_x": np.zeros((2, 1, 28, 28), np.uint8)},
            r"test_x must be uint8 .*, got uint8 \(2, 1, 28, 28\)",
        ),
        (
            {"test_x": np.zeros((100, 28, 28), np.uint8)},
            r"test_x must be uint8 \(10000, 28, 28\), got uint8 \(100, 28, 28\)",
        ),
        (
            {"test_x": np.zeros((0, 28, 28), np.uint8), **splits.EXCERPT},
            r"test_x must be uint8 .* with N >= 1, got uint8 \(0, 28, 28\)",
        ),
        ({"test_x": np.uint8(0)}, r"test_x must be uint8 .*, got uint8 \(\)"),
        (
            {"test_x": np.full((2, 28, 28), 2, np.uint8), **splits.EXCERPT},
            "test_x must hold levels below 2, got 2",
        ),
    ],
)
def test_a_wrong_prepared_file_is_named(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    write_npz(tmp_path / "b.npz", arrays)
    with pytest.raises(
        UserError, match=rf"b\.npz: {message}; delete the file and run `genbench prepare` again"
    ):
        splits.load_split(tmp_path / "b.npz", "binary_mnist", "test")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"valid_y must be integers \(3,\), one for each image, and is missing"),
        (
            np.zeros(2, np.uint8),
            r"valid_y must be integers \(3,\), one for each image, got uint8 \(2,\)",
        ),
        (np.zeros((3, 1), np.uint8), r"valid_y must be integers .*, got uint8 \(3, 1\)"),
        (np.zeros(3), r"valid_y must be integers .*, got float64 \(3,\)"),
        (np.uint8(1), r"valid_y must be integers .*, got uint8 \(\)"),
        (np.array([0, 10, 9], np.uint8), r"valid_y must hold labels 0\.\.9, got 10"),
        (np.array([0, -1, 9], np.int64), r"valid_y must hold labels 0\.\.9, got -1"),
    ],
)
def test_wrong_labels_are_named(tmp_path: Path, labels: np.ndarray | None, message: str) -> None:
    images = np.zeros((3, 28, 28), np.uint8)
    arrays = {
        f"{split}_{part}": value
        for split in SIZES
        for part, value in (("x", images), ("y", np.arange(3)))
    }
    write_npz(tmp_path / "m.npz", arrays)
    with pytest.raises(
        UserError,
        match=(
            r"m\.npz: train_x must be uint8 \(50000, 28, 28\), got uint8 \(3, 28, 28\); delete "
            r"the file"
        ),
    ):
        splits.load(tmp_path / "m.npz", "mnist")
    arrays |= splits.EXCERPT
    write_npz(tmp_path / "m.npz", arrays)
    loaded = splits.load(tmp_path / "m.npz", "mnist")
    assert loaded.valid_y is not None
    assert loaded.valid_y.tolist() == [0, 1, 2]
    del arrays["valid_y"]
    write_npz(tmp_path / "m.npz", arrays | ({} if labels is None else {"valid_y": labels}))
    with pytest.raises(UserError, match=rf"m\.npz: {message}; delete the file"):
        splits.load(tmp_path / "m.npz", "mnist")


def test_a_truncated_prepared_file_is_named(tmp_path: Path) -> None:
    write_npz(tmp_path / "b.npz", {"test_x": np.zeros((2, 28, 28), np.uint8)})
    path = tmp_path / "b.npz"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"b\.npz is corrupt or truncated"):
        splits.load_split(path, "binary_mnist", "test")


# Of the splits as prepared; a change of any pixel, label or split changes them.
SHA256 = {
    "mnist": {
        "train_x": "c80ceb24eedca80f31cfca280b8fb911cbb41b9990f998bebd40e26b1ab6d0f8",
        "train_y": "6072d13d0c3b831e9e4dc3ba693426579504082fc45c186db0f74c0a3092638d",
        "valid_x": "2b079632b0defaf508a5ebf8c4ac1e18ce15c8b337da087e9c3e1c84c618d244",
        "valid_y": "f46875b7c22368a38a50c5c7639c3842341b81fe4d628c55fa1818e21e96ab3b",
        "test_x": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "test_y": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    },
    "binary_mnist": {
        "train_x": "43490d4d6ac9002727af4426d8748609fdb7e4094fa65ad8d681ea60082a7a5a",
        "valid_x": "069b4f0beb389b776478c3e872b4df71c95ac4be64d7cbe6d32e24ebac8e6d5e",
        "test_x": "ca0294c3b8d984c7a1dc891015a8eea6f37bae59a34e35ea0fc8c47110a8dd86",
    },
}


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


def test_real_mnist_is_the_one_that_was_meant(mnist: Dataset) -> None:
    check(mnist)


def test_real_binarization_is_the_one_that_was_meant(binary_mnist: Dataset) -> None:
    check(binary_mnist)


def check(dataset: Dataset) -> None:
    for split, size in SIZES.items():
        x = getattr(dataset, f"{split}_x")
        assert tuple(x.shape) == (size, 1, 28, 28)
        assert digest(x) == SHA256[dataset.name][f"{split}_x"]
        y = getattr(dataset, f"{split}_y")
        if y is not None:
            assert digest(y.to(torch.uint8)) == SHA256[dataset.name][f"{split}_y"]


class _Cut(http.server.BaseHTTPRequestHandler):
    """Announces more than it sends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"short")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_connection_that_breaks_off_is_an_error_that_names_the_address(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Cut) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{running.server_port}/f"
        with pytest.raises(UserError, match=r"(?s)/f: IncompleteRead.*set GENBENCH_MIRROR"):
            download.fetch(published(b"content", url), raw=tmp_path, mirror=None)
        running.shutdown()
