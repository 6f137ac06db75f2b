"""The chart of validation nats against core-seconds, and that of our results beside published ones:
what is drawn where; and which losses are likelihoods, of all models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from torch import Generator

from genbench.base import GenerativeModel, Likelihood
from genbench.config.layout import Layout
from genbench.config.params import Entry
from genbench.files import read_json, write_json, write_text
from genbench.registry import model_class, model_names
from genbench.report.beside import beside
from genbench.report.build import _beside, _learning
from genbench.report.chart import INK, SERIES
from genbench.report.learning import Course, courses, learning, measures_nats
from genbench.report.published import Line, Published
from genbench.results import entry as reading
from tests.contract.cases import cases
from tests.invented_results import Bench
from tests.kept_figures import Figures, keep_figures


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Figures:
    return keep_figures(monkeypatch, "learning", "beside")


# ---------------------------------------------------------------------- which losses are nats

DRAWS = 60
OTHERS = {
    "vae": {"beta": 2.0},
    "cvae": {"beta": 2.0},
    "vq_vae": {"joint": True},
}


def built(name: str, **more: Any) -> tuple[GenerativeModel, Entry] | None:
    """A tiny model with an exact likelihood or a bound, and its entry; None for others."""
    cls = model_class(name)
    if cls.control or cls.likelihood not in (Likelihood.EXACT, Likelihood.LOWER_BOUND):
        return None
    first = next(case for case in cases(name, cls) if case.arch.get("masks", 1) == 1)
    arch = first.arch | more
    torch.manual_seed(0)
    model = cls(first.spec, **arch)
    with torch.no_grad():  # far from any symmetry of its beginning
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model.eval(), Entry("one", name, "mnist", 0, arch, {}, {}, {})


def means(draw: Callable[[Generator], float], count: int) -> tuple[float, float]:
    """Mean and its error over draws."""
    values = np.array([draw(Generator().manual_seed(i)) for i in range(count)])
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(count))


@pytest.mark.parametrize(
    ("name", "more"),
    [*((name, {}) for name in model_names()), *OTHERS.items()],
    ids=str,
)
def test_a_loss_measures_nats_just_where_it_is_the_score_on_average(
    name: str, more: Mapping[str, Any]
) -> None:
    found = built(name, **more)
    if found is None:
        return
    model, entry = found
    spec = model.spec
    x = torch.randint(0, spec.levels, (8, 1, spec.height, spec.width), dtype=torch.uint8)
    y = torch.arange(8) % spec.classes if model.conditional else None
    phases = model.phases()
    with torch.no_grad():
        loss, loss_error = means(
            lambda rng: sum(float(p.loss(x, y, rng=rng, progress=1.0).loss) for p in phases), DRAWS
        )
        score, score_error = means(
            lambda rng: -float(model.log_likelihood(x, y, rng=rng).mean()),
            4 if name == "flow_matching" else DRAWS,
        )
    same = abs(loss - score) <= 4 * math.hypot(loss_error, score_error) + 1e-4 * abs(score)
    assert same == measures_nats(entry, type(model).family), (loss, score)


# ---------------------------------------------------------------------- what an entry has learned


def trained(
    bench: Bench, name: str, model: str, wall: float, cpu: float | None, **more: Any
) -> None:
    run = bench.add(name, model, **more)
    cost = read_json(run / "cost.json") | {"train_seconds": wall}
    write_json(run / "cost.json", cost | ({} if cpu is None else {"train_cpu_seconds": cpu}))


def test_a_course_is_told_in_core_seconds(bench: Bench) -> None:
    """Invented histories have a validation at every second step, at a tenth of a second a step."""
    trained(bench, "alpha", "alpha", wall=2.0, cpu=3.0, bits=1.2)
    trained(bench, "unknown", "alpha", wall=2.0, cpu=None, bits=1.2)
    trained(bench, "gamma", "gamma", wall=2.0, cpu=3.0)
    trained(bench, "delta", "delta", wall=2.0, cpu=5.0, bits=1.5)
    trained(bench, "ceiling", "ceiling", wall=2.0, cpu=3.0, bits=1.7)
    found = {one.name: one for one in courses(reading.read_entries(bench.params))}
    assert found.keys() == {"alpha", "delta"}
    steps = np.arange(1, 10, 2)
    np.testing.assert_allclose(found["alpha"].seconds, 0.1 * steps * 3.0 / 2.0)
    np.testing.assert_allclose(found["alpha"].nats, 6.0 / (steps + 1))
    assert (found["alpha"].is_score, found["delta"].is_score) == (False, True)
    assert found["delta"].seconds.tolist() == [5.0]
    assert found["delta"].nats.tolist() == pytest.approx([1.5 * 784 * math.log(2)])


def test_rows_of_a_history_without_a_validation_are_none(bench: Bench) -> None:
    trained(bench, "alpha", "alpha", wall=2.0, cpu=2.0, bits=1.2)
    path = Layout.of(bench.params).run_dir("alpha").history
    write_text(path, "step,seconds,loss/loss,loss/valid_loss\n1,0.5,9,\n2,1.0,8,7.5\n3,1.5,7,\n")
    (found,) = courses(reading.read_entries(bench.params))
    assert (found.seconds.tolist(), found.nats.tolist()) == ([1.0], [7.5])


def course(name: str, family: str, *points: tuple[float, float], is_score: bool = False) -> Course:
    x, y = np.array(points, float).T
    return Course(name, family, x, y, is_score)


def test_the_chart_has_a_line_for_each_entry_in_its_familys_colour(figures: Figures) -> None:
    drawn = [
        course("slow", "flows", (10, 900), (40, 700)),
        course("fast", "energy", (2, 800), (5, 650), (9, 640)),
        course("scored", "flows", (30, 2000), is_score=True),
    ]
    assert learning(drawn, {"marginals": 918.0}, ["adversarial", "energy", "flows"], "mnist")
    (figure,) = figures.values()
    upper, axes = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlabel() == "core-seconds of training, mnist"
    lines = {points(line): line for panel in (upper, axes) for line in panel.lines}
    for one, colour in zip(drawn, (SERIES[2], SERIES[1], SERIES[2]), strict=True):
        line = lines.pop(tuple(zip(one.seconds, one.nats, strict=True)))
        assert to_hex(line.get_color()) == colour
        assert (line.get_markerfacecolor() == "none") == one.is_score
        assert line.axes is (upper if one.name == "scored" else axes), "above the control"
    (control,) = lines.values()
    assert set(control.get_ydata()) == {918.0}
    assert named(upper) == {"scored": (30, 2000)}
    assert named(axes) == {"slow": (40, 700), "fast": (9, 640), "marginals": (0, 918.0)}
    (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert low < 2 and high > 40 and bottom < 640 and top > 918
    assert upper.get_xlim() == (low, high)
    assert [text.get_text() for text in figure.legends[0].texts] == ["energy", "flows"]
    assert learning([], {"marginals": 918.0}, [], "mnist") is None


def points(line: Any) -> tuple[tuple[float, float], ...]:
    return tuple(zip(line.get_xdata(), line.get_ydata(), strict=True))


def named(axes: Any) -> dict[str, tuple[float, float]]:
    return {text.get_text(): text.xy for text in axes.texts}


@pytest.mark.parametrize("nats", [700.0, 2000.0])
def test_there_is_one_panel_where_all_are_on_one_side_of_the_control(
    figures: Figures, nats: float
) -> None:
    drawn = [course("one", "flows", (10, nats + 9), (40, nats))]
    assert learning(drawn, {"marginals": 918.0}, ["flows"], "mnist")
    (figure,) = figures.values()
    (axes,) = figure.axes
    assert named(axes) == {"one": (40, nats), "marginals": (0, 918.0)}
    assert axes.get_ylim()[0] < min(nats, 918.0) < max(nats + 9, 918.0) < axes.get_ylim()[1]


# ---------------------------------------------------------------------- beside published results

MEMORY = "from memory, unconfirmed"
RESULTS = Published(
    "bits_per_dim",
    "bits per dimension",
    "a protocol",
    (
        Line("Best", "flows", 0.5, "exact"),
        Line("Ours, by others", "flows", 0.8, "exact", of="small"),
        Line("Ours, from memory", "flows", 0.7, "exact", of="small", status=MEMORY),
        Line("Padded", "flows", 0.6, "exact", of="small", comparable=False),
        Line("Another family", "energy", 0.9, "exact"),
    ),
)


def test_each_row_stands_beside_what_others_have_got_with_its_model(figures: Figures) -> None:
    def row(entry: str, model: str, family: str, bits: float | None) -> dict[str, Any]:
        metrics = {} if bits is None else {"bits_per_dim": {"value": bits}}
        return {"entry": entry, "model": model, "family": family, "metrics": metrics}

    rows = [
        row("worse", "large", "flows", 2.0),
        row("better", "small", "flows", 1.5),
        row("gan", "gan", "adversarial", None),
    ]
    assert beside(RESULTS, rows, ["adversarial", "energy", "flows"], "mnist")
    (figure,) = figures.values()
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "flows, published",
        "better",
        "worse",
    ]
    assert axes.get_xscale() == "log"
    drawn: dict[str, list[tuple[float, float]]] = {}
    for line in axes.lines:
        face = line.get_markerfacecolor()
        kind = f"{line.get_marker()} {face if isinstance(face, str) else to_hex(face)}"
        drawn.setdefault(kind, []).extend((float(x), float(y)) for x, y in points(line))
    marks = {kind.split()[0] for kind in drawn}
    assert marks == {"|", "D", "o", "None"}
    (ticks,) = [places for kind, places in drawn.items() if kind[0] == "|"]
    assert sorted(ticks) == [(0.5, 0.0), (0.7, 0.0), (0.8, 0.0)]
    assert drawn[f"D {INK}"] == [(0.8, 1.0)]
    assert drawn["D none"] == [(0.7, 1.0)]
    assert drawn[f"o {SERIES[2]}"] == [(1.5, 1.0), (2.0, 2.0)]
    (joined,) = [places for kind, places in drawn.items() if kind.startswith("None")]
    assert sorted(joined) == [(0.7, 1.0), (1.5, 1.0)]
    assert beside(RESULTS, rows[2:], ["adversarial"], "mnist") is None


def test_the_report_draws_both_charts_of_its_rows(figures: Figures, bench: Bench) -> None:
    trained(bench, "alpha", "alpha", wall=2.0, cpu=3.0, bits=1.2)
    trained(bench, "alpha-s1", "alpha", wall=2.0, cpu=3.0, bits=1.4, seed=1)
    bench.add("ceiling", "ceiling", bits=1.7)
    board, entries = bench.board(), reading.read_entries(bench.params)
    assert _learning(board, entries, "mnist") is not None
    assert _learning(board, entries, "binary_mnist") is None
    assert _beside(board, "mnist") is not None
    assert _beside(board, "binary_mnist") is None
    course_of, shown = (figures[label] for label in sorted(figures, reverse=True))
    assert named(course_of.axes[0]).keys() == {"alpha", "alpha-s1", "ceiling"}
    labels = [label.get_text() for label in shown.axes[0].get_yticklabels()]
    assert labels == ["autoregressive, published", "alpha*"]
