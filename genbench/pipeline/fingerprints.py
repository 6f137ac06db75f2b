"""Fingerprints: what a stage depends on besides files, that is its sources and its parameters, as a
small file that DVC compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genbench import registry
from genbench.config.layout import Layout
from genbench.config.params import Entry, Params
from genbench.config.stage_params import THREADS, entry_params, shared_params
from genbench.config.stages import ENTRY_STAGES, STAGES
from genbench.errors import UserError, near
from genbench.files import as_json, read_json, sha256
from genbench.pipeline.import_closure import Sources

__all__ = [
    "SHARED_STAGES",
    "Fingerprint",
    "check_unchanged",
    "entry_fingerprint",
    "fingerprint_files",
    "outdated",
    "shared_fingerprint",
]

SHARED_STAGES = tuple(
    name for name, stage in STAGES.items() if stage.per != "entry" and name != "fingerprints"
)
"""Stages of no entry that have a fingerprint; the stage that writes them has none."""

_DATASETS = "genbench/data/datasets.py"
"""What imports the module of a data set by its name."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The sources of a stage.

    Attributes:
        hash: SHA-256 over all below.
        files: path relative to the source root → hash of the file's content.
        plugin: ``distribution==version`` of a third-party model, which stands for its files; else
            None.
    """

    hash: str
    files: Mapping[str, str]
    plugin: str | None = None

    @classmethod
    def of(
        cls, sources: Sources, modules: Iterable[str], *, plugin: str | None = None
    ) -> Fingerprint:
        """That of modules and all that they import, with a plug-in's version."""
        files = sources.closure(modules)
        lines = [f"{path} {digest}" for path, digest in files.items()]
        return cls(sha256("\n".join([*lines, str(plugin)]).encode()), files, plugin)


def entry_fingerprint(
    sources: Sources, stage: str, entry: Entry, metrics: Sequence[str]
) -> Fingerprint:
    """The sources of a stage of an entry.

    Arguments:
        sources: the packages.
        stage: one of :data:`genbench.config.stages.ENTRY_STAGES`.
        entry: the entry.
        metrics: names of the profile's metric modules, for a stage that depends on them.

    Raises:
        UserError: unknown model or metric, with near matches.
    """
    modules, version = [f"pipelines.{stage}"], None
    if STAGES[stage].runs_model:
        own, version = _model(sources, entry)
        modules += own
    if "metrics" in STAGES[stage].profile_keys:
        modules += [_metric(sources, name) for name in metrics]
    modules += _datasets(sources, modules, [entry.dataset])
    return Fingerprint.of(sources, modules, plugin=version)


def shared_fingerprint(sources: Sources, stage: str, datasets: Sequence[str]) -> Fingerprint:
    """The sources of a stage of no entry, with the data sets of the profile."""
    modules = [f"pipelines.{stage}"]
    return Fingerprint.of(sources, [*modules, *_datasets(sources, modules, datasets)])


def _model(sources: Sources, entry: Entry) -> tuple[list[str], str | None]:
    """The module of an entry's model, or the version of the plug-in that it is from."""
    file = sources.root / "genbench" / "models" / f"{entry.model}.py"
    if entry.model.isidentifier() and file.is_file():
        return [f"genbench.models.{entry.model}"], None
    version = registry.plugin(entry.model)
    if version is None:
        raise UserError(
            f"entries.{entry.name}.model: {entry.model!r} is no "
            f"model{near(entry.model, registry.model_names())}"
        )
    return [], version


def _metric(sources: Sources, name: str) -> str:
    folder = sources.root / "genbench" / "scoring" / "metrics"
    if not name.isidentifier() or not (folder / f"{name}.py").is_file():
        known = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
        raise UserError(f"metrics: {name!r} is no metric{near(name, known)}")
    return f"genbench.scoring.metrics.{name}"


