"""`genbench compare`: whether one entry is better than another, by how much and how surely."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genbench.cli.compare_words import COSTS, in_words
from genbench.comparison.paired import compare_weights
from genbench.comparison.scored import Scored
from genbench.comparison.seed_spread import seed_spreads
from genbench.comparison.sentences import remarks, weights_sentence
from genbench.comparison.verdicts import Verdict, judge, verdicts
from genbench.config.further_seeds import differences
from genbench.config.load import load_params, load_seeds
from genbench.config.params import Entry, Params
from genbench.errors import UserError
from genbench.report.comparisons import pair_of
from genbench.results.compared import by_model, has_nats, scored_model
from genbench.results.entry import EntryResults, read_entry
from genbench.scoring.jackknife import left_out_of, paired_stderr
from genbench.scoring.records import Metric

__all__ = ["compared", "print_comparison"]

_DISTANCES = ("fid_unbiased_mnist", "fid_mnist")
"""Fréchet distances, the one that is compared first; the second one of equal protocols alone."""


@dataclass(frozen=True, slots=True)
class Model:
    """An entry that was named, with all seeds of it that were run.

    Attributes:
        label: what it was called.
        params: its profile.
        group: the results, the seeds in their order.
    """

    label: str
    params: Params
    group: Sequence[EntryResults]

    @property
    def entry(self) -> Entry:
        """The first of its seeds."""
        return self.group[0].entry


def print_comparison(
    names: Sequence[str], profile: str, *, as_json: bool = False, picture: Path | None = None
) -> None:
    """Print what is said of each pair of entries.

    Arguments:
        names: of at least two entries; ``profile/entry`` for those of another profile.
        profile: that of the others.
        as_json: print all numbers as JSON.
        picture: a file for the histogram of the differences, and the test images on which the first
            two differ most.

    Raises:
        UserError: unknown entry or profile, one twice, one that was not scored, different data
            sets, too few common images, or no likelihoods for a picture.
    """
    models = _models(names, profile)
    found = compared(models)
    if picture is not None:
        from genbench.cli.compare_picture import draw

        draw(_scored(models[0]), _scored(models[1]), models[0].params, picture)
    if as_json:
        print(json.dumps(found, indent=1, sort_keys=True, allow_nan=False))
        return
    print("\n".join(in_words(found)))
    if picture is not None:
        print(f"picture: {picture}")


def _models(names: Sequence[str], profile: str) -> list[Model]:
    if len(names) < 2:
        raise UserError("name at least two entries, e.g. genbench compare made vae")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise UserError(f"{', '.join(twice)}: named twice; a comparison needs different entries")
    named = {name: _named(name, profile) for name in names}
    datasets = {name: entry.dataset for name, (_, entry) in named.items()}
    if len(set(datasets.values())) > 1:
        told = ", ".join(f"{name} of {dataset}" for name, dataset in datasets.items())
        raise UserError(f"entries of different data sets do not compare ({told})")
    models = [_model(name, *found) for name, found in named.items()]
    seen: dict[tuple[str, str], str] = {}
    for model in models:
        first = seen.setdefault((model.params.profile, model.entry.name), model.label)
        if first != model.label:
            raise UserError(f"{first} and {model.label} are seeds of one entry; name one of them")
    return models


def _named(label: str, profile: str) -> tuple[Params, Entry]:
    """The profile and the entry that ``entry`` or ``profile/entry`` name."""
    own, _, name = label.rpartition("/")
    params = load_params(own or profile)
    return params, params.entry(name)


def _model(label: str, params: Params, entry: Entry) -> Model:
    results = [read_entry(owner, one) for owner, one in _seeds(params, entry)]
    group = [one for one in results if one.begun]
    if not group:
        raise UserError(
            f"{label} was not run yet: genbench run --profile {params.profile} --entries "
            f"{entry.name}"
        )
    return Model(label, params, by_model(group)[0])


def _seeds(params: Params, entry: Entry) -> Iterator[tuple[Params, Entry]]:
    """An entry and all that differ from it in the seed alone, with their profiles."""
    for owner in (params, load_seeds(params)):
        if owner is not None:
            for one in owner.entries.values():
                if not differences(one, entry):
                    yield owner, one


# ---------------------------------------------------------------------- what is said


def compared(models: Sequence[Model]) -> list[dict[str, Any]]:
    """What is said of each pair: ``likelihood`` with a verdict, or None and the ``reason``;
    ``distance`` of the samples; ``cost`` ratios; and ``settings`` that differ.
    """
    lacking = [model.label for model in models if not all(map(has_nats, model.group))]
    scored = {model.label: _scored(model) for model in models if model.label not in lacking}
    judged: dict[tuple[str, str], Verdict] = {}
    if len(scored) > 1:
        spreads = seed_spreads(_with_seeded(models, list(scored.values())))
        for verdict in verdicts(list(scored.values()), spreads):
            judged[verdict.comparison.a, verdict.comparison.b] = verdict
    result = []
    for a, b in itertools.combinations(models, 2):
        one = judged.get((a.label, b.label))
        without = [name for name in (a.label, b.label) if name in lacking]
        verb = "has" if len(without) == 1 else "have"
        reason = f"{' and '.join(without)} {verb} no likelihood: the samples alone are compared"
        result.append(
            {
                "a": a.label,
                "b": b.label,
                "dataset": a.entry.dataset,
                "likelihood": None if one is None else _likelihood(one, scored),
                "reason": reason if one is None else "",
                "distance": _distance(a, b),
                "cost": _cost(a, b),
                "settings": {k: list(v) for k, v in differences(a.entry, b.entry).items()},
            }
        )
    return result


def _scored(model: Model) -> Scored:
    if not all(map(has_nats, model.group)):
        raise UserError(f"{model.label} has no likelihood that could be compared")
    return replace(scored_model(model.group), name=model.label)


def _with_seeded(models: Sequence[Model], scored: Sequence[Scored]) -> list[Scored]:
    """These models, and the others of their profiles with several seeds, which tell how far a score
    moves.
    """
    dataset, known = models[0].entry.dataset, {one.entry.name for m in models for one in m.group}
    found = list(scored)
    for params in {model.params.profile: model.params for model in models}.values():
        seen: set[str] = set()
        for entry in params.entries.values():
            if entry.dataset != dataset or entry.name in known | seen:
                continue
            own = list(_seeds(params, entry))
            seen |= {one.name for _, one in own}
            if len(own) > 1:
                results = [read_entry(owner, one) for owner, one in own]
                group = [one for one in results if has_nats(one)]
                if len(group) > 1:
                    found.append(scored_model(group))
    return found


def _likelihood(verdict: Verdict, scored: Mapping[str, Scored]) -> dict[str, Any]:
    one = verdict.comparison
    alone = compare_weights(scored[one.a].of_seed(0), scored[one.b].of_seed(0))
    return {
        **pair_of(verdict),
        "remarks": list(remarks(one)),
        "weights": {
            "delta_nats": alone.delta,
            "delta_nats_stderr": alone.stderr,
            "p": alone.p,
            "sentence": weights_sentence(judge(alone, alone.p)),
        },
    }


def _distance(a: Model, b: Model) -> dict[str, Any] | None:
    """The difference of the Fréchet distances of the first seeds' samples, with its error: the
    groups of reference images are the same, so it is paired. None if it is not known.
    """
    first, second = (model.group[0].quality.result for model in (a, b))
    if first is None or second is None:
        return None
    alike = a.params.protocol == b.params.protocol
    for name in _DISTANCES if alike else _DISTANCES[:1]:
        if name in first.metrics and name in second.metrics:
            one, other = first.metrics[name], second.metrics[name]
            return {"metric": name, **_difference(one, other)}
    return None


def _difference(one: Metric, other: Metric) -> dict[str, Any]:
    left_out = left_out_of(one), left_out_of(other)
    error = None
    if all(left_out) and one.detail.get("reference_n") == other.detail.get("reference_n"):
        error = paired_stderr(*left_out)
    return {"a": one.value, "b": other.value, "delta": one.value - other.value, "stderr": error}


def _cost(a: Model, b: Model) -> dict[str, float]:
    """Of each cost that both tell: that of the first as a multiple of that of the second."""
    both = [_costs(model.group[0]) for model in (a, b)]
    return {
        key: both[0][key] / both[1][key]
        for key in COSTS
        if key in both[0] and both[1].get(key, 0) > 0
    }


def _costs(results: EntryResults) -> Mapping[str, float]:
    training, sampling = results.training.result, results.sampling.result
    found = dict(training.cost) if training is not None else {}
    return found | (dict(sampling.info) if sampling is not None else {})
