"""Commands under their former names say what they are called now, and do nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from genbench.cli.main import app


@pytest.mark.parametrize(
    ("former", "name", "arguments"),
    [
        ("visuals", "pictures", ["made", "--profile", "smoke", "--device", "cpu"]),
        ("code", "fingerprints", ["--profile", "smoke"]),
        ("code", "fingerprints", []),
    ],
)
def test_a_former_name_is_refused_with_the_new_one(
    former: str,
    name: str,
    arguments: list[str],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(project)
    before = sorted(project.rglob("*"))
    done = CliRunner().invoke(app, [former, *arguments])
    assert done.exit_code == 2
    assert done.stderr == f"error: `genbench {former}` is called `genbench {name}` now\n"
    assert sorted(project.rglob("*")) == before
    assert former not in CliRunner().invoke(app, ["--help"]).output.split()
