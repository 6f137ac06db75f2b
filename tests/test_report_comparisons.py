"""What the report says of pairs of entries: the verdicts of their nats, letters, bold numbers, the
summary and the forest plot.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from genbench.comparison.scored import Scored
from genbench.comparison.seed_spread import seed_spreads
from genbench.comparison.verdicts import verdicts
from genbench.config.layout import Layout
from genbench.report.forest import distances
from genbench.report.page import Material, page
from genbench.results import entry as reading
from genbench.results.schema import validate
from tests.invented_results import Bench
from tests.pages import leaderboard_of, summary_of

IMAGES = 400
MEANS = {"alpha": 100.0, "alpha-b": 100.1, "alpha-c": 130.0, "beta": 50.0, "beta-b": 75.0}
"""Of the first seed; alpha and alpha-b are not separated. beta and beta-b are bounds."""
SHIFTS = (0.0, 0.4, -0.4)  # of seeds


def nats_of(name: str, seed: int = 0) -> np.ndarray:
    """Images that are hard are so for all; the noise of an entry is its own."""
    hardness = np.random.default_rng(0).normal(0, 20, IMAGES)
    own = np.random.default_rng([sum(name.encode()), seed]).normal(0, 1.0, IMAGES)
    return MEANS[name] + SHIFTS[seed] + hardness + own - own.mean() - hardness.mean()


@pytest.fixture
def seeded(bench: Bench) -> Bench:
    """Entries of two kinds; alpha has three seeds, from which the others borrow."""
    for seed, name in enumerate(("alpha", "alpha-s1", "alpha-s2")):
        bench.add(name, "alpha", nats=nats_of("alpha", seed), seed=seed)
    bench.add("alpha-b", "alpha", nats=nats_of("alpha-b"), x=1)
    bench.add("alpha-c", "alpha", nats=nats_of("alpha-c"), x=2)
    bench.add("beta", "beta", nats=nats_of("beta"))
    bench.add("beta-b", "beta", nats=nats_of("beta-b"), x=1)
    bench.add("gamma", "gamma")
    return bench


def by_hand() -> list[Scored]:
    """The same models, without files."""
    models = []
    for name in MEANS:
        seeds = 3 if name == "alpha" else 1
        kind, family = (
            ("exact", "autoregressive") if name[0] == "a" else ("lower_bound", "variational")
        )
        nats = np.stack([nats_of(name, seed) for seed in range(seeds)])
        models.append(Scored(name, family, "mnist", kind, np.arange(IMAGES), nats, (0.0,) * seeds))
    return models


def test_pairs_are_those_of_the_models_with_all_their_seeds(seeded: Bench) -> None:
    said = seeded.board()["comparisons"]["mnist"]
    models = by_hand()
    expected = {(v.comparison.a, v.comparison.b): v for v in verdicts(models, seed_spreads(models))}
    assert {(pair["a"], pair["b"]) for pair in said["pairs"]} == expected.keys()
    for pair in said["pairs"]:
        verdict = expected[pair["a"], pair["b"]]
        assert pair["delta_nats"] == pytest.approx(verdict.comparison.delta)
        assert pair["delta_nats_stderr"] == pytest.approx(verdict.comparison.stderr)
        assert pair["p_adjusted"] == pytest.approx(verdict.p)
        assert pair["outcome"] == verdict.outcome.value
        assert pair["winner"] == verdict.winner
        assert pair["n"] == IMAGES
    assert said["seeds"]["entries"].keys() == {"alpha"}
    spread = np.std([MEANS["alpha"] + shift for shift in SHIFTS], ddof=1)
    assert said["seeds"]["pooled"]["sd_nats"] == pytest.approx(spread)


def test_letters_are_shared_by_what_is_not_separated_within_a_kind(seeded: Bench) -> None:
    letters = seeded.board()["comparisons"]["mnist"]["letters"]
    assert set(letters["alpha"]) & set(letters["alpha-b"])
    assert not set(letters["alpha"]) & set(letters["alpha-c"])
    assert not set(letters["beta"]) & set(letters["beta-b"])
    assert letters.keys() == MEANS.keys()


def test_bold_are_the_best_of_a_kind_and_what_is_not_separated_from_it(seeded: Bench) -> None:
    """The bounds are below all exact values, which are shown to be worse, so none of these is
    bold.
    """
    text = page(seeded.board(), reading.read_entries(seeded.params), Material())[0]
    _, table = leaderboard_of(text, "mnist")
    bold = {name for name, cells in table.items() if cells["bits/dim"].best}
    assert bold == {"beta"}
    assert bold == {name for name, cells in table.items() if cells["nats"].best}
    assert summary_of(text)["mnist"]["Lowest bits/dim"][1] == "beta"
    shown = re.findall(r'<tr id="entry-([^"]+)".*?</tr>', text, flags=re.DOTALL)
    assert "alpha*" in shown


def test_each_model_has_its_letters_beside_its_bits_per_dim(seeded: Bench) -> None:
    board = seeded.board()
    text = page(board, reading.read_entries(seeded.params), Material())[0]
    found = {
        name: [(float(value[1]), letters[1]) for value, letters in map(_lettered, cells) if letters]
        for name, row in re.findall(r'<tr id="entry-([^"]+)"(.*?)</tr>', text, flags=re.DOTALL)
        if (cells := [cell for cell in row.split("<td") if 'class="letters"' in cell])
    }
    told = board["comparisons"]["mnist"]["letters"]
    shown = {"alpha*": "alpha"} | {name: name for name in told if name != "alpha"}
    metrics = {row["entry"]: row["metrics"] for row in board["rows"]}
    assert found == {
        row: [(pytest.approx(metrics[row]["bits_per_dim"]["value"], rel=1e-4), told[name])]
        for row, name in shown.items()
    }, "seeds are one model"


def _lettered(cell: str) -> tuple[Any, Any]:
    """Matches of a cell's value and of its letters."""
    return re.search(r'data-v="([^"]+)"', cell), re.search(r'class="letters"[^>]*>(\w+)<', cell)


