"""Results of stages over the project's DVC remote, for machines that share no folder.

Objects are sent first and the entry of the run-cache that leads to them last, so that what is found
there is whole; and nothing is sent but those of the stages that are named.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genbench.errors import UserError
from genbench.pipeline.record import Books, restored

__all__ = ["Exchange", "Section"]

Section = Mapping[str, Any]
"""What dvc.lock holds of a stage: its command, and path and MD5 of its inputs and outputs."""


class Exchange:
    """Sends and fetches results of stages.

    Arguments:
        books: DVC's notes in the project of this machine.

    Raises:
        UserError: the project has no DVC remote.
    """

    def __init__(self, books: Books) -> None:
        self._books, self._repo = books, books.repo
        self._name = self._repo.config["core"].get("remote")
        if not self._name:
            raise UserError(
                f"{self._repo.root_dir} has no DVC remote, over which clones exchange results: "
                "`dvc remote add --default NAME URL` there, and in each clone"
            )

    def send(self, names: Sequence[str]) -> dict[str, Section]:
        """Send the results of stages, such as ``train@made``, that are in their places.

        Returns:
            what dvc.lock holds of each, or would hold.

        Raises:
            UserError: the remote does not take them.
        """
        sections: dict[str, Section] = {}
        with self._books.stages() as stages:
            for name in names:
                stage = stages[name]
                stage.save()
                stage.commit()
                self._repo.stage_cache.save(stage)
                with self._explained("does not take results"):
                    self._push(stage)
                    self._send_run(stage)
                sections[name] = _section(stage)
        return sections

    def fetch(self, sections: Mapping[str, Section]) -> None:
        """Put results of stages into their places, unless they are there already.

        Arguments:
            sections: of the stages by name.

        Raises:
            UserError: the remote does not give them.
        """
        from dvc.stage.loader import StageLoader

        with self._books.stages() as stages, self._explained("does not give results"):
            for name, section in sections.items():
                stage = stages[name]
                StageLoader.fill_from_lock(stage, section)
                if any(out.status() for out in stage.outs):
                    for objects in stage.get_used_objs().values():
                        done = self._repo.cloud.pull(objects)
                        if done.failed:
                            raise OSError(f"{len(done.failed)} files of {name} are not there")
                    stage.checkout(force=True)
                    if any(out.status() for out in stage.outs):
                        raise OSError(f"files of {name} could not be put into their places")

    def find(self, name: str) -> bool:
        """Whether somebody has run a stage with the inputs that are in their places here, and sent
        what it gave; then that is in its place.

        Raises:
            UserError: the remote does not answer.
        """
        with self._explained("does not answer"):
            with self._books.stages() as stages:
                stage = stages[name]
                stage.save_deps(allow_missing=True)
                self._fetch_runs(stage)
            # DVC's object anew: that one has the inputs of now beside the outputs of before, and
            # would take these for theirs.
            with self._books.stages() as stages:
                return restored(self._repo, stages[name], pull=True)

    def _push(self, stage: Any) -> None:
        for objects in stage.get_used_objs().values():
            done = self._repo.cloud.push(objects)
            if done.failed:
                raise OSError(f"{len(done.failed)} files were not sent")

    def _send_run(self, stage: Any) -> None:
        """Send the entry of the run-cache with a stage's present inputs and outputs."""
        from dvc.stage.cache import _get_cache_hash

        cache, remote, key = self._repo.stage_cache, self._remote("push"), _key(stage)
        if key is None:
            return
        place = key[:2], key, _get_cache_hash(_section(stage))
        target = remote.fs.join(remote.path, "runs", *place)
        if not remote.fs.exists(target):
            remote.fs.makedirs(remote.fs.parent(target))
            remote.fs.put_file(str(Path(cache.cache_dir, *place)), target)

    def _fetch_runs(self, stage: Any) -> None:
        """Fetch what the run-cache of the remote holds of a stage with its present inputs."""
        cache, remote = self._repo.stage_cache, self._remote("fetch")
        key = _key(stage)
        if key is None:
            return
        folder = remote.fs.join(remote.path, "runs", key[:2], key)
        if not remote.fs.exists(folder):
            return
        own = Path(cache.cache_dir) / key[:2] / key
        own.mkdir(parents=True, exist_ok=True)
        # Not apart in the same folder, where DVC takes every file for an entry.
        for path in remote.fs.find(folder):
            target = own / remote.fs.name(path)
            if not target.exists():
                apart = own.parent / f".{target.name}.{os.getpid()}.tmp"
                remote.fs.get_file(path, str(apart))
                os.replace(apart, target)

    def _remote(self, what: str) -> Any:
        return self._repo.cloud.get_remote_odb(None, what, hash_name="md5-dos2unix")

    @contextlib.contextmanager
    def _explained(self, does: str) -> Iterator[None]:
        """Errors of the remote as one that names it, whatever the library beneath raises."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            url = self._repo.config["remote"].get(self._name, {}).get("url")
            told = str(error) or type(error).__name__
            raise UserError(
                f"DVC's remote {self._name!r} ({url}) {does}: {told}; what was made is "
                "kept where it was made, and the next run goes on from there"
            ) from error


def _key(stage: Any) -> str | None:
    """Under which key the run-cache has a stage with its present inputs."""
    from dvc.stage.cache import _can_hash, _get_stage_hash

    return _get_stage_hash(stage) if _can_hash(stage) else None


def _section(stage: Any) -> dict[str, Any]:
    from dvc.stage.serialize import to_single_stage_lockfile

    return dict(to_single_stage_lockfile(stage))
