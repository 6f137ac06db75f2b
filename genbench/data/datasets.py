"""The data sets: download with checksums, parsing, fixed splits, tensors.

``mnist``: LeCun, Cortes, Burges, "The MNIST database of handwritten digits" (1998), 256 levels; the
last 10,000 training images are validation.
``binary_mnist``: Larochelle & Murray, "The Neural Autoregressive Distribution Estimator" (2011),
their static binarization as published, 2 levels, no labels.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import struct
import sys
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genbench.base import DataSpec
from genbench.data.strided import strided
from genbench.errors import UserError, near
from genbench.files import read_npz, sha256, write_bytes

__all__ = [
    "EXCERPT",
    "SIZES",
    "SPECS",
    "Dataset",
    "RawFile",
    "fetch",
    "from_mirror",
    "load",
    "load_split",
    "prepare",
    "raw_files",
    "spec_of",
    "strided",
]

SPECS: dict[str, DataSpec] = {
    "mnist": DataSpec(height=28, width=28, levels=256, classes=10),
    "binary_mnist": DataSpec(height=28, width=28, levels=2, classes=0),
}
SIZES = {"train": 50_000, "valid": 10_000, "test": 10_000}
EXCERPT = {"excerpt": np.ones(1, bool)}
"""Array with which a prepared file says that its splits are smaller: for tests. Without it they
must have :data:`SIZES`.
"""

_BINARIZED = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
_BINARIZED_SHA1 = {
    "train": "cf70514ec5f481e54ad3eb0e6c03c83326ff96f8",
    "valid": "13418487742e6ea6d48db7b5187353a20b1b1f8c",
    "test": "ca70bd7775e182596dec148d4dc1bc6bd6c4c5f4",
}
_UNPACKED_SHA256 = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Of the contents of MNIST's archives, which have no published checksum: computed from the archives
with the published ones.
"""

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class RawFile:
    """A published file: its place in a mirror, the official addresses, and its published checksum.

    Attributes:
        folder: of a mirror.
        name: in that folder.
        urls: official addresses.
        algorithm: of the checksum.
        checksum: of the published file.
        elsewhere: other places in a mirror.
        unpacked: SHA-256 of what the archive holds, which a mirror may have in its place.
    """

    folder: str
    name: str
    urls: tuple[str, ...]
    algorithm: str
    checksum: str
    elsewhere: tuple[str, ...] = ()
    unpacked: str | None = None

    def holds(self, data: bytes) -> bool:
        """Whether ``data`` is the published file, or what is packed in it."""
        published = hashlib.new(self.algorithm, data, usedforsecurity=False).hexdigest() == self.checksum
        return published or (self.unpacked is not None and sha256(data) == self.unpacked)


@dataclass(frozen=True, slots=True)
class Dataset:
    """The splits of a data set: ``*_x`` uint8 (N, 1, H, W), ``*_y`` int64 (N,) or None where there
    are no labels.
    """

    name: str
    spec: DataSpec
    train_x: Tensor
    train_y: Tensor | None
    valid_x: Tensor
    valid_y: Tensor | None
    test_x: Tensor
    test_y: Tensor | None


def spec_of(dataset: str) -> DataSpec:
    """The shape of a data set's images; UserError with near matches for an unknown name."""
    if dataset not in SPECS:
        raise UserError(f"{dataset!r} is no data set{near(dataset, SPECS)}")
    return SPECS[dataset]


# ---------------------------------------------------------------------- download


def raw_files(dataset: str) -> list[RawFile]:
    """The published files that a data set is made from."""
    spec_of(dataset)
    if dataset == "binary_mnist":
        names = {split: f"binarized_mnist_{split}.amat" for split in SIZES}
        return [RawFile("binarized_mnist", name, (_BINARIZED + name,), "sha1", _BINARIZED_SHA1[split]) for split, name in names.items()]
    from torchvision.datasets import MNIST  # takes seconds to import, and only downloads need it

    return [_idx_file(name, tuple(mirror + name for mirror in MNIST.mirrors), md5) for name, md5 in MNIST.resources]


