"""The Makefile in a folder whose name has spaces, with stand-ins for the programs that it calls."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
STAND_IN = """\
#!/bin/sh
for argument; do printf '%s|' "$argument" >> log; done
echo >> log
case "$*" in *venv*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;; esac
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of which only what make reads is there."""
    folder = tmp_path / "my own (first) project"
    (folder / "profiles" / "some more").mkdir(parents=True)
    for name in ("Makefile", "dvc.yaml", "pyproject.toml", "requirements.lock"):
        shutil.copy(REPOSITORY / name, folder)
    program(folder / "python")
    return folder


def program(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STAND_IN, encoding="utf-8")
    path.chmod(0o755)


def make(folder: Path, *arguments: str) -> list[str]:
    """The calls of the stand-ins, a line each."""
    (folder / "log").write_text("")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    done = subprocess.run(
        ["make", "PYTHON=./python", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return (folder / "log").read_text().splitlines()


def test_a_folder_with_spaces_is_installed_and_used(folder: Path) -> None:
    venv = folder / ".venv" / "bin"
    called = make(folder, "install")
    assert called[-3:] == [
        "-m|venv|.venv|",
        "-m|pip|install|--progress-bar|off|--require-hashes|-r|requirements.lock|",
        "-m|pip|install|--quiet|--no-deps|--no-build-isolation|-e|.|",
    ]
    assert make(folder, "install") == []
    for name in ("genbench", "ruff", "mypy"):
        program(venv / name)
    assert make(folder, "lint") == ["check|.|", "format|--check|.|", ""]
    checks = make(folder, "check-results")[0]
    assert checks == "-m|pytest|tests/committed_results/check_*.py|"
    assert make(folder, "bench", "PROFILE=smoke") == ["run|--profile|smoke|"]
    assert make(folder, "seeds", "SEEDED=made,vae") == [
        "run|--profile|quick|--seeds|3|--entries|made,vae|"
    ]
    assert make(folder, "test", "TESTS=tests/test_cli_run.py -k targets")[0].endswith(
        "|tests/test_cli_run.py|-k|targets|"
    )


def test_a_profile_of_any_name_gets_the_pipeline(folder: Path) -> None:
    seeds = folder / "profiles" / "some more-seeds"
    seeds.mkdir()
    (seeds / "params.yaml").write_text("root: ../..\nseeds_of: some more\n")
    program(folder / ".venv" / "bin" / "python")
    assert make(folder, "profiles") == [
        "-m|genbench.pipeline.seed_profile|profiles/some more-seeds/|"
    ]
    assert not (seeds / "dvc.yaml").exists()
    assert (folder / "profiles" / "some more" / "dvc.yaml").read_bytes() == (
        REPOSITORY / "dvc.yaml"
    ).read_bytes()
