"""The command line: errors in a line and exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from genbench.cli.call import call as call_
from genbench.errors import UserError
from genbench.pipeline import run
from tests import shell_stages
from tests.shell_stages import call


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stages are shell commands, without DVC."""
    return shell_stages.project(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("train", "mode"), ("'mode' is no entry of profile 'quick'", "did you mean 'made'")),
        (("train", "made", "--profile", "smok"), ("'smok' is no profile", "did you mean 'smoke'")),
        (("prepare", "mnst"), ("'mnst' is no data set", "did you mean 'mnist'")),
        (("run", "--entries", "vea"), ("'vea' matches no entry", "did you mean 'vae'")),
        (("run", "--entries", ","), ("--entries",)),
        (("run",), (".dvc/config",)),
        (("info", "mode"), ("did you mean 'made'",)),
        (("sample", "made", "--png", "x.jpg"), ("x.jpg", ".png")),
        (("animate", "made", "--out", "x.png"), ("x.png", ".gif")),
        (("report", "--profile", "large"), ("'large' is no profile",)),
        (("seeds", "1"), ("at least 2",)),
        (("new-model", "class"), ("cannot be a model's name",)),
        (("train", "made", "--device", "tpu"), ("compute.device", "'tpu'")),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(
    root: Path, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    before = sorted(root.rglob("*"))
    code, _, stderr = call(*arguments)
    assert code == 1
    assert stderr.startswith("error: ")
    assert "Traceback" not in stderr
    assert all(part in stderr for part in parts), stderr
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "made", "--labels", "1"),
        ("sample", "made", "--n", "64"),
        ("sample", "made", "--seed", "0"),
        ("features", "binary_mnist", "--retrain"),
        ("score", "made", "--inception-weights", "x"),
        ("train", "made", "--threads", "0"),
        ("train", "made", "--threads", "1025"),
        ("fly",),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(
    root: Path, arguments: tuple[str, ...]
) -> None:
    assert call(*arguments)[0] == 2


def test_outside_a_project_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, stderr = call("train", "made")
    assert code == 1
    assert "not inside a genbench project" in stderr


def module_with(monkeypatch: pytest.MonkeyPatch, function: Callable[[], object]) -> str:
    monkeypatch.setattr(run, "probe", function, raising=False)
    return "genbench.pipeline.run:probe"


@pytest.mark.parametrize(
    "error",
    [ValueError("v"), UserError("u"), OSError("o"), FloatingPointError("nan"), RuntimeError("r")],
)
def test_expected_errors_are_told_without_a_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    name = module_with(monkeypatch, fail)
    monkeypatch.delenv("GENBENCH_DEBUG", raising=False)
    with pytest.raises(typer.Exit) as stop:
        call_(name)
    assert stop.value.exit_code == 1
    assert capsys.readouterr().err == f"error: {error}\n"
    monkeypatch.setenv("GENBENCH_DEBUG", "1")
    with pytest.raises(type(error)):
        call_(name)


def test_unexpected_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise KeyError("a mistake in genbench")

    with pytest.raises(KeyError):
        call_(module_with(monkeypatch, fail))


def test_ctrl_c_is_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    for resumes in (False, True):
        with pytest.raises(typer.Exit) as exit_:
            call_(module_with(monkeypatch, stop), resumes=resumes)
        assert exit_.value.exit_code == 130
        assert ("goes on from the last checkpoint" in capsys.readouterr().err) is resumes


def test_a_number_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(typer.Exit) as exit_:
        call_(module_with(monkeypatch, lambda: 7))
    assert exit_.value.exit_code == 7
    assert call_(module_with(monkeypatch, lambda: 0)) == 0
