"""What `genbench compare` prints: a table of the pairs, then a paragraph on each."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genbench.comparison.sentences import p_value
from genbench.report.text import plus_minus

__all__ = ["COSTS", "in_words"]

COSTS = {
    "parameters": "parameters",
    "train_cpu_seconds": "CPU time of training",
    "sample_cpu_ms_per_image": "CPU time of sampling",
}
"""Costs that are compared, and what they are called."""

_HEADS = ("a", "b", "Δ nats", "Δ bits/dim", "p", "verdict")
_VERDICTS = {
    "not_separated": "not separated",
    "lower_bound": "the lower bound, no more",
    "lower_estimate": "the lower estimate, no more",
    "unproven": "proves nothing",
    "unknown": "not known: no seeds",
}


def in_words(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The lines, from what :func:`genbench.cli.compare.compared` gives."""
    yield from _table(found)
    for pair in found:
        yield ""
        yield from _lines(pair)
    yield ""


def _table(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each pair; Δ is a minus b, ± one standard error, p corrected for the others."""
    rows = [_HEADS, *(_cells(pair) for pair in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADS))]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(cell.ljust(width) for cell, width in cells).rstrip()


def _cells(pair: Mapping[str, Any]) -> tuple[str, ...]:
    said = pair["likelihood"]
    if said is None:
        return pair["a"], pair["b"], "", "", "", "no likelihood"
    nats = plus_minus(said["delta_nats"], said["delta_nats_stderr"])
    bits = plus_minus(said["delta_bits_per_dim"], said["delta_bits_per_dim_stderr"])
    p = "" if said["p_adjusted"] is None else p_value(said["p_adjusted"]).removeprefix("p = ")
    verdict = f"{said['winner']} is better" if said["winner"] else _VERDICTS[said["outcome"]]
    return pair["a"], pair["b"], nats, bits, p.removeprefix("p "), verdict


def _lines(pair: Mapping[str, Any]) -> Iterator[str]:
    yield f"{pair['a']} against {pair['b']} on {pair['dataset']}"
    said = pair["likelihood"]
    if said is None:
        yield _wrapped(pair["reason"])
    else:
        yield _wrapped(said["sentence"])
        bits = plus_minus(said["delta_bits_per_dim"], said["delta_bits_per_dim_stderr"])
        yield _wrapped(f"In bits/dim the difference is {bits}.")
        for remark in said["remarks"]:
            yield _wrapped(remark)
        yield _wrapped(said["weights"]["sentence"])
    yield from _samples(pair)
    for key, ratio in pair["cost"].items():
        yield _wrapped(f"{COSTS[key]}: {ratio:.3g} times that of {pair['b']}")
    for path, (one, other) in pair["settings"].items():
        # Of two models most options are of one alone.
        if "model" not in pair["settings"] or "nothing" not in (one, other):
            yield _wrapped(f"{path}: {one} | {other}")


def _samples(pair: Mapping[str, Any]) -> Iterator[str]:
    found = pair["distance"]
    if found is None:
        yield _wrapped("Their samples have no Fréchet distance in common.")
        return
    name = "FID" if found["metric"] == "fid_mnist" else "Unbiased FID"
    told = plus_minus(found["delta"], found["stderr"])
    both = f"{found['a']:.4g} and {found['b']:.4g}"
    why = ", by other samples and test images alone: training is not in the error"
    yield _wrapped(f"{name} {both}: the difference is {told}{why if found['stderr'] else ''}.")


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="    ")
