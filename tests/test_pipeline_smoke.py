"""The whole pipeline as a user runs it: `genbench run` and `dvc repro` of `smoke` in a temporary
clone, on the real data, with a third-party model.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from genbench.config.load import load_params
from genbench.data.splits import Dataset
from genbench.scoring.features import load_net
from genbench.weights import load
from tests import by_hand
from tests.params_factory import dump, written_entry
from tests.trees import REPOSITORY, copy_tree

PIPELINE = "profiles/smoke/dvc.yaml"
GENBENCH = str(Path(sys.executable).parent / "genbench")

# Fair coin flips: exactly one bit per pixel, whatever the image.
PLUGIN = '''
import math
import torch
from genbench.base import DataSpec, GenerativeModel, Likelihood

__all__ = ["Coin"]

class Coin(GenerativeModel):
    """P(x) = 1 / levels^D."""

    likelihood = Likelihood.EXACT
    family = "control"
    tiny_specs = [(DataSpec(2, 2, 2), {})]

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.register_buffer("unused", torch.zeros(1))

    def phases(self):
        return []

    def sample(self, n, y=None, *, rng):
        shape = (n, 1, self.spec.height, self.spec.width)
        return torch.randint(0, self.spec.levels, shape, generator=rng).to(torch.uint8)

    def log_likelihood(self, x, y=None, *, rng):
        nats = self.spec.dims * math.log(self.spec.levels)
        return torch.full((len(x),), -nats, dtype=torch.float64)
'''
ENTRIES = {
    *(
        f"{prefix}{control}"
        for prefix in ("", "binary-")
        for control in ("pixel_marginals", "train_copy")
    ),
    *(
        "gated_pixel_cnn",
        "gated_pixel_cnn_cond",
        "cvae",
        "vq_vae",
        "hinge_gan_cond",
        "real_nvp",
        "ddpm_cond",
        "binary-rbm",
    ),
}
"""Of each family one or two: with labels and without, with one phase of training and with two that
run in turn or one after the other.
"""

COIN = {
    "model": "coin",
    "dataset": "binary_mnist",
    "seed": 0,
    "arch": {},
    "train": {},
    "sample": {},
    "score": {},
}


def _install_plugin(folder: Path, version: str) -> None:
    """What pip leaves in site-packages."""
    shutil.rmtree(folder, ignore_errors=True)
    about = folder / f"coin_models-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: coin-models\nVersion: {version}\n"
    )
    (about / "entry_points.txt").write_text("[genbench.models]\ncoin = coin_models:Coin\n")
    (folder / "coin_models.py").write_text(PLUGIN)


@dataclass(frozen=True)
class Clone:
    """A copy of the repository as git would clone it, with all changes of the working tree."""

    root: Path
    site: Path
    env: dict[str, str]

    def run(self, *command: str) -> str:
        """Run a program here; its output."""
        done = subprocess.run(
            command, cwd=self.root, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{(done.stdout + done.stderr)[-6000:]}"
        return done.stdout + done.stderr

    def repro(self, *args: str) -> str:
        """`dvc repro`; its output."""
        return self.run(sys.executable, "-m", "dvc", "repro", *args)

    def board(self) -> dict[str, Any]:
        """The leaderboard."""
        board: dict[str, Any] = json.loads(
            (self.root / "reports" / "smoke" / "leaderboard.json").read_text()
        )
        return board


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, mnist: Dataset, binary_mnist: Dataset) -> Clone:
    """The clone after its first `genbench run`. Without the data this is skipped, as all that asks
    for ``mnist``.
    """
    folder = tmp_path_factory.mktemp("smoke")
    root, site = folder / "project", folder / "site-packages"
    copy_tree(root)
    shutil.rmtree(root / "reports" / "smoke", ignore_errors=True)
    _install_plugin(site, "1.0")
    path = root / "profiles" / "smoke" / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    smoke = load_params("smoke", root=root).entries
    raw["entries"] = {name: written_entry(smoke[name]) for name in smoke if name in ENTRIES}
    raw["entries"]["coin"] = COIN
    for prefix in ("", "binary-"):
        # As many as are drawn: without replacement that is each of them once.
        raw["entries"][f"{prefix}train_copy"]["arch"] = {"size": 64}
    path.write_text(dump(raw))
    # A developer's shell may point git, DVC or MLflow elsewhere; this is about a fresh clone.
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "DVC_", "MLFLOW_TRACKING"))
    }
    mirror = env.get("GENBENCH_MIRROR")
    if mirror and Path(mirror).is_dir():
        env["GENBENCH_MIRROR"] = str(Path(mirror).resolve())
    if not mirror:  # what the fixtures downloaded
        shutil.copytree(REPOSITORY / "data", root / "data", dirs_exist_ok=True)
    env |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}",
        "PYTHONPATH": f"{root}{os.pathsep}{site}",
    }
    env |= {
        "DVC_SITE_CACHE_DIR": str(folder / "site-cache"),
        "DVC_NO_ANALYTICS": "1",
        "GENBENCH_THREADS": "1",
    }
    made = Clone(root, site, env)
    made.run(GENBENCH, "new-model", "fresh")
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "start"],
    ):
        made.run("git", *command)
    made.run(GENBENCH, "run", "--profile", "smoke")
    return made


def test_the_entry_that_new_model_writes_is_listed(clone: Clone) -> None:
    (row,) = [row for row in clone.board()["rows"] if row["entry"] == "fresh"]
    assert (row["status"], row["likelihood_kind"]) == ("ok", "exact")
    # An untrained model spreads its mass over 256 levels.
    assert 0 < row["metrics"]["bits_per_dim"]["value"] < 8.5


def test_every_entry_is_listed_with_sane_values(clone: Clone) -> None:
    entries = yaml.safe_load((clone.root / "profiles" / "smoke" / "params.yaml").read_text())[
        "entries"
    ]
    board = clone.board()
    assert board["missing"] == []
    assert [row["entry"] for row in board["rows"] if row["entry"] not in entries] == []
    rows = {row["entry"]: row for row in board["rows"]}
    assert set(rows) == set(entries)
    for name, row in rows.items():
        assert row["status"] == "ok", name
        assert row["dataset"] == entries[name]["dataset"]
        assert all(math.isfinite(metric["value"]) for metric in row["metrics"].values()), name
        has_likelihood = row["likelihood_kind"] != "none"
        assert has_likelihood == ("bits_per_dim" in row["metrics"]), name
        if has_likelihood:
            metric = row["metrics"]["bits_per_dim"]
            assert metric["kind"] == row["likelihood_kind"]
            assert row["metrics"]["nats"]["value"] == pytest.approx(
                metric["value"] * 784 * math.log(2), rel=1e-9
            )
            assert metric["n"] in (64, 16)
    kinds = {
        "gated_pixel_cnn": "exact",
        "cvae": "lower_bound",
        "vq_vae": "lower_bound",
        "hinge_gan_cond": "none",
        "train_copy": "none",
    }
    assert {name: rows[name]["likelihood_kind"] for name in kinds} == kinds


@pytest.mark.parametrize(
    ("name", "kind"), [("gated_pixel_cnn_cond", "exact"), ("cvae", "lower_bound")]
)
def test_conditional_entries_are_scored_with_their_labels(
    clone: Clone, mnist: Dataset, name: str, kind: str
) -> None:
    """The columns of a row, from its weights: sixteen test images under each label."""
    (row,) = [row for row in clone.board()["rows"] if row["entry"] == name]
    assert row["conditional"]
    assert row["likelihood_kind"] == row["metrics"]["nats"]["kind"] == kind
    options = load_params("smoke", root=clone.root).entry(name).score
    assert mnist.test_y is not None
    index = by_hand.spread(10_000, 16)
    x, y = mnist.test_x[index], mnist.test_y[index]
    model, columns = load(clone.root / "runs" / "smoke" / name), []
    for label in range(10):
        noise = by_hand.rng("score", name, 0, "nats", 0, label)
        columns.append(
            model.log_likelihood(x, torch.full((16,), label), rng=noise, **options).detach()
        )
    by_class = torch.stack(columns, 1)
    own, largest = (
        by_class[torch.arange(16), y],
        (by_class == by_class.amax(1, keepdim=True)).double(),
    )
    expected = {
        "nats": math.log(10) - float(by_class.logsumexp(1).mean()),
        "conditional_nats": -float(own.mean()),
        "bayes_accuracy": float((largest[torch.arange(16), y] / largest.sum(1)).mean()),
    }
    assert {key: row["metrics"][key]["value"] for key in expected} == pytest.approx(
        expected, rel=1e-5
    )


def test_labels_of_samples_are_those_that_were_asked_for(clone: Clone) -> None:
    rows = {row["entry"]: row for row in clone.board()["rows"]}
    for name in ("gated_pixel_cnn_cond", "cvae", "hinge_gan_cond"):
        samples = np.load(clone.root / "runs" / "smoke" / name / "samples.npz")
        assert samples["labels"].tolist() == [i % 10 for i in range(64)]
        _, logits = load_net()(torch.from_numpy(samples["images"])[:, None].float() / 255)
        right = (logits.argmax(1).numpy() == samples["labels"]).mean()
        assert rows[name]["metrics"]["label_fidelity"]["value"] == pytest.approx(right), name
    assert rows["hinge_gan_cond"]["conditional"]
    assert not {"bayes_accuracy", "conditional_nats", "label_fidelity"} & set(
        rows["gated_pixel_cnn"]["metrics"]
    )


def test_known_values(clone: Clone, mnist: Dataset, binary_mnist: Dataset) -> None:
    rows = {row["entry"]: row["metrics"] for row in clone.board()["rows"]}
    assert rows["coin"]["bits_per_dim"]["value"] == pytest.approx(1, abs=1e-12)
    assert rows["coin"]["bits_per_dim"]["stderr"] == pytest.approx(0, abs=1e-12)
    index = by_hand.spread(10_000, 64)
    for prefix, data in (("", mnist), ("binary-", binary_mnist)):
        nats = by_hand.independent_pixels(data.train_x, data.test_x[index], data.spec.levels)
        marginals = rows[f"{prefix}pixel_marginals"]
        assert marginals["nats"]["value"] == pytest.approx(nats.mean(), rel=1e-9)
        assert marginals["bits_per_dim"]["stderr"] == pytest.approx(
            nats.std(ddof=1) / 8 / 784 / math.log(2), rel=1e-9
        )
        copies = np.load(clone.root / "runs" / "smoke" / f"{prefix}train_copy" / "samples.npz")[
            "images"
        ]
        stored = data.train_x[by_hand.spread(50_000, 64), 0].numpy()
        # Each once.
        assert sorted(image.tobytes() for image in copies) == sorted(
            image.tobytes() for image in stored
        )
        assert rows[f"{prefix}train_copy"]["fid_mnist"]["value"] < marginals["fid_mnist"]["value"]


def test_report_pictures_and_receipt_are_there(clone: Clone) -> None:
    report = clone.root / "reports" / "smoke"
    assert (report / "index.html").stat().st_size < 5_000_000
    values = {
        row["entry"]: {k: m["value"] for k, m in row["metrics"].items()}
        for row in clone.board()["rows"]
    }
    shown = json.loads(
        clone.run(sys.executable, "-m", "dvc", "metrics", "show", "--json", str(report / "metrics"))
    )
    found = {Path(name).stem: part["data"] for name, part in shown[""]["data"].items()}
    assert found.keys() == values.keys()
    for name, metrics in found.items():
        assert metrics["fid_mnist"] == pytest.approx(values[name]["fid_mnist"], rel=1e-4), name
    kinds = {}
    for name in values:
        folder = clone.root / "runs" / "smoke" / name / "pictures"
        listed = json.loads((folder / "pictures.json").read_text())
        assert {picture["file"] for picture in listed} | {"pictures.json"} == {
            path.name for path in folder.iterdir()
        }
        kinds[name] = {picture["kind"] for picture in listed}
    assert {"interpolation", "reconstruction"} <= kinds["vq_vae"]
    assert {"interpolation", "reconstruction", "traversal"} <= kinds["cvae"]
    assert {"interpolation", "traversal"} <= kinds["hinge_gan_cond"]
    assert "reconstruction" not in kinds["hinge_gan_cond"]
    for name in [
        row["entry"] for row in clone.board()["rows"] if row["family"] == "autoregressive"
    ]:
        assert {"process", "completion"} <= kinds[name], name
    assert kinds["coin"] == set()
    assert (clone.root / ".track" / "smoke.json").is_file()
    assert not (clone.root / "runs" / "quick").exists()


def test_second_run_does_nothing_and_git_sees_only_the_report(clone: Clone) -> None:
    said = clone.repro(PIPELINE)
    assert "Running stage" not in said
    assert "up to date" in said
    changed = {line[3:] for line in clone.run("git", "status", "--porcelain", "-uall").splitlines()}
    assert {path for path in changed if not path.startswith("reports/smoke/")} == {
        "profiles/smoke/dvc.lock"
    }


def test_a_run_with_nothing_to_do_says_so_also_on_another_kind_of_processor(clone: Clone) -> None:
    for limits in ({}, {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}):
        moved = Clone(clone.root, clone.site, clone.env | limits)
        said = moved.run(GENBENCH, "run", "--profile", "smoke")
        assert "smoke: everything is up to date" in said
        assert "Running stage" not in said


def test_new_version_of_a_plugin_runs_its_entry_alone(clone: Clone) -> None:
    fingerprint = clone.root / "runs" / "smoke" / "fingerprints" / "coin" / "train.json"
    assert json.loads(fingerprint.read_text())["plugin"] == "coin-models==1.0"
    _install_plugin(clone.site, "1.1")
    said = clone.run(GENBENCH, "run", "--profile", "smoke")
    # Its samples may be other ones, as far as can be told before.
    assert "smoke: 6 stages of 1 entry to run, " in said
    ran = {
        line.split("'")[1].split(":")[-1]
        for line in said.splitlines()
        if line.startswith("Running stage")
    }
    assert ran == {"fingerprints", "report", "track"}
    done = {line.split(":")[0] for line in said.splitlines() if ": done in " in line}
    own = {"train", "sample", "pictures", "score_likelihood", "probe"}
    assert done == {f"{stage} coin" for stage in own}
    # Its samples are the same bits, so their scores stand.
    assert "score_samples coin: kept; 5 of 6 stages" in said
