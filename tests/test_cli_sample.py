"""`genbench sample`: its pictures, and the labels that it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from genbench import weights
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.data.datasets import spec_of
from genbench.registry import build
from tests import shell_stages
from tests.shell_stages import call, edit_params


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stages are shell commands, without DVC."""
    return shell_stages.project(tmp_path, monkeypatch)


def test_pictures_depend_on_the_seed_alone(root: Path) -> None:
    small = {"hidden": [8], "head": "logistic_mixture", "mixtures": 2}
    arch = {**small, "conditional": True}
    edit_params(root, "made", model="made", arch=arch)
    params = load_params()
    for name in ("made", "vae"):
        edit_params(root, name, model="made", arch=arch if name == "made" else small)
        entry = load_params().entry(name)
        path = Layout.of(params).run_dir(name).weights
        weights.save(build(entry, spec_of("mnist")), path, entry=entry)
    pictures = {}
    for name, options in {"a": (), "b": (), "c": ("--seed", "1"), "d": ("--labels", "3,4")}.items():
        assert call("sample", "made", "--png", f"{name}.png", "--n", "4", *options) == (
            0,
            f"{name}.png\n",
            "",
        )
        pictures[name] = Path(f"{name}.png").read_bytes()
    assert pictures["a"] == pictures["b"]
    assert len(set(pictures.values())) == 3
    for entry_name, labels, part in (
        ("made", "3,x", "integers"),
        ("made", "10", "0..9"),
        ("vae", "1", "unconditional"),
    ):
        code, _, stderr = call("sample", entry_name, "--png", "e.png", "--labels", labels)
        assert code == 1
        assert stderr.startswith("error: --labels")
        assert part in stderr
    assert not Path("e.png").exists()
