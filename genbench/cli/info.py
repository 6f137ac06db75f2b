"""`genbench info`: an entry's idea, its parameters and its scores, as far as they are there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from genbench.cli.formula import plain_docstring
from genbench.config.params import Entry, Params, load_params
from genbench.disk import told
from genbench.hardware.kind import in_words
from genbench.scoring.records import Metric

__all__ = ["family_in_short", "print_info"]


def print_info(profile: str, name: str) -> None:
    """Print an entry's model, parameters and scores, and its family in short.

    Raises:
        UserError: unknown entry or model.
    """
    params = load_params(profile)
    entry = params.entry(name)
    print(f"{name}: {entry.model} on {entry.dataset}, seed {entry.seed}, profile {profile}\n")
    _print_model(entry, params.root)
    print("\nParameters")
    for block in ("arch", "train", "sample", "score"):
        given = ", ".join(f"{key}={value}" for key, value in getattr(entry, block).items())
        print(f"  {block}: {given or '(defaults)'}")
    print("\nScores")
    for line in _scores(params, name):
        print(f"  {line}")


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


def _scores(params: Params, name: str) -> list[str]:
    """A line for each score and for the costs, as far as they are there; for a damaged file, what
    is wrong with it.
    """
    lines: list[str] = []
    readers: list[Callable[[Params, Entry], list[str]]] = [
        partial(_recorded, file=file) for file in ("likelihood.json", "quality.json")
    ]
    for read in (*readers, _cost):
        try:
            lines += read(params, params.entry(name))
        except FileNotFoundError:
            continue
        except (ValueError, OSError) as error:
            lines.append(told(error))
    return lines or [f"none yet: genbench run --profile {params.profile} --entries {name}"]


def _recorded(params: Params, entry: Entry, *, file: str) -> list[str]:
    from genbench.results.reader import read_scores

    record = read_scores(params.run(entry.name), file, entry)
    scores = [_score(key, metric) for key, metric in record.metrics.items()]
    return scores + [f"{key}: withheld, {reason}" for key, reason in record.withheld.items()]


def _cost(params: Params, entry: Entry) -> list[str]:
    from genbench.results.reader import read_cost

    run = params.run(entry.name)
    cost = read_cost(run)
    trained = f"trained in {cost['train_seconds']:.1f} s{_made_on(run)}"
    return [f"{cost['parameters']:,} parameters, {trained}"]


def _made_on(run: Path) -> str:
    """The precision and the kind of processor of a training, and its threads, from provenance.json;
    empty where that is not there.
    """
    from genbench.results.reader import read_provenance

    try:
        made = read_provenance(run)
    except FileNotFoundError:
        return ""
    kind = in_words(made["kind"]) if "kind" in made else made["hardware"]
    threads = f"{made['threads']} thread{'s' if made['threads'] != 1 else ''}"
    return f" in {made.get('precision', 'float32')} on {kind}, {threads}"


def _score(key: str, metric: Metric) -> str:
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
