"""docs/architecture.md and the code agree: packages, direction of imports, places of changes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/architecture.md has no section {title!r}"
    return found.group(1)


def order() -> list[str]:
    """Packages and modules as the page lists them, e.g. ``genbench/disk.py`` and ``pipelines/``."""
    rows = re.findall(r"^\|([^|]*)\|", section("Packages"), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([\w/.]+)`", row)]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for folder in ("genbench", "pipelines")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def imports(module: str) -> Iterator[str]:
    """Own modules that a module imports, inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield from [name] if name in MODULES else [node.module or ""]
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def place(module: str) -> str:
    """The line of the page that a module belongs to."""
    path = MODULES[module].relative_to(ROOT)
    parts = path.parts
    return (
        path.as_posix()
        if parts[0] == "genbench" and len(parts) == 2
        else "/".join(parts[: 2 if parts[0] == "genbench" else 1]) + "/"
    )


GRAPH = {module: {name for name in imports(module) if name in MODULES} for module in MODULES}
ENTRANCES = {"genbench/__init__.py", "genbench/__main__.py"}
"""They stand for the package to Python and to the shell, and import what they show."""


def test_the_page_lists_the_packages_that_are_there() -> None:
    assert sorted(order()) == sorted({place(module) for module in MODULES} - ENTRANCES)


def upward() -> list[str]:
    """Imports against the order, each as ``module -> module``."""
    rank = {name: position for position, name in enumerate(order())}
    return [
        f"{module} -> {name}"
        for module, names in GRAPH.items()
        for name in sorted(names)
        if place(module) not in ENTRANCES
        and place(name) != "genbench/__init__.py"
        and (place(name) in ENTRANCES or rank[place(name)] > rank[place(module)])
    ]


def test_imports_go_one_way() -> None:
    assert upward() == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module not in done:
            for name in sorted(GRAPH[module]):
                visit(name, (*above, module))
            done.add(module)

    for module in GRAPH:
        visit(module, ())


@pytest.mark.parametrize(
    "package", sorted({m for m, p in MODULES.items() if p.name == "__init__.py"})
)
def test_packages_import_nothing_when_they_are_imported(package: str) -> None:
    if package != "genbench":  # it has `load`
        body = ast.parse(MODULES[package].read_text("utf-8")).body
        assert not [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]


CHANGES = [
    "a metric",
    "a model",
    "the learning-rate schedule",
    "a data set",
    "a column of the HTML table",
    "a command",
    "run stages elsewhere",
    "how unfinished training is saved",
    "the formula of FID",
    "what runs again when code changes",
    "a new kind of picture",
    "what MLflow shows",
]


def test_each_change_has_a_place_and_the_place_is_there() -> None:
    rows = re.findall(r"^\| ([^|]+?) +\| (.+?) \|$", section("Where to change what"), re.MULTILINE)
    assert [change for change, _ in rows if change in CHANGES] == CHANGES
    assert rows[0] == ("change", "where")
    for change, where in rows[1:]:
        paths = [name for name in re.findall(r"`([\w/.<>*-]+)`", where) if "/" in name]
        assert paths, change
        for path in paths:
            # `<name>` stands for a file that is there, or for one to come beside others.
            pattern = re.sub("<[^>]*>", "*", path)
            assert list(ROOT.glob(pattern)), f"{change}: {path}"


def test_links_lead_somewhere() -> None:
    pages = [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
    ]
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
