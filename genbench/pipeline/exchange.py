"""Results of stages over the project's DVC remote, for machines that share no folder.

Objects are sent first and the entry of the run-cache that leads to them last, so that what is found
there is whole; and nothing is sent but those of the stages that are named. Where the run-cache has
other bits of the same inputs, none of them is taken without a word.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genbench.config.stages import STAGES
from genbench.errors import UserError
from genbench.files import write_bytes
from genbench.pipeline.receipts import SAME_BITS, OtherBitsError
from genbench.pipeline.record import Books, restored

__all__ = ["Exchange", "Section"]

Section = Mapping[str, Any]
"""What dvc.lock holds of a stage: its command, and path and MD5 of its inputs and outputs."""
_ENTRY = re.compile(r"[0-9a-f]{64}")
"""The name of an entry of the run-cache, which is such a section; others are half-written."""


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

    def send(self, names: Sequence[str], *, compare: bool = False) -> dict[str, Section]:
        """Send the results of stages that are in their places. If the remote has other bits of the
        same inputs, those stay what is found there.

        Arguments:
            names: of the stages, such as ``train@made``.
            compare: send no others than those.

        Returns:
            what dvc.lock holds of each, or would hold.

        Raises:
            OtherBitsError: the remote has others of a stage; names it, and what differs.
            UserError: the remote does not take them.
        """
        sections: dict[str, Section] = {}
        with self._books.stages() as stages:
            for name in names:
                stage = stages[name]
                stage.save(run_cache=False)  # not before its bits are compared
                stage.commit()
                with self._explained("does not take results"):
                    differing = self._differing(stage)
                    if differing and compare:
                        raise OtherBitsError(self._refusal(stage, differing))
                self._repo.stage_cache.save(stage)
                with self._explained("does not take results"):
                    self._push(stage)
                    if not differing:
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
            OtherBitsError: it was run more than once, and gave other bits; names what differs, and
                where.
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
        found, key = self._runs(stage, "fetch"), _key(stage)
        if not found or key is None:
            return
        own = Path(self._repo.stage_cache.cache_dir) / key[:2] / key
        here = {path.name: path.read_bytes() for path in own.glob("*") if _is_entry(path.name)}
        self._check_alike(stage, here | found)
        own.mkdir(parents=True, exist_ok=True)
        for name in found.keys() - here.keys():
            # Not apart in the same folder, where DVC takes every file for an entry.
            apart = own.parent / f".{name}.{os.getpid()}.tmp"
            write_bytes(apart, found[name])
            os.replace(apart, own / name)

    def _runs(self, stage: Any, what: str) -> dict[str, bytes]:
        """The entries of the remote's run-cache for a stage with its present inputs, by name."""
        remote, key = self._remote(what), _key(stage)
        if key is None:
            return {}
        folder = remote.fs.join(remote.path, "runs", key[:2], key)
        if not remote.fs.exists(folder):
            return {}
        paths = {remote.fs.name(path): path for path in remote.fs.find(folder)}
        runs = {name: remote.fs.cat_file(path) for name, path in paths.items() if _is_entry(name)}
        return {name: runs[name] for name in _sections(runs)}

    def _differing(self, stage: Any) -> str | None:
        """What differs between a stage's results and those that the remote has of the same inputs:
        a path relative to the root; None if nothing does.
        """
        own = self._bits(stage, _section(stage))
        others = _sections(self._runs(stage, "push")).values()
        found = (_first_differing(own, self._bits(stage, other)) for other in others)
        return next((path for path in found if path), None)

    def _check_alike(self, stage: Any, entries: Mapping[str, bytes]) -> None:
        """Raise OtherBitsError unless entries of the run-cache have the same bits."""
        sections, key = _sections(entries), _key(stage) or ""
        bits = [(name, self._bits(stage, sections[name])) for name in sorted(sections)]
        for (first, own), (name, other) in itertools.pairwise(bits):
            if path := _first_differing(own, other):
                raise OtherBitsError(
                    f"{_label(stage)} was run more than once with the same inputs, and {path} "
                    f"differs: DVC's run-cache has {first} and {name} in runs/{key[:2]}/{key}; "
                    f"remove the one that is wrong there from DVC's remote {self._name!r}, and "
                    f"from {self._repo.stage_cache.cache_dir} if it is there. {SAME_BITS}"
                )

    def _refusal(self, stage: Any, path: str) -> str:
        key = _key(stage) or ""
        return (
            f"{_label(stage)} was run more than once with the same inputs, here on "
            f"{platform.node()} and elsewhere, and {path} differs; what DVC's remote "
            f"{self._name!r} has stays, unless its runs/{key[:2]}/{key} is removed. {SAME_BITS}"
        )

    def _bits(self, stage: Any, section: Section) -> dict[str, str]:
        """MD5 of what a stage has written by path, but for what holds times."""
        layout, (name, _, entry) = self._books.layout, stage.name.partition("@")
        places = [layout.place(part, entry=entry) for part in STAGES[name].timed]
        timed = [place.relative_to(layout.root).as_posix() for place in places]
        outs = section.get("outs", ())
        return {out["path"]: out.get("md5", "") for out in outs if out["path"] not in timed}

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


def _is_entry(name: str) -> bool:
    return _ENTRY.fullmatch(name) is not None


def _sections(entries: Mapping[str, bytes]) -> dict[str, Section]:
    """What entries of the run-cache hold, but for those that are damaged, which DVC drops, too."""
    from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA
    from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml
    from voluptuous import Invalid

    found = {}
    for name, entry in entries.items():
        with contextlib.suppress(YAMLFileCorruptedError, Invalid, UnicodeDecodeError):
            found[name] = COMPILED_LOCK_FILE_STAGE_SCHEMA(parse_yaml(entry.decode(), name))
    return found


def _label(stage: Any) -> str:
    name, _, key = stage.name.partition("@")
    return f"{name} of {key}"


def _first_differing(own: Mapping[str, str], other: Mapping[str, str]) -> str | None:
    return next((path for path in sorted(own) if other.get(path) != own[path]), None)


def _section(stage: Any) -> dict[str, Any]:
    from dvc.stage.serialize import to_single_stage_lockfile

    return dict(to_single_stage_lockfile(stage))
