"""`genbench evaluate` gives images the scores that the stage score_samples gives an entry's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Entry, Params
from genbench.data.splits import EXCERPT
from genbench.errors import UserError
from genbench.external.evaluate import evaluate
from genbench.external.images import Images, read_images
from genbench.external.rows import read_rows
from genbench.files import read_npz, write_npz
from genbench.hardware.compute import Compute
from genbench.pipeline.stage_runner import call_stage
from genbench.scoring.records import Record, read_record
from genbench.spec import DataSpec
from tests import by_hand, shell_stages
from tests.params_factory import dump, protocol
from tests.shell_stages import call
from tests.small_project import METRICS

SPECS = {"mnist": DataSpec(28, 28, 256, 10), "binary_mnist": DataSpec(28, 28, 2)}
FAIR = {"kid_mnist", "precision_mnist", "density_mnist"}


def bars(dataset: str, n: int, seed: int) -> np.ndarray:
    """Images of a bar of random size, place and brightness, uint8 (n, 28, 28)."""
    rng, top = np.random.default_rng(seed), SPECS[dataset].levels - 1
    images = np.zeros((n, 28, 28), np.uint8)
    for image, (row, column) in zip(images, rng.integers(2, 16, (n, 2)), strict=True):
        height, width = rng.integers(3, 12, 2)
        image[row : row + height, column : column + width] = rng.integers((top + 1) // 2, top + 1)
    return images


def labels_of(dataset: str, n: int) -> dict[str, np.ndarray]:
    return {"labels": np.arange(n) % 10} if dataset == "mnist" else {}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Params:
    """A project with an entry of each data set, 40 samples and the features of 35 test images."""
    names = {"mnist": "made", "binary_mnist": "binary-made"}
    entries = {
        name: Entry(name, "made", dataset, 0, {}, {}, {}, {}) for dataset, name in names.items()
    }
    numbers = protocol(samples=40, sample_chunk=20, references=35)
    root = tmp_path_factory.mktemp("scored")
    params = Params(root, "quick", entries, tuple(SPECS), METRICS, numbers, Compute(threads=1))
    for dataset in SPECS:
        x, y = bars(dataset, 70, 1), np.zeros(70, np.uint8)
        arrays = {"test_x": x, "test_y": y, "train_x": x[::-1], "train_y": y}
        write_npz(Layout.of(params).data(dataset), {**arrays, **EXCERPT})
        call_stage("features", params, dataset)
    return params


def by_the_stage(params: Params, name: str, images: np.ndarray, labels: dict) -> Record:
    """What the stage says of these samples of an entry."""
    run_dir = Layout.of(params).run_dir(name)
    write_npz(run_dir.samples, {"images": images, **labels})
    call_stage("score_samples", params, name)
    return read_record(run_dir.quality)


# ---------------------------------------------------------------------- the scores


@pytest.mark.parametrize("name", ["made", "binary-made"])
def test_samples_of_an_entry_have_the_scores_of_its_stage(scored: Params, name: str) -> None:
    dataset = scored.entry(name).dataset
    labels = labels_of(dataset, 40)
    expected = by_the_stage(scored, name, bars(dataset, 40, 2), labels)
    path = Layout.of(scored).run_dir(name).samples
    images = read_images(path, SPECS[dataset], labelled=bool(labels))
    record = evaluate(scored, dataset, images, name="theirs")
    assert record.metrics == expected.metrics  # to the bit
    assert record.withheld == expected.withheld == {}
    assert len(record.metrics) == 8 + bool(labels)
    assert record.made_from["kind"] == expected.made_from["kind"]


def test_of_more_images_a_fixed_permutation_is_scored(scored: Params) -> None:
    images, labels = bars("mnist", 90, 3), np.arange(90) // 9
    order = torch.randperm(90, generator=by_hand.rng("evaluate", 90))
    index = np.sort(order[:40].numpy())
    expected = by_the_stage(scored, "made", images[index], {"labels": labels[index]})
    record = evaluate(scored, "mnist", Images(images, labels), name="theirs")
    assert record.metrics == expected.metrics
    assert record.made_from["images"] == 90
    prefix = by_the_stage(scored, "made", images[:40], {"labels": labels[:40]})
    assert record.metrics["fid_mnist"].value != prefix.metrics["fid_mnist"].value


def test_of_fewer_images_only_unbiased_scores_are_given(scored: Params) -> None:
    images, labels = bars("mnist", 30, 4), labels_of("mnist", 30)
    expected = by_the_stage(scored, "made", images, labels)
    record = evaluate(scored, "mnist", Images(images, labels["labels"]), name="theirs")
    assert FAIR | {"label_fidelity"} <= record.metrics.keys()
    assert record.metrics == {key: expected.metrics[key] for key in record.metrics}
    assert record.withheld.keys() == expected.metrics.keys() - record.metrics.keys()
    assert {"fid_mnist", "is_mnist", "recall_mnist", "coverage_mnist"} <= record.withheld.keys()
    reason = "depends on the number of samples, and there are 30 where each entry has 40"
    assert set(record.withheld.values()) == {reason}


def test_very_few_images_are_told_what_a_score_needs(scored: Params) -> None:
    record = evaluate(scored, "mnist", Images(bars("mnist", 3, 5)), name="theirs")
    assert record.withheld["is_mnist"].startswith("needs at least 10 images")
    assert record.withheld["precision_mnist"].startswith("needs at least 4 images")
    assert "depends on the number" in record.withheld["fid_mnist"]
    assert {"kid_mnist", "density_mnist"} <= record.metrics.keys()


def test_without_the_features_of_the_profile_it_says_how_to_make_them(
    scored: Params, tmp_path: Path
) -> None:
    images = Images(bars("mnist", 40, 2))
    for profile, make in (
        ("quick", "`genbench prepare mnist` and `genbench features mnist` make it"),
        ("smoke", "`genbench features mnist --profile smoke` make it"),
    ):
        with pytest.raises(UserError) as error:
            evaluate(replace(scored, root=tmp_path, profile=profile), "mnist", images, name="x")
        assert "features/mnist.npz is not there" in str(error.value)
        assert make in str(error.value)
    more = replace(scored, protocol=replace(scored.protocol, feature_reference_images=36))
    with pytest.raises(UserError, match=r"of 35 test images, and the protocol .* asks for 36"):
        evaluate(more, "mnist", images, name="x")


# ---------------------------------------------------------------------- the command


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose entries have no results, with the reference features of both data sets, and
    in `mine.npz` as many images as the protocol asks for.
    """
    shell_stages.project(tmp_path, monkeypatch)
    raw = yaml.safe_load((tmp_path / "params.yaml").read_text())
    (tmp_path / "params.yaml").write_text(dump({**raw, "metrics": ["fid", "kid"]}))
    for dataset in SPECS:
        layout, rng = Layout(tmp_path), np.random.default_rng(6)
        values = rng.random((64, 64)).astype(np.float32)
        arrays = {"features": values, "logits": values[:, :10], "train_features": values}
        write_npz(layout.features(dataset), arrays)
        x, y = bars(dataset, 64, 7), np.zeros(64, np.uint8)
        data = {"test_x": x, "test_y": y, "train_x": x[::-1], "train_y": y, **EXCERPT}
        write_npz(layout.data(dataset), data)
    np.savez("mine.npz", images=bars("mnist", 64, 8), labels=np.arange(64) % 10)
    np.savez("nats.npz", nats=np.linspace(500, 700, 64))
    return tmp_path


