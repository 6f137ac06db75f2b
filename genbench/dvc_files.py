"""DVC's own files that a kill can cut short: `dvc.lock` of each profile, and `.dvc/tmp/rwlock`.

DVC truncates them and writes them anew. A process that dies meanwhile leaves one empty or cut, and then no command of DVC works in the project,
whatever its profile, since DVC reads all of them. So `genbench run` keeps copies of each dvc.lock while DVC runs. A copy may be older than what was
lost: DVC then takes the stages that it lacks from its cache of runs, for it puts results there before it writes dvc.lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from genbench import rwlock
from genbench.errors import UserError
from genbench.files import write_bytes
from genbench.params import profiles

__all__ = ["copies_kept", "copy_of", "files_in", "lock_of", "locks", "mend", "problems", "stages_in"]

_HEADER = b"schema: '2.0'\nstages:\n"
_STAGE = re.compile(rb"^  \S.*:$", re.MULTILINE)
_ENTRY = {"path", "hash", "md5", "size"}
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_QUOTE = re.compile(rb"""(?:: |- )(['"])""")
_CONFLICT = re.compile(rb"^(<{7}|\|{7}|={7}|>{7})( |\r?$)", re.MULTILINE)

_Stamp = tuple[int, int] | None
"""When a file was written, and its length; None if there is none."""


def lock_of(root: Path, profile: str) -> Path:
    """The dvc.lock of a profile."""
    return root / "dvc.lock" if profile == "quick" else root / "profiles" / profile / "dvc.lock"


def copy_of(root: Path, profile: str) -> Path:
    """Where a readable copy of it is kept."""
    return root / ".status" / profile / "dvc.lock.copy"


def locks(root: Path) -> dict[Path, Path]:
    """dvc.lock → its copy, for all profiles."""
    return {lock_of(root, name): copy_of(root, name) for name in profiles(root)}


def stages_in(path: Path) -> Mapping[str, Any]:
    """What a dvc.lock says of each stage; nothing if it is absent or unreadable, of which DVC is the one to complain."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        stages = content["stages"]
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError):
        return {}
    return stages if isinstance(stages, dict) else {}


def files_in(stage: Any, part: str) -> list[dict[str, Any]]:
    """The list ``deps`` or ``outs`` of such a stage."""
    found = stage.get(part) if isinstance(stage, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


# ---------------------------------------------------------------------- what is wrong


def problems(root: Path) -> list[tuple[str, str]]:
    """What DVC cannot read, with the remedy. Waits as :func:`mend` does, and changes nothing."""
    with _dvc_is_quiet(root):
        found = [problem for path, copy in locks(root).items() if (problem := _problem(path, copy))]
        path = rwlock.path_of(root)
        if path.is_file() and rwlock.holders(path) is None:
            found.append((f"{path} cannot be read", "the next `genbench run` removes it, unless DVC is running now"))
        return found


def _problem(path: Path, copy: Path) -> tuple[str, str] | None:
    content = _content(path)
    reason = None if content is None or content == _content(copy) else _wrong(content)
    if content is None or reason is None:
        return None
    if _CONFLICT.search(content):
        return f"{path} holds the marks of a merge conflict", _merge(path)
    if _beginning(content) is None:
        return f"{path} cannot be read: {reason}", _restore(path)
    return f"{path} is cut short", "the next `genbench run` mends it"


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _wrong(content: bytes) -> str | None:
    """Why a dvc.lock cannot be left as it is: DVC cannot read it, or it ends too early; None if it can."""
    if _is_whole(content):
        return None
    reason = _unreadable(content)
    if reason is not None:
        return reason
    stages = list(yaml.safe_load(content).get("stages", {}).values())
    lacking = [stage for stage in stages if not _is_complete(stage)]
    # DVC ends with a newline, and gives all that it gives a file to each one; what an option makes it leave out, it leaves out everywhere.
    cut = not content.endswith(b"\n") or not stages or lacking == stages[-1:]
    return "its end is missing" if cut and _beginning(content) is not None else None


def _unreadable(content: bytes) -> str | None:
    """Why DVC cannot read a dvc.lock, by its own rules; None if it can."""
    from dvc.exceptions import DvcException  # some tenths of a second, and it takes over the streams; needed for odd files alone
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils.serialize import parse_yaml
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(parse_yaml(content.decode("utf-8"), "dvc.lock"))
    except (DvcException, Invalid, ValueError) as error:
        return str(error).splitlines()[0]
    return None


def _is_whole(content: bytes) -> bool:
    """Whether a dvc.lock is one that DVC has finished writing: it can be read, and every entry has all that DVC gives it."""
    if not content.endswith(b"\n"):
        return False
    try:
        lock = YAML(typ="safe").load(content.decode("utf-8"))  # the parser that DVC uses
        return list(lock) == ["schema", "stages"] and lock["schema"] == "2.0" and all(map(_is_whole_stage, lock["stages"].values()))
    except (YAMLError, ValueError, TypeError, KeyError, AttributeError):
        return False


def _is_whole_stage(stage: Mapping[str, Any]) -> bool:
    known = stage.keys() <= {"cmd", "deps", "params", "outs"} and all(entry.keys() <= _ENTRY | {"nfiles"} for entry in _entries(stage))
    params = all(isinstance(values, dict) for values in stage.get("params", {}).values())
    counts = all(type(entry.get("nfiles", 0)) is int for entry in _entries(stage))
    return known and isinstance(stage["cmd"], str) and params and counts and _is_complete(stage)


def _is_complete(stage: Mapping[str, Any]) -> bool:
    """Whether a stage has outputs, and every file of it all that DVC notes of one."""
    return bool(stage.get("outs")) and all(
        entry.keys() >= _ENTRY
        and isinstance(entry["path"], str)
        and entry["hash"] == "md5"
        and _MD5.fullmatch(entry["md5"]) is not None
        and type(entry["size"]) is int
        for entry in _entries(stage)
    )


def _entries(stage: Mapping[str, Any]) -> list[Any]:
    return [*stage.get("deps", []), *stage.get("outs", [])]


def _beginning(content: bytes) -> bytes | None:
    """The whole stages at the beginning of a dvc.lock that was cut somewhere; None if it is anything else.

    Whatever DVC writes has this form: the header, then stages, of which a cut leaves the last one incomplete, and a line of that.
    """
    content = content.rstrip(b"\0")  # what a file system may put in the place of what it lost
    if _HEADER.startswith(content):
        return b""
    if not content.startswith(_HEADER) or _CONFLICT.search(content):
        return None
    lines = content[: content.rfind(b"\n") + 1]
    if _is_whole(lines):
        return lines  # the cut is in the line that a stage begins with
    begins = [match.start() for match in _STAGE.finditer(lines)]
    whole, last = lines[: begins[-1] if begins else None], lines[begins[-1] :] if begins else b""
    if whole == _HEADER and (not last or _is_mapping(_without_open_quote(last))):
        return b""
    return whole if last and _is_mapping(_without_open_quote(last)) and _unreadable(whole) is None else None


def _without_open_quote(text: bytes) -> bytes:
    """The lines before a text in quotes that does not end: a long one runs over several lines."""
    for match in _QUOTE.finditer(text):
        quote = match[1]
        if quote not in text[match.end() :].replace(quote * 2 if quote == b"'" else b'\\"', b""):
            return text[: text.rfind(b"\n", 0, match.start()) + 1]
    return text


def _is_mapping(text: bytes) -> bool:
    try:
        return isinstance(YAML(typ="safe").load(text.decode("utf-8")), dict)
    except (YAMLError, ValueError):
        return False


def _merge(path: Path) -> str:
    return (
        f"keep both sides' entries in params.yaml, take either side of the lock (`git checkout --ours {path}`, or --theirs), and run again: "
        "what the other side had comes from DVC's cache"
    )


def _restore(path: Path) -> str:
    return f"`git checkout -- {path}` takes the committed one, or delete it: what it lacks comes from DVC's cache where it is there"


# ---------------------------------------------------------------------- mending


def mend(root: Path) -> list[str]:
    """Make DVC's files readable again where a kill cut them short, and renew the copies. Waits while DVC holds its lock, as it does when it writes.

    Returns:
        What was done, a sentence each.

    Raises:
        UserError: a dvc.lock that was not cut short, such as one with merge conflicts; says how to mend it.
    """
    with _dvc_is_quiet(root):
        done = [_mend_lock(path, copy) for path, copy in locks(root).items()]
        return [told for told in (*done, rwlock.mend(root)) if told]


@contextlib.contextmanager
def _dvc_is_quiet(root: Path) -> Iterator[None]:
    """Hold DVC's own lock, without which it writes neither file."""
    path, told, begun = root / ".dvc" / "tmp" / "lock", False, time.monotonic()
    if not (root / ".dvc").is_dir():  # not set up for DVC, which is for others to say
        yield
        return
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told and time.monotonic() - begun > 5:
                    print("waiting for another command of DVC, which holds its lock", file=sys.stderr, flush=True)
                    told = True
                time.sleep(0.1)
        yield


def _mend_lock(path: Path, copy: Path) -> str | None:
    content, kept = _content(path), _content(copy)
    if content is None:  # none yet, or deleted by hand, which is not to be undone
        copy.unlink(missing_ok=True)
        return None
    if content == kept:
        return None
    reason = _wrong(content)
    if reason is None:
        write_bytes(copy, content)
        return None
    if _CONFLICT.search(content):
        raise UserError(f"{path} holds the marks of a merge conflict, and DVC cannot read it: {_merge(path)}")
    whole = _beginning(content)
    if whole is None:
        raise UserError(f"{path} cannot be read by DVC: {reason}. {_restore(path)}")
    write_bytes(copy.with_name("dvc.lock.damaged"), content)
    if kept is not None and _wrong(kept) is None:
        write_bytes(path, kept)
        return f"{path} was cut short by a kill; its last copy is in its place"
    if whole:
        write_bytes(path, whole)
        return f"{path} was cut short by a kill; its whole stages are kept"
    path.unlink()
    return f"{path} was empty after a kill, and is removed"


# ---------------------------------------------------------------------- copies


@contextlib.contextmanager
def copies_kept(root: Path, interval: float = 5.0) -> Iterator[None]:
    """Renew the copies whenever DVC has written a dvc.lock; every ``interval`` seconds this is looked for, and at the end."""
    ended, paths = threading.Event(), locks(root)
    keeper = threading.Thread(target=_keep, args=(paths, {path: _stamp(path) for path in paths}, ended, interval), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()


def _keep(paths: dict[Path, Path], copied: dict[Path, _Stamp], ended: threading.Event, interval: float) -> None:
    before, over = dict(copied), False
    while not over:
        over = ended.wait(interval)  # then once more: DVC has written its last
        for path, copy in paths.items():
            now = _stamp(path)
            # What stands still is whole, as far as can be seen; reading it all takes a tenth of a second.
            if now is not None and now != copied[path] and (now == before[path] or over):
                with contextlib.suppress(OSError):  # a full disk: without copies a run is as good, until it is killed
                    content = path.read_bytes()
                    if _wrong(content) is None and _stamp(path) == now:
                        write_bytes(copy, content)
                        copied[path] = now
            before[path] = now


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size
