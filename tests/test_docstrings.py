"""What every model's docstring says, in one order: idea, formula, symbols, references, differences,
arguments, example. CONTRIBUTING.md describes the template.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re

import pytest
import torch
from torch import nn

import genbench.families
import genbench.models
import genbench.nn
from genbench.base import Conditioning, DataSpec
from genbench.registry import model_class, model_names

SECTIONS = ["Symbols", "References", "Differs", "Arguments", "Example"]
_HEAD = re.compile(rf"^({'|'.join(SECTIONS)}):", re.MULTILINE)
MODELS = model_names()
MODULES = sorted(
    f"{package.__name__}.{module.name}"
    for package in (genbench.nn, genbench.families, genbench.models)
    for module in pkgutil.iter_modules(package.__path__)
)


def docstring(name: str) -> str:
    return inspect.getdoc(model_class(name)) or ""


def sections(text: str) -> dict[str, str]:
    """What stands before the first section under "", and the text of each section by its name."""
    parts = _HEAD.split(text)
    names = ["", *parts[1::2]]
    assert len(names) == len(set(names)), f"a section stands twice: {names[1:]}"
    return dict(zip(names, parts[::2], strict=True))


def items(section: str) -> list[str]:
    """Names of the items of an indented list, each "name:" or "name, name:"."""
    heads = re.findall(r"^    (\w+(?:, \w+)*):", section, re.MULTILINE)
    return [name for head in heads for name in head.split(", ")]


@pytest.mark.parametrize("name", MODELS)
def test_sections_stand_in_their_order(name: str) -> None:
    assert list(sections(docstring(name)))[1:] == SECTIONS


@pytest.mark.parametrize("name", MODELS)
def test_an_idea_and_a_formula_come_first(name: str) -> None:
    start = sections(docstring(name))[""]
    idea = start.split("\n\n")[0]
    assert 20 <= len(idea) <= 300, idea
    assert ".. math::" in start


@pytest.mark.parametrize("name", MODELS)
def test_references_have_a_year_and_an_address(name: str) -> None:
    references = sections(docstring(name))["References"]
    assert references.startswith("\n    ")
    # An item begins four spaces in; its further lines stand deeper.
    for item in re.split(r"\n    (?=\S)", references.rstrip())[1:]:
        assert re.search(r"\b(19|20)\d\d\b", item) and "https://" in item, item


@pytest.mark.parametrize("name", MODELS)
def test_it_says_where_it_differs_from_its_papers(name: str) -> None:
    assert len(sections(docstring(name))["Differs"].strip()) >= len("nothing.")


@pytest.mark.parametrize("name", MODELS)
def test_arguments_are_those_of_the_constructor(name: str) -> None:
    expected = list(inspect.signature(model_class(name)).parameters)
    assert items(sections(docstring(name))["Arguments"]) == expected


@pytest.mark.parametrize("name", MODELS)
def test_symbols_stand_for_modules_that_are_there(name: str) -> None:
    """Each name in double backticks is an argument, or an attribute of the model or of a part."""
    symbols, cls = sections(docstring(name))["Symbols"], model_class(name)
    spec, arch = cls.tiny_specs[0]
    labelled = {Conditioning.OPTIONAL: {"conditional": True}}.get(cls.conditioning, {})
    if cls.conditioning is not Conditioning.NONE:
        spec = DataSpec(spec.height, spec.width, spec.levels, 3)
    torch.manual_seed(0)
    model = cls(spec, **{**arch, **labelled})
    arguments = inspect.signature(cls).parameters
    named = re.findall(r"``([\w.]+)``", symbols)
    assert named
    for path in named:
        assert path in arguments or any(_has(part, path) for part in model.modules()), path


def _has(part: nn.Module, path: str) -> bool:
    """Whether an attribute of an attribute ... is there."""
    found: object = part
    for attribute in path.split("."):
        found = getattr(found, attribute, None)
    return found is not None


@pytest.mark.parametrize("module", MODULES)
def test_examples_give_what_they_say(module: str) -> None:
    """Those of layers and families too; a model has one."""
    torch.manual_seed(0)
    loaded = importlib.import_module(module)
    failed, tried = doctest.testmod(loaded)
    assert failed == 0
    assert tried or loaded.__name__.rpartition(".")[2] not in MODELS


def test_a_docstring_is_read_as_it_is_meant() -> None:
    text = (
        "An idea.\n\nDiffers: a little.\n\nArguments:\n    a, b: both.\n    c: d: e\n        f: g."
    )
    assert list(sections(text)) == ["", "Differs", "Arguments"]
    assert items(sections(text)["Arguments"]) == ["a", "b", "c"]
    with pytest.raises(AssertionError, match="stands twice"):
        sections(f"{text}\n\nDiffers: again.")