def test_scores_are_printed_and_nothing_is_kept(root: Path) -> None:
    before = sorted(root.rglob("*"))
    code, stdout, stderr = call("evaluate", "mine.npz")
    assert (code, stderr) == (0, "")
    assert "64 images, as many as of each entry\n  fid_mnist: " in stdout
    assert "  kid_mnist: " in stdout
    assert "| `mine.npz` § | no likelihood |" in stdout
    assert "Not complete" not in stdout
    assert sorted(root.rglob("*")) == before


def test_more_and_fewer_images_are_told(root: Path) -> None:
    np.savez("more.npz", images=bars("mnist", 70, 8))
    np.savez("fewer.npz", images=bars("mnist", 60, 8))
    assert "64 of 70 images, by a fixed permutation" in call("evaluate", "more.npz")[1]
    said = call("evaluate", "fewer.npz")[1]
    assert "60 images, fewer than the 64 of each entry" in said
    reason = "depends on the number of samples, and there are 60 where each entry has 64"
    assert f"\n  left out: fid_mnist ({reason})\n" in said
    assert "\n  kid_mnist: " in said


def test_json_has_the_row_and_what_it_is_beside(root: Path) -> None:
    code, stdout, _ = call("evaluate", "mine.npz", "--nats", "nats.npz", "--json")
    found = json.loads(stdout)
    assert code == 0
    assert (found["profile"], found["kept"], found["others"]) == ("quick", None, [])
    row = found["row"]
    assert (row["entry"], row["status"]) == ("mine.npz", "external")
    assert row["likelihood_kind"] == "reported"
    assert row["metrics"]["nats"]["value"] == pytest.approx(600)
    assert row["made_from"]["images"] == 64


