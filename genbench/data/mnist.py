"""``mnist``: 28x28 handwritten digits of 256 levels, in ten classes.

LeCun, Cortes, Burges, "The MNIST database of handwritten digits", 1998,
http://yann.lecun.com/exdb/mnist. The last 10,000 training images are validation.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Mapping

import numpy as np

from genbench.base import DataSpec
from genbench.data.raw_file import RawFile
from genbench.errors import UserError

__all__ = ["SIZES", "SPEC", "parse_idx", "raw_files", "splits"]

SPEC = DataSpec(height=28, width=28, levels=256, classes=10)
SIZES = {"train": 50_000, "valid": 10_000, "test": 10_000}

_UNPACKED_SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte.gz": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}
"""Of the contents of the archives, which have no published checksum: computed from the archives
with the published ones.
"""

_GZIP = b"\x1f\x8b"


def raw_files() -> list[RawFile]:
    """Images and labels for training, then those of the test.

    A mirror may also hold them as torchvision does: ``MNIST/raw``, packed and unpacked.
    """
    from torchvision.datasets import MNIST  # takes seconds to import, and only downloads need it

    return [
        RawFile(
            folder="mnist",
            name=name,
            urls=tuple(address + name for address in MNIST.mirrors),
            algorithm="md5",
            checksum=md5,
            elsewhere=(f"MNIST/raw/{name}", f"MNIST/raw/{name.removesuffix('.gz')}"),
            unpacked=_UNPACKED_SHA256.get(name),
        )
        for name, md5 in MNIST.resources
    ]


def splits(contents: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """The splits, from the files' contents by name, in the order of :func:`raw_files`.

    Returns:
        ``{train,valid,test}_x`` uint8 (N, 28, 28) and ``*_y`` uint8 (N,).
    """
    x, y, test_x, test_y = (parse_idx(data, name) for name, data in contents.items())
    n = SIZES["train"]
    train, valid = {"train_x": x[:n], "train_y": y[:n]}, {"valid_x": x[n:], "valid_y": y[n:]}
    return {**train, **valid, "test_x": test_x, "test_y": test_y}


def parse_idx(data: bytes, name: str) -> np.ndarray:
    """The uint8 array of an IDX file, gzipped or not: (N, 28, 28) or (N,).

    Raises:
        UserError: it is none; ``name`` is what it is called.
    """
    try:
        content = gzip.decompress(data) if data.startswith(_GZIP) else data
        magic, *shape = struct.unpack_from(f">{1 + content[3]}I", content)
    except (OSError, EOFError, zlib.error, struct.error, IndexError) as error:
        raise UserError(f"{name} is no IDX file, gzipped or not ({error})") from error
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
    if magic >> 8 != 8 or values.size != int(np.prod(shape)):
        raise UserError(
            f"{name} is no uint8 IDX file of shape {shape}: magic {magic:#x}, {values.size} values"
        )
    return values.reshape(shape)
