"""Fingerprints of code: which sources can change what a stage writes, and one hash of them. Imports
none of what it reads.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genbench.config.params import Entry, Params
from genbench.errors import UserError, near
from genbench.files import read_json, sha256

__all__ = [
    "ENTRY_STAGES",
    "SHARED_STAGES",
    "SOURCE_ROOT",
    "Fingerprint",
    "Sources",
    "check_unchanged",
    "entry_fingerprint",
    "outdated_plugins",
    "shared_fingerprint",
]

SOURCE_ROOT = Path(__file__).resolve().parents[2]
"""The folder of the packages ``genbench`` and ``pipelines`` that are running."""

ENTRY_STAGES: Mapping[str, bool] = {
    "train": True,
    "sample": True,
    "visuals": True,
    "score_likelihood": True,
    "score_samples": False,
}
"""Stages of an entry, and whether they run its model (`score_samples` reads images alone)."""

SHARED_STAGES = ("prepare", "features", "report", "track")
"""Stages of no entry."""

_DATASETS = "genbench/data/datasets.py"
"""Imports data sets by their names."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a stage runs.

    Attributes:
        hash: SHA-256 over all below.
        files: path relative to the source root → hash of the file's content.
        plugin: ``distribution==version`` of a third-party model, which stands for its files; else
            None.
    """

    hash: str
    files: Mapping[str, str]
    plugin: str | None = None


class Sources:
    """The packages below a folder, each file read once.

    A file's imports are all of its ``import`` statements, those inside functions too, without those
    under ``if TYPE_CHECKING``. Modules imported by a computed name are no part of it; a caller
    names them as further modules. A data file (any file of a package that is no ``.py``) belongs to
    each module that has its name as a string constant.

    Arguments:
        root: the folder that holds the packages.
        packages: their names.
    """

    def __init__(
        self, root: Path = SOURCE_ROOT, packages: Sequence[str] = ("genbench", "pipelines")
    ) -> None:
        self.root = root
        self._packages = packages
        self._hashes: dict[str, str] = {}
        self._edges: dict[str, frozenset[str]] = {}
        self._data = list(self._data_files())

    def closure(self, modules: Iterable[str]) -> dict[str, str]:
        """Hashes of the sources of ``modules`` and of all that they import, by path relative to the
        root, sorted.

        Raises:
            UserError: a module has no source file, or one that is no Python; names it.
        """
        todo = [path for name in modules for path in self._files(name, required=True)]
        seen: set[str] = set()
        while todo:
            path = todo.pop()
            if path not in seen:
                seen.add(path)
                self._read(path)
                todo.extend(self._edges[path])
        return {path: self._hashes[path] for path in sorted(seen)}

    def fingerprint(self, modules: Iterable[str], *, plugin: str | None = None) -> Fingerprint:
        """The closure of ``modules`` under one hash, with a plug-in's version."""
        files = self.closure(modules)
        lines = [f"{path} {digest}" for path, digest in files.items()]
        return Fingerprint(sha256("\n".join([*lines, str(plugin)]).encode()), files, plugin)

    def _data_files(self) -> Iterator[Path]:
        for package in self._packages:
            for path in sorted((self.root / package).rglob("*")):
                if path.is_file() and path.suffix not in (".py", ".pyc"):
                    yield path

    def _files(self, module: str, *, required: bool = False) -> list[str]:
        """Source files that importing ``module`` runs: its own and those of its parent packages;
        none if it is not ours.
        """
        parts = module.split(".")
        if parts[0] not in self._packages:
            return []
        parents = [self.root.joinpath(*parts[:i], "__init__.py") for i in range(1, len(parts))]
        own = [
            self.root.joinpath(*parts, "__init__.py"),
            self.root.joinpath(*parts[:-1], f"{parts[-1]}.py"),
        ]
        found = [path for path in own if path.is_file()]
        if required and not found:
            raise UserError(f"module {module} has no source file {own[-1]}")
        return [
            path.relative_to(self.root).as_posix() for path in [*parents, *found] if path.is_file()
        ]

    def _read(self, relative: str) -> None:
        if relative in self._hashes:
            return
        path = self.root / relative
        if path.suffix != ".py":
            self._hashes[relative], self._edges[relative] = sha256(path), frozenset()
            return
        try:
            tree = ast.parse(path.read_bytes(), filename=str(path))
        except (
            SyntaxError,
            ValueError,
            RecursionError,
            MemoryError,
        ) as error:  # all of which Python's parser raises
            if (
                path.parent == self.root / "genbench" / "models"
            ):  # its own entries fail when they import it; the others are to go on
                self._hashes[relative], self._edges[relative] = sha256(path), frozenset()
                return
            reason = (
                f"{error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else f" {error}"
            )
            raise UserError(f"{path}:{reason}; mend it, then run the command again") from error
        self._hashes[relative] = source_hash(tree)
        imported = {file for module in _imports(tree, relative) for file in self._files(module)}
        constants = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        named = {Path(text).name for text in constants if text and len(text) < 256}
        data = {file.relative_to(self.root).as_posix() for file in self._data if file.name in named}
        self._edges[relative] = frozenset(imported | data)


def source_hash(tree: ast.Module) -> str:
    """SHA-256 of what a source does: layout, comments, docstrings and the value of ``__version__``
    are left out.

    It is the same on all supported versions of Python, unlike one of :func:`ast.dump`, which each
    version prints in its own way.
    """
    return hashlib.sha256(repr(_canonical(tree)).encode()).hexdigest()


