"""The entries of a run: what there is to do for them, handed to a launcher; DVC is told what they
have finished, and the report why they have not.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import ENTRY_STAGES
from genbench.disk import told
from genbench.errors import UserError
from genbench.launchers.base import Change, Launcher, Task
from genbench.pipeline.board import Board
from genbench.pipeline.chain import Chain
from genbench.pipeline.estimate import in_order
from genbench.pipeline.integrity import mend_and_tell
from genbench.pipeline.live_page import LivePage
from genbench.pipeline.receipts import OtherBitsError, read_receipt
from genbench.pipeline.record import Books, Due
from genbench.pipeline.transport import Clones, SharedFolder, Transport
from genbench.pipeline.watch import write_plan
from genbench.processes.signals import ended_in_order, undisturbed
from genbench.registry import model_class
from genbench.results.status import bury, failed, in_words, note_failure

__all__ = ["run_entries"]

_BATCH_SECONDS = 30.0
"""Between two writings of dvc.lock, each of which takes a second or two of one core."""
_SHARE = 20  # times its own duration that lie between two, at least


def run_entries(
    params: Params,
    names: Sequence[str],
    launcher: Launcher,
    seconds: Mapping[tuple[str, str], float],
    *,
    force: bool = False,
    clones: str | None = None,
) -> list[str]:
    """Run the stages of entries that are not up to date; returns the entries of which some failed,
    of those with whole results, too, that another process has made meanwhile.

    Arguments:
        params: the profile.
        names: of the entries.
        launcher: what runs them.
        seconds: what stages are expected to take, by stage and entry.
        force: run all stages, from their beginning.
        clones: where each machine has its clone of the project; None if they share this folder.

    Raises:
        UserError: the clones have nothing to exchange results over, or what an earlier run has left
            goes on though it is to begin anew.
    """
    books = Books(params)
    try:
        transport = SharedFolder(params) if clones is None else Clones(params, books, clones)
        due = _due(params, names, books, transport, force)
        if not due.chains:
            return []
        by_entry = {chain.entry: chain for chain in due.chains}
        controls = [name for name in by_entry if _is_control(params, name)]
        chains = [by_entry[name] for name in in_order(list(by_entry), seconds, controls)]
        at_once = min(launcher.at_once, len(chains)) or None
        if force:  # what was left would still write receipts, which would count
            launcher.withdraw([chain.entry for chain in chains])
        tasks = [transport.task(chain, at_once=at_once, fresh=force) for chain in chains]
        _forget_failures(params, chains)
        expected = {f"{stage}@{key}": value for (stage, key), value in seconds.items()}
        plan = write_plan(params, chains, expected, where=launcher.where, at_once=launcher.at_once)
        with Board(params, plan) as board, ended_in_order():
            hands = _Hands(params, chains, books, transport)
            lacking = hands.follow(launcher, tasks, board)
        return [*lacking, *hands.tell_failures(plan.begun, besides=lacking)]
    finally:
        books.close()


def _due(
    params: Params, names: Sequence[str], books: Books, transport: Transport, force: bool
) -> Due:
    """What is to run; what DVC has in its cache is put in its place, and looked at. Of several
    results with different bits none is taken: who is to run the stage refuses them, and the others
    go on.
    """

    def is_done(stage: str, entry: str) -> bool:
        return read_receipt(params, stage, entry) is not None

    def find(stage: str) -> bool:
        try:
            return transport.find(stage)
        except OtherBitsError:
            return False

    due = books.due(names, force=force, is_done=is_done, find=find)
    if due.restored:
        print(f"{len(due.restored)} stages are taken from DVC's cache", flush=True)
        if mend_and_tell(params, due.restored):  # its copies were damaged
            due = books.due(names, force=force, is_done=is_done, find=find)
    return due


def _is_control(params: Params, name: str) -> bool:
    return model_class(params.entries[name].model).control


def _forget_failures(params: Params, chains: Sequence[Chain]) -> None:
    """Remove why stages failed that are to run now: what is there afterwards is of this run."""
    layout = Layout.of(params)
    for chain in chains:
        for stage in chain.stages:
            path = layout.status(chain.entry, stage)
            if failed(path):
                path.unlink(missing_ok=True)


class _Hands:
    """What is done about chains while a launcher runs them.

    Arguments:
        params: the profile.
        chains: those that are launched.
        books: DVC's notes.
        transport: brings their results.
    """

    def __init__(
        self, params: Params, chains: Sequence[Chain], books: Books, transport: Transport
    ) -> None:
        self._params, self._layout, self._chains = params, Layout.of(params), chains
        self._books, self._transport = books, transport
        self._rest = {chain.entry: chain for chain in chains}
        self._processes: dict[str, str] = {}
        self._failed: list[str] = []
        self._ended: list[Chain] = []
        self._next_note = time.monotonic() + _BATCH_SECONDS

    def follow(self, launcher: Launcher, tasks: Sequence[Task], board: Board) -> list[str]:
        """Launch tasks, show how far the chains are and note what they finish; returns the entries
        of which some stages lack results.
        """
        live, changes = LivePage(self._params), launcher.launch(tasks)
        try:
            for new in changes:
                for change in new:
                    self._settle(change)
                state = board.show()
                if state is not None:
                    live.renew(state)
                self._note_some()
        finally:
            # From the last to the first; one that fails keeps none of the others from being done.
            with undisturbed(), contextlib.ExitStack() as stack:
                stack.callback(self._note_rest)
                stack.callback(live.close)
                stack.callback(self._forget_running, launcher)
                stack.callback(self._bury_running)
                stack.callback(changes.close)  # stops what is running
        return self._failed

    def tell_failures(self, begun: float, *, besides: Sequence[str]) -> list[str]:
        """Say why stages failed whose results are whole, of which the report says nothing: another
        process has made them meanwhile, with other bits maybe. Returns the entries of these.

        Arguments:
            begun: when the run began, in seconds since the epoch.
            besides: entries that are not to be returned.
        """
        found = dict[str, None]()
        for chain in self._chains:
            for stage in ENTRY_STAGES:
                path = self._layout.status(chain.entry, stage)
                if failed(path) and self._is_whole(chain, stage, path, begun):
                    which = f"{stage} of {chain.entry} has results, but was also run where it"
                    print(f"{which} {in_words(path)}", file=sys.stderr, flush=True)
                    found[chain.entry] = None
        return [entry for entry in found if entry not in besides]

    def _is_whole(self, chain: Chain, stage: str, status: Path, begun: float) -> bool:
        """Whether a stage has results although it failed in this run."""
        if stage in chain.stages:
            return read_receipt(self._params, stage, chain.entry) is not None
        with contextlib.suppress(OSError):
            return status.stat().st_mtime >= begun  # what is older was told by an earlier run
        return False

    def _settle(self, change: Change) -> None:
        key = change.task.key
        if not change.state.is_last:
            self._processes[key] = change.process
            return
        self._processes.pop(key, None)
        chain = self._rest.pop(key)
        self._ended.append(chain)
        problem = self._bring(chain, change)
        lacking = [
            stage
            for stage in chain.stages
            if read_receipt(self._params, stage, chain.entry) is None
        ]
        if lacking or problem:
            self._failed.append(key)
            ended = f"what ran it ({change.where}) has ended before it was done"
            self._explain(chain, lacking or chain.stages, problem or change.reason or ended)

    def _bring(self, chain: Chain, change: Change) -> str:
        """Put what a chain has made into its places; returns what went wrong with that, such as a
        full disk here, which stops no other entry.
        """
        try:
            if change.process != "" and change.code is not None:
                bury(self._params.root, change.process, change.code)
            self._transport.bring(chain, change.result)
        except (UserError, OSError) as error:
            print(f"{chain.entry}: {told(error)}", file=sys.stderr, flush=True)
            return told(error)
        return ""

    def _explain(self, chain: Chain, lacking: Sequence[str], reason: str) -> None:
        """Leave a reason for the report if no stage that lacks results has: the machine may be
        gone.
        """
        if not any(failed(self._layout.status(chain.entry, stage)) for stage in lacking):
            first = lacking[0]
            note_failure(self._layout.status(chain.entry, first), first, chain.entry, reason)

    def _bury_running(self) -> None:
        """Put into the status of stages that their processes were stopped."""
        for process in self._processes.values():
            bury(self._params.root, process, -signal.SIGTERM)

    def _forget_running(self, launcher: Launcher) -> None:
        """Remove what stages of chains have left that were stopped, which is no failure; not of
        those that go on.
        """
        if launcher.has_left:
            return
        for chain in self._rest.values():
            for stage in chain.stages:
                path = self._layout.status(chain.entry, stage)
                if not failed(path):
                    path.unlink(missing_ok=True)

    def _note_some(self) -> None:
        """Note what has ended, now and then; if DVC cannot, that is said, and tried again."""
        if not self._ended or time.monotonic() < self._next_note:
            return
        begun = time.monotonic()
        try:
            self._note(self._ended, patient=False)
            self._ended = []
        except Exception as error:
            print(f"not noted in dvc.lock yet: {told(error)}", file=sys.stderr, flush=True)
        lasted = time.monotonic() - begun
        self._next_note = time.monotonic() + max(_BATCH_SECONDS, _SHARE * lasted)

    def _note_rest(self) -> None:
        """Note what has ended since, and what those have finished that were stopped."""
        self._note([*self._ended, *self._rest.values()])

    def _note(self, chains: Sequence[Chain], *, patient: bool = True) -> None:
        """Tell DVC of the stages that these chains have run."""
        self._books.note(
            [
                f"{stage}@{chain.entry}"
                for chain in chains
                for stage in chain.stages
                if read_receipt(self._params, stage, chain.entry) is not None
            ],
            patient=patient,
        )
