"""The unit of work: the stages of one entry that are to run, one after another in one process.

A stage writes into a folder of its own, and its outputs are put in their places when it is done; a
receipt then says what it was made from and what it is. So a chain may be started twice, as a
cluster does that takes a living machine for dead: both may end, and what is in place is whole.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from genbench import progress
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.config.stages import STAGES, before
from genbench.disk import told
from genbench.errors import Stopped, UserError
from genbench.files import write_json
from genbench.hardware.isa import set_isa
from genbench.pipeline.clean import remove_unfinished
from genbench.pipeline.identity import Identity
from genbench.pipeline.receipts import (
    Receipt,
    content_of,
    publish,
    read_receipt,
    write_receipt,
)
from genbench.pipeline.stage_runner import run_recorded, stage_places
from genbench.processes.lock import hold
from genbench.processes.signals import is_ending
from genbench.results.status import failed as has_failed
from genbench.results.status import note_failure, recorded
from genbench.training.checkpoint_files import LOCK

__all__ = ["Chain", "forget", "grows", "run_chain", "run_stages_of", "shared_by"]


_HASH = "[0-9a-f]" * 16
"""What ends the name of a folder of unfinished work; names of other entries may begin as this one.
"""


@dataclass(frozen=True, slots=True)
class Chain:
    """What is to be done for an entry.

    Attributes:
        entry: the entry.
        stages: what may have to run, in order.
        unless: by stage, the contents of what other stages of the chain write with which it need
            not run, since its outputs are those that it made from them: MD5 by path, relative to
            the root.
    """

    entry: str
    stages: tuple[str, ...]
    unless: Mapping[str, Mapping[str, str]]


def run_chain(
    root: str,
    profile: str,
    chain: Chain,
    *,
    identity: Identity,
    at_once: int | None = 1,
) -> None:
    """Run the stages of a chain in this process, in a folder that it shares with who asks for that.
    A stage that fails leaves why in ``.status/``; those that do not need it go on.

    Arguments:
        root: the project.
        profile: name of the profile.
        chain: the entry and its stages.
        identity: the packages that this machine must have, and with what the stages are to be run.
        at_once: how many entries the run does at once on a machine; None if that is not known.

    Raises:
        SystemExit: with code 1 if a stage failed.
    """
    os.chdir(root)
    params = load_params(profile, root=Path(root))
    first = chain.stages[0]
    with recorded(Layout.of(params).status(chain.entry, first), first, chain.entry):
        set_isa(params.compute.isa, params.compute.device)  # before torch is imported
        identity.check_versions()
    with shared_by(at_once):
        if run_stages_of(params, chain, identity):
            sys.exit(1)


@contextlib.contextmanager
def shared_by(at_once: int | None) -> Iterator[None]:
    """Tell the stages how many entries run at once on this machine, for their provenance; None if
    that is not known. Taken back afterwards, for an engine may use the process again.
    """
    from genbench.hardware.device import AT_ONCE  # imports torch

    os.environ[AT_ONCE] = "" if at_once is None else str(at_once)
    try:
        yield
    finally:
        del os.environ[AT_ONCE]


def grows(layout: Layout, chain: Chain) -> tuple[str, ...]:
    """Patterns of the files that are replaced as a chain gets on."""
    resuming = [stage for stage in chain.stages if STAGES[stage].resumes]
    works = [layout.work(chain.entry, stage) for stage in resuming]
    receipts = layout.done(chain.entry, "*")
    return (*(f"{work}-{_HASH}/*" for work in works), str(receipts))


def forget(params: Params, chain: Chain) -> None:
    """Remove receipts and unfinished work of the stages of a chain, so that they begin anew."""
    layout = Layout.of(params)
    for stage in chain.stages:
        layout.done(chain.entry, stage).unlink(missing_ok=True)
        work = layout.work(chain.entry, stage)
        for folder in unfinished(work):
            reason = remove_unfinished(folder)
            if reason is not None:
                print(f"{folder} is not removed: {reason}", file=sys.stderr, flush=True)


def unfinished(work: Path) -> list[Path]:
    """The folders of a stage's unfinished work, of any parameters, and of killed processes."""
    return [
        *work.parent.glob(f"{work.name}-{_HASH}"),
        *work.parent.glob(f"{work.name}-by-*"),
    ]


