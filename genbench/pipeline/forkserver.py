"""Starts the stages of `genbench run` from one process that has imported the libraries, instead of
importing them for each stage.

A stage of a small profile takes less time than ``import torch``, and there are five per entry. So
`genbench run` starts a server that imports the libraries, never genbench itself, and DVC's stages
ask it to fork: the fork takes the stage's arguments, environment, folder and standard streams,
imports genbench anew and calls the function that the stage names, as if it had been started by
itself. The process that asked waits,
forwards signals, tells of a fork that dies without a word, and ends as the fork does; if it is
killed, so is the fork. Without a server (`dvc repro` alone) the process that DVC starts forks
itself, and waits in the same way; on other systems than Linux it is the stage. The result is the
same.

A killed `genbench run` or `dvc repro` takes them all along: the server is tied to the run
(:mod:`genbench.processes.tether`), a fork to the server, a waiting process to DVC or the shell that
started it, and it looks after DVC and the run twice a second, whatever stands between.

The protocol on the server's socket: a request is the three standard streams and one line of JSON;
the answers are the fork's process number and, in the end, its exit code, a line each.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

__all__ = ["ADDRESS", "CLIENT", "delegate", "forkserver"]

ADDRESS = "GENBENCH_FORKSERVER"
"""Environment variable with the path of the server's socket."""
CLIENT = "GENBENCH_FORKSERVER_CLIENT"
"""Environment variable of a forked stage: the process that waits for it, whose parents are the ones
that wait for that.
"""

_SECONDS = 0.5  # between two looks at whether DVC and `genbench run` still live

_LIBRARIES = (
    "torch",
    "torch._dynamo",
    "safetensors.torch",
    "scipy.linalg",
    "pandas",
    "PIL.Image",
    "ruamel.yaml",
    "yaml",
    "psutil",
    "torch_fidelity",
)


@contextlib.contextmanager
def forkserver() -> Iterator[dict[str, str]]:
    """A running server, and the environment that makes stages use it; an empty one where processes
    cannot be forked safely.
    """
    with contextlib.ExitStack() as stack:
        try:
            os.close(os.pidfd_open(os.getpid()))
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="genbench-"))
            listener = socket.socket(socket.AF_UNIX)
            stack.callback(listener.close)
            address = str(Path(folder) / "socket")
            listener.bind(address)
        except (AttributeError, OSError):
            # Another system, an old kernel, a sandbox, or a temporary folder that takes no sockets.
            yield {}
            return
        listener.listen()
        # Here, as this file is also the server's, which holds no module of genbench.
        from genbench.processes.tether import tethered

        # By its path, so that the forks find no module of genbench imported before the stage's own
        # time. It ends when its input does.
        descriptor = listener.fileno()
        command = tethered(__file__, [str(descriptor)])
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[descriptor], start_new_session=True
        )
        stack.enter_context(server)
        listener.close()  # if the server dies, who connects is told so, and does not wait
        yield {ADDRESS: address}


def delegate(main: Callable[[], object]) -> int | None:
    """Let another process do what this one was started for, and wait for it.

    Arguments:
        main: what to call there, with this process's arguments; a function that can be imported.

    Returns:
        The exit code; None if this process must do it itself.
    """
    # What runs outside a stage may hold the address too, e.g. a shell that a stage has started.
    if CLIENT in os.environ or "DVC_STAGE" not in os.environ:
        return None
    from genbench.processes.alive import alive, awaited_by
    from genbench.processes.tether import end_with

    end_with(os.getppid())
    watched = awaited_by(os.getpid())
    if not all(map(alive, watched)):
        print(
            "error: the `genbench run` or `dvc repro` that this stage belongs to was killed; run "
            "again, and the work resumes",
            file=sys.stderr,
        )
        return 1
    code = _served(main, watched) if ADDRESS in os.environ else None
    return _forked(watched) if code is None else code


def _served(main: Callable[[], object], watched: list[str]) -> int | None:
    """The exit code of the server's fork; None if the server has died before there was one."""
    from genbench.processes.alive import process_id

    with socket.socket(socket.AF_UNIX) as connection:
        environment = os.environ | {CLIENT: str(os.getpid())}
        request = {
            "main": [main.__module__, main.__qualname__],
            "argv": sys.argv,
            "path": sys.path,
            "environment": dict(environment),
            "folder": os.getcwd(),
        }
        try:
            connection.connect(os.environ[ADDRESS])
            socket.send_fds(connection, [b"\n"], [0, 1, 2])
            connection.sendall(json.dumps(request).encode() + b"\n")
            child = int(_line(connection, watched))
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        except (OSError, ValueError):
            return None
        process = process_id(child)
        _pass_signals_to(child)
        try:
            code = int(_line(connection, watched))
        except (OSError, ValueError):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            print(
                "error: the process that starts stages was killed; run again, and the work resumes",
                file=sys.stderr,
            )
            _ended(process, -signal.SIGKILL)
            return 1
        return _ended(process, code)


