"""`genbench info`: an entry's idea, its parameters and its scores, as far as they are there."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genbench.cli.latex_text import plain_docstring
from genbench.config.load import load_params
from genbench.config.origins import as_yaml, heirs
from genbench.config.params import Entry
from genbench.hardware.kind import in_words
from genbench.scoring.records import Metric

if TYPE_CHECKING:
    from genbench.results.entry import EntryResults, Part
    from genbench.results.reader import Training

__all__ = ["family_in_short", "print_info", "score_line"]


def print_info(profile: str, name: str) -> None:
    """Print an entry's model, parameters and scores, what of it is not complete, and its family in
    short.

    Raises:
        UserError: unknown entry or model.
    """
    from genbench.results.entry import read_entry

    params = load_params(profile)
    entry = params.entry(name)
    print(f"{name}: {entry.model} on {entry.dataset}, seed {entry.seed}, profile {profile}\n")
    _print_model(entry, params.root)
    print("\nParameters\n")
    print(textwrap.indent(as_yaml(params, name), "  "))
    if heirs(params, name):
        print(f"\n  inherited by {', '.join(heirs(params, name))}")
    results = read_entry(params, entry)
    print("\nScores")
    scores = list(_scores(results))
    for line in scores or [f"none yet: genbench run --profile {profile} --entries {name}"]:
        print(f"  {line}")
    if results.begun and results.model is not None and not results.complete:
        print("\nNot complete")
        for reason in results.reasons:
            print(f"  {reason}")


def _print_model(entry: Entry, root: Path) -> None:
    """Print what a model says of itself, and its family; of one that cannot be imported, the
    reason.
    """
    from genbench.registry import BrokenModel, model_class

    try:
        cls = model_class(entry.model)
    except BrokenModel as error:
        print(error)
        return
    print(plain_docstring(inspect.getdoc(cls) or "").split("\nArguments:")[0].strip())
    short = family_in_short(cls.family, root)
    if short is not None:
        print(f"\nThe family: {cls.family} (docs/{cls.family}.md)\n\n{short}")


def _scores(results: EntryResults) -> Iterator[str]:
    """A line for each score and for the costs, as far as they can be read; those that are out of
    date say so.
    """
    probed = results.probe.content
    for part, record in (
        (results.likelihood, results.likelihood.content),
        (results.quality, results.quality.content),
        (results.probe, None if probed is None else probed.record),
    ):
        if record is not None:
            note = _note(results, part)
            for key, metric in record.metrics.items():
                yield f"{score_line(key, metric)}{note}"
            for key, reason in record.withheld.items():
                yield f"{key}: withheld, {reason}{note}"
    if results.training.content is not None:
        yield f"{_training(results.training.content)}{_note(results, results.training)}"


def _note(results: EntryResults, part: Part[Any]) -> str:
    return "" if part.counts or results.model is None else ", out of date"


def _training(training: Training) -> str:
    """Size and time of a training, its precision, the kind of processor and the threads."""
    cost, made = training.cost, training.provenance
    kind = in_words(made["kind"]) if "kind" in made else made["hardware"]
    threads = f"{made['threads']} thread{'s' if made['threads'] != 1 else ''}"
    cpu = f" ({cost['train_cpu_seconds']:.1f} s of CPU time)" if "train_cpu_seconds" in cost else ""
    return (
        f"{cost['parameters']:,} parameters, trained in {cost['train_seconds']:.1f} s{cpu} in "
        f"{made.get('precision', 'float32')} on {kind}, {threads}"
    )


def score_line(key: str, metric: Metric) -> str:
    """A score in a line: value, standard error, what it was computed from, direction."""
    error = "" if metric.stderr is None else f" ± {metric.stderr:.2g}"
    kind = "" if metric.kind is None else f", {metric.kind.replace('_', ' ')}"
    directions = {True: ", higher is better", False: ", lower is better", None: ""}
    direction = directions[metric.higher_is_better]
    return f"{key}: {metric.value:.4g}{error} ({metric.n} images{kind}{direction})"


def family_in_short(family: str, root: Path) -> str | None:
    """The section "In short" of a family's page in docs/; None where there is no such page or
    section.
    """
    page = root / "docs" / f"{family}.md"
    if not page.is_file():
        return None
    section = re.compile(r"^## In short\s*\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    found = section.search(page.read_text(encoding="utf-8"))
    return found.group(1).strip() if found else None
