"""Entries for comparison: built from what scoring leaves, brought to their common images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genbench.comparison.scored import Scored, in_common, scored
from genbench.errors import UserError
from genbench.scoring.records import Metric
from tests.comparison_entries import entry


def metric(kind: str = "estimate", **detail: Any) -> Metric:
    return Metric(90.0, 0.5, 4, higher_is_better=False, kind=kind, detail=detail)


def built(**changes: Any) -> Scored:
    """Two seeds that share the images 3, 5 and 9, in different orders."""
    arrays: list[dict[str, np.ndarray]] = [
        {"index": np.array([9, 3, 5, 1]), "nats": np.array([90.0, 30.0, 50.0, 10.0])},
        {"index": np.array([3, 5, 7, 9]), "nats": np.array([31.0, 51.0, 71.0, 91.0])},
    ]
    given: dict[str, Any] = {
        "metrics": [metric(log_z_stderr=0.25), metric(log_z_stderr=0.5)],
        "arrays": arrays,
        **changes,
    }
    return scored("rbm", family="energy", dataset="binary_mnist", **given)


def test_each_seeds_nats_are_those_of_the_images_that_all_have() -> None:
    found = built()
    assert found.images.tolist() == [3, 5, 9]
    assert found.nats.tolist() == [[30, 50, 90], [31, 51, 91]]
    assert found.nats.dtype == np.float64
    assert found.log_z_stderr == (0.25, 0.5)
    assert (found.name, found.family, found.dataset) == ("rbm", "energy", "binary_mnist")
    assert (found.kind, found.seeds) == ("estimate", 2)


def test_a_constant_that_is_known_has_no_error() -> None:
    assert built(metrics=[metric("exact"), metric("exact")]).log_z_stderr == (0, 0)


def test_one_seed_of_several() -> None:
    second = built().of_seed(1)
    assert second.nats.tolist() == [[31, 51, 91]]
    assert second.log_z_stderr == (0.5,)
    assert second.images.tolist() == [3, 5, 9]


ONE = {"index": np.arange(3), "nats": np.ones(3)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": [metric(), metric("exact")]}, "rbm: its seeds must be scored alike"),
        ({"metrics": [metric(draws=1), metric(draws=50)]}, "estimate with draws 50"),
        ({"metrics": [metric()]}, "got 1 records .* and 2 files"),
        ({"metrics": [], "arrays": []}, "got 0 records"),
        ({"arrays": [ONE, {"index": np.arange(3)}]}, "arrays index and nats, one has index"),
        ({"arrays": [ONE, {}]}, "one has none"),
        ({"arrays": [ONE, ONE | {"nats": np.ones(4)}]}, r"got \(3,\) and \(4,\)"),
        ({"arrays": [ONE, ONE | {"index": np.array([1, 1, 2])}]}, "each image once"),
        ({"arrays": [ONE, ONE | {"index": np.arange(5, 8)}]}, r"at least 2 images, got \(2, 0\)"),
        ({"metrics": [metric("none"), metric("none")]}, "rbm: a likelihood of kind 'none'"),
    ],
)
def test_seeds_that_do_not_belong_together_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        built(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nats": [1.0, 2.0]}, r"made: nats must have the shape \(seeds, images\)"),
        ({"nats": np.ones((2, 1))}, "at least 2 images"),
        ({"nats": np.ones((0, 5))}, "at least 2 images"),
        ({"images": [1, 2]}, "made: 3 nats of each seed need the numbers of 3 different images"),
        ({"images": [1, 2, 2]}, "got 2 in the shape"),
        ({"nats": [[1, 2, 3], [4, np.nan, 6]]}, r"test image 1 \(seed 2 of 2\) are not finite"),
        ({"nats": [[1, 2, np.inf]]}, "test image 2"),
        ({"log_z_stderr": [0.1, 0.1]}, "for each of 1 seeds"),
        ({"log_z_stderr": [-0.1]}, "at least 0"),
        ({"log_z_stderr": [np.nan]}, "finite"),
        ({"kind": "bound"}, "made: a likelihood of kind 'bound'.*did you mean 'lower_bound'"),
    ],
)
def test_an_entry_that_cannot_be_compared_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        entry("made", **{"nats": [[1.0, 2.0, 3.0]], **changes})


def test_two_entries_meet_on_their_common_images() -> None:
    """The first has the even images up to 398, the second all from 99 down to 0 and from 200 up."""
    even, other = np.arange(0, 400, 2), np.concatenate([np.arange(100)[::-1], np.arange(200, 400)])
    a = entry("made", np.stack([1000.0 + even, 2000.0 + even]), images=even)
    b = entry("vae", [5.0 * other], images=other, kind="lower_bound")
    common = in_common(a, b)
    expected = [*range(0, 100, 2), *range(200, 400, 2)]
    assert common.images.tolist() == expected
    assert common.a.tolist() == [[k + i for i in expected] for k in (1000, 2000)]
    assert common.b.tolist() == [[5 * i for i in expected]]
    assert common.differences.tolist() == [1500 - 4 * i for i in expected]


@pytest.mark.parametrize(("n", "enough"), [(99, False), (100, True)])
def test_fewer_than_a_hundred_common_images_are_an_error(n: int, enough: bool) -> None:
    a, b = entry("made", np.ones((1, 300))), entry("vae", np.ones((1, n)))
    if enough:
        assert len(in_common(a, b).images) == n
    else:
        with pytest.raises(UserError, match="made and vae were both scored on 99 images"):
            in_common(a, b)


def test_data_sets_do_not_compare() -> None:
    a, b = entry("made", np.ones((1, 200))), entry("rbm", np.ones((1, 200)), dataset="binary_mnist")
    with pytest.raises(UserError, match="made is an entry of mnist and rbm of binary_mnist"):
        in_common(a, b)