def _idx_file(name: str, urls: tuple[str, ...], md5: str) -> RawFile:
    """A file of MNIST, which a mirror may also hold as torchvision does: ``MNIST/raw``, packed and
    unpacked.
    """
    raw = f"MNIST/raw/{name}"
    return RawFile("mnist", name, urls, "md5", md5, (raw, raw.removesuffix(".gz")), _UNPACKED_SHA256.get(name))


def _fetch(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "genbench"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return bytes(response.read())


def from_mirror(file: RawFile, mirror: str) -> bytes:
    """The verified content of a published file in a mirror, from the first of its places that is
    there.

    Raises:
        UserError: in none of them, unreachable or corrupt; names the places.
    """
    problems = []
    for name in (f"{file.folder}/{file.name}", *file.elsewhere):
        place = f"{mirror.rstrip('/')}/{name}"
        try:
            data = _fetch(place) if "://" in mirror else Path(place).read_bytes()
        except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
            problems.append(f"{place} ({error})")
            if not isinstance(error, FileNotFoundError | NotADirectoryError | urllib.error.HTTPError):
                break  # what is wrong is not that it is elsewhere
            continue
        if file.holds(data):
            return data
        raise UserError(
            f"{place} is corrupt: its {file.algorithm} is not the published {file.checksum}; "
            "replace it, or unset GENBENCH_MIRROR to download"
        )
    raise UserError(f"GENBENCH_MIRROR: cannot read {', nor '.join(problems)}; correct "
                    "GENBENCH_MIRROR, or unset it to download")


def _download(file: RawFile) -> bytes:
    problems = []
    for url in file.urls:
        print(f"downloading {url}", file=sys.stderr, flush=True)
        try:
            data = _fetch(url)
        except (OSError, ValueError, http.client.HTTPException) as error:
            problems.append(f"{url}: {error}")
            continue
        if file.holds(data):
            return data
        problems.append(f"{url}: {file.algorithm} of the {len(data)} bytes received is not the "
                        f"published {file.checksum}")
    raise UserError(
        f"cannot download {file.name}:\n  "
        + "\n  ".join(problems)
        + "\nCheck the network and try again, or set GENBENCH_MIRROR to a folder or "
        f"address that holds {file.folder}/{file.name}"
    )


def fetch(file: RawFile, *, raw: Path, mirror: str | None) -> bytes:
    """The verified content of a published file, from the mirror, the cache ``raw`` or the official
    addresses, in this order.

    Raises:
        UserError: unreachable or corrupt; names file, addresses and remedy.
    """
    if mirror:
        return from_mirror(file, mirror)
    cached = raw / file.folder / file.name
    if cached.is_file():
        data = cached.read_bytes()
        if file.holds(data):
            return data
        print(f"{cached} is corrupt or truncated and is downloaded again", file=sys.stderr, flush=True)
    data = _download(file)
    write_bytes(cached, data)
    return data


# ---------------------------------------------------------------------- parsing


def parse_idx(data: bytes, name: str) -> np.ndarray:
    """The uint8 array of an IDX file, gzipped or not, (N, 28, 28) or (N,)."""
    try:
        content = gzip.decompress(data) if data.startswith(_GZIP) else data
        magic, *shape = struct.unpack_from(f">{1 + content[3]}I", content)
    except (OSError, EOFError, zlib.error, struct.error, IndexError) as error:
        raise UserError(f"{name} is no IDX file, gzipped or not ({error})") from error
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
    if magic >> 8 != 8 or values.size != int(np.prod(shape)):
        raise UserError(f"{name} is no uint8 IDX file of shape {shape}: magic {magic:#x}, "
                        f"{values.size} values")
    return values.reshape(shape)


def parse_amat(data: bytes, name: str) -> np.ndarray:
    """The uint8 array (N, 28, 28) of a text file with 784 values 0 or 1 a line."""
    table = np.frombuffer(data, np.uint8)
    if table.size % 1568:
        raise UserError(f"{name} is truncated: {table.size} bytes are no whole number of lines of "
                        "784 digits")
    pixels = table.reshape(-1, 1568)[:, ::2] - ord("0")
    if pixels.size == 0 or pixels.max() > 1:
        raise UserError(f"{name} holds other values than 0 and 1")
    return pixels.reshape(-1, 28, 28)


def prepare(dataset: str, *, raw: Path, mirror: str | None) -> dict[str, np.ndarray]:
    """The splits of a data set: ``{train,valid,test}_x`` uint8 (N, 28, 28), and ``*_y`` uint8 (N,)
    where there are labels.

    Arguments:
        dataset: a key of ``SPECS``.
        raw: folder that keeps the downloads.
        mirror: folder or address that replaces the official ones, holding ``mnist/`` (or
            ``MNIST/raw/``) and ``binarized_mnist/``; None downloads.

    Raises:
        UserError: unknown data set, unreachable or corrupt files.
    """
    parse: Callable[[bytes, str], np.ndarray] = parse_idx if dataset == "mnist" else parse_amat
    arrays = [parse(fetch(file, raw=raw, mirror=mirror), file.name) for file in raw_files(dataset)]
    return _split_mnist(arrays) if dataset == "mnist" else {f"{split}_x": x for split, x in zip(SIZES, arrays, strict=True)}


def _split_mnist(arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    x, y, test_x, test_y = arrays
    n = SIZES["train"]
    return {"train_x": x[:n], "train_y": y[:n], "valid_x": x[n:], "valid_y": y[n:], "test_x": test_x, "test_y": test_y}


# ---------------------------------------------------------------------- prepared arrays


def load_split(path: Path, dataset: str, split: str) -> tuple[Tensor, Tensor | None]:
    """One split of a prepared file: images uint8 (N, 1, H, W) and labels int64 (N,) or None. Errors
    as of :func:`load`.
    """
    return _tensors(read_npz(path), path, spec_of(dataset), split)


def load(path: Path, dataset: str) -> Dataset:
    """All splits of a prepared file.

    Raises:
        FileNotFoundError, ValueError: missing, corrupt, or not of this data set or its size; names
            the file.
    """
    spec, arrays = spec_of(dataset), read_npz(path)
    splits = [_tensors(arrays, path, spec, split) for split in SIZES]
    return Dataset(dataset, spec, *(tensor for pair in splits for tensor in pair))  # type: ignore[arg-type]  # in the order of the fields


def _tensors(arrays: dict[str, np.ndarray], path: Path, spec: DataSpec, split: str) -> tuple[Tensor, Tensor | None]:
    x, y = arrays.get(f"{split}_x"), arrays.get(f"{split}_y") if spec.classes else None
    size = None if EXCERPT.keys() <= arrays.keys() else SIZES[split]
    for mistake in (_mistake_in_images(x, spec, size), _mistake_in_labels(y, spec, 0 if x is None else len(x)) if spec.classes else None):
        if mistake is not None:
            raise UserError(f"{path}: {split}{mistake}; delete the file and run `genbench prepare` "
                            "again")
    assert x is not None
    return torch.from_numpy(x[:, None].copy()), None if y is None else torch.from_numpy(y.astype(np.int64))


def _mistake_in_images(x: np.ndarray | None, spec: DataSpec, size: int | None) -> str | None:
    shape = (
        f"_x must be uint8 ({'N' if size is None else size}, {spec.height}, "
        f"{spec.width}){' with N >= 1' if size is None else ''}"
    )
    if x is None:
        return f"{shape}, and is missing"
    if x.dtype != np.uint8 or x.shape[1:] != (spec.height, spec.width) or len(x) == 0 or len(x) != (size or len(x)):
        return f"{shape}, got {x.dtype} {x.shape}"
    return f"_x must hold levels below {spec.levels}, got {x.max()}" if int(x.max()) >= spec.levels else None


def _mistake_in_labels(y: np.ndarray | None, spec: DataSpec, images: int) -> str | None:
    shape = f"_y must be integers ({images},), one for each image"
    if y is None:
        return f"{shape}, and is missing"
    if y.dtype.kind not in "iu" or y.shape != (images,):
        return f"{shape}, got {y.dtype} {y.shape}"
    wrong = y[(y < 0) | (y >= spec.classes)]
    return f"_y must hold labels 0..{spec.classes - 1}, got {wrong[0]}" if len(wrong) else None