def _canonical(node: object) -> object:
    if isinstance(node, ast.AST):
        fields = [
            (name, _canonical(value))
            for name, value in ast.iter_fields(node)
            if name not in ("ctx", "kind", "type_comment")
        ]
        return (
            type(node).__name__,
            *[(name, value) for name, value in fields if value not in ("None", [])],
        )
    if isinstance(node, list):
        return [_canonical(item) for item in node if not _is_inert(item)]
    return repr(node)


def _is_inert(statement: object) -> bool:
    """Whether it is a string that stands alone (a docstring), or the version of the package, which
    is recorded but changes no result.
    """
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)
    return isinstance(statement, ast.Assign) and [
        getattr(t, "id", None) for t in statement.targets
    ] == ["__version__"]


def _imports(tree: ast.Module, relative: str) -> Iterator[str]:
    """Absolute names of what a source imports; of ``from a import b`` both ``a`` and ``a.b``, which
    may be a module.
    """
    package = Path(relative).parent.parts
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    yield node
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    ):
        children = node.orelse
    for child in children:
        yield from _executed(child)


def entry_fingerprint(
    sources: Sources, stage: str, entry: Entry, metrics: Sequence[str]
) -> Fingerprint:
    """What one stage of an entry runs.

    Arguments:
        sources: the packages.
        stage: one of :data:`ENTRY_STAGES`.
        entry: the entry.
        metrics: names of the metric modules of the profile, which count for ``score_samples``.

    Raises:
        UserError: unknown model or metric, with near matches.
    """
    modules, plugin = [f"pipelines.{stage}"], None
    if ENTRY_STAGES[stage]:
        own, plugin = _model(sources, entry)
        modules += own
    if stage == "score_samples":
        modules += [_metric(sources, name) for name in metrics]
    modules += _datasets(sources, modules, [entry.dataset])
    return sources.fingerprint(modules, plugin=plugin)


def shared_fingerprint(sources: Sources, stage: str, datasets: Sequence[str]) -> Fingerprint:
    """What a stage of no entry runs, with the data sets of the profile."""
    modules = [f"pipelines.{stage}"]
    return sources.fingerprint([*modules, *_datasets(sources, modules, datasets)])


def check_unchanged(params: Params, stage: str, key: str) -> None:
    """Raise UserError if the sources of a stage are no longer those of its fingerprint, under which
    its results would be kept.

    Arguments:
        params: the profile.
        stage: a stage of an entry, ``prepare`` or ``features``.
        key: the entry, or the data set.
    """
    own = stage in ENTRY_STAGES
    path = params.fingerprint(key if own else "_stages", stage)
    if not path.is_file():
        return  # the stage names what it lacks
    sources, written = Sources(), _written(path)
    now = (
        entry_fingerprint(sources, stage, params.entry(key), params.metrics)
        if own
        else shared_fingerprint(sources, stage, params.datasets)
    )
    if now.hash != written["hash"]:
        before = written["files"]
        names = sorted(
            name
            for name in before.keys() | now.files.keys()
            if before.get(name) != now.files.get(name)
        )
        names += [f"{written['plugin']} -> {now.plugin}"] if now.plugin != written["plugin"] else []
        raise UserError(
            f"sources changed since this run began ({', '.join(names[:5])}); run the command again"
        )


def outdated_plugins(params: Params) -> list[str]:
    """Entries whose third-party model is installed in another version than their fingerprints say.

    DVC cannot see that by itself, since the files of a plug-in are not in the project: the stage
    ``code`` must be run anew by force.
    """
    from genbench.registry import plugin

    written = {
        entry.name: params.fingerprint(entry.name, "train") for entry in params.entries.values()
    }
    return [
        name
        for name, path in written.items()
        if path.is_file() and _plugin_of(path) != plugin(params.entries[name].model)
    ]


def _plugin_of(path: Path) -> object:
    """The plug-in that a fingerprint names; of a damaged one, what is none."""
    try:
        return _written(path)["plugin"]
    except UserError:
        return ""


def _written(path: Path) -> dict[str, Any]:
    """The fingerprint that the stage ``code`` wrote.

    Raises:
        UserError: the file is damaged; names it.
    """
    try:
        written = read_json(path)
        return {
            "hash": written["hash"],
            "files": dict(written["files"]),
            "plugin": written["plugin"],
        }
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it, and run the command again"
        ) from error


def _model(sources: Sources, entry: Entry) -> tuple[list[str], str | None]:
    from genbench.registry import model_names, plugin

    if (
        entry.model.isidentifier()
        and (sources.root / "genbench" / "models" / f"{entry.model}.py").is_file()
    ):
        return [f"genbench.models.{entry.model}"], None
    version = plugin(entry.model)
    if version is None:
        raise UserError(
            f"entries.{entry.name}.model: {entry.model!r} is no "
            f"model{near(entry.model, model_names())}"
        )
    return [], version


def _datasets(sources: Sources, modules: Sequence[str], names: Sequence[str]) -> list[str]:
    """The modules of data sets, which are imported by name, for code that looks them up; an unknown
    one has none, and the stage that needs it says so.
    """
    if _DATASETS not in sources.closure(modules):
        return []
    folder = sources.root / "genbench" / "data"
    return [f"genbench.data.{name}" for name in names if (folder / f"{name}.py").is_file()]


def _metric(sources: Sources, name: str) -> str:
    folder = sources.root / "genbench" / "scoring" / "metrics"
    if not name.isidentifier() or not (folder / f"{name}.py").is_file():
        raise UserError(
            f"metrics: {name!r} is no "
            f"metric{near(name, [p.stem for p in folder.glob('*.py') if p.stem != '__init__'])}"
        )
    return f"genbench.scoring.metrics.{name}"
