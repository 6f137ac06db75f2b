"""Rules of the sources that no linter checks: text is UTF-8, and no program is started by a
shell.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = [
    path
    for folder in ("genbench", "pipelines", "benchmarks")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
]


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str, set[str]]]:
    """Every call, with the name of what is called and its keywords."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            yield node, name, {keyword.arg or "**" for keyword in node.keywords}


def mode_of(call: ast.Call, position: int) -> str:
    """The mode of a call of open; text if it is not a constant."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[
        position : position + 1
    ]
    return str(given[0].value) if given and isinstance(given[0], ast.Constant) else "r"


def without_encoding(source: str) -> list[int]:
    """Lines that read or write text in whatever encoding the locale has."""
    found = []
    for call, name, keywords in calls(ast.parse(source)):
        method = isinstance(call.func, ast.Attribute)
        owner = getattr(call.func.value, "id", "") if isinstance(call.func, ast.Attribute) else ""
        text = (
            (name == "read_text" and not call.args)
            or (name == "write_text" and method)
            or (
                name == "open"
                and owner not in ("os", "Image", "webbrowser")
                and "b" not in mode_of(call, 0 if method else 1)
                and "closefd" not in keywords
            )
            or (name == "fdopen" and "b" not in mode_of(call, 1))
            or (
                name in ("NamedTemporaryFile", "TemporaryFile")
                and "b" not in mode_of(call, 0)
                and mode_of(call, 0) != "r"
            )
            or (
                name in ("run", "Popen", "check_output", "check_call")
                and bool(keywords & {"text", "universal_newlines"})
            )
        )
        if text and "encoding" not in keywords:
            found.append(call.lineno)
    return found


def by_a_shell(source: str) -> list[int]:
    """Lines that hand a command to a shell."""
    return [
        call.lineno
        for call, name, keywords in calls(ast.parse(source))
        if "shell" in keywords
        or name in ("system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell")
    ]


@pytest.mark.parametrize(
    "line",
    [
        "p.read_text()",
        "p.write_text(x)",
        "open(p)",
        "open(p, 'w')",
        "p.open()",
        "p.open('a')",
        "p.open(mode='w')",
        "os.fdopen(3, 'w')",
        "subprocess.run(x, text=True)",
        "tempfile.NamedTemporaryFile('w')",
    ],
)
def test_the_rule_sees_what_it_is_for(line: str) -> None:
    assert without_encoding(line) == [1]
    assert (
        without_encoding(f"{line.removesuffix(')')}, encoding='utf-8')".replace("(, ", "(")) == []
    )


@pytest.mark.parametrize(
    "line",
    [
        "p.read_text('utf-8')",
        "p.open('rb')",
        "open(p, 'xb')",
        "os.open(p, 0)",
        "Image.open(p)",
        "subprocess.run(x)",
        "os.fdopen(3, 'wb')",
    ],
)
def test_bytes_need_no_encoding(line: str) -> None:
    assert without_encoding(line) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_a_source_reads_and_writes_utf_8_and_starts_no_shell(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert without_encoding(source) == []
    assert by_a_shell(source) == []


def test_a_shell_would_be_seen() -> None:
    assert by_a_shell("subprocess.run('ls', shell=True)\nos.system('ls')\nos.popen('ls')\n") == [
        1,
        2,
        3,
    ]