def run_stages_of(
    params: Params,
    chain: Chain,
    identity: Identity,
    *,
    find: Callable[[str], bool] = lambda stage: False,
    made: Callable[[str], None] = lambda stage: None,
) -> set[str]:
    """Run the stages of a chain, one after another.

    Arguments:
        params: the profile.
        chain: the entry and its stages.
        identity: with what they are to be run.
        find: puts the outputs of a stage into their places if somebody has run it, and tells
            whether it has; asked before a stage is run.
        made: told of each stage whose outputs are in their places.

    Returns:
        the stages that have failed, or need one that has.
    """
    layout, failed = Layout.of(params), set[str]()
    with _logged(layout.log(chain.entry)):
        for stage in chain.stages:
            if failed.intersection(before(stage)):
                failed.add(stage)
                continue
            try:
                if not _is_spared(params, chain, stage):
                    if find(stage):
                        _take_as_made(params, chain.entry, stage)
                    else:
                        with _shown(layout.progress(chain.entry), stage):
                            _run(params, chain.entry, stage, identity)
                made(stage)
            except (Exception, SystemExit) as error:
                if is_ending() or isinstance(error, Stopped):
                    raise
                traceback.print_exception(error)
                failed.add(stage)
                _explain(layout.status(chain.entry, stage), stage, chain.entry, error)
    return failed


def _explain(path: Path, stage: str, entry: str, error: BaseException) -> None:
    """Leave why a stage failed, unless it has left that itself: its results may not have been put
    into their places, or not have been sent.
    """
    if not has_failed(path):
        note_failure(path, stage, entry, told(error))


def _is_spared(params: Params, chain: Chain, stage: str) -> bool:
    """Whether the stage's outputs are there, and what other stages gave is what they were made
    from; then there is a receipt of them.
    """
    layout, entry = Layout.of(params), chain.entry
    if read_receipt(params, stage, entry) is not None:
        os.utime(layout.done(entry, stage))  # by which others see that it is of this run
        return True
    known = chain.unless.get(stage)
    if known is None or any(content_of(layout.root / path) != md5 for path, md5 in known.items()):
        return False
    _take_as_made(params, entry, stage)
    return True


def _take_as_made(params: Params, entry: str, stage: str) -> None:
    """Write the receipt of a stage whose outputs are in their places without having been run."""
    places, table = stage_places(params, STAGES[stage], entry), STAGES[stage]
    own = content_of(Layout.of(params).fingerprint(entry, stage))
    reads, writes = (
        {part: content_of(places[part]) for part in parts} for parts in (table.reads, table.writes)
    )
    receipt = Receipt(stage, entry, own, reads, writes, platform.node(), time.time(), None)
    write_receipt(params, receipt)


def _run(params: Params, entry: str, stage: str, identity: Identity) -> None:
    """Run a stage apart, and publish what it has made."""
    layout, table = Layout.of(params), STAGES[stage]
    places = stage_places(params, table, entry)
    process = f"{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}"
    apart = layout.apart(entry, stage, process)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, apart, ignore_errors=True)
        stack.enter_context(hold(apart / LOCK, process))  # `genbench clean` leaves it alone
        identity.check_stage(params, entry, stage)
        staged = {part: apart / places[part].name for part in table.writes}
        reads = {part: content_of(places[part]) for part in table.reads}
        own = content_of(layout.fingerprint(entry, stage))
        begun = time.time()
        seconds = run_recorded(params, stage, entry, {**places, **staged})
        changed = [part for part, md5 in reads.items() if content_of(places[part]) != md5]
        if changed:
            raise UserError(
                f"{places[changed[0]]} has changed while {stage} of {entry} read it; run again"
            )
        identity.check_stage(params, entry, stage)
        receipt = Receipt(stage, entry, own, reads, {}, platform.node(), begun, seconds)
        publish(params, receipt, staged, {part: places[part] for part in table.writes})


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Both output streams of this process and of what it starts go to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("w", encoding="utf-8") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    yield
    sys.stdout.flush()
    sys.stderr.flush()


@contextlib.contextmanager
def _shown(path: Path, stage: str) -> Iterator[None]:
    """Keep how far a stage is in a file, renewed once a second."""
    last = 0.0

    def show(state: progress.State) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 1.0:
            last = now
            with contextlib.suppress(OSError):
                write_json(path, {**state.plain(), "stage": stage, "time": time.time()})

    progress.listen(show)
    try:
        yield
    finally:
        progress.listen(None)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