def _datasets(sources: Sources, modules: Sequence[str], names: Sequence[str]) -> list[str]:
    """The modules of data sets, which are imported by name, for code that looks them up; an unknown
    one has none, and the stage that needs it says so.
    """
    if _DATASETS not in sources.closure(modules):
        return []
    folder = sources.root / "genbench" / "data"
    return [f"genbench.data.{name}" for name in names if (folder / f"{name}.py").is_file()]


# ---------------------------------------------------------------------- their files


def fingerprint_files(params: Params, sources: Sources | None = None) -> dict[Path, dict[str, Any]]:
    """The fingerprints of a profile, for each stage of each entry and for those of none: file →
    content, a fingerprint with the parameters of its stage as ``params``.

    Arguments:
        params: the profile.
        sources: the packages; None for those that run.

    Raises:
        UserError: an unknown model or metric, or a source that is no Python.
    """
    sources, layout = Sources() if sources is None else sources, Layout.of(params)
    result: dict[Path, dict[str, Any]] = {}
    for stage in SHARED_STAGES:
        found = asdict(shared_fingerprint(sources, stage, params.datasets))
        result[layout.fingerprint("", stage)] = {**found, "params": shared_params(params, stage)}
    for entry in params.entries.values():
        for stage in ENTRY_STAGES:
            found = asdict(entry_fingerprint(sources, stage, entry, params.metrics))
            own = entry_params(params, stage, entry)
            result[layout.fingerprint(entry.name, stage)] = {**found, "params": own}
    return result


def _written(path: Path) -> dict[str, Any]:
    """A fingerprint from its file.

    Raises:
        UserError: the file is damaged; names it.
    """
    try:
        written = read_json(path)
        return {
            "hash": written["hash"],
            "files": dict(written["files"]),
            "plugin": written["plugin"],
            "params": dict(written["params"]),
        }
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it, and run the command again"
        ) from error


def check_unchanged(params: Params, stage: str, key: str) -> None:
    """Raise UserError if the sources of a stage are no longer those of its fingerprint, under which
    its results would be kept.

    Arguments:
        params: the profile.
        stage: a stage of an entry or of a data set.
        key: the entry, or the data set.
    """
    path = Layout.of(params).fingerprint(key, stage)
    if not path.is_file():
        return  # the stage names what it lacks
    sources, written = Sources(), _written(path)
    if stage in ENTRY_STAGES:
        now = entry_fingerprint(sources, stage, params.entry(key), params.metrics)
    else:
        now = shared_fingerprint(sources, stage, params.datasets)
    noted, threads = written["params"].get(THREADS), shared_params(params, stage).get(THREADS)
    if noted != threads:
        begun, asked = noted or "no", threads or "none"
        raise UserError(
            f"{path} is for {begun} threads of the CPU, and {stage} of {key} is to run with "
            f"{asked}; `genbench run` begins anew with the present number"
        )
    if now.hash != written["hash"]:
        raise UserError(
            f"sources changed since this run began ({', '.join(_changed(written, now)[:5])}); run "
            "the command again"
        )


def _changed(written: Mapping[str, Any], now: Fingerprint) -> list[str]:
    """The files in which a fingerprint differs from another one, then the plug-in."""
    before = written["files"]
    names = before.keys() | now.files.keys()
    files = sorted(name for name in names if before.get(name) != now.files.get(name))
    if written["plugin"] == now.plugin:
        return files
    return [*files, f"{written['plugin']} -> {now.plugin}"]


def outdated(params: Params, now: Mapping[Path, Any] | None = None) -> list[Path]:
    """Fingerprints that are there and are no longer those of now.

    DVC cannot see by itself that a plug-in, whose files are not in the project, is installed in
    another version, nor that the environment asks for other threads: the stage ``fingerprints``
    must be run anew by force then.

    Arguments:
        params: the profile.
        now: its :func:`fingerprint_files`; None to make them, which takes a second.
    """
    return [
        path
        for path, content in (fingerprint_files(params) if now is None else now).items()
        if path.is_file() and path.read_bytes() != as_json(content).encode()
    ]