def _forked(watched: list[str]) -> int | None:
    """The exit code of a fork of this process; None in the fork, and where processes are not
    forked.
    """
    if sys.platform != "linux":
        return None
    from genbench.processes.alive import process_id
    from genbench.processes.tether import end_with

    waiting = os.getpid()
    child = os.fork()
    if child == 0:
        end_with(waiting)
        # As the server's forks: a terminal's signals come through the process that waits, and only
        # once.
        os.setsid()
        os.environ[CLIENT] = str(waiting)
        return None
    process = process_id(child)
    _pass_signals_to(child)
    try:
        _await(os.pidfd_open(child), watched)
    except (AttributeError, OSError):  # an old kernel
        while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            time.sleep(_SECONDS)
            _end_with(watched)
    return _ended(process, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _ended(process: str, code: int) -> int:
    """The exit code for that of a fork, which is negative after a signal; its status file gets the
    reason if it left none itself.
    """
    from genbench.results.status import bury

    told = bury(Path.cwd(), process, code)
    return code if code > 0 else 128 - code if code < 0 else int(told)


def _await(descriptor: int, watched: list[str]) -> None:
    """Wait until there is something to read, for as long as those live who want the work."""
    while not select.select([descriptor], [], [], _SECONDS)[0]:
        _end_with(watched)


def _end_with(watched: list[str]) -> None:
    from genbench.processes.alive import alive

    if not all(map(alive, watched)):
        os.kill(os.getpid(), signal.SIGKILL)  # the fork is tied to this process


def _line(connection: socket.socket, watched: list[str]) -> bytes:
    """The next line from the other side; what there is of it if that has died."""
    line = b""
    while not line.endswith(b"\n"):
        _await(connection.fileno(), watched)
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return line


def _pass_signals_to(child: int) -> None:
    """From now on the fork gets the signals that this process is sent; a terminal's Ctrl-Z stops
    both.
    """

    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGSTOP if number == signal.SIGTSTP else number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT):
        signal.signal(number, forward)


def _serve(listener: socket.socket) -> dict[str, object] | None:
    """Fork for whoever connects until standard input ends. Returns the request in a fork, None in
    the server.
    """
    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):  # the stage that needs it says so
            importlib.import_module(name)
    clients: dict[int, tuple[socket.socket, int]] = {}  # by process descriptor of the fork
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    for _, child in clients.values():
                        os.kill(child, signal.SIGKILL)
                    return None
                if key.fileobj is listener:
                    connection = listener.accept()[0]
                    asked = _request(connection)
                    if asked is None:
                        connection.close()
                        continue
                    streams, request = asked
                    server = os.getpid()
                    child = os.fork()
                    if child == 0:
                        request["server"] = server
                        for target, stream in enumerate(streams):
                            os.dup2(stream, target)
                        for descriptor in (*streams, *clients):
                            os.close(descriptor)
                        others = [client for client, _ in clients.values()]
                        for other in (connection, listener, *others):
                            other.close()
                        return request
                    for stream in streams:
                        os.close(stream)
                    # A client that has died already ends its fork below.
                    with contextlib.suppress(OSError):
                        connection.sendall(b"%d\n" % child)
                    process = os.pidfd_open(child)
                    clients[process] = connection, child
                    selector.register(process, selectors.EVENT_READ)
                    selector.register(connection, selectors.EVENT_READ, process)
                elif key.data is not None:
                    if key.data in clients:  # the client is gone: it never says a second thing
                        os.kill(clients[key.data][1], signal.SIGKILL)
                        selector.unregister(key.fileobj)
                else:
                    process = key.fd
                    connection, child = clients.pop(process)
                    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                    with contextlib.suppress(OSError):
                        connection.sendall(b"%d\n" % code)
                    selector.unregister(process)
                    with contextlib.suppress(KeyError):
                        selector.unregister(connection)
                    os.close(process)
                    connection.close()


def _request(connection: socket.socket) -> tuple[list[int], dict[str, object]] | None:
    """The streams and the request of a new client; None if it has died."""
    streams: list[int] = []
    line = b""
    with contextlib.suppress(OSError):
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        with connection.makefile("rb") as lines:
            line = lines.readline()
    if len(streams) == 3 and line.endswith(b"\n"):
        return streams, json.loads(line)
    for stream in streams:
        os.close(stream)
    return None


def _become(request: dict[str, object]) -> None:
    """Go on in a fork as the process that asked for it."""
    sys.argv[:], sys.path[:] = request["argv"], request["path"]  # type: ignore[call-overload]
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    os.chdir(str(request["folder"]))
    # This module too is the stage's own.
    importlib.import_module("genbench.processes.tether").end_with(request["server"])
    # Input ended the server's reader, and outputs may be files now: open all anew on the
    # descriptors.
    sys.stdin = open(0, closefd=False)
    sys.stdout, sys.stderr = (
        open(i, "w", buffering=1, errors="backslashreplace", closefd=False) for i in (1, 2)
    )
    code: object = None
    try:
        module, name = (str(part) for part in request["main"])  # type: ignore[attr-defined]
        getattr(importlib.import_module(module), name)()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    # Not the interpreter's own end, which takes apart all that the server has imported: over a
    # second.
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    _asked = _serve(socket.socket(fileno=int(sys.argv[1])))
    if _asked is not None:
        _become(_asked)
