"""As much of Ray as its launcher asks, on a clock of its own: tasks end, and nodes are lost, when
that was written down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from genbench.launchers.base import Task

__all__ = ["CRASH", "NODE_DIED", "FakeRay"]


class RayError(Exception):
    """Any error of Ray."""


class RayTaskError(RayError):
    """What a task has raised."""


class WorkerCrashedError(RayError):
    """The process of a task has died, and Ray does not know why."""


class NodeDiedError(RayError):
    """The node of a task has died."""


CRASH, NODE_DIED = WorkerCrashedError("crashed"), NodeDiedError("dead or unavailable")


@dataclass(eq=False)
class Ref:
    """A task that was submitted."""

    key: str
    ends: float
    error: Exception | None


class FakeRay:
    """Stands for the module, and for that of time.

    Arguments:
        attempts: of each task by its key, in turn: seconds that it takes, and how it fails; None
            where it does not.
        lost: when a node is lost each.
        cpus: of each node.
    """

    exceptions = SimpleNamespace(
        RayError=RayError, RayTaskError=RayTaskError, NodeDiedError=NodeDiedError
    )

    def __init__(
        self,
        attempts: Mapping[str, Sequence[tuple[float, Exception | None]]] | None = None,
        *,
        lost: Sequence[float] = (),
        cpus: float = 1,
    ) -> None:
        self.now = 1000.0
        self.attempts = {key: list(of) for key, of in (attempts or {}).items()}
        self.lost, self.cpus = [self.now + seconds for seconds in lost], cpus
        self.submitted: list[str] = []
        self.addresses: list[str] = []

    # ---------------------------------------------------------------------- time

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    # ---------------------------------------------------------------------- Ray

    def init(self, *, address: str, **_: Any) -> None:
        self.addresses.append(address)

    def shutdown(self) -> None:
        pass

    def cancel(self, ref: Ref, *, force: bool) -> None:
        pass

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 3.0}

    def nodes(self) -> list[dict[str, Any]]:
        """A head, which stays, and those that are lost some time."""
        times = [float("inf"), *self.lost]
        return [
            {"NodeID": str(i), "Alive": time > self.now, "Resources": {"CPU": self.cpus}}
            for i, time in enumerate(times)
        ]

    def remote(self, **_: Any) -> Callable[[Any], Any]:
        return lambda function: SimpleNamespace(
            options=lambda **_: SimpleNamespace(remote=self._submit)
        )

    def _submit(self, task: Task) -> Ref:
        self.submitted.append(task.key)
        seconds, error = self.attempts[task.key].pop(0)
        return Ref(task.key, self.now + seconds, error)

    def wait(self, refs: Sequence[Ref], *, timeout: float) -> tuple[list[Ref], list[Ref]]:
        """The first that has ended, as soon as one has."""
        first = min(refs, key=lambda ref: ref.ends)
        self.now = max(self.now, min(first.ends, self.now + timeout))
        return ([first] if first.ends <= self.now else []), []

    def get(self, ref: Ref) -> tuple[int, object]:
        if ref.error is not None:
            raise ref.error
        return 0, "a result"