def test_a_row_is_kept_with_all_that_it_is_made_from(root: Path) -> None:
    arguments = ("evaluate", "mine.npz", "--labels", "--nats", "nats.npz", "--as", "theirs")
    code, stdout, stderr = call(*arguments)
    assert (code, stderr) == (0, "")
    assert "kept in runs/quick/external/mnist/theirs/ as a row" in stdout
    kept = Layout(root).external("mnist", "theirs")
    given = read_npz(root / "mine.npz")
    assert np.array_equal(read_npz(kept.samples)["images"], given["images"])
    assert np.array_equal(read_npz(kept.samples)["labels"], given["labels"])
    assert np.array_equal(read_npz(kept.nats)["nats"], np.linspace(500, 700, 64))
    (row,) = read_rows(load_params())
    assert (row.name, row.dataset, row.problem) == ("theirs", "mnist", "")
    first = kept.quality.read_bytes()
    again = (str(kept.samples), "--labels", "--nats", str(kept.nats), "--as", "theirs")
    assert call("evaluate", *again)[0] == 0
    assert kept.quality.read_bytes() == first
    np.savez("other.npz", images=bars("mnist", 64, 9))
    assert call("evaluate", "other.npz", "--as", "theirs")[0] == 0
    assert kept.quality.read_bytes() != first
    assert not kept.nats.exists()
    assert [one.name for one in read_rows(load_params())] == ["theirs"]
    assert "| `theirs` § |" in call("evaluate", "mine.npz")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.npz",), "error: none.npz does not exist"),
        (("mine.npz", "--dataset", "mnst"), "--dataset: 'mnst' is no data set of profile 'quick'"),
        (("mine.npz", "--dataset", "binary_mnist"), "must be uint8 levels 0..1, got uint8 0..255"),
        (
            ("mine.npz", "--dataset", "binary_mnist", "--labels"),
            "--labels: binary_mnist has no labels; leave it out",
        ),
        (("mine.npz", "--as", "made"), "--as: 'made' is an entry of profile 'quick'"),
        (("mine.npz", "--as", "a b"), "--as: 'a b' cannot be a name"),
        (("mine.npz", "--as", "../x"), "--as: '../x' cannot be a name"),
        (("mine.npz", "--nats", "mine.npz"), "must hold the array 'nats', and holds images"),
        (("mine.npz", "--profile", "smoke"), "`genbench prepare mnist --profile smoke` and"),
    ],
)
def test_bad_input_is_a_line_and_leaves_nothing(
    root: Path, arguments: tuple[str, ...], said: str
) -> None:
    before = sorted(root.rglob("*"))
    code, stdout, stderr = call("evaluate", *arguments)
    assert (code, stdout) == (1, "")
    assert stderr.startswith("error: ")
    assert said in stderr
    assert sorted(root.rglob("*")) == before


def test_a_name_is_of_one_data_set(root: Path) -> None:
    assert call("evaluate", "mine.npz", "--as", "theirs")[0] == 0
    np.savez("bits.npz", images=bars("binary_mnist", 64, 8))
    code, _, stderr = call("evaluate", "bits.npz", "--dataset", "binary_mnist", "--as", "theirs")
    assert code == 1
    assert "--as: 'theirs' is a row of mnist already" in stderr
    code, stdout, _ = call("evaluate", "bits.npz", "--dataset", "binary_mnist", "--as", "bits")
    assert code == 0
    assert "theirs" not in stdout  # it is of the other data set


def test_features_of_another_content_are_named(root: Path) -> None:
    write_npz(Layout(root).features("mnist"), {"values": np.zeros(3)})
    code, _, stderr = call("evaluate", "mine.npz")
    assert code == 1
    assert "features/mnist.npz: must hold features, logits and train_features, got values" in stderr
