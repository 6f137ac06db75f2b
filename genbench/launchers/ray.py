"""Tasks of a Ray cluster whose nodes share the folder of the project.

Each task has a fresh process and the cores and devices that it asks for. When a node dies, its
tasks are started again elsewhere, and go on from their unfinished work, without limit for as long
as that grows; an error or a crash of a model is not tried again.

Ray: Moritz et al., "Ray: A Distributed Framework for Emerging AI Applications", 2018,
https://arxiv.org/abs/1712.05889
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genbench.errors import UserError
from genbench.launchers.base import Change, Retries, State, Task, call
from genbench.launchers.ray_cluster import Losses, cluster_address

__all__ = ["RayLauncher"]

_INTERVAL = 1.0  # seconds between two looks
_RETRIES = 5  # of a task whose nodes die, without any growth of its unfinished work
_GRACE = 15.0  # seconds between the death of a process and word of that of its node


def _own_environment() -> dict[str, str]:
    """What this process was told by its environment, for those of the cluster."""
    return {name: value for name, value in os.environ.items() if name.startswith("GENBENCH_")}


@dataclass(frozen=True, slots=True)
class _End:
    """How a task has ended.

    Attributes:
        change: what is told of it, unless it is begun again.
        by_node: whether its node has died; None if its process has, and why is not known yet.
        when: by a clock that only runs on.
    """

    change: Change
    by_node: bool | None
    when: float


class RayLauncher:
    """Gives tasks to Ray, and waits for them.

    Arguments:
        address: as of ``--address``; None takes that of the environment
            (:func:`genbench.launchers.ray_cluster.cluster_address`).
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
        self.address, self.cpus, self.gpus = cluster_address(address), cpus, gpus

    @property
    def where(self) -> str:
        """``Ray``, with the address of its cluster."""
        return f"Ray at {self.address.place}" if self.address.place else "Ray"

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
            UserError: there is no cluster at the address, or this machine, which is all there is
                without one, cannot run a task.
        """
        ray = self._ray
        self.address.check()
        try:
            ray.init(
                address=self.address.place or "local",
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                runtime_env={"env_vars": _own_environment()},
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            what = "no Ray cluster there" if self.address.place else "Ray does not start here"
            raise UserError(f"{self.address.given}: {what}: {error}") from error
        try:
            self._check_nodes()
            yield from self._launch(tasks)
        finally:
            ray.shutdown()

    def _check_nodes(self) -> None:
        """Say so if no node has what a task asks for: Ray waits for one, which the cluster may
        still add.

        Raises:
            UserError: there is this machine alone, so that it would wait for ever.
        """
        has = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if any(one.get("CPU", 0) >= self.cpus and one.get("GPU", 0) >= self.gpus for one in has):
            return
        found = "; ".join(f"{n.get('CPU', 0):g} cores, {n.get('GPU', 0):g} devices" for n in has)
        told = (
            f"no node of Ray has the {self.cpus:g} cores and {self.gpus:g} devices that an entry "
            f"asks for (--threads, --device); they have {found}"
        )
        if not self.address.place:
            raise UserError(told)
        waits = "entries wait until the cluster adds one that has"
        print(f"warning: {told}; {waits}", file=sys.stderr, flush=True)

    def _launch(self, tasks: Sequence[Task]) -> Generator[list[Change]]:
        ray = self._ray
        # A process for one call alone, so that memory and crashes belong to one task. Ray's own
        # retries would also repeat what has crashed by itself.
        remote = ray.remote(max_calls=1, max_retries=0, retry_exceptions=False)(call)
        ask = {"num_cpus": self.cpus, "num_gpus": self.gpus}

        def submit(task: Task) -> Any:
            return remote.options(name=task.key, **ask).remote(task)

        waiting = {submit(task): task for task in tasks}
        ends, losses, retries = list[_End](), Losses(_GRACE), Retries(_RETRIES)
        try:
            while waiting or ends:
                ends += [self._end(ref, waiting.pop(ref)) for ref in self._ready(waiting)]
                now = time.monotonic()
                losses.see(self._nodes(), now)
                changes, unclear = list[Change](), list[_End]()
                for end in ends:
                    task = end.change.task
                    by_node = losses.near(end.when, now) if end.by_node is None else end.by_node
                    if by_node is None:
                        unclear.append(end)
                    elif by_node and retries.grants(task):
                        waiting[submit(task)] = task
                        changes.append(replace(end.change, state=State.WAITING))
                    else:
                        changes.append(end.change)
                ends = unclear
                yield changes
        except BaseException:
            for ref in waiting:
                ray.cancel(ref, force=True)
            raise

    def _ready(self, waiting: Mapping[Any, Task]) -> list[Any]:
        """Wait a moment; the tasks that have ended meanwhile."""
        if not waiting:
            time.sleep(_INTERVAL)
            return []
        ended, _ = self._ray.wait(list(waiting), timeout=_INTERVAL)
        return list(ended)

    def _nodes(self) -> set[str]:
        """Those that live."""
        return {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}

    def _end(self, ref: Any, task: Task) -> _End:
        errors, now = self._ray.exceptions, time.monotonic()
        try:
            code, result = self._ray.get(ref)
        except errors.RayTaskError as error:
            change = Change(task, State.FAILED, "Ray", _last_line(error), code=1)
            return _End(change, False, now)
        except errors.RayError as error:
            reason = f"its process on Ray has died: {_last_line(error)}"
            by_node = True if isinstance(error, errors.NodeDiedError) else None
            return _End(Change(task, State.FAILED, "Ray", reason), by_node, now)
        if code == 0:
            change = Change(task, State.FINISHED, "Ray", code=0, result=result)
        else:
            reason = f"ended with exit code {code}"
            change = Change(task, State.FAILED, "Ray", reason, code=code)
        return _End(change, False, now)


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
