"""Tasks of a Ray cluster whose nodes share the folder of the project.

Each task has a fresh process and the cores and devices that it asks for. When a node dies, its
tasks are started again elsewhere, and go on from their unfinished work; an error or a crash of a
model is not tried again.

Ray: Moritz et al., "Ray: A Distributed Framework for Emerging AI Applications", 2018,
https://arxiv.org/abs/1712.05889
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Any

from genbench.errors import UserError
from genbench.launchers.base import Change, State, Task, call

__all__ = ["RayLauncher", "check_address"]

_INTERVAL = 1.0  # seconds between two looks
_RETRIES = 5  # of a task whose node dies
_GRACE = 15.0  # seconds for the death of a node to be known after that of a process


def _own_environment() -> dict[str, str]:
    """What this process was told by its environment, for those of the cluster."""
    return {name: value for name, value in os.environ.items() if name.startswith("GENBENCH_")}


def check_address(address: str) -> None:
    """Raise UserError unless somebody listens there, for whom Ray would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # `auto`: Ray looks for a cluster of this machine
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"--address {address}: no Ray cluster there: {error}") from error


class RayLauncher:
    """Gives tasks to Ray, and waits for them.

    Arguments:
        address: of a cluster; None starts one of this machine alone.
        cpus: cores that a task asks for.
        gpus: devices that it asks for.

    Raises:
        UserError: Ray is not installed here.
    """

    def __init__(self, address: str | None = None, *, cpus: float = 1, gpus: float = 0) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("--launcher ray needs Ray: pip install 'genbench[ray]'") from None
        self._ray: Any = ray
        self.address, self.cpus, self.gpus = address, cpus, gpus

    @property
    def where(self) -> str:
        """``Ray``, with the address of its cluster."""
        return f"Ray at {self.address}" if self.address else "Ray"

    @property
    def at_once(self) -> int:
        """The cluster decides."""
        return 0

    @property
    def has_left(self) -> bool:
        """No."""
        return False

    def withdraw(self, keys: Sequence[str]) -> None:
        """Nothing is left: Ray ends tasks with their run."""

    def launch(self, tasks: Sequence[Task]) -> Generator[list[Change]]:
        """As :class:`genbench.launchers.base.Launcher` says; when it is stopped, the tasks are
        cancelled.

        Raises:
            UserError: there is no cluster at the address, or no node of it can ever run a task.
        """
        ray = self._ray
        if self.address:
            check_address(self.address)
        try:
            ray.init(
                address=self.address or "local",
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                runtime_env={"env_vars": _own_environment()},
            )
        except (ConnectionError, RuntimeError) as error:
            raise UserError(f"--address {self.address}: no Ray cluster there: {error}") from error
        try:
            self._check_nodes()
            yield from self._launch(tasks)
        finally:
            ray.shutdown()

    def _check_nodes(self) -> None:
        """Raise UserError if no node has what a task asks for: Ray would wait for one for ever."""
        has = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(
            one.get("CPU", 0) >= self.cpus and one.get("GPU", 0) >= self.gpus for one in has
        ):
            found = "; ".join(
                f"{n.get('CPU', 0):g} cores, {n.get('GPU', 0):g} devices" for n in has
            )
            raise UserError(
                f"no node of Ray has the {self.cpus:g} cores and {self.gpus:g} devices that an "
                f"entry asks for (--threads, --device); they have {found}"
            )

    def _launch(self, tasks: Sequence[Task]) -> Generator[list[Change]]:
        ray = self._ray
        # A process for one call alone, so that memory and crashes belong to one task. Ray's own
        # retries would also repeat what has crashed by itself.
        remote = ray.remote(max_calls=1, max_retries=0, retry_exceptions=False)(call)
        ask = {"num_cpus": self.cpus, "num_gpus": self.gpus}

        def submit(task: Task) -> Any:
            return remote.options(name=task.key, **ask).remote(task)

        waiting = {submit(task): task for task in tasks}
        lost, retries = _Losses(self._nodes()), Counter[str]()
        try:
            while waiting:
                ended, _ = ray.wait(list(waiting), timeout=_INTERVAL)
                changes = []
                for ref in ended:
                    task = waiting.pop(ref)
                    change = self._ended(ref, task)
                    if change.code is None and change.state is State.FAILED:
                        retries[task.key] += 1
                        if retries[task.key] <= _RETRIES and lost.has_any(self._nodes):
                            waiting[submit(task)] = task
                            change = Change(task, State.WAITING, change.where, change.reason)
                    changes.append(change)
                yield changes
        except BaseException:
            for ref in waiting:
                ray.cancel(ref, force=True)
            raise

    def _nodes(self) -> set[str]:
        """Those that live."""
        return {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}

    def _ended(self, ref: Any, task: Task) -> Change:
        errors = self._ray.exceptions
        try:
            code, result = self._ray.get(ref)
        except errors.RayTaskError as error:
            return Change(task, State.FAILED, "Ray", _last_line(error), code=1)
        except errors.RayError as error:
            reason = f"its process on Ray has died: {_last_line(error)}"
            return Change(task, State.FAILED, "Ray", reason)
        if code == 0:
            return Change(task, State.FINISHED, "Ray", code=0, result=result)
        return Change(task, State.FAILED, "Ray", f"ended with exit code {code}", code=code)


class _Losses:
    """Which nodes a cluster has lost: a process that died with its node did so through no fault of
    its own.
    """

    def __init__(self, nodes: set[str]) -> None:
        self._known = set(nodes)
        self._seen = -_GRACE

    def has_any(self, nodes: Callable[[], set[str]]) -> bool:
        """Whether some node was lost just now; waits a moment for word of it."""
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline:
            alive = nodes()
            if self._known - alive:
                self._known, self._seen = alive, time.monotonic()
                return True
            self._known |= alive
            if time.monotonic() - self._seen < _GRACE:
                return True  # with the same node
            time.sleep(0.5)
        return False


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