def test_without_a_bound_below_them_exact_rows_share_the_bold(bench: Bench) -> None:
    for seed, name in enumerate(("alpha", "alpha-s1", "alpha-s2")):
        bench.add(name, "alpha", nats=nats_of("alpha", seed), seed=seed)
    bench.add("alpha-b", "alpha", nats=nats_of("alpha-b"), x=1)
    bench.add("alpha-c", "alpha", nats=nats_of("alpha-c"), x=2)
    text = page(bench.board(), reading.read_entries(bench.params), Material())[0]
    _, table = leaderboard_of(text, "mnist")
    assert {name for name, cells in table.items() if cells["bits/dim"].best} == {
        "alpha*",
        "alpha-b",
    }
    assert summary_of(text)["mnist"]["Lowest bits/dim"][1] == "alpha*, alpha-b (not separated)"


def test_without_seeds_nothing_is_called_better(bench: Bench) -> None:
    for name in ("alpha-b", "alpha-c"):
        bench.add(name, "alpha", nats=nats_of(name), x=len(bench.entries))
    board = bench.board()
    (pair,) = board["comparisons"]["mnist"]["pairs"]
    assert (pair["outcome"], pair["winner"], pair["p"]) == ("unknown", None, None)
    assert board["comparisons"]["mnist"]["letters"] == {}
    text = page(board, reading.read_entries(bench.params), Material())[0]
    assert not any(cells["bits/dim"].best for cells in leaderboard_of(text, "mnist")[1].values())
    assert distances(board["comparisons"]["mnist"]) is None


def test_a_damaged_file_of_nats_leaves_its_model_out_and_says_why(seeded: Bench) -> None:
    path = Layout.of(seeded.params).run_dir("beta").nats
    path.write_bytes(path.read_bytes()[:100])
    said = seeded.board()["comparisons"]["mnist"]
    assert said["left_out"].keys() == {"beta"}
    assert "runs/quick/beta/nats.npz" in said["left_out"]["beta"]
    assert str(seeded.params.root) not in said["left_out"]["beta"]
    assert "beta-b" in said["letters"]


def test_the_forest_is_of_distances_to_the_lowest_number(seeded: Bench) -> None:
    board = seeded.board()
    validate(board)
    found = distances(board["comparisons"]["mnist"])
    assert found is not None
    best, others = found
    assert best == "beta"
    assert [one.name for one in others] == ["beta-b", "alpha", "alpha-b", "alpha-c"]
    models = by_hand()
    expected = {
        v.comparison.a if v.comparison.b == "beta" else v.comparison.b: v.comparison
        for v in verdicts(models, seed_spreads(models))
        if "beta" in (v.comparison.a, v.comparison.b)
    }
    for one in others:
        interval = expected[one.name].interval()
        assert interval is not None
        assert one.delta == pytest.approx(MEANS[one.name] - MEANS["beta"], abs=1e-6)
        assert one.half == pytest.approx((interval[1] - interval[0]) / 2)
        assert one.kind == ("exact" if one.name[0] == "a" else "lower_bound")
