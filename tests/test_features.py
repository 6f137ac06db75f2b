"""The pinned feature net, how it was made, and the stages that use it."""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from genbench.config.layout import Layout
from genbench.config.params import Entry, Params
from genbench.data.splits import EXCERPT, Dataset
from genbench.errors import UserError
from genbench.files import read_npz, write_npz
from genbench.hardware.compute import Compute
from genbench.pipeline.stage_runner import call_stage
from genbench.scoring import features
from genbench.scoring.feature_training import accuracy, augment, recover_labels, train_feature_net
from genbench.scoring.features import WEIGHTS, FeatureNet, extract, load_net, reference_images
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.records import read_record
from pipelines import features as features_stage
from pipelines import score_samples
from tests.params_factory import protocol

# ---------------------------------------------------------------------- the pinned net


def test_the_net_reads_digits(mnist: Dataset) -> None:
    assert mnist.test_y is not None
    assert accuracy(load_net(), mnist.test_x, mnist.test_y, levels=256).accuracy >= 0.994


def test_the_net_reads_the_static_binarization(mnist: Dataset, binary_mnist: Dataset) -> None:
    assert mnist.test_y is not None
    labels, match = recover_labels(binary_mnist.test_x, mnist.test_x, mnist.test_y)
    assert len(match.unique()) > 9950, "each binarized digit was drawn from a test digit of its own"
    assert accuracy(load_net(), binary_mnist.test_x, labels, levels=2).accuracy >= 0.98


def test_the_shipped_weights_are_small_and_pinned() -> None:
    assert WEIGHTS.stat().st_size <= 2 * 2**20
    load_net()


def test_corrupt_weights_are_refused(tmp_path: Path) -> None:
    data = bytearray(WEIGHTS.read_bytes())
    data[-5] ^= 1
    (tmp_path / "net.safetensors").write_bytes(data)
    with pytest.raises(
        UserError,
        match=(
            r"net\.safetensors is corrupt: its SHA-256 is .* the pinned one is .*install "
            r"genbench again"
        ),
    ):
        load_net(tmp_path / "net.safetensors")
    with pytest.raises(UserError, match=r"absent.* are missing"):
        load_net(tmp_path / "absent")


@pytest.mark.parametrize(
    "content", [b"not safetensors", safetensors.torch.save({"weight": torch.zeros(2)})]
)
def test_weights_of_something_else_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="holds no weights of the feature net"):
        load_net(tmp_path / "net.safetensors", checksum=None)


# ---------------------------------------------------------------------- extraction


