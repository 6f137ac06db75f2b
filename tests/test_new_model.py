"""After `genbench new-model` the tests still pass: in a copy of the tree, those that look at all
entries or all models, and the cases of the new one.

Everything else that `make test` runs has entries and models of its own. What may fail until the
results of a new entry are committed is looked at by `make check-results`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from genbench.registry import model_names
from tests.trees import copy_tree

WHOLE = (
    "tests/test_benchmarks.py",
    "tests/test_latex_text.py",
    "tests/test_overrides.py",
    "tests/test_profiles.py::test_every_option_is_one",
    "tests/test_profiles.py::test_the_other_profiles_hold_every_entry_of_quick",
    "tests/test_readme.py",
    "tests/test_report_published.py"
    "::test_published_results_stand_beside_the_models_of_their_family",
    "tests/test_yaml12.py::test_committed_files_are_what_dvc_reads",
)
"""Tests that read the params files or the registry as a whole."""
EACH = (
    "tests/test_autoregressive.py",
    "tests/test_contract.py",
    "tests/test_latex_text.py",
    "tests/test_profiles.py",
    "tests/test_sources.py",
)
"""Tests with a case for each model or each entry."""
PLANTED = """
from genbench.registry import model_names


def test_there_are_as_many_models_as_somebody_counted():
    assert len(model_names()) == {}
"""


@pytest.fixture(scope="module")
def novel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, in which somebody has added a model."""
    root = tmp_path_factory.mktemp("novel") / "project"
    copy_tree(root)
    (root / "tests" / "test_planted.py").write_text(PLANTED.format(len(model_names())))
    done = python(root, "-m", "genbench", "new-model", "novel")
    assert done.returncode == 0, done.stderr
    return root


def python(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the sources of the copy."""
    cleared = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "GENBENCH_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=cleared | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def outcome(root: Path, tests: Sequence[str], *options: str) -> tuple[int, str]:
    """Exit code of pytest, and what it says."""
    alone = ("-p", "no:cacheprovider", "--numprocesses", "0")
    done = python(root, "-m", "pytest", *alone, *options, *tests)
    return done.returncode, done.stdout + done.stderr


def test_what_looks_at_all_entries_and_models_passes(novel: Path) -> None:
    code, said = outcome(novel, WHOLE)
    assert code == 0, said


def test_the_cases_of_the_new_one_pass(novel: Path) -> None:
    code, said = outcome(novel, EACH, "-k", "novel", "--verbose")
    assert code == 0, said
    assert [file for file in EACH if f"{file}::" not in said] == [], "without a case of it"


def test_its_missing_results_are_noticed_by_the_check_of_results(novel: Path) -> None:
    code, said = outcome(novel, ["tests/committed_results/check_report.py"])
    assert code == 1, said
    assert "1 failed" in said
    assert "'novel'" in said


def test_a_test_that_counts_them_would_be_noticed(novel: Path) -> None:
    code, said = outcome(novel, ["tests/test_planted.py"])
    assert code == 1, said
    assert "1 failed" in said
