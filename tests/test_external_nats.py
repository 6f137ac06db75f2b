"""Likelihoods that others computed: what cannot be one is refused, with how to convert it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from genbench.errors import UserError
from genbench.external.nats import Nats, nats_metrics, read_nats
from genbench.spec import DataSpec

SPEC = DataSpec(28, 28, 256, 10)
TRUE = np.random.default_rng(0).uniform(400, 700, 50)


def read(path: Path, nats: np.ndarray, **more: np.ndarray) -> Nats:
    np.savez(path / "nats.npz", nats=nats, **more)
    return read_nats(path / "nats.npz", 50, SPEC)


def test_nats_of_all_test_images_are_taken_as_they_are(tmp_path: Path) -> None:
    found = read(tmp_path, TRUE)
    assert np.array_equal(found.values, TRUE)
    assert found.index.tolist() == list(range(50))
    single = read(tmp_path, TRUE.astype(np.float32))
    assert single.values.dtype == np.float64
    assert np.allclose(single.values, TRUE, rtol=1e-6)


def test_nats_of_evenly_spread_test_images_need_their_index(tmp_path: Path) -> None:
    spread = np.array([i * 50 // 20 for i in range(20)])
    found = read(tmp_path, TRUE[spread], index=spread)
    assert np.array_equal(found.index, spread)
    for more in ({}, {"index": np.arange(20)}, {"index": spread.astype(float)}):
        with pytest.raises(UserError, match=r"np\.arange\(20\) \* 50 // 20`") as error:
            read(tmp_path, TRUE[:20], **more)
        line = re.search(r"np\.arange\(.*?(?=`)", str(error.value))
        assert line
        assert np.array_equal(eval(line[0], {"np": np}), spread)


OTHERS: dict[str, tuple[np.ndarray, str]] = {
    "log P": (-TRUE, "If these are log P(x)"),
    "-log of a density": (TRUE - 784 * math.log(256), "if -log of a density of pixels in 0..1"),
    "bits/dim": (TRUE / 784 / math.log(2), "If these are bits/dim"),
    "nats per pixel": (TRUE / 784, "if nats per pixel"),
    "of each pixel": (np.repeat(TRUE[:, None] / 784, 784, 1), "sum over pixels by"),
    "of each pixel, in rows": (np.repeat(TRUE, 784).reshape(50, 28, 28) / 784, "sum over pixels"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_the_line_of_the_error_converts_other_numbers(tmp_path: Path, what: str) -> None:
    values, words = OTHERS[what]
    with pytest.raises(UserError) as error:
        read(tmp_path, values)
    said = str(error.value)
    line = re.search(rf"{re.escape(words)}.*?`nats = (.*?)`", said)
    assert line, said
    assert np.allclose(read(tmp_path, eval(line[1], {"np": np, "nats": values})).values, TRUE)


@pytest.mark.parametrize(
    ("nats", "said"),
    [
        (TRUE.astype(int), r"must be float64 \(50,\), .* got int64 \(50,\)$"),
        (TRUE.astype(np.float16), r"got float16 \(50,\)$"),
        (TRUE[:49], "nats must be of all 50 test images in their order, got 49"),
        (np.append(TRUE, 500.0), "nats must be of all 50 test images in their order, got 51"),
        (np.where(np.arange(50) == 7, np.inf, TRUE), "of 1 of 50 .* first those of image 7"),
        (np.where(np.arange(50) == 9, np.nan, TRUE), "of 1 of 50 .* first those of image 9"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, nats: np.ndarray, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(tmp_path, nats)


def test_probabilities_of_different_images_add_up_to_at_most_1(tmp_path: Path) -> None:
    even = np.full(50, math.log(50))
    assert len(read(tmp_path, even + 1e-9).values) == 50
    with pytest.raises(UserError, match="add up to e"):
        read(tmp_path, even - 1e-3)
    one = TRUE.copy()
    one[3] = -1e-9
    with pytest.raises(UserError, match="must not be below 0"):
        read(tmp_path, one)


def test_the_metrics_are_numpys_and_of_a_kind_of_their_own(tmp_path: Path) -> None:
    metrics = nats_metrics(read(tmp_path, TRUE), SPEC)
    error = np.std(TRUE, ddof=1) / math.sqrt(50)
    for name, unit in (("nats", 1), ("bits_per_dim", 784 * math.log(2))):
        assert metrics[name].value == pytest.approx(np.mean(TRUE) / unit, rel=1e-12)
        assert metrics[name].stderr == pytest.approx(error / unit, rel=1e-12)
        assert (metrics[name].n, metrics[name].kind) == (50, "reported")
        assert metrics[name].higher_is_better is False