def images(n: int, levels: int = 256, seed: int = 0) -> Tensor:
    return torch.randint(
        0, levels, (n, 1, 28, 28), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def test_features_are_the_input_of_the_logits() -> None:
    values, logits = extract(images(7), 256)
    assert (values.shape, values.dtype) == ((7, 64), torch.float32)
    layer = load_net().classify
    torch.testing.assert_close(logits, values @ layer.weight.T + layer.bias)


def test_an_image_has_the_same_features_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(25)
    whole = extract(x, 256)[0]
    torch.testing.assert_close(extract(x[3:4], 256)[0], whole[3:4], rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(features, "BATCH", 4)
    torch.testing.assert_close(extract(x, 256)[0], whole, rtol=1e-4, atol=1e-5)


def test_levels_are_spread_to_the_unit_interval() -> None:
    x = images(5, levels=2)
    assert torch.equal(extract(x, 2)[0], extract(x * 255, 256)[0])
    assert not torch.equal(extract(x, 2)[0], extract(x, 256)[0])


def test_autocast_does_not_reach_the_features() -> None:
    x = images(5)
    plain = extract(x, 256)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(extract(x, 256)[0], plain)


@pytest.mark.parametrize(
    ("x", "levels", "message"),
    [
        (torch.zeros(2, 1, 28, 28), 256, r"dtype must be torch\.uint8"),
        (
            torch.zeros(2, 28, 28, dtype=torch.uint8),
            256,
            r"shape must be \(N, 1, 28, 28\) with N >= 1, got \(2, 28, 28\)",
        ),
        (torch.zeros(0, 1, 28, 28, dtype=torch.uint8), 256, "N >= 1"),
        (torch.full((1, 1, 28, 28), 7, dtype=torch.uint8), 2, r"levels must be 0\.\.1, got 7"),
        (torch.zeros(1, 1, 28, 28, dtype=torch.uint8), 257, r"levels: must be 2\.\.256"),
    ],
)
def test_wrong_images_are_refused(x: Tensor, levels: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        extract(x, levels)


def test_reference_images_are_spread_over_the_split() -> None:
    x = torch.arange(10)
    assert reference_images(x, 5).tolist() == [0, 2, 4, 6, 8]
    assert reference_images(x, 3).tolist() == [0, 3, 6]
    assert reference_images(x, 50).tolist() == x.tolist()


# ---------------------------------------------------------------------- how it was made


@pytest.fixture(scope="module")
def few(mnist: Dataset) -> Dataset:
    """300 real digits to train on, 100 to choose by, and test images that would break whatever
    looked at them.
    """
    assert mnist.train_y is not None
    assert mnist.valid_y is not None
    none = torch.zeros(0, dtype=torch.uint8)
    return dataclasses.replace(
        mnist,
        train_x=mnist.train_x[:300],
        train_y=mnist.train_y[:300],
        valid_x=mnist.valid_x[:100],
        valid_y=mnist.valid_y[:100],
        test_x=none,
        test_y=None,
    )


def state(data: Dataset, **options: int) -> dict[str, Tensor]:
    return dict(
        train_feature_net(data, epochs=1, batch_size=50, progress=False, **options).net.state_dict()
    )


def test_training_is_a_function_of_its_seed(few: Dataset) -> None:
    first = state(few)
    torch.manual_seed(12)  # the global generator plays no part
    again, other = state(few), state(few, seed=1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["classify.weight"], other["classify.weight"])


def test_training_learns_grey_and_binarized_digits(few: Dataset) -> None:
    trained = train_feature_net(few, epochs=8, batch_size=25, progress=False)
    assert trained.valid_grey.accuracy > 0.6
    assert trained.valid_binary.accuracy > 0.6
    assert trained.valid_grey.n == 100
    assert not trained.net.training


def test_training_needs_grey_digits_with_labels(binary_mnist: Dataset) -> None:
    with pytest.raises(UserError, match=r"trained on mnist .*got binary_mnist"):
        train_feature_net(binary_mnist)


def test_a_loss_that_is_not_finite_stops_training(
    few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "genbench.scoring.feature_training.augment", lambda x, *, rng, binary: x * math.nan
    )
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 1, step 0"):
        train_feature_net(few, epochs=1, batch_size=50, progress=False)


def test_augmentation_moves_digits_a_little(mnist: Dataset) -> None:
    x = mnist.train_x[:500].float() / 255
    moved = augment(x, rng=torch.Generator().manual_seed(0), binary=False)
    columns = torch.arange(28.0)

    def centre(images: Tensor) -> Tensor:
        return (images.sum(2).squeeze(1) * columns).sum(1) / images.sum((1, 2, 3))

    shift = (centre(moved) - centre(x)).abs()
    assert 0.5 < shift.mean() < 1.6
    assert shift.max() < 5
    assert (moved.sum() / x.sum()).item() == pytest.approx(1, abs=0.05)
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_binary_augmentation_draws_pixels_by_their_intensity(mnist: Dataset) -> None:
    x = mnist.train_x[:1].float().repeat(4000, 1, 1, 1) / 255
    rng = torch.Generator().manual_seed
    drawn, grey = augment(x, rng=rng(0), binary=True), augment(x, rng=rng(0), binary=False)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(0), grey.mean(0), atol=0.04, rtol=0)


def test_labels_of_binarized_digits_are_recovered(mnist: Dataset) -> None:
    assert mnist.test_y is not None
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    binary = torch.bernoulli(
        mnist.test_x[order].float() / 255, generator=torch.Generator().manual_seed(2)
    ).byte()
    labels, match = recover_labels(binary, mnist.test_x[:300], mnist.test_y[:300])
    assert (match == order).double().mean() > 0.99  # a thin 1 may look like another 1
    assert torch.equal(labels, mnist.test_y[order])


# ---------------------------------------------------------------------- stages


@pytest.fixture
def scored(tmp_path: Path, mnist: Dataset) -> Params:
    """A project of one conditional entry whose samples are 60 real digits with their labels, and of
    prepared data of 80 test images.
    """
    assert mnist.train_y is not None
    block = Entry("made", "made", "mnist", 0, {}, {}, {}, {})
    metrics = (
        "fid",
        "inception_score",
        "kid",
        "precision_recall",
        "density_coverage",
        "label_fidelity",
        "classification_accuracy",
        "class_shares",
        "fid_train",
    )
    params = Params(
        tmp_path,
        "quick",
        {"made": block},
        ("mnist",),
        metrics,
        protocol(samples=60, sample_chunk=20, images={1: 40, 10: 40, 200: 40}, references=40),
        Compute(threads=1),
    )
    write_npz(
        Layout.of(params).data("mnist"),
        {
            "test_x": mnist.test_x[:80, 0].numpy(),
            "test_y": (np.arange(80) % 7).astype(np.uint8),
            "train_x": mnist.train_x[100:220, 0].numpy(),
            "train_y": mnist.train_y[100:220].numpy().astype(np.uint8),
            **EXCERPT,
        },
    )
    write_npz(
        Layout.of(params).run_dir("made").samples,
        {"images": mnist.train_x[:60, 0].numpy(), "labels": mnist.train_y[:60].numpy()},
    )
    return params


def test_features_stage_writes_the_strided_reference(scored: Params, mnist: Dataset) -> None:
    call_stage("features", scored, "mnist")
    arrays = read_npz(Layout.of(scored).features("mnist"))
    expected, logits = extract(mnist.test_x[:80:2], 256)
    assert np.array_equal(arrays["features"], expected.numpy())
    assert np.array_equal(arrays["logits"], logits.numpy())
    assert np.array_equal(arrays["labels"], np.arange(0, 80, 2) % 7)
    seen, _ = extract(mnist.train_x[100:220:3], 256)
    assert mnist.train_y is not None
    assert np.array_equal(arrays["train_features"], seen.numpy())
    assert np.array_equal(arrays["train_labels"], mnist.train_y[100:220:3].numpy())


def test_scoring_stage_scores_samples(scored: Params) -> None:
    call_stage("features", scored, "mnist")
    call_stage("score_samples", scored, "made")
    record = read_record(Layout.of(scored).run_dir("made").quality)
    assert record.metrics["label_fidelity"].value > 0.95
    assert record.metrics["label_fidelity"].n == 60
    assert {
        "fid_mnist",
        "is_mnist",
        "kid_mnist",
        "recall_mnist",
        "coverage_mnist",
        "min_class_share",
        "cas",
        "fid_train_mnist",
    } <= set(record.metrics)
    first = Layout.of(scored).run_dir("made").quality.read_bytes()
    call_stage("score_samples", scored, "made")
    assert Layout.of(scored).run_dir("made").quality.read_bytes() == first


def test_scoring_stage_shows_metrics_the_images_and_labels_behind_features(
    scored: Params, mnist: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_stage("features", scored, "mnist")
    sets: list[FeatureSet] = []
    monkeypatch.setattr(
        score_samples, "score", lambda names, *pair, seed: sets.extend(pair) or ({}, {})
    )
    call_stage("score_samples", scored, "made")
    made, reference = sets
    assert reference.training is not None
    assert mnist.train_y is not None
    for images, x, y in (
        (made, mnist.train_x[:60], mnist.train_y[:60]),
        (reference, mnist.test_x[:80:2], torch.arange(0, 80, 2) % 7),
        (reference.training, mnist.train_x[100:220:3], mnist.train_y[100:220:3]),
    ):
        assert images.images is not None and torch.equal(images.images, x)
        assert images.labels is not None and torch.equal(images.labels, y)
        assert torch.equal(images.features, extract(x, 256)[0])


def test_scoring_stage_reads_no_images_for_samples_without_labels(
    scored: Params, mnist: Dataset
) -> None:
    call_stage("features", scored, "mnist")
    write_npz(Layout.of(scored).run_dir("made").samples, {"images": mnist.train_x[:60, 0].numpy()})
    Layout.of(scored).data("mnist").unlink()
    call_stage("score_samples", scored, "made")
    assert "cas" not in read_record(Layout.of(scored).run_dir("made").quality).metrics


def test_scoring_stage_withholds_what_has_too_few_samples(scored: Params, mnist: Dataset) -> None:
    call_stage("features", scored, "mnist")
    write_npz(Layout.of(scored).run_dir("made").samples, {"images": mnist.train_x[:4, 0].numpy()})
    call_stage("score_samples", scored, "made")
    record = read_record(Layout.of(scored).run_dir("made").quality)
    assert set(record.withheld) == {"is_mnist"}
    assert "needs at least 10 images" in record.withheld["is_mnist"]
    assert "precision_mnist" in record.metrics
    assert "label_fidelity" not in record.metrics


def test_scoring_stage_says_what_is_missing_or_wrong(scored: Params) -> None:
    with pytest.raises(FileNotFoundError, match=r"features/mnist\.npz does not exist"):
        call_stage("score_samples", scored, "made")
    call_stage("features", scored, "mnist")
    samples = Layout.of(scored).run_dir("made").samples
    write_npz(samples, {"pictures": np.zeros((2, 28, 28), np.uint8)})
    with pytest.raises(UserError, match=r"samples\.npz: must hold images .*got pictures"):
        call_stage("score_samples", scored, "made")
    samples.write_bytes(b"PK half a file")
    with pytest.raises(ValueError, match=r"samples\.npz is corrupt or truncated"):
        call_stage("score_samples", scored, "made")
    samples.unlink()
    with pytest.raises(FileNotFoundError, match=r"samples\.npz does not exist"):
        call_stage("score_samples", scored, "made")
    assert not Layout.of(scored).run_dir("made").quality.exists()


def test_retraining_reports_both_nets(
    scored: Params,
    few: Dataset,
    mnist: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert mnist.test_y is not None
    data = dataclasses.replace(few, test_x=mnist.test_x[:500], test_y=mnist.test_y[:500])
    splits = {f"{s}_x": getattr(data, f"{s}_x")[:, 0].numpy() for s in ("train", "valid", "test")}
    splits |= {
        f"{s}_y": getattr(data, f"{s}_y").numpy().astype(np.uint8)
        for s in ("train", "valid", "test")
    }
    write_npz(Layout.of(scored).data("mnist"), splits | EXCERPT)
    brief = functools.partial(train_feature_net, epochs=1, batch_size=50)
    monkeypatch.setattr("genbench.scoring.feature_training.train_feature_net", brief)
    before = WEIGHTS.read_bytes()
    layout = Layout.of(scored)
    report = features_stage.retrain(
        scored,
        data=layout.data,
        folder=layout.features_folder,
    )
    assert WEIGHTS.read_bytes() == before
    assert report["shipped"]["mnist"]["accuracy"] > 0.98
    assert report["retrained"]["mnist"]["n"] == 500
    load_net(
        Layout.of(scored).runs / "features" / "feature_net.safetensors", checksum=report["sha256"]
    )
    assert "shipped: mnist test accuracy" in capsys.readouterr().out


def test_the_net_is_small() -> None:
    assert sum(p.numel() for p in FeatureNet().parameters()) < 300_000
