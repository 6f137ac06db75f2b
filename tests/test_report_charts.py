"""Charts by their figures: what is drawn where, in which colour, under which words; and that each
entry's pictures are its own.
"""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from genbench.config.layout import Layout
from genbench.files import read_json, write_bytes, write_json, write_npz, write_text
from genbench.pictures.terms import term_chart
from genbench.report.build import _costs
from genbench.report.chart import SERIES
from genbench.report.curves import curves
from genbench.report.scatter import Point, scatter
from tests.invented_results import LEVELS, Bench
from tests.kept_figures import Figures, keep_figures
from tests.pages import section_of


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Figures:
    return keep_figures(monkeypatch, "curves", "scatter")


# ---------------------------------------------------------------------- quality against cost


def dots(figure: Figure) -> dict[str, tuple[str, list[tuple[float, float]]]]:
    """Family -> colour and places of its points."""
    found = {}
    for collection in figure.axes[0].collections:
        assert isinstance(collection, PathCollection)
        places = [(float(x), float(y)) for x, y in np.asarray(collection.get_offsets())]
        found[str(collection.get_label())] = (
            to_hex(collection.get_facecolors()[0]),
            sorted(places),
        )
    return found


def lines(figure: Figure) -> list[float]:
    """Heights of the horizontal lines."""
    heights = [set(np.asarray(line.get_ydata(), float)) for line in figure.axes[0].lines]
    assert all(len(height) == 1 for height in heights)
    return sorted(height.pop() for height in heights)


def names(figure: Figure) -> dict[str, tuple[float, float]]:
    """The words in a chart, and the places that they name."""
    return {text.get_text(): tuple(text.xy) for text in figure.axes[0].texts}  # type: ignore[attr-defined]


POINTS = [
    Point("small", "flows", 10.0, 2.5),
    Point("large", "flows", 100.0, 1.5),
    Point("other", "energy", 30.0, 3.5),
    Point("ceiling", "control", 5.0, 9.0, True),
]


@pytest.mark.parametrize("log_y", [False, True])
def test_a_scatter_shows_each_point_at_its_place_in_its_familys_colour(
    figures: Figures, log_y: bool
) -> None:
    families = ["adversarial", "energy", "flows"]
    scatter(
        POINTS,
        families,
        xlabel="training seconds",
        ylabel="bits/dim (lower is better)",
        log_y=log_y,
    )
    (figure,) = figures.values()
    assert figures.keys() == {"bits/dim (lower is better) against training seconds"}
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log" if log_y else "linear")
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "training seconds",
        "bits/dim (lower is better)",
    )
    assert dots(figure) == {
        "energy": (SERIES[1], [(30.0, 3.5)]),
        "flows": (SERIES[2], [(10.0, 2.5), (100.0, 1.5)]),
    }
    assert lines(figure) == [9.0]
    assert names(figure) == {
        "small": (10.0, 2.5),
        "large": (100.0, 1.5),
        "other": (30.0, 3.5),
        "ceiling": (0, 9.0),
    }
    (legend,) = figure.legends
    shown = {
        text.get_text(): to_hex(handle.get_facecolor()[0])
        for text, handle in zip(legend.texts, legend.legend_handles, strict=True)
    }
    assert shown == {"energy": SERIES[1], "flows": SERIES[2]}
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert left < 10 < 100 < right
    assert low < 1.5 < 9 < high


def populated(bench: Bench) -> Bench:
    """Entries of two data sets, of which each number is its own; seeds; controls."""
    entries: list[tuple[str, str, dict[str, Any]]] = [
        ("alpha", "alpha", {}),
        ("alpha-s1", "alpha", {"seed": 1}),
        ("beta", "beta", {}),
        ("gamma", "gamma", {}),
        ("ceiling", "ceiling", {}),
        ("floor", "floor", {}),
        ("binary-alpha", "alpha", {"dataset": "binary_mnist"}),
        ("binary-beta", "beta", {"dataset": "binary_mnist"}),
    ]
    for number, (name, model, options) in enumerate(entries):
        bits = None if model in ("gamma", "floor") else 1.0 + 0.125 * number
        run = bench.add(name, model, bits=bits, fid=4.0 + number, **options)
        write_json(
            run / "cost.json",
            {**read_json(run / "cost.json"), "train_seconds": 10.0 * (number + 1)},
        )
        write_json(
            run / "sampling.json",
            {**read_json(run / "sampling.json"), "sample_ms_per_image": 0.5 * (number + 1)},
        )
    return bench


