"""What a stage leaves in `.status/` for the report: that it runs, or why it failed; nothing once it
has succeeded, or was stopped from outside.

A process that is killed, or calls ``os._exit``, cannot say why it ends. So a stage writes at its
beginning which process it is, and who waits for that (:mod:`genbench.pipeline.stage_process`,
:mod:`genbench.pipeline.run`) puts the reason there; where nobody does, the report sees that the
process is gone.
"""

from __future__ import annotations

import contextlib
import json
import platform
import signal
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genbench.config.layout import Layout
from genbench.disk import told
from genbench.errors import Stopped
from genbench.processes.alive import alive, process_id
from genbench.processes.signals import is_ending

__all__ = ["bury", "failed", "in_words", "note_failure", "recorded"]

_LOG_CHARACTERS = 8000  # the end of a traceback: some 80 lines
_FROM_OUTSIDE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# In the place of an exception's type; there is no traceback then.
_KILLED, _EXITED = "Killed", "Exited"
_RESUMES = "run again: it goes on from what was kept"


@contextlib.contextmanager
def recorded(path: Path, stage: str, key: str) -> Iterator[None]:
    """Keep the status of a stage in ``path`` while it runs, and afterwards if it fails.

    Raises:
        RuntimeError: the stage called ``sys.exit``, which is no success, whatever its code.
    """
    whose = {"stage": stage, "entry": key}
    # If nothing can be written, the reason of an earlier failure is not this one's.
    path.unlink(missing_ok=True)
    _write(path, {**whose, "process": process_id(), "host": platform.node(), "time": _now()})
    try:
        yield
    except BaseException as error:
        from_outside = isinstance(error, SystemExit) and is_ending()
        if from_outside or isinstance(error, KeyboardInterrupt | Stopped):
            path.unlink(missing_ok=True)  # not failed
            raise
        text, kind = told(error), type(error).__name__
        if isinstance(error, SystemExit):
            text = f"its code called sys.exit({error.code!r})"
        log = "".join(traceback.format_exception(error))[-_LOG_CHARACTERS:]
        _write(path, {**whose, "error": text, "type": kind, "time": _now(), "log": log})
        if isinstance(error, SystemExit):
            raise RuntimeError(f"{stage} {key}: {text}") from error
        raise
    path.unlink(missing_ok=True)


def bury(root: Path, process: str, code: int) -> bool:
    """Put into the status of the stage that a process was at how it ended, if it has not done so
    itself.

    Arguments:
        root: the project.
        process: the :func:`genbench.processes.alive.process_id` of one that has ended.
        code: its exit code, or the negative number of the signal that ended it.

    Returns:
        Whether a stage was cut short, that is, not finished, failed or stopped in order.
    """
    own = process, platform.node()
    for path in Layout(root).status_folder.parent.glob("*/*.json"):
        status = _read(path)
        if status is None or "error" in status:
            continue
        if (status.get("process"), status.get("host")) != own:
            continue
        if -code in _FROM_OUTSIDE:
            path.unlink(missing_ok=True)
        else:
            whose = {name: status.get(name) for name in ("stage", "entry")}
            text, kind = f"{_ending(code)}; {_RESUMES}", _KILLED if code < 0 else _EXITED
            _write(path, {**whose, "error": text, "type": kind, "time": _now()})
        return True
    return False


def failed(path: Path) -> bool:
    """Whether a status file tells why a stage failed."""
    status = _read(path)
    return status is not None and "error" in status


def note_failure(path: Path, stage: str, entry: str, reason: str) -> None:
    """Keep in a status file why a stage failed that could not leave that itself."""
    text = f"{reason}; {_RESUMES}"
    _write(path, {"stage": stage, "entry": entry, "error": text, "type": _EXITED, "time": _now()})


def in_words(path: Path) -> str:
    """What a status file says, after the name of its stage:
    ``failed: no good (log: .status/quick/made-train.json)``.
    """
    try:
        status = _read(path, strict=True)
    except ValueError as error:
        return f"failed: {error}"
    if status is not None and isinstance(status.get("process"), str):
        return _of_process(status)
    if status is None or not isinstance(status.get("error"), str):
        return f"failed: {path} does not say why"
    log = "" if status.get("type") in (_KILLED, _EXITED) else f" (log: {path})"
    return f"failed: {status['error'] or status.get('type')}{log}"


def _of_process(status: dict[str, Any]) -> str:
    process, host = status["process"], status.get("host")
    place = "" if host == platform.node() else f" on {host}"
    who = f"process {process.partition(':')[0]}{place}, begun {status.get('time')}"
    if host != platform.node() or alive(process):
        return f"is not finished ({who})"
    return (
        f"ended without a word ({who}): it was killed, perhaps for lack of memory, or the "
        f"machine went down; {_RESUMES}"
    )


def _ending(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code} before it was done, without a word"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:
        name = ""
    killed = f"killed by signal {-code}{name}"
    if -code != signal.SIGKILL:
        return killed
    return f"{killed}, by hand or by the system, which does so when memory runs out"


def _read(path: Path, *, strict: bool = False) -> dict[str, Any] | None:
    """The status, None if it is no mapping or, unless ``strict``, cannot be read."""
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if strict:
            raise ValueError(f"{path} cannot be read ({error})") from error
        return None
    return status if isinstance(status, dict) else None


def _write(path: Path, status: dict[str, Any]) -> None:
    # This imports numpy, which a process that only waits does not need.
    from genbench.files import write_json

    with contextlib.suppress(OSError):  # a full disk: the stage's own error is the one to tell
        write_json(path, status)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
