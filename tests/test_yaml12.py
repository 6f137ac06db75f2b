"""Params files are read as DVC reads them, and what no params file needs is refused by its path
before anything is made of it.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import load_yaml

from genbench.config import yaml12
from genbench.errors import UserError

SCALARS = """
1e-3 5e-05 1E5 -2e+3 1.0e-2 .5 -.5e-1 1_000 1_0.5 010 0o17 0x1F 0b11 +7 -0 1:30 12:30:45
yes No on OFF y true False TRUE null Null ~ "1" '5e-05' 1e 1.2.3 -x text
""".split()


@pytest.mark.parametrize("scalar", SCALARS)
def test_a_value_is_what_dvc_reads(tmp_path: Path, scalar: str) -> None:
    (tmp_path / "params.yaml").write_text(f"a: {scalar}\n", encoding="utf-8")
    theirs = load_yaml(tmp_path / "params.yaml")["a"]
    ours = yaml12.parse(f"a: {scalar}\n")["a"]
    assert (ours, type(ours)) == (theirs, type(theirs))


def test_numbers_without_a_point_are_numbers() -> None:
    """DVC writes 5e-05 for 0.00005, which YAML 1.1 reads as text."""
    assert yaml12.parse("{a: 5e-05, b: 1e-3, c: yes}") == {
        "a": 0.00005,
        "b": 0.001,
        "c": "yes",
    }


def test_committed_files_are_what_dvc_reads() -> None:
    root = Path(__file__).parents[1]
    for path in (root / "params.yaml", *root.glob("profiles/*/params.yaml")):
        assert yaml12.parse(path.read_text(encoding="utf-8")) == load_yaml(path)


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("a: {b: .nan}", ["a.b: must be a finite number, got .nan"]),
        ("a: {b: [1, -.inf]}", ["a.b[1]: must be a finite number, got -.inf"]),
        ("a: 1e999", ["a: must be a finite number, got 1e999"]),
        ("a: {1: x}", ["a.1: a key must be text, and YAML reads this one, in line 1, as a number"]),
        (
            "a:\n  true: x",
            ["a.true: a key must be text, and YAML reads this one, in line 2, as a truth value"],
        ),
        ("? [a]\n: 1", ["?: a key must be text"]),
        (
            "a: 1\nb:\n  c: 1\n  d: 2\n  c: 3",
            ["b.c: given twice, in lines 3 and 5; keep one of them"],
        ),
        (
            "a: 2020-01-01",
            [
                "a: must be text, a number, true, false, null, a list or a mapping, and YAML reads "
                "a date here"
            ],
        ),
        ("a: !!set {b}", ["a: must be text"]),
        ("a: !!python/object/apply:os.system [ls]", ["a: must be text"]),
        ("a: !!float x", ["a: must be a finite number, got x"]),
        (f"a: {'9' * 5000}", ["a: must be a number of at most 100 digits, got 5000"]),
        (
            "a: {b: .nan, 1: 2}\nc: 1\nc: .inf",
            ["3 mistakes", "a.b: must be", "a.1: a key", "c: given twice", "c: must be"],
        ),
    ],
)
def test_a_mistake_is_named_with_its_path(text: str, mistakes: list[str]) -> None:
    with pytest.raises(UserError) as error:
        yaml12.parse(text)
    assert all(part in str(error.value) for part in mistakes if not part.endswith("mistakes")), str(
        error.value
    )


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: b: c",
        "a: *missing",
        "a: !!int x",
        "a: !!bool maybe",
        "a: {<<: 1}",
        "a: {<<: [1]}",
        "a: 1\n---\nb: 2",
        "a: \0",
        "\t- x\na",
    ],
)
def test_what_is_no_document_is_one_error(text: str) -> None:
    with pytest.raises(UserError):
        yaml12.parse(text)


def test_an_empty_file_holds_nothing() -> None:
    assert yaml12.parse("") is None
    assert yaml12.parse("# a comment\n") is None


NO_ALIAS = "YAML's aliases and merges (*name, <<) are refused"


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("entries:\n  a: &a {arch: {w: 1}}\n  b: {<<: *a, seed: 1}", ["entries.b"]),
        ("a: &a {x: {y: 1}}\nb: *a", ["b"]),
        ("a: {b: &b [1], c: [*b, 2, *b]}", ["a.c[0]", "a.c[2]"]),
        ("lr: &lr 0.1\nother: {lr: *lr}", ["other.lr"]),
        ("a: {<<: {x: 1}}", ["a"]),
        ("<<: {x: 1}", [""]),
        ("a: &a [*a]", ["a[0]"]),
        ("a: &a {b: *a}", ["a.b"]),
    ],
)
def test_aliases_and_merges_are_refused_where_they_are(text: str, places: list[str]) -> None:
    with pytest.raises(UserError) as error:
        yaml12.parse(text)
    told = str(error.value).split("\n  ")
    told = told[1:] if len(places) > 1 else told
    assert [line.partition(NO_ALIAS)[0] for line in told] == [f"{p}: " if p else "" for p in places]
    assert all("`like: NAME`" in line for line in told)


def test_an_anchor_that_nothing_refers_to_is_nothing() -> None:
    assert yaml12.parse("a: &a {x: 1}\nb: [1, 1, {x: 1}]") == {"a": {"x": 1}, "b": [1, 1, {"x": 1}]}


def bomb(levels: int, width: int = 10) -> str:
    """Aliases of aliases: ``width ** levels`` values in as many lines as there are levels."""
    lines = ["l0: &l0 [x]"] + [
        f"l{i}: &l{i} [{', '.join(['*l' + str(i - 1)] * width)}]" for i in range(1, levels)
    ]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        bomb(9),
        "\n".join(
            ["a0: &a0 {x: 1}"]
            + [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 9)]
        ),
        "a: " + "[" * 5000,
        "a: " + "{b: " * 5000,
        bomb(40, width=1),
    ],
    ids=[
        "lists",
        "merges",
        "open brackets",
        "open braces",
        "a chain",
    ],
)
def test_a_bomb_is_refused_and_not_expanded(text: str) -> None:
    with pytest.raises(UserError, match=r"aliases and merges|nested deeper than 32 levels"):
        yaml12.parse(text)


TEXTS = [
    "",
    " a ",
    "1e-3",
    "yes",
    "null",
    "1",
    "a: b",
    "{a}",
    "#x",
    "- x",
    "é",
    "it's",
    '"',
    "a\nb",
    "x" * 300,
    "*a",
    "&a",
    "<<",
    "=",
    "2020-01-01",
]


def some_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 3 else 5)
    if kind == 5:
        return [some_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind > 5:
        return {f"k{i}": some_value(rng, depth + 1) for i in range(rng.randrange(4))}
    return [
        None,
        rng.random() < 0.5,
        rng.randrange(-(10**6), 10**6),
        rng.uniform(-1, 1) * 10.0 ** rng.randrange(-20, 20),
        rng.choice(TEXTS),
    ][kind]


def test_what_is_written_in_one_line_is_read_back() -> None:
    rng = random.Random(0)
    for value in [TEXTS, *(some_value(rng) for _ in range(200))]:
        line = yaml12.write_flow("key", value)
        assert "\n" not in line
        read = yaml12.parse(f"before: 1\n{line}\nafter: 2\n")
        assert repr(read) == repr({"before": 1, "key": value, "after": 2})  # 1 is not 1.0


def test_a_line_shares_nothing() -> None:
    block = {"lr": 5e-05}
    line = yaml12.write_flow("optim", {"a": block, "b": block, "text": ["1e-3", "yes", "1"]})
    assert "&" not in line
    assert yaml12.parse(line) == {"optim": {"a": block, "b": block, "text": ["1e-3", "yes", "1"]}}
