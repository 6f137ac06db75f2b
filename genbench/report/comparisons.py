"""What the report says of pairs of entries: ``comparisons`` of leaderboard.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genbench.comparison.letters import letters
from genbench.comparison.paired import Comparison
from genbench.comparison.scored import Scored
from genbench.comparison.seed_spread import SeedSpreads, seed_spreads
from genbench.comparison.sentences import sentence
from genbench.comparison.verdicts import LEVEL, Verdict, verdicts
from genbench.data.datasets import spec_of
from genbench.disk import told
from genbench.results.compared import by_model, has_nats, scored_model
from genbench.results.entry import EntryResults

__all__ = ["comparisons", "pair_of"]


def comparisons(results: Sequence[EntryResults]) -> dict[str, dict[str, Any]]:
    """Data set → what is said of the models that have nats on it: ``pairs`` with a verdict each,
    ``letters`` of what is not separated among those of one kind, ``seeds``, which tell how far
    scores move, and what is ``left_out``, as its files are damaged or its seeds were not scored
    alike.
    """
    models: dict[str, list[Scored]] = {}
    left_out: dict[str, dict[str, str]] = {}
    for group in by_model(one for one in results if has_nats(one)):
        entry = group[0].entry
        models.setdefault(entry.dataset, [])
        try:
            models[entry.dataset].append(scored_model(group))
        except (OSError, ValueError) as error:
            reason = told(error).replace(f"{group[0].layout.root}/", "")
            left_out.setdefault(entry.dataset, {})[entry.name] = reason
    return {
        dataset: _of_dataset(found, left_out.get(dataset, {})) for dataset, found in models.items()
    }


def _of_dataset(models: Sequence[Scored], left_out: Mapping[str, str]) -> dict[str, Any]:
    spreads = seed_spreads(models)
    found = verdicts(models, spreads)
    return {
        "pairs": [pair_of(verdict) for verdict in found],
        "letters": _letters(models, found) if spreads.whole is not None else {},
        "seeds": _seeds(spreads),
        "level": LEVEL,
        "left_out": dict(left_out),
    }


def pair_of(verdict: Verdict) -> dict[str, Any]:
    """A verdict as leaderboard.json and `genbench compare --json` have it."""
    one = verdict.comparison
    spec = spec_of(one.dataset)
    bits, bits_error = one.bits_per_dim(spec.height * spec.width)
    return {
        "a": one.a,
        "b": one.b,
        "kinds": list(one.kinds),
        "n": one.n,
        "delta_nats": one.delta,
        "delta_nats_stderr": one.stderr,
        "delta_bits_per_dim": bits,
        "delta_bits_per_dim_stderr": bits_error,
        "df": _finite(one),
        "p": one.p,
        "p_adjusted": verdict.p,
        "outcome": verdict.outcome.value,
        "winner": verdict.winner,
        "borrowed": {name: list(sources) for name, sources in one.borrowed.items()},
        "sentence": sentence(verdict),
    }


def _finite(one: Comparison) -> float | None:
    """Degrees of freedom; None where nothing is estimated, as JSON has no infinity."""
    return one.df if one.df is not None and one.df < float("inf") else None


def _letters(models: Sequence[Scored], found: Sequence[Verdict]) -> dict[str, str]:
    """Of the models of each kind; estimates have none, as none of them is shown to be better."""
    result: dict[str, str] = {}
    for kind in ("exact", "lower_bound"):
        own = sorted((one for one in models if one.kind == kind), key=_mean)
        names = [one.name for one in own]
        separated = {
            (verdict.comparison.a, verdict.comparison.b)
            for verdict in found
            if verdict.separated and {verdict.comparison.a, verdict.comparison.b} <= set(names)
        }
        result |= letters(names, separated)
    return result


def _mean(one: Scored) -> float:
    return float(one.nats.mean())


def _seeds(spreads: SeedSpreads) -> dict[str, Any]:
    """Whose seeds tell how far a score moves, and how far that is, as standard deviations in
    nats.
    """
    return {
        "entries": {name: _told(one.variance, one.df) for name, one in spreads.own.items()},
        "pooled": (
            None if spreads.whole is None else _told(spreads.whole.variance, spreads.whole.df)
        ),
        "families": {name: _told(one.variance, one.df) for name, one in spreads.families.items()},
        "equal_p": spreads.equal_p,
    }


def _told(variance: float, df: int) -> dict[str, float]:
    return {"sd_nats": variance**0.5, "df": df}
