"""The command line: the speed of its start, its help, the verbs of the pipeline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import genbench.models
from tests.shell_stages import call, commands


@pytest.mark.parametrize(
    ("option", "said"),
    [("--help", "new-model"), ("--version", f"genbench {genbench.__version__}\n")],
)
def test_help_and_version_import_nothing_heavy(option: str, said: str) -> None:
    program = """
import sys
from genbench.cli.main import main
sys.argv = ["genbench", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    assert not stop.code
heavy = {"torch", "numpy", "yaml", "dvc", "mlflow", "pandas", "rich", "genbench.config.params"}
print(*(set(sys.modules) & heavy), sep=",")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, option], capture_output=True, text=True, check=True
    )
    assert said in done.stdout
    assert done.stdout.splitlines()[-1] == ""


def test_what_the_locale_cannot_print_is_no_error() -> None:
    program = (
        "from genbench.cli import main as m; m.app = lambda prog_name: print('3 \\u00b1 1'); "
        "m.main()"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | locale,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("3 \\xb1 1\n", "")


def test_every_command_explains_itself_in_a_line() -> None:
    code, text, _ = call("--help")
    assert code == 0
    for name, command in commands().items():
        summary = (command.callback.__doc__ or "").splitlines()[0]
        assert summary.endswith(".")
        assert (f"  {name} " in text) is not command.hidden
        assert command.hidden or summary in text, (
            f"{name}: the summary is cut off in the list of commands"
        )
        assert call(name, "--help")[0] == 0


@pytest.mark.parametrize(
    "verb",
    [
        "fingerprints",
        "prepare",
        "features",
        "train",
        "sample",
        "pictures",
        "score-likelihood",
        "score-samples",
        "probe",
        "report",
        "track",
    ],
)
def test_the_verbs_of_the_pipeline_exist(verb: str) -> None:
    assert verb in commands()


def test_the_pipeline_calls_only_verbs_that_exist() -> None:
    stages = yaml.safe_load((Path(__file__).parents[1] / "dvc.yaml").read_text())["stages"]
    for name, definition in stages.items():
        words = (
            definition.get("do", definition)["cmd"]
            .replace("${profile}", "smoke")
            .replace("${item}", "mnist")
            .replace("${key}", "made")
            .split()
        )
        assert words[0] == "genbench"
        assert words[1] == name.replace("_", "-")
        assert call(words[1], "--help", *words[2:])[0] == 0