def test_the_charts_of_a_data_set_hold_its_entries_scores_against_their_costs(
    bench: Bench, figures: Figures
) -> None:
    board = populated(bench).board()
    assert len(_costs(board, "mnist")) == 2
    likelihood = figures["bits/dim (lower is better) against training seconds, mnist"]
    quality = figures["FID (lower is better) against sampling ms per image, mnist"]
    # Of seeds the mean of both: entries 0 and 1.
    families = sorted(["autoregressive", "variational", "adversarial"])
    colour = {family: SERIES[number] for number, family in enumerate(families)}
    assert dots(likelihood) == {
        "autoregressive": (colour["autoregressive"], [(15.0, 1.0625)]),
        "variational": (colour["variational"], [(30.0, 1.25)]),
    }
    assert lines(likelihood) == [1.5]
    assert names(likelihood).keys() == {"alpha*", "beta", "ceiling"}
    assert dots(quality) == {
        "autoregressive": (colour["autoregressive"], [(0.75, 4.5)]),
        "variational": (colour["variational"], [(1.5, 6.0)]),
        "adversarial": (colour["adversarial"], [(2.0, 7.0)]),
    }
    assert lines(quality) == [8.0, 9.0]
    assert quality.axes[0].get_yscale() == "log"
    assert likelihood.axes[0].get_yscale() == "linear"
    _costs(board, "binary_mnist")
    binary = figures["bits/dim (lower is better) against training seconds, binary_mnist"]
    assert dots(binary) == {
        "autoregressive": (
            colour["autoregressive"],
            [(70.0, 1.75)],
        ),  # a family has one colour in all charts
        "variational": (colour["variational"], [(80.0, 1.875)]),
    }


# ---------------------------------------------------------------------- learning curves


def history(rows: int) -> pd.DataFrame:
    steps = np.arange(1, rows + 1)
    valid = np.where(steps % 3 == 0, 7.0 / steps, np.nan)
    return pd.DataFrame(
        {
            "step": steps,
            "disc/loss": 5.0 / steps,
            "disc/valid_loss": valid,
            "gen/loss": 1.0 + steps,
            "gen/lr": 0.1,
        }
    )


@pytest.mark.parametrize("higher", ["training", "validation"])
def test_the_axis_of_a_curve_holds_both_losses(figures: Figures, higher: str) -> None:
    """All but the first twentieth of each and its highest fiftieth."""
    steps = np.arange(1, 101)
    losses = {
        "training": 5.0 / steps + (higher == "training"),
        "validation": 5.0 / steps + (higher == "validation"),
    }
    curves(
        pd.DataFrame(
            {
                "step": steps,
                "seconds": steps,
                "loss/loss": losses["training"],
                "loss/valid_loss": losses["validation"],
            }
        ),
        "alpha",
    )
    (axes,) = figures["Learning curves of alpha"].axes
    low, high = axes.get_ylim()
    for name, values in losses.items():
        kept = values[5:]
        assert ((low <= kept) & (kept <= high)).mean() >= 0.97, name
    assert high < max(map(max, losses.values()))  # the beginning would squeeze all else


