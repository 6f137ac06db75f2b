"""How the sample scores answer to known damage of real digits: draws
docs/figures/metric_behaviour.png.

Training digits, damaged in five ways of growing strength, are scored as if a model had made them.
Run ``python benchmarks/metric_behaviour.py`` in a project whose ``mnist`` is prepared
(``genbench prepare``).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from genbench.config.layout import Layout
from genbench.config.load import find_root, load_params
from genbench.data.splits import Dataset, load
from genbench.hardware.device import set_threads
from genbench.scoring.features import EXTRACTOR, extract
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.sample_scores import score
from genbench.seeding import generator_for

__all__ = ["DAMAGES", "Damage", "digits", "features_of", "measure"]

FAMILIES = ("fid", "inception_score", "precision_recall", "density_coverage")


@dataclass(frozen=True, slots=True)
class Damage:
    """A way to damage digits: ``apply(train_x, train_y, n, strength)`` gives n images,
    ``strengths`` grow from none at all.
    """

    title: str
    unit: str
    strengths: Sequence[float]
    apply: Callable[[Tensor, Tensor, int, float], Tensor]


def _rng(name: str) -> torch.Generator:
    return generator_for("metric_behaviour", name)


def noise(x: Tensor, y: Tensor, n: int, strength: float) -> Tensor:
    """Gaussian noise of ``strength`` times full intensity."""
    drawn = torch.randn(x[:n].shape, generator=_rng("noise"))
    return (x[:n] + 255 * strength * drawn).round().clamp(0, 255).to(torch.uint8)


def blur(x: Tensor, y: Tensor, n: int, strength: float) -> Tensor:
    """Gaussian blur of ``strength`` pixels."""
    if strength == 0:
        return x[:n]
    weights = torch.exp(-0.5 * (torch.arange(-6, 7) / strength) ** 2)
    kernel = torch.outer(weights, weights) / weights.sum() ** 2
    return (
        F.conv2d(x[:n].float(), kernel[None, None], padding=6).round().clamp(0, 255).to(torch.uint8)
    )


def salt_and_pepper(x: Tensor, y: Tensor, n: int, strength: float) -> Tensor:
    """Black or white in a share ``strength`` of the pixels."""
    shape, rng = x[:n].shape, _rng("salt_and_pepper")
    hit = torch.rand(shape, generator=rng) < strength
    return torch.where(hit, (torch.rand(shape, generator=rng) < 0.5).to(torch.uint8) * 255, x[:n])


def drop_classes(x: Tensor, y: Tensor, n: int, strength: float) -> Tensor:
    """As many images as ever, but none of the last ``strength`` classes."""
    return x[y < 10 - strength][:n]


def duplicate(x: Tensor, y: Tensor, n: int, strength: float) -> Tensor:
    """Each image ``strength`` times; as many images as ever."""
    distinct = -(-n // int(strength))
    return x[:distinct].repeat(int(strength), 1, 1, 1)[:n]


DAMAGES: Mapping[str, Damage] = {
    "noise": Damage("Gaussian noise", "standard deviation", (0, 0.1, 0.2, 0.3, 0.4), noise),
    "blur": Damage("Blur", "radius in pixels", (0, 0.5, 1, 1.5, 2), blur),
    "salt_and_pepper": Damage(
        "Salt and pepper", "share of pixels", (0, 0.02, 0.05, 0.1, 0.2), salt_and_pepper
    ),
    "drop_classes": Damage("Dropped classes", "classes dropped", (0, 1, 3, 5, 7), drop_classes),
    "duplicate": Damage("Duplicates", "copies of each image", (1, 10, 30, 100, 300), duplicate),
}


def digits(data: Dataset, damage: Damage, strength: float, n: int) -> Tensor:
    """``n`` damaged training digits, uint8 (n, 1, 28, 28)."""
    assert data.train_y is not None
    return damage.apply(data.train_x, data.train_y, n, strength)


def features_of(x: Tensor) -> FeatureSet:
    """Features of images of 256 levels by the pinned net."""
    return FeatureSet(EXTRACTOR, *extract(x, 256))


def measure(data: Dataset, n: int) -> dict[str, list[dict[str, float]]]:
    """The scores of ``n`` digits for every damage and strength, against ``n`` test digits."""
    reference = features_of(data.test_x[torch.arange(n) * len(data.test_x) // n])
    table: dict[str, list[dict[str, float]]] = {}
    for name, damage in DAMAGES.items():
        table[name] = []
        for strength in damage.strengths:
            metrics, _ = score(
                FAMILIES, features_of(digits(data, damage, strength, n)), reference, seed=0
            )
            table[name].append(
                {key.removesuffix(f"_{EXTRACTOR}"): metric.value for key, metric in metrics.items()}
            )
            print(
                f"{name} {strength}: "
                + ", ".join(f"{key} {value:.4g}" for key, value in table[name][-1].items()),
                flush=True,
            )
    return table


_ROWS = [
    ("FID", ["fid"], None),
    ("Inception Score", ["is"], (0, 10.5)),
    ("fidelity", ["precision", "density"], (0, 1.3)),
    ("diversity", ["recall", "coverage"], (0, 1.05)),
]
_COLOURS = ("#1f5fa8", "#d1601a")


def draw(
    data: Dataset, table: Mapping[str, Sequence[Mapping[str, float]]], path: Path, n: int
) -> None:
    """Write the figure: a column per damage with example digits on top, a row per kind of score."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1 + len(_ROWS),
        len(DAMAGES),
        figsize=(13, 10.5),
        height_ratios=[0.42] + [1] * len(_ROWS),
        sharey="row",
        layout="constrained",
    )
    for column, (name, damage) in enumerate(DAMAGES.items()):
        pictures = torch.cat(
            [_example(data, name, strength, n) for strength in damage.strengths], 1
        )
        axes[0, column].imshow(pictures, cmap="gray_r", vmin=0, vmax=255)
        axes[0, column].set_title(damage.title)
        axes[0, column].axis("off")
        ticks = range(len(damage.strengths))
        for row, (label, keys, limits) in enumerate(_ROWS, 1):
            axis = axes[row, column]
            for key, colour, marker in zip(keys, _COLOURS, "os", strict=False):
                axis.plot(
                    ticks,
                    [scores[key] for scores in table[name]],
                    marker=marker,
                    color=colour,
                    label=key,
                )
            axis.set_xticks(ticks, [f"{s:g}" for s in damage.strengths])
            axis.grid(alpha=0.3)
            if limits:
                axis.set_ylim(*limits)
            if column == 0:
                axis.set_ylabel(label)
                if len(keys) > 1:
                    axis.legend(frameon=False)
        axes[-1, column].set_xlabel(damage.unit)
    figure.suptitle(
        f"Scores of {n:,} damaged MNIST training digits against {n:,} test digits (features of the "
        "pinned net)"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, metadata={"Software": None})


def _example(data: Dataset, name: str, strength: float, n: int) -> Tensor:
    """Picture (28 k, 28) of two digits of a column: those that show what the damage does."""
    images = digits(data, DAMAGES[name], strength, n)
    pick = [1, 4] if name != "duplicate" else [1, 1 + -(-n // int(strength)) if strength > 1 else 4]
    return torch.cat(list(images[pick, 0]), 0)


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    params = load_params()
    data = load(Layout.of(params).data("mnist"), "mnist")
    path = find_root() / "docs" / "figures" / "metric_behaviour.png"
    draw(data, measure(data, arguments.images), path, arguments.images)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
