"""The command line: errors in a line and exit codes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from genbench.cli.decorator import command
from genbench.errors import UserError
from tests import shell_stages
from tests.shell_stages import call, commands


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


def made(function: Callable[[], int | None], **options: bool) -> Callable[..., None]:
    """A function as a command."""
    return command(typer.Typer(), **options)(function)


@pytest.mark.parametrize(
    "error",
    [ValueError("v"), UserError("u"), OSError("o"), FloatingPointError("nan"), RuntimeError("r")],
)
def test_expected_errors_are_told_without_a_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.delenv("GENBENCH_DEBUG", raising=False)
    with pytest.raises(typer.Exit) as stop:
        made(fail)()
    assert stop.value.exit_code == 1
    assert capsys.readouterr().err == f"error: {error}\n"
    monkeypatch.setenv("GENBENCH_DEBUG", "1")
    with pytest.raises(type(error)):
        made(fail)()


def test_unexpected_errors_keep_their_traceback() -> None:
    def fail() -> None:
        raise KeyError("a mistake in genbench")

    with pytest.raises(KeyError):
        made(fail)()


def test_ctrl_c_is_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    for resumes in (False, True):
        with pytest.raises(typer.Exit) as exit_:
            made(stop, resumes=resumes)()
        assert exit_.value.exit_code == 130
        assert ("goes on from the last checkpoint" in capsys.readouterr().err) is resumes


@pytest.mark.parametrize(("png", "goes_on"), [(None, True), ("x.png", False)])
def test_an_option_may_say_that_nothing_goes_on(
    png: str | None, goes_on: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(png: str | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit):
        command(typer.Typer(), resumes=True, except_with="png")(stop)(png=png)
    assert ("goes on from the last checkpoint" in capsys.readouterr().err) is goes_on


def test_a_number_is_the_exit_code() -> None:
    with pytest.raises(typer.Exit) as exit_:
        made(lambda: 7)()
    assert exit_.value.exit_code == 7
    made(lambda: 0)()
    made(lambda: None)()


def test_a_usage_error_inside_stays_one_of_usage() -> None:
    def fail() -> None:
        raise typer.BadParameter("goes with --png", param_hint="--n")

    with pytest.raises(typer.BadParameter):
        made(fail)()


def test_device_and_threads_go_to_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of every command that takes them, before it does anything."""
    monkeypatch.setenv("GENBENCH_DEVICE", "")
    monkeypatch.setenv("GENBENCH_THREADS", "")
    monkeypatch.chdir(tmp_path)  # no project: each ends with an error after that
    for name, shown in commands().items():
        options = {option for parameter in shown.params for option in parameter.opts}
        if "--device" not in options:
            assert "--threads" not in options
            continue
        monkeypatch.setenv("GENBENCH_DEVICE", "")
        argument = [] if name in ("run", "features", "doctor") else ["made"]
        code, _, _ = call(name, *argument, "--device", f"cpu-{name}", "--threads", "3")
        assert code == 1
        assert os.environ["GENBENCH_DEVICE"] == f"cpu-{name}"
        assert os.environ["GENBENCH_THREADS"] == "3"
