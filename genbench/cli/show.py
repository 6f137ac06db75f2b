"""What the command line prints about models, entries and reports."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import webbrowser
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genbench.cli.formula import plain_docstring
from genbench.config.layout import Layout
from genbench.config.params import Entry, find_root, load_params
from genbench.errors import UserError
from genbench.hardware.kind import in_words
from genbench.scoring.records import Metric

if TYPE_CHECKING:
    from genbench.results.entry import EntryResults, Part
    from genbench.results.reader import Training

__all__ = [
    "family_in_short",
    "open_report",
    "open_ui",
    "print_info",
    "print_models",
    "print_new_model",
    "print_seeds",
    "table",
]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A plain text table with aligned columns, cut to the width of the terminal if there is one."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    whole = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else max(map(len, whole))
    return "\n".join(line if len(line) <= limit else line[: limit - 3] + "..." for line in whole)


def _summary(cls: type) -> str:
    return plain_docstring(inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")


def print_models() -> None:
    """Print every model that an entry can name, and below them those that cannot be imported, with
    the reason.
    """
    from genbench.registry import model_classes, plugin

    classes, broken = model_classes()
    rows = []
    for name, cls in classes.items():
        kind = "control" if cls.control else cls.family
        rows.append(
            (
                name,
                kind,
                cls.likelihood.value,
                cls.conditioning.value,
                plugin(name) or _summary(cls),
            )
        )
    print(table(("model", "family", "likelihood", "labels", "about"), rows))
    for name, reason in broken.items():
        print(f"{name}: {reason}", file=sys.stderr)


def family_in_short(family: str, root: Path) -> str | None:
    """The section "In short" of a family's page in docs/; None where there is no such page or
    section.
    """
    page = root / "docs" / f"{family}.md"
    if not page.is_file():
        return None
    found = re.search(
        r"^## In short\s*\n(.*?)(?=^## |\Z)",
        page.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    return found.group(1).strip() if found else None


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
    print("\nParameters")
    for block in ("arch", "train", "sample", "score"):
        print(
            f"  {block}: "
            f"{', '.join(f'{k}={v}' for k, v in getattr(entry, block).items()) or '(defaults)'}"
        )
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
    for part in (results.likelihood, results.quality):
        if part.content is not None:
            note = _note(results, part)
            for key, metric in part.content.metrics.items():
                yield f"{_score(key, metric)}{note}"
            for key, reason in part.content.withheld.items():
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
    return (
        f"{cost['parameters']:,} parameters, trained in {cost['train_seconds']:.1f} s in "
        f"{made.get('precision', 'float32')} on {kind}, {threads}"
    )


def _score(key: str, metric: Metric) -> str:
    error = "" if metric.stderr is None else f" ± {metric.stderr:.2g}"
    kind = "" if metric.kind is None else f", {metric.kind.replace('_', ' ')}"
    direction = {True: ", higher is better", False: ", lower is better", None: ""}[
        metric.higher_is_better
    ]
    return f"{key}: {metric.value:.4g}{error} ({metric.n} images{kind}{direction})"


def open_report(profile: str) -> None:
    """Show the report of a profile in the browser."""
    page = Layout.of(load_params(profile)).report.page
    if not page.is_file():
        raise UserError(f"{page} does not exist; `genbench report --profile {profile}` writes it")
    print(page)
    webbrowser.open(page.as_uri())


def open_ui(port: int, host: str, allowed_hosts: str | None = None) -> None:
    """Serve the tracked runs."""
    root = find_root()
    from genbench.tracking.ui import ui  # imports mlflow

    ui(root, port=port, host=host, allowed_hosts=allowed_hosts)


def print_seeds(profile: str, count: int, entries: Sequence[str]) -> None:
    """Add entries with further seeds and print their names."""
    from genbench.cli.scaffold import add_seeds

    new = add_seeds(profile, count, entries)
    print(
        f"new entries: {', '.join(new)}\nnext: genbench run --profile {profile}"
        if new
        else f"all of them have {count} seeds already"
    )


def print_new_model(name: str) -> None:
    """Write a new model and print what to do next."""
    from genbench.cli.scaffold import new_model

    root = find_root()
    for path in new_model(name):
        print(f"wrote {path.relative_to(root)}")
    print(f"next: edit genbench/models/{name}.py, then")
    print(f"      pytest tests/test_contract.py -k {name}")
    print(f"      genbench run --profile smoke --entries {name}")
