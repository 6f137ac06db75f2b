"""One process per version of what is compared, so that each has its own allocator, threads and
settings.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

import torch

from genbench.hardware.compute import Compute
from genbench.hardware.device import keep_freed_memory, setup

__all__ = ["VERSIONS", "Workers"]

VERSIONS = ("ours", "plain", "plain, memory kept")
"""Ours is set up as a stage is; plain as a script is, with the C library's allocator as it comes;
the third with the allocator set as ours.
"""


def _serve(connection: Connection, version: str, compute: Compute) -> None:
    if version == "ours":
        setup(compute)
    else:
        torch.set_num_threads(compute.threads)
        if version == "plain, memory kept":
            keep_freed_memory()
    with contextlib.suppress(EOFError):
        while True:
            function, arguments = connection.recv()
            connection.send(function(*arguments))


class Workers:
    """The processes of :data:`VERSIONS`; a context that ends them."""

    def __init__(self, compute: Compute) -> None:
        self.compute = compute
        self.ends: dict[str, Connection] = {}
        self.processes: list[BaseProcess] = []

    def __enter__(self) -> Workers:
        context = multiprocessing.get_context("spawn")
        for version in VERSIONS:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, version, self.compute), daemon=True
            )
            process.start()
            self.processes.append(process)
            theirs.close()  # so that the end of a process is seen
            self.ends[version] = ours
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for end in self.ends.values():
            end.close()
        for process in self.processes:
            process.join()

    def call(self, version: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """What ``function``, one of a module, returns in the process of a version."""
        self.ends[version].send((function, arguments))
        try:
            return self.ends[version].recv()
        except EOFError:
            raise RuntimeError(
                f"the process of {version!r} ended while it ran {function.__name__}{arguments}; "
                "its error is above"
            ) from None
