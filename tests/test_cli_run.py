"""What `genbench run` is told: which entries, and by force."""

from __future__ import annotations

from pathlib import Path

import pytest

from genbench.config.load import load_params
from genbench.errors import UserError
from genbench.pipeline import targets
from tests import shell_stages


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stages are shell commands, without DVC."""
    return shell_stages.project(tmp_path, monkeypatch)


def test_entries_are_matched_by_wildcard_in_the_order_of_the_file(root: Path) -> None:
    params = load_params()
    assert targets.match_entries(params, None) == ["made", "pixel_cnn", "pixel_marginals", "vae"]
    assert targets.match_entries(params, "vae, pixel*") == ["pixel_cnn", "pixel_marginals", "vae"]
    with pytest.raises(UserError, match="matches no entry"):
        targets.match_entries(params, "vae,flow*")


def test_targets_of_dvc(root: Path) -> None:
    assert targets.target(load_params("quick"), "train@vae") == "train@vae"
    smoke = targets.target(load_params("smoke"), "train@vae")
    assert smoke == "profiles/smoke/dvc.yaml:train@vae"