def test_curves_are_the_columns_of_the_history(figures: Figures) -> None:
    curves(history(9), "alpha")
    figure = figures["Learning curves of alpha"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["disc", "gen"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "step"]
    disc, gen = ({str(line.get_label()): line for line in axes.lines} for axes in figure.axes)
    assert (list(disc), list(gen)) == (["training", "validation"], ["training"])
    steps = np.arange(1, 10)
    for line, x, y, colour in (
        (disc["training"], steps, 5.0 / steps, SERIES[0]),
        (disc["validation"], np.array([3, 6, 9]), 7.0 / np.array([3, 6, 9]), SERIES[1]),
        (gen["training"], steps, 1.0 + steps, SERIES[0]),
    ):
        np.testing.assert_allclose(line.get_xdata(), x)
        np.testing.assert_allclose(line.get_ydata(), y)
        assert line.get_color() == colour
    for axes, shown in zip(figure.axes, (["training", "validation"], ["training"]), strict=True):
        assert [text.get_text() for text in axes.get_legend().get_texts()] == shown
        assert axes.get_yscale() == "linear"


def test_long_histories_are_shown_by_means_of_runs(figures: Figures) -> None:
    curves(history(900), "alpha")
    line = figures["Learning curves of alpha"].axes[1].lines[0]
    steps = np.arange(1, 901).reshape(300, 3).mean(1)
    np.testing.assert_allclose(line.get_xdata(), steps)
    np.testing.assert_allclose(line.get_ydata(), 1.0 + steps)


def test_where_the_nats_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps above, their running sum below, both over the logarithm of the step; the prior has no
    step.
    """
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: drawn.append(figure))
    terms = np.array([40.0, 8.0, 4.0, 2.0, 0.25])
    term_chart(terms)
    upper, lower = drawn[0].axes
    for axes, y in ((upper, [40, 8, 4, 2]), (lower, [40, 48, 52, 54])):
        (line,) = axes.lines
        np.testing.assert_allclose(line.get_xdata(), [1, 2, 3, 4])
        np.testing.assert_allclose(line.get_ydata(), y)
        assert axes.get_xscale() == "log"
    assert (upper.get_yscale(), lower.get_yscale()) == ("log", "linear")
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("nats of a step", "nats up to it")
    assert lower.get_xlabel() == "step (1: the last one when sampling)"
    assert upper.get_title() == "54 nats: 40 of step 1, 14 of the others, 0.25 of the prior"


# ---------------------------------------------------------------------- each entry's own pictures

HEADS = "step,seconds,images_per_second,loss/loss,loss/lr,loss/grad_norm,loss/valid_loss\n"


def with_own_pictures(bench: Bench) -> dict[str, np.ndarray]:
    """Entries whose samples, curves and pictures differ; returns the samples."""
    samples = {}
    for number, name in enumerate(("alpha", "beta", "gamma", "binary")):
        options: dict[str, Any] = (
            {"dataset": "binary_mnist"}
            if name == "binary"
            else {"conditional": True}
            if name == "beta"
            else {}
        )
        run = bench.add(
            name,
            {"binary": "alpha"}.get(name, name),
            bits=None if name == "gamma" else 1.0,
            **options,
        )
        levels = LEVELS[bench.entries[name].dataset]
        images = np.random.default_rng(number).integers(0, levels, (100, 28, 28), dtype=np.uint8)
        labels = (
            {"labels": np.random.default_rng(9).permutation(np.arange(100) % 10)}
            if name == "beta"
            else {}
        )
        write_npz(run / "samples.npz", {"images": images, **labels})
        write_text(
            run / "history.csv",
            HEADS + "".join(f"{step},1,1,{number + step},0.1,1,\n" for step in range(1, 4)),
        )
        picture = io.BytesIO()
        Image.new("L", (8, 8), 50 * number).save(picture, "PNG")
        write_bytes(run / "pictures" / "walk.png", picture.getvalue())
        shown = {
            "file": "walk.png",
            "kind": "interpolation",
            "title": f"Walk {number}",
            "caption": f"of {name}",
        }
        write_json(run / "pictures" / "pictures.json", [shown])
        samples[name] = (
            images
            if name != "beta"
            else np.concatenate([images[labels["labels"] == c] for c in range(10)])
        )
    for dataset in LEVELS:
        bench.data(dataset)
    return samples


def tiles(png: bytes) -> np.ndarray:
    """The 100 images (100, 28, 28) of a grid, each pixel shown as 2 x 2."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert pixels.shape == (569, 569)
    return np.array(
        [
            pixels[57 * r : 57 * r + 56 : 2, 57 * c : 57 * c + 56 : 2]
            for r in range(10)
            for c in range(10)
        ]
    )


def looks_like(png: bytes, images: np.ndarray) -> bool:
    """Whether the page's copy of a grid shows images, by the nearest of sixteen greys."""
    return bool(np.abs(tiles(png).astype(int) - images).max() <= 8)


def embedded(section: str) -> dict[str, bytes]:
    """Pictures in the page by what they say they are."""
    return {
        alt: base64.b64decode(data)
        for data, alt in re.findall(r'src="data:image/png;base64,([^"]*)" alt="([^"]*)"', section)
    }


def test_each_entry_is_shown_with_its_own_pictures(bench: Bench, figures: Figures) -> None:
    samples = with_own_pictures(bench)
    bench.write()
    page, folder = bench.page(), Layout.of(bench.params).report.figures
    shown = embedded(section_of(page, "samples"))
    walks = embedded(section_of(page, "pictures"))
    drawn = dict(
        re.findall(
            r'<svg>([^<]*)</svg><figcaption><a class="entry" href="#entry-[^"]*">([^<]*)</a>',
            section_of(page, "curves"),
        )
    )
    assert drawn == {f"Learning curves of {name}": name for name in samples}
    for number, (name, images) in enumerate(samples.items()):
        grey = 255 // (LEVELS[bench.entries[name].dataset] - 1)
        assert looks_like(shown[f"Samples of {name}"], images * grey)
        assert np.array_equal(tiles((folder / f"{name}-samples.png").read_bytes()), images * grey)
        (line,) = figures[f"Learning curves of {name}"].axes[0].lines
        np.testing.assert_allclose(line.get_ydata(), np.arange(1, 4) + number)
        assert (folder / f"{name}-curves.png").read_bytes() == f"Learning curves of {name}".encode()
        assert (
            walks[f"Walk {number} of {name}"]
            == (Layout.of(bench.params).run_dir(name).pictures / "walk.png").read_bytes()
        )
        part = section_of(page, "pictures").split(f'id="pictures-{name}"')[1].split("</details>")[0]
        assert f"<b>Walk {number}</b><br>of {name}" in part
    for dataset in ("mnist", "binary_mnist"):
        assert (
            folder / f"cost-{dataset}-1.png"
        ).read_bytes() == f"bits/dim (lower is better) against training seconds, {dataset}".encode()
        assert (
            folder / f"cost-{dataset}-2.png"
        ).read_bytes() == f"FID (lower is better) against sampling ms per image, {dataset}".encode()


def test_real_images_are_those_of_the_data_set_and_of_its_test_split(
    bench: Bench, figures: Figures
) -> None:
    with_own_pictures(bench)
    bench.write()
    shown = embedded(section_of(bench.page(), "samples"))
    for dataset, levels in LEVELS.items():
        with np.load(Layout.of(bench.params).data(dataset)) as data:
            images = data["test_x"] * (255 // (levels - 1))
            assert looks_like(shown[f"100 real test images of {dataset}"], images[::2])
            if dataset == "mnist":
                by_class = np.concatenate([images[data["test_y"] == c][:10] for c in range(10)])
                assert looks_like(shown["Real test images of mnist, a class per row"], by_class)
