"""Which of the sanity checks of Räisä et al. our scores of features pass: distributions whose
fidelity, diversity and distance are known are scored as if they were features of images.

Räisä, van Breugel, van der Schaar, "Position: All Current Generative Fidelity and Diversity Metrics
are Flawed", 2025, https://arxiv.org/abs/2505.22450. The distributions follow the paper; sizes,
tolerances and the conditions on distances, which the paper does not have, are ours. Features are
scored as they are, not standardised first, as those of images are.

Writes benchmarks/results/sanity_checks.json: the curve of each score in each check, and the
conditions that it fails. ``python -m benchmarks.pages`` makes the table of docs/metrics.md of it.

    python -m benchmarks.sanity_checks [--judge]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from benchmarks.common import RESULTS, publish
from genbench.files import read_json
from genbench.hardware.device import set_threads
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.sample_scores import score
from genbench.seeding import generator_for

ROLES = {
    "precision": "fidelity",
    "density": "fidelity",
    "clipped_density": "fidelity",
    "recall": "diversity",
    "coverage": "diversity",
    "clipped_coverage": "diversity",
    "vendi": "diversity",
    "fid": "distance",
    "fid_unbiased": "distance",
    "kid": "distance",
    "kid_rbf": "distance",
    "jsd": "distance",
}
FAMILIES = ["precision_recall", "density_coverage", "clipped_density_coverage", "vendi"]
FAMILIES += ["fid", "fid_unbiased", "kid", "kid_rbf", "jsd"]

N = 1000
"""Images on each side: from here on a score should not depend on the number (Räisä et al., D3)."""
TOLERANCE = 0.05
"""Of a score between 0 and 1; of a distance, in units of the largest of its check."""

Curve = np.ndarray
Condition = Callable[[Curve], bool]
"""Whether a curve, float64 (points of the check,), is as it should be."""


@dataclass(frozen=True, slots=True)
class Check:
    """Pairs of distributions along a parameter, and what a score of each role should do.

    Attributes:
        title: what is looked at.
        values: of the parameter.
        draw: real and generated features at one of them, float32 (n, d) each.
        fidelity, diversity, distance: the conditions by name; none where nothing is asked.
    """

    title: str
    values: Sequence[float]
    draw: Callable[[float, Generator], tuple[Tensor, Tensor]]
    fidelity: Mapping[str, Condition]
    diversity: Mapping[str, Condition]
    distance: Mapping[str, Condition]


# ---------------------------------------------------------------------- conditions


def falls(first: int = 0, last: int | None = None) -> Condition:
    """From one point to another it never rises, and is lower in the end."""
    return lambda curve: _goes(-curve[first : None if last is None else last + 1])


def rises(first: int = 0, last: int | None = None) -> Condition:
    """From one point to another it never falls, and is higher in the end."""
    return lambda curve: _goes(curve[first : None if last is None else last + 1])


def _goes(part: Curve) -> bool:
    return bool(np.all(np.diff(part) >= -TOLERANCE) and part[-1] - part[0] > TOLERANCE)


def one_way(first: int = 0, last: int | None = None) -> Condition:
    """From one point to another it falls, rises, or stays; not first one, then the other."""

    def holds(curve: Curve) -> bool:
        steps = np.diff(curve[first : None if last is None else last + 1])
        return bool(np.all(steps >= -TOLERANCE) or np.all(steps <= TOLERANCE))

    return holds


def peak(at: int) -> Condition:
    """It is highest at a point, and falls on both sides."""
    return lambda curve: rises(0, at)(curve) and falls(at)(curve)


def valley(at: int) -> Condition:
    """It is lowest at a point, and rises on both sides."""
    return lambda curve: falls(0, at)(curve) and rises(at)(curve)


def own(condition: Condition, first: int, last: int) -> Condition:
    """It holds of the points from one to another, in units of the largest value there: of a
    distance whose two sides differ by orders of magnitude.
    """

    def holds(curve: Curve) -> bool:
        part = curve[first : last + 1]
        return condition(part / (np.abs(part).max() or 1.0))

    return holds


def near(wanted: float, *at: int) -> Condition:
    """At these points it has this value."""
    return lambda curve: bool(np.all(np.abs(curve[list(at)] - wanted) <= TOLERANCE))


def follows(wanted: Sequence[float], first: int = 0) -> Condition:
    """From a point on it has these values, twice the tolerance allowed."""
    end = first + len(wanted)
    return lambda curve: bool(np.all(np.abs(curve[first:end] - wanted) <= 2 * TOLERANCE))


def stays(first: int = 0, last: int | None = None) -> Condition:
    """From one point to another it does not change."""
    part = slice(first, None if last is None else last + 1)
    return lambda curve: bool(np.ptp(curve[part]) <= TOLERANCE)


def both(*conditions: Condition) -> Condition:
    """All of them hold."""
    return lambda curve: all(condition(curve) for condition in conditions)


# ---------------------------------------------------------------------- distributions


def normal(n: int, d: int, rng: Generator) -> Tensor:
    """The standard Gaussian."""
    return torch.randn(n, d, generator=rng)


def uniform(n: int, d: int, rng: Generator) -> Tensor:
    """The unit cube."""
    return torch.rand(n, d, generator=rng)


def sphere(n: int, d: int, rng: Generator) -> Tensor:
    """The surface of the unit ball."""
    return torch.nn.functional.normalize(normal(n, d, rng))


def torus(n: int, radius: float, tube: float, rng: Generator) -> Tensor:
    """The surface of a torus around the third axis, even in both angles."""
    about, along = (2 * torch.pi * torch.rand(2, n, generator=rng)).unbind()
    out = radius + tube * about.cos()
    return torch.stack([out * along.cos(), out * along.sin(), tube * about.sin()], 1)


def mixture(weights: Tensor, n: int, rng: Generator) -> Tensor:
    """Narrow Gaussians ten apart on the first of two axes, one for each weight."""
    mode = torch.multinomial(weights, n, replacement=True, generator=rng)
    found = normal(n, 2, rng)
    found[:, 0] += 10 * mode
    return found


def shifted(m: float, rng: Generator, *, d: int) -> tuple[Tensor, Tensor]:
    """Gaussians whose means differ by m in each of d features."""
    return normal(N, d, rng), normal(N, d, rng) + m


def spread(s: float, rng: Generator, *, d: int) -> tuple[Tensor, Tensor]:
    """Gaussians of which the second is s times as wide."""
    return normal(N, d, rng), s * normal(N, d, rng)


def in_shells(r: float, rng: Generator, *, d: int) -> tuple[Tensor, Tensor]:
    """Spheres around one centre, the second of radius r."""
    return sphere(N, d, rng), r * sphere(N, d, rng)


SHIFTS = (-6, -4, -2, -1, 0, 1, 2, 4, 6)
SPREADS = (0.01, 0.1, 0.5, 1, 2, 10, 100)
SIZES = (250, 500, 1000, 2000, 4000)
LAST = 8  # point of SHIFTS


def _shift_check(title: str, draw: Callable[[float, Generator], tuple[Tensor, Tensor]]) -> Check:
    """One whose distributions are equal in the middle and far apart at both ends."""
    bounded = {"shape": peak(4), "bounds": both(near(1, 4), near(0, 0, LAST))}
    return Check(title, SHIFTS, draw, bounded, bounded, {"shape": valley(4), "bounds": near(0, 4)})


def _checks() -> Iterator[Check]:
    for d in (2, 8, 64):
        yield _shift_check(
            f"Gaussians, other means, d = {d}",
            partial(shifted, d=d),
        )

    def outlier(m: float, rng: Generator) -> tuple[Tensor, Tensor]:
        real, made = normal(N, 8, rng), normal(N, 8, rng) + m
        real[0], made[0] = 5.0, -5.0
        return real, made

    yield _shift_check("the same with an outlier on either side, d = 8", outlier)

    def pareto(m: float, rng: Generator) -> tuple[Tensor, Tensor]:
        real, made = normal(N, 2, rng), normal(N, 2, rng) + m
        for x in (real, made):
            x[:, 1] = torch.rand(N, generator=rng).clamp_min(1e-6) ** -1.0
        return real, made

    yield _shift_check("the same beside a heavy-tailed feature, d = 2", pareto)
    for d in (2, 8, 64):
        yield Check(
            f"Gaussians, other deviations, d = {d}",
            SPREADS,
            partial(spread, d=d),
            {"shape": both(stays(0, 3), falls(3)), "bounds": both(near(1, 3), near(0, 6))},
            {"shape": both(rises(0, 3), one_way(3)), "bounds": both(near(0, 0), near(1, 3))},
            {"shape": both(own(falls(), 0, 3), own(rises(), 3, 6)), "bounds": near(0, 3)},
        )

    def one_apart(m: float, rng: Generator) -> tuple[Tensor, Tensor]:
        real, made = normal(N, 64, rng), normal(N, 64, rng)
        made[:, 0] += m
        return real, made

    apart = {"shape": falls(), "bounds": both(near(1, 0), near(0, 3))}
    yield Check(
        "one feature apart, 63 alike",
        (0, 3, 6, 12),
        one_apart,
        apart,
        apart,
        {"shape": rises(), "bounds": near(0, 0)},
    )

    def scaled(s: float, rng: Generator) -> tuple[Tensor, Tensor]:
        real, made = normal(N, 8, rng), normal(N, 8, rng) + 0.5
        return real * torch.tensor([s, *[1.0] * 7]), made * torch.tensor([s, *[1.0] * 7])

    same = {"invariance": stays()}
    yield Check("one feature in another unit", (0.001, 0.1, 1, 10, 1000), scaled, same, same, same)

    def bridged(m: float, rng: Generator) -> tuple[Tensor, Tensor]:
        side = (torch.rand(N, 1, generator=rng) < 0.5).float() * 2 - 1
        real, made = normal(N, 2, rng), normal(N, 2, rng)
        real[:, :1] += m * side
        made[:, 0] *= (1 + m**2) ** 0.5  # the same mean and variance
        return real, made

    yield Check(
        "two modes, and one wide one over both",
        (0, 2, 4, 8, 16),
        bridged,
        {"shape": falls(), "bounds": near(1, 0)},
        {"bounds": near(1, 0)},
        {"shape": rises(0, 2), "bounds": near(0, 0)},
    )
    five = torch.tensor([1.0] * 5 + [0.0] * 5)
    yield Check(
        "five modes; one to five of them, then invented ones",
        range(1, 11),
        lambda k, rng: (
            mixture(five, N, rng),
            mixture((torch.arange(10) < k).float(), N, rng),
        ),
        {"shape": both(stays(0, 4), falls(4)), "bounds": follows([5 / k for k in range(5, 11)], 4)},
        {"shape": both(rises(0, 4), one_way(4)), "bounds": follows([k / 5 for k in range(1, 6)])},
        {"shape": valley(4), "bounds": near(0, 4)},
    )
    ten = torch.ones(10)
    yield Check(
        "ten modes, dropped one after another",
        range(10),
        lambda k, rng: (mixture(ten, N, rng), mixture((torch.arange(10) < 10 - k).float(), N, rng)),
        {"shape": stays(), "bounds": near(1, 0)},
        {"shape": falls(), "bounds": follows([1 - k / 10 for k in range(10)])},
        {"shape": rises(), "bounds": near(0, 0)},
    )
    yield Check(
        "ten modes, all but one dropped together",
        (0, 0.25, 0.5, 0.75, 1),
        lambda c, rng: (
            mixture(ten, N, rng),
            mixture(torch.tensor([1.0 + 9 * c, *[1.0 - c] * 9]), N, rng),
        ),
        {"shape": stays(), "bounds": near(1, 0)},
        {"shape": falls(), "bounds": both(near(1, 0), near(0.1, 4))},
        {"shape": rises(), "bounds": near(0, 0)},
    )
    half = torch.zeros(8).index_fill(0, torch.tensor(0), 0.5)
    share = {"value": near(0.5, 2, 3, 4), "numbers": stays(2)}
    yield Check(
        "cubes of which half is common, more of both",
        SIZES,
        lambda n, rng: (uniform(int(n), 8, rng), uniform(int(n), 8, rng) + half),
        share,
        share,
        {"numbers": stays(2)},
    )
    yield Check(
        "the same, more samples beside 1,000 real ones",
        SIZES,
        lambda n, rng: (uniform(N, 8, rng), uniform(int(n), 8, rng) + half),
        share,
        share,
        {"numbers": stays(2)},
    )
    for d in (8, 64):
        yield Check(
            f"spheres around one centre, d = {d}",
            (0.2, 0.5, 0.8, 1, 1.2, 1.5, 2),
            partial(in_shells, d=d),
            {"shape": peak(3), "bounds": both(near(1, 3), near(0, 0, 6))},
            {"shape": peak(3), "bounds": both(near(1, 3), near(0, 0, 6))},
            {"shape": valley(3), "bounds": near(0, 3)},
        )
    nothing = {"bounds": near(0, 0)}
    yield Check(
        "a sphere inside of a torus",
        (0,),
        lambda _, rng: (torus(N, 1.0, 0.1, rng), 0.6 * sphere(N, 3, rng)),
        nothing,
        nothing,
        {},
    )
    yield Check(
        "whole numbers, and samples between them",
        (0,),
        lambda _, rng: ((3 * normal(N, 2, rng)).round(), 3 * normal(N, 2, rng)),
        nothing,
        {},
        {},
    )
    yield Check(
        "numbers, and rounded samples",
        (0,),
        lambda _, rng: (3 * normal(N, 2, rng), (3 * normal(N, 2, rng)).round()),
        {},
        nothing,
        {},
    )


CHECKS = list(_checks())


def curves(check: Check) -> dict[str, Curve]:
    """Of each score its values along the parameter, of one draw each."""
    found: dict[str, list[float]] = {name: [] for name in ROLES}
    for value in check.values:
        real, made = check.draw(value, generator_for("sanity_checks", check.title))
        metrics, _ = score(FAMILIES, FeatureSet("x", made), FeatureSet("x", real), seed=0)
        for name, values in found.items():
            values.append(metrics[f"{name}_x"].value)
    return {name: np.asarray(values) for name, values in found.items()}


def failed(check: Check, name: str, curve: Curve) -> list[str] | None:
    """The conditions that a score does not meet; None where nothing is asked of it."""
    role = ROLES[name]
    conditions: Mapping[str, Condition] = getattr(check, role)
    if not conditions:
        return None
    scaled = curve / (np.abs(curve).max() or 1.0) if role == "distance" else curve
    return [label for label, holds in conditions.items() if not holds(scaled)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, judge, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--judge", action="store_true", help="judge the kept curves anew")
    options = parser.parse_args(arguments)
    set_threads(1)
    kept: dict[str, Any] = {}
    if options.judge:
        path = RESULTS / "sanity_checks.json"
        kept = {one["check"]: one["curves"] for one in read_json(path)["checks"]}
    results: list[dict[str, Any]] = []
    for check in CHECKS:
        if options.judge:
            found = {name: np.asarray(kept[check.title][name]) for name in ROLES}
        else:
            found = curves(check)
        results.append(
            {
                "check": check.title,
                "values": list(check.values),
                "curves": {name: [round(float(v), 5) for v in c] for name, c in found.items()},
                "failed": {name: failed(check, name, c) for name, c in found.items()},
                "asked": {role: list(getattr(check, role)) for role in set(ROLES.values())},
            }
        )
        print(check.title, results[-1]["failed"], flush=True)
    passed = []
    for name, role in ROLES.items():
        asked = sum(len(one["asked"][role]) for one in results)
        missed = sum(len(one["failed"][name] or ()) for one in results)
        passed.append([name, role, asked - missed, asked])
    settings = {"images": N, "tolerance": TOLERANCE, "roles": ROLES}
    publish(
        "sanity_checks",
        ["score", "role", "conditions met", "of"],
        passed,
        settings | {"checks": results},
    )


if __name__ == "__main__":
    main()
