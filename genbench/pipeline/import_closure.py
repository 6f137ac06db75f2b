"""The source files of the project: which of them a module imports, and a hash of what each does.

Nothing is imported to find out: imports are read from the text.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from genbench.errors import UserError
from genbench.files import sha256

__all__ = ["SOURCE_ROOT", "Sources", "source_hash"]

SOURCE_ROOT = Path(__file__).resolve().parents[2]
"""The folder of the packages ``genbench`` and ``pipelines`` that are running."""

_FOR_TYPES = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
"""Conditions of what only a type checker sees."""


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
        """Note the hash of a file, and the files that it needs."""
        if relative in self._hashes:
            return
        path = self.root / relative
        tree = self._parsed(path) if path.suffix == ".py" else None
        if tree is None:
            self._hashes[relative], self._edges[relative] = sha256(path), frozenset()
            return
        self._hashes[relative] = source_hash(tree)
        imported = {file for module in _imports(tree, relative) for file in self._files(module)}
        named = {Path(text).name for text in _strings(tree) if text and len(text) < 256}
        data = {file.relative_to(self.root).as_posix() for file in self._data if file.name in named}
        self._edges[relative] = frozenset(imported | data)

    def _parsed(self, path: Path) -> ast.Module | None:
        """A source; None for a model's file that is no Python: its own entries fail when they
        import it, and the others are to go on.

        Raises:
            UserError: another file that is no Python; names it and the line.
        """
        try:
            return ast.parse(path.read_bytes(), filename=str(path))
        # All that Python's parser raises.
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if path.parent == self.root / "genbench" / "models":
                return None
            line = f"{error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else f" {error}"
            raise UserError(f"{path}:{line}; mend it, then run the command again") from error


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
        # Which optional fields a node has depends on the version of Python; empty ones are none.
        return type(node).__name__, *[field for field in fields if field[1] not in ("None", [])]
    if isinstance(node, list):
        return [_canonical(item) for item in node if not _is_inert(item)]
    return repr(node)


def _is_inert(statement: object) -> bool:
    """Whether it is a string that stands alone (a docstring), or the version of the package, which
    is recorded but changes no result.
    """
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)
    if not isinstance(statement, ast.Assign):
        return False
    return [getattr(target, "id", None) for target in statement.targets] == ["__version__"]


def _strings(tree: ast.Module) -> Iterator[str]:
    """The string constants of a source."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


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
    if isinstance(node, ast.If) and ast.unparse(node.test) in _FOR_TYPES:
        children = node.orelse
    for child in children:
        yield from _executed(child)
