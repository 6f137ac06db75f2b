"""The published files of a data set, from a mirror, the cache or the official addresses, and never
without their checksum.
"""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np

from genbench.data.datasets import source
from genbench.data.raw_file import RawFile
from genbench.errors import UserError
from genbench.files import write_bytes

__all__ = ["fetch", "from_mirror", "prepare"]


def prepare(dataset: str, *, raw: Path, mirror: str | None) -> dict[str, np.ndarray]:
    """The splits of a data set: ``{train,valid,test}_x`` uint8 (N, 28, 28), and ``*_y`` uint8 (N,)
    where there are labels.

    Arguments:
        dataset: its name.
        raw: folder that keeps the downloads.
        mirror: folder or address that replaces the official ones; None downloads.

    Raises:
        UserError: unknown data set, unreachable or corrupt files.
    """
    own = source(dataset)
    contents = {file.name: fetch(file, raw=raw, mirror=mirror) for file in own.raw_files()}
    return own.splits(contents)


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
        print(
            f"{cached} is corrupt or truncated and is downloaded again", file=sys.stderr, flush=True
        )
    data = _download(file)
    write_bytes(cached, data)
    return data


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
            data = _get(place) if "://" in mirror else Path(place).read_bytes()
        except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
            problems.append(f"{place} ({error})")
            absent = (FileNotFoundError, NotADirectoryError, urllib.error.HTTPError)
            if not isinstance(error, absent):
                break  # what is wrong is not that it is elsewhere
            continue
        if file.holds(data):
            return data
        raise UserError(
            f"{place} is corrupt: its {file.algorithm} is not the published {file.checksum}; "
            "replace it, or unset GENBENCH_MIRROR to download"
        )
    raise UserError(
        f"GENBENCH_MIRROR: cannot read {', nor '.join(problems)}; correct GENBENCH_MIRROR, or "
        "unset it to download"
    )


def _download(file: RawFile) -> bytes:
    problems = []
    for url in file.urls:
        print(f"downloading {url}", file=sys.stderr, flush=True)
        try:
            data = _get(url)
        except (OSError, ValueError, http.client.HTTPException) as error:
            problems.append(f"{url}: {error}")
            continue
        if file.holds(data):
            return data
        problems.append(
            f"{url}: {file.algorithm} of the {len(data)} bytes received is not the published "
            f"{file.checksum}"
        )
    listed = "\n  ".join(problems)
    raise UserError(
        f"cannot download {file.name}:\n  {listed}\n"
        "Check the network and try again, or set GENBENCH_MIRROR to a folder or address that "
        f"holds {file.folder}/{file.name}"
    )


def _get(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "genbench"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return bytes(response.read())
