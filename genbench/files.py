"""Files that are whole or absent: written beside their place and renamed into it, read with errors
that say how to mend.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import io
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genbench.disk import ExplainedError, concerns_disk, explain, explained
from genbench.processes.alive import alive, process_id

__all__ = [
    "as_json",
    "explain",
    "read_json",
    "read_npz",
    "replace_directory",
    "sha256",
    "write_bytes",
    "write_json",
    "write_npz",
    "write_text",
]


_DAY = 86400.0
_OWNER = re.compile(
    r"(?:(?P<host>[0-9a-f]{8})-(?P<process>\d+-[\w.]*)|\d+)\.[0-9a-f]+\.tmp(?:\.old)?"
)
"""What :func:`_beside` puts behind a name; former versions told the number of the process alone."""


def _sweep(path: Path) -> None:
    """Remove what killed processes left when they were writing ``path``."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp*"):
        owner = _OWNER.fullmatch(left.name.removeprefix(f".{path.name}."))
        if owner is None or not _is_left(left, owner):
            continue
        if left.suffix == ".old" and not path.exists():
            os.replace(
                left, path
            )  # it was killed when the former folder was gone and the new one not yet there
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _is_left(left: Path, owner: re.Match[str]) -> bool:
    """Whether nobody works any more at what was written beside its place: nobody alive, or for a
    day where processes are not to be seen.
    """
    if owner["host"] == _host():
        return not alive(owner["process"].replace("-", ":"))
    with contextlib.suppress(FileNotFoundError):
        return (
            time.time() - left.lstat().st_ctime > _DAY
        )  # a folder that was moved aside keeps its other times
    return False


def _beside(path: Path) -> Path:
    """A new name for what takes the place of ``path``; :func:`_sweep` knows it."""
    return path.with_name(
        f".{path.name}.{_host()}-{process_id().replace(':', '-')}.{secrets.token_hex(4)}.tmp"
    )


def _host() -> str:
    """This machine, in 8 characters."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically, making its folder. The file's mode is what the umask
    leaves of read and write for all.

    Raises:
        OSError: disk full, no permission; names the path and the remedy. No partial file stays
            behind.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        with temporary.open("xb") as file:  # unlike one of tempfile, which is for its owner alone
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # what stopped the writing is the error to tell
            temporary.unlink()
        if isinstance(error, OSError):
            raise explain(error, path) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically. NaN and infinity are refused
    with ValueError.
    """
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """What :func:`write_json` writes."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """The JSON value in ``path``.

    Raises:
        FileNotFoundError, ValueError: missing or no JSON; names the path.
        OSError: it cannot be read; names the path.
    """
    try:
        with explained(path, "read"):
            return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or brackets without end
        raise ValueError(
            f"{path} is no valid JSON ({error}); delete it and run the stage that writes it again"
        ) from error


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays uncompressed and atomically; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # the stub takes the keyword allow_pickle for an array
    write_bytes(path, buffer.getvalue())


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file.

    Raises:
        FileNotFoundError: names the path.
        ValueError: truncated or corrupt; names the path and how to mend.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; run the stage that writes it (`genbench run` runs all that is "
            "needed)"
        )
    try:
        with (
            explained(path, "read"),
            path.open("rb") as content,
            np.load(content, allow_pickle=False) as file,
        ):
            _check_number(path, len(file.files))
            return {name: file[name] for name in file.files}
    except ExplainedError:
        raise
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds for a damaged file
        raise ValueError(
            f"{path} is corrupt or truncated ({error}); delete it and run the stage that writes it "
            "again"
        ) from error


def _check_number(path: Path, found: int) -> None:
    """Raise ValueError if an archive says at its end that it holds another number of arrays: one
    may be lost to a flipped bit in the list of them.
    """
    with path.open("rb") as file:
        file.seek(-22, os.SEEK_END)
        end = file.read()
    if end[:4] == b"PK\5\6" and int.from_bytes(end[10:12], "little") != found:
        raise ValueError(f"{found} arrays are found of {int.from_bytes(end[10:12], 'little')}")


def sha256(data: bytes | Path) -> str:
    """Hex SHA-256 of bytes or of a file's content."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replace_directory(path: Path) -> Iterator[Path]:
    """A new folder to fill; on success it takes the place of ``path``, on failure it is removed and
    ``path`` stays as it was.

    Its mode is what the umask leaves of all rights.
    """
    new = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        new.mkdir()
    except OSError as error:
        raise explain(error, path) from error
    try:
        yield new
        _swap(new, path)
    except BaseException as error:
        shutil.rmtree(new, ignore_errors=True)
        if concerns_disk(error):
            raise explain(error, path) from error
        raise


def _swap(new: Path, path: Path) -> None:
    """Put the folder ``new`` in the place of ``path``, which is there again if that fails."""
    old = new.with_name(f"{new.name}.old")
    try:
        while new.exists():
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, old)
            try:
                os.replace(new, path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                shutil.rmtree(
                    old, ignore_errors=True
                )  # another process was quicker, and its folder is the one to replace now
    except BaseException:
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)
