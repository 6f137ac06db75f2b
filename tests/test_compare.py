"""`genbench compare`: what is said of pairs of entries, from what, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genbench.cli.compare import Model, compared, print_comparison
from genbench.cli.compare_picture import draw, most_different
from genbench.comparison.paired import compare_models, compare_weights
from genbench.comparison.scored import Scored
from genbench.comparison.seed_spread import seed_spreads
from genbench.config.layout import Layout
from genbench.errors import UserError
from genbench.files import write_npz
from genbench.results.compared import by_model
from genbench.results.entry import read_entries
from genbench.scoring.jackknife import paired_stderr
from genbench.scoring.records import LEFT_OUT, Metric, Record, write_record
from tests.invented_results import LEVELS, Bench

IMAGES = 200
SEEDS = (-1.0, 0.0, 1.0)


def nats(mean: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([int(mean), seed])
    own = rng.normal(0, 2, IMAGES)
    return mean + SEEDS[seed] + np.linspace(-30, 30, IMAGES) + own - own.mean()


def left_out(name: str) -> list[float]:
    return (3.0 + np.random.default_rng(sum(name.encode())).normal(0, 0.1, 20)).tolist()


@pytest.fixture
def entries(bench: Bench) -> Bench:
    """alpha has three seeds; the others have one, gamma no likelihood."""
    for seed, name in enumerate(("alpha", "alpha-s1", "alpha-s2")):
        bench.add(name, "alpha", nats=nats(100.0, seed), seed=seed)
    bench.add("wide", "alpha", nats=nats(160.0, 1), width=8)
    bench.add("beta", "beta", nats=nats(60.0, 1))
    bench.add("gamma", "gamma")
    for name in ("wide", "beta", "gamma"):
        detail = {"reference_n": 100, LEFT_OUT: left_out(name)}
        values = {"fid_unbiased_mnist": 2.0 + len(name), "fid_mnist": 3.0 + len(name)}
        found = {key: Metric(v, 0.1, 100, False, detail=detail) for key, v in values.items()}
        write_record(Layout.of(bench.params).run_dir(name).quality, Record(name, found))
    return bench


def models(bench: Bench, *names: str) -> list[Model]:
    groups = {group[0].entry.name: group for group in by_model(read_entries(bench.params))}
    return [Model(name, bench.params, groups[name]) for name in names]


def by_hand(name: str, kind: str, family: str, *values: np.ndarray) -> Scored:
    errors = (0.0,) * len(values)
    return Scored(name, family, "mnist", kind, np.arange(IMAGES), np.stack(values), errors)


ALPHA = [nats(100.0, seed) for seed in range(3)]


def test_a_pair_is_judged_with_the_seeds_of_entries_that_were_not_named(entries: Bench) -> None:
    (found,) = compared(models(entries, "wide", "beta"))
    wide = by_hand("wide", "exact", "autoregressive", nats(160.0, 1))
    beta = by_hand("beta", "lower_bound", "variational", nats(60.0, 1))
    alpha = by_hand("alpha", "exact", "autoregressive", *ALPHA)
    expected = compare_models(wide, beta, seed_spreads([wide, beta, alpha]))
    said = found["likelihood"]
    assert said["delta_nats"] == pytest.approx(expected.delta)
    assert said["delta_nats_stderr"] == pytest.approx(expected.stderr)
    assert said["p_adjusted"] == said["p"] == pytest.approx(expected.p), "a single pair"
    assert said["winner"] == "beta"
    assert said["borrowed"] == {"wide": ["alpha"], "beta": ["alpha"]}
    assert said["sentence"].startswith("beta is better than wide by at least 100")
    alone = compare_weights(wide, beta)
    assert said["weights"]["delta_nats_stderr"] == pytest.approx(alone.stderr)
    assert said["weights"]["p"] == pytest.approx(alone.p)


def test_an_entry_is_all_of_its_seeds_and_its_weights_are_those_of_the_first(
    entries: Bench,
) -> None:
    (found,) = compared(models(entries, "alpha", "wide"))
    alpha = by_hand("alpha", "exact", "autoregressive", *ALPHA)
    wide = by_hand("wide", "exact", "autoregressive", nats(160.0, 1))
    expected = compare_models(alpha, wide, seed_spreads([alpha, wide]))
    assert found["likelihood"]["delta_nats_stderr"] == pytest.approx(expected.stderr)
    first = by_hand("alpha", "exact", "autoregressive", ALPHA[0])
    assert found["likelihood"]["weights"]["delta_nats"] == pytest.approx(
        compare_weights(first, wide).delta
    )


def test_several_pairs_are_corrected_for_each_other(entries: Bench) -> None:
    found = compared(models(entries, "alpha", "wide", "beta"))
    p = sorted(pair["likelihood"]["p"] for pair in found)
    adjusted = sorted(pair["likelihood"]["p_adjusted"] for pair in found)
    assert adjusted[0] == pytest.approx(3 * p[0])
    assert adjusted[-1] == pytest.approx(max(p[-1], 2 * p[1], 3 * p[0]))


def test_without_a_likelihood_the_samples_are_compared_and_it_says_so(
    entries: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = compared(models(entries, "wide", "gamma"))
    assert found["likelihood"] is None
    assert found["reason"] == "gamma has no likelihood: the samples alone are compared"
    distance = found["distance"]
    assert distance["metric"] == "fid_unbiased_mnist"
    assert distance["delta"] == pytest.approx(len("wide") - len("gamma"))
    assert distance["stderr"] == pytest.approx(paired_stderr(left_out("wide"), left_out("gamma")))


def test_of_other_protocols_only_unbiased_distances_compare(entries: Bench) -> None:
    for name in ("wide", "beta"):
        record = Record(name, {"fid_mnist": Metric(3.0, 0.1, 100, False)})
        write_record(Layout.of(entries.params).run_dir(name).quality, record)
    wide, beta = models(entries, "wide", "beta")
    (found,) = compared([wide, beta])
    assert (found["distance"]["metric"], found["distance"]["stderr"]) == ("fid_mnist", None)
    protocol = replace(entries.params.protocol, samples=50)
    other = replace(beta, params=replace(entries.params, protocol=protocol))
    assert compared([wide, other])[0]["distance"] is None


def test_costs_are_multiples_and_settings_those_that_differ(entries: Bench) -> None:
    path = Layout.of(entries.params).run_dir("wide").cost
    cost = json.loads(path.read_text())
    path.write_text(json.dumps(cost | {"parameters": 4 * cost["parameters"]}))
    (found,) = compared(models(entries, "wide", "alpha"))
    assert found["cost"] == {"parameters": 4.0}
    assert found["settings"] == {"arch.width": [8, "nothing"]}


def test_in_words_there_is_a_table_and_what_differs(
    entries: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = models(entries, "wide", "beta", "gamma")
    monkeypatch.setattr("genbench.cli.compare._models", lambda names, profile: chosen)
    print_comparison(["wide", "beta", "gamma"], "quick")
    printed = capsys.readouterr().out
    head, first, second, *_ = printed.splitlines()
    assert head.split() == ["a", "b", "Δ", "nats", "Δ", "bits/dim", "p", "verdict"]
    assert first.startswith("wide  beta")
    assert first.endswith("beta is better")
    assert second.endswith("no likelihood")
    assert "model: alpha | beta" in printed
    assert "arch.width" not in printed, "beta has no such option"
    print_comparison(["wide", "beta", "gamma"], "quick", as_json=True)
    assert json.loads(capsys.readouterr().out) == compared(chosen)


def test_the_most_different_images_are_in_order() -> None:
    d = np.array([0.0, -5.0, 3.0, 4.0, -1.0])
    assert most_different(d, 3).tolist() == [3, 2, 1]


def test_the_picture_is_of_the_differences(entries: Bench, tmp_path: Path) -> None:
    rng, run = np.random.default_rng(0), Layout.of(entries.params)
    arrays = dict(np.load(_data(entries)))
    arrays["test_x"] = rng.integers(0, LEVELS["mnist"], (IMAGES, 28, 28), dtype=np.uint8)
    arrays["test_y"] = (np.arange(IMAGES) % 10).astype(np.uint8)
    write_npz(run.data("mnist"), arrays)
    first = by_hand("wide", "exact", "autoregressive", nats(160.0, 1))
    second = by_hand("beta", "lower_bound", "variational", nats(60.0, 1))
    draw(first, second, entries.params, tmp_path / "difference.png")
    assert Image.open(tmp_path / "difference.png").size[0] > 1000
    with pytest.raises(UserError, match=r"must end in \.png, got .*difference\.jpg"):
        draw(first, second, entries.params, tmp_path / "difference.jpg")


def _data(bench: Bench) -> Path:
    bench.data("mnist")
    return Layout.of(bench.params).data("mnist")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["made"], "name at least two entries"),
        (["made", "made"], "made: named twice"),
        (["made", "mad"], "mad"),
        (["made", "nowhere/made"], "nowhere"),
        (["made", "vae"], "made was not run yet: genbench run --profile smoke --entries made"),
        (["made", "binary-made"], "different data sets do not compare"),
    ],
)
def test_what_cannot_be_compared_is_named(names: list[str], reason: str) -> None:
    """In this repository, whose entries may not have been run."""
    with pytest.raises(UserError, match=reason):
        print_comparison(names, "smoke")
