"""What DVC knows of the stages, asked and told through its Python interface: which are to run,
which it has in its cache, and that others have been run.

DVC runs an entry's stages one after another and writes all of dvc.lock after each. Here it only
keeps the books: a batch of finished stages is noted at once, as `dvc commit` does it, so that a
`dvc repro` afterwards has nothing to do.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import ENTRY_STAGES, STAGES, before
from genbench.errors import UserError
from genbench.pipeline.chain import Chain

__all__ = ["Books", "Due", "restored"]


@dataclass(frozen=True, slots=True)
class Due:
    """What there is to do.

    Attributes:
        chains: the stages of entries that are to run, an entry each.
        restored: stages whose outputs DVC had in its cache, now in their places.
    """

    chains: tuple[Chain, ...]
    restored: tuple[str, ...]


class Books:
    """DVC's notes about a profile, opened once.

    Arguments:
        params: the profile.

    Attributes:
        layout: where its files are.
        repo: DVC's own object of the project.

    Raises:
        UserError: DVC cannot open the project.
    """

    def __init__(self, params: Params) -> None:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        self.layout = Layout.of(params)
        logging.getLogger("dvc").setLevel(logging.WARNING)  # a line for each stage otherwise
        try:
            self.repo: Any = Repo(str(params.root))
        except DvcException as error:
            raise UserError(f"DVC cannot open the project in {params.root}: {error}") from error

    def close(self) -> None:
        """Give DVC's databases back."""
        self.repo.close()

    def changed(self, names: Sequence[str]) -> list[str]:
        """Those of some stages, such as ``features@mnist``, that are not as DVC has noted them."""
        with self.stages() as stages:
            return [name for name in names if stages[name].changed()]

    def due(
        self,
        entries: Sequence[str],
        *,
        force: bool,
        is_done: Callable[[str, str], bool],
        find: Callable[[str], bool] | None = None,
    ) -> Due:
        """What is to run of some entries; what DVC has in its cache of runs is restored.

        Arguments:
            entries: their names.
            force: run all of their stages.
            is_done: whether there is a receipt of a stage of an entry, which DVC has not noted yet.
            find: restores a stage from elsewhere than DVC's cache here, and tells whether it has.
        """
        chains, found, noted = [], [], []
        with self.stages() as stages:
            for entry in entries:
                if force:
                    chains.append(Chain(entry, ENTRY_STAGES, {}))
                    continue
                run: list[str] = []
                unless = {}
                for name in ENTRY_STAGES:
                    stage = stages[f"{name}@{entry}"]
                    if set(run).intersection(before(name)):
                        run.append(name)
                        known = _made_from(stage, _written_by(self.layout, run, entry))
                        if known is not None:
                            unless[name] = known
                    elif stage.changed():
                        if is_done(name, entry):
                            noted.append(stage)
                        elif restored(self.repo, stage) or (find is not None and find(stage.name)):
                            found.append(stage.addressing)
                            noted.append(stage)
                        else:
                            run.append(name)
                if run:
                    chains.append(Chain(entry, tuple(run), unless))
            _note(noted)
        return Due(tuple(chains), tuple(found))

    def note(self, names: Sequence[str], *, patient: bool = True) -> None:
        """Note that stages have been run, with their inputs and outputs as they are now;
        ``patient`` as for :meth:`stages`.
        """
        if not names:
            return
        with self.stages(patient=patient) as stages:
            _note([stages[name] for name in names])

    @contextlib.contextmanager
    def stages(self, *, patient: bool = True) -> Iterator[Mapping[str, Any]]:
        """DVC's stages by name, with its lock.

        Arguments:
            patient: wait as long as another command of DVC holds that, if only to look.

        Raises:
            UserError: it is held, and this is not patient.
        """
        with contextlib.ExitStack() as stack:
            self._lock(stack, patient)
            loaded = self.repo.stage.load_all(str(self.layout.dvc_file))
            yield {stage.name: stage for stage in loaded}

    def _lock(self, stack: contextlib.ExitStack, patient: bool) -> None:
        from dvc.lock import LockError
        from dvc.repo import lock_repo

        said = False
        while True:
            try:
                stack.enter_context(lock_repo(self.repo))
                return
            except LockError as error:  # after three seconds
                if not patient:
                    raise UserError("another command of DVC is at work in this project") from error
                if not said:
                    told = "waiting for another command of DVC in this project"
                    print(told, file=sys.stderr, flush=True)
                    said = True


def _note(stages: Sequence[Any]) -> None:
    """As `dvc commit --force` does it, but with one writing of dvc.lock for all."""
    for stage in stages:
        stage.save()
        stage.commit()
    if stages:
        stages[0].dvcfile.dump_stages(list(stages), update_pipeline=False)


def restored(repo: Any, stage: Any, *, pull: bool = False) -> bool:
    """Whether DVC has what a stage would give, from the same inputs; then it is in its place.

    Arguments:
        repo: DVC's object of the project.
        stage: DVC's object of the stage.
        pull: fetch the outputs from the remote, if the cache of runs knows of them.
    """
    from dvc.dependency.base import DependencyDoesNotExistError
    from dvc.stage.cache import RunCacheNotFoundError

    # As DVC does it before it runs a stage, in the same order.
    stage.remove_outs(ignore_remove=False, force=False)
    try:
        repo.stage_cache.restore(stage, pull=pull)
    except (RunCacheNotFoundError, DependencyDoesNotExistError):
        return False
    return True


def _written_by(layout: Layout, stages: Sequence[str], entry: str) -> set[str]:
    """What stages of an entry write, relative to the root."""
    parts = [part for name in stages for part in STAGES[name].writes]
    return {layout.place(part, entry=entry).relative_to(layout.root).as_posix() for part in parts}


def _made_from(stage: Any, written: set[str]) -> dict[str, str] | None:
    """With which contents of the files in ``written`` a stage is as it was noted: MD5 by path; None
    if it is to run whatever they are.
    """
    if stage.changed_stage() or stage.changed_outs():
        return None
    known = {}
    for dep in stage.deps:
        path = Path(dep.def_path).as_posix()
        if path in written:
            known[path] = dep.hash_info.value
        elif dep.status():
            return None
    return None if None in known.values() else known
