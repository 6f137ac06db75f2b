"""Mistakes in params.yaml, found before a run and by `genbench doctor`."""

from __future__ import annotations

from pathlib import Path

import pytest

from genbench.config.load import load_params
from genbench.errors import UserError
from genbench.pipeline.validate import check_params
from tests import shell_stages
from tests.shell_stages import call, edit_params


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stages are shell commands, without DVC."""
    return shell_stages.project(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("profile: quick", "profile: smoke", "profile: must be 'quick' in this place, got 'smoke'"),
        ("root: .", "root: ..", "root: must be '.' in this place"),
        (
            "params_file: params.yaml",
            "params_file: other.yaml",
            "params_file: must be 'params.yaml' in this place",
        ),
        ("metrics:", "metric:", "metric: unknown parameter; did you mean 'metrics'"),
        ("seed: 0", "sed: 0", "entries.made.sed: unknown parameter; did you mean 'seed'"),
        ("dataset: mnist", "{}", "entries.made: missing the key 'dataset'"),
    ],
)
def test_mistakes_in_params_are_named(root: Path, old: str, new: str, message: str) -> None:
    path = root / "params.yaml"
    text = path.read_text()
    path.write_text(
        text.replace(f"    {old}\n", "", 1) if new == "{}" else text.replace(old, new, 1)
    )
    with pytest.raises(UserError) as error:
        load_params()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"arithmetic": {"tpu": {}}}, "entries.made.train.arithmetic.tpu: unknown device type"),
        (
            {"arithmetic": {"cpu": {"precision": "float8"}}},
            "entries.made.train.arithmetic.cpu.precision: unknown 'float8'",
        ),
        ({"ema": 1.0}, "entries.made.train.ema: must be in [0, 1), got 1.0"),
        ({"validations": 0}, "entries.made.train.validations: must be at least 1, got 0"),
    ],
)
def test_bad_training_options_are_found_before_a_run(
    root: Path, train: dict[str, object], message: str
) -> None:
    edit_params(
        root,
        "made",
        model="made",
        arch={"hidden": [8], "head": "categorical"},
        train={"steps": 1, "optim": {"loss": {"lr": 0.1}}, **train},
    )
    with pytest.raises(UserError) as error:
        check_params(load_params())
    assert message in str(error.value)


def test_doctor_names_what_is_wrong_and_how_to_mend(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENBENCH_MIRROR", str(root / "nowhere"))
    edit_params(root, "made", model="made", arch={"hiden": [8]})
    code, stdout, _ = call("doctor")
    lines = stdout.splitlines()
    assert code == 1
    failed = {
        line.split()[1]: lines[i : i + 2] for i, line in enumerate(lines) if line.startswith("fail")
    }
    assert {"entries", "dvc", "mnist", "binary_mnist"} <= set(failed)
    assert "entries.made.arch.hiden" in failed["entries"][0]
    assert "params.yaml" in failed["entries"][1]
    assert "GENBENCH_MIRROR" in failed["mnist"][1]
    assert any(line.startswith("ok    python") for line in lines)


def test_draws_below_one_are_found_before_a_run(root: Path) -> None:
    small = {"latent": 2, "widths": [4], "hidden": 4}
    edit_params(
        root,
        "vae",
        model="vae",
        arch=small,
        train={"steps": 1, "optim": {"loss": {"lr": 0.1}}},
        score={"draws": 0},
    )
    with pytest.raises(UserError, match=r"entries\.vae\.score\.draws: must be at least 1, got 0"):
        check_params(load_params())


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"model": "ddpm", "sample": {"guidance": 2}},
            "sample.guidance: this entry is unconditional",
        ),
        (
            {"model": "ddpm", "sample": {"ddim_steps": 2000}},
            "sample.ddim_steps: must be 0 (none) to 1000, got 2000",
        ),
        (
            {"model": "ddpm", "score": {"terms": 5000}},
            "score.terms: must be 0 (all) to 1000, got 5000",
        ),
        (
            {"model": "flow_matching", "sample": {"solver": "rk5"}},
            "sample.solver: unknown 'rk5'; did you mean 'rk4'",
        ),
        (
            {"model": "flow_matching", "score": {"solver": "euler"}},
            "score.solver: unknown parameter",
        ),
        (
            {"model": "flow_matching", "score": {"probes": -1}},
            "score.probes: must be 0 (exact) or more, got -1",
        ),
        (
            {"model": "ebm", "sample": {"start": "bufer"}},
            "sample.start: unknown 'bufer'; did you mean 'buffer'",
        ),
        ({"model": "ebm", "sample": {"burn_in": 0}}, "sample.burn_in: must be at least 1, got 0"),
        ({"model": "ebm", "score": {"chains": 0}}, "score.chains: must be at least 1, got 0"),
        (
            {"model": "ebm", "score": {"chains": 5}},
            "score.chains: 5 can never count as the 10 of ess_floor that a likelihood needs",
        ),
        (
            {"model": "ebm", "score": {"ess_floor": 0.0}},
            "score.ess_floor: must be at least 10, below which no estimate is to be trusted, got 0",
        ),
        (
            {"model": "ddpm", "arch": {"timesteps": 100}},
            "arch: timesteps, beta_end: with these 100 timesteps 0.36 of an image's variance is "
            "left",
        ),
    ],
)
def test_bad_options_of_samplers_and_scores_are_found_before_a_run(
    root: Path, block: dict[str, object], message: str
) -> None:
    edit_params(root, "vae", train={"steps": 1, "optim": {"loss": {"lr": 0.1}}}, **block)
    with pytest.raises(UserError) as error:
        check_params(load_params(), ["vae"])
    assert f"entries.vae.{message}" in str(error.value)
