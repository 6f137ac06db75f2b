"""How the settings of an entry are chosen: candidates trained alike and compared on the validation
split, never on the test split.

    python -m benchmarks.settings [--threads 1] made - train.optim.loss.lr=2.5e-3
    "train.optim.loss.lr=1.0e-2 arch.hidden=[800]"

Each further argument is a candidate: ``field=value`` pairs with spaces between them that replace
fields of the entry in params.yaml; ``-`` is the entry as it stands. The figure is bits/dim of
validation images for models with a likelihood (given the labels, for conditional ones), else FID
against the validation images; what the samples of models that are not autoregressive are like is
noted beside it. Candidates that ``results/settings.json`` holds for the same code are not trained
again; the one that params.yaml holds is marked.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import shlex
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.common import RESULTS, fit, machine
from genbench.base import GenerativeModel, Likelihood
from genbench.config import yaml12
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Entry, Params, Protocol
from genbench.data import splits
from genbench.data.subsets import strided
from genbench.files import read_json, write_json
from genbench.hardware import device
from genbench.hardware.precision import resolve
from genbench.pipeline.fingerprints import entry_fingerprint
from genbench.pipeline.import_closure import Sources
from genbench.pipeline.validate import check_params
from genbench.registry import build
from genbench.scoring import features
from genbench.scoring.likelihood import bits_per_dim, score_options
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.sample_scores import score
from genbench.seeding import generator_for, seed_for

LIKELIHOOD_IMAGES = 1000
CHUNK = 100
DRAWS = 64
SAMPLES = 5000
FIELDS = ("model", "arch", "train", "sample", "score")
"""Of an entry: what its figures depend on. Rows of before have the first three alone."""


def figures(
    model: GenerativeModel, dataset: splits.Dataset, entry: Entry, protocol: Protocol
) -> dict[str, float]:
    """The figure by which the candidates are compared, lower is better, and behind it what the
    samples show of models that are not autoregressive.

    A likelihood whose normaliser is not to be trusted is no figure: it would be too good.
    """
    found, prepared = {}, {}
    if model.likelihood is not Likelihood.NONE:
        preparing, options = score_options(model, entry)
        prepared = model.prepare_likelihood(
            rng=generator_for("settings", entry.name, "prepare"), **preparing
        )
        images = min(LIKELIHOOD_IMAGES, protocol.images_for(model.likelihood_passes(**options)))
        chosen = torch.from_numpy(strided(len(dataset.valid_x), images))
        x = dataset.valid_x[chosen]
        y = dataset.valid_y[chosen] if model.conditional and dataset.valid_y is not None else None
        if "draws" in options:
            options["draws"] = min(DRAWS, options["draws"])
        total = 0.0
        with torch.no_grad():
            for begin in range(0, len(x), CHUNK):
                rng = generator_for("settings", entry.name, begin)
                labels = None if y is None else y[begin : begin + CHUNK]
                total -= (
                    model.log_likelihood(x[begin : begin + CHUNK], labels, rng=rng, **options)
                    .sum()
                    .item()
                )
        if prepared.get("ess", 0) >= prepared.get("ess_floor", 0):
            found["bits_per_dim"] = bits_per_dim(total / len(x), dataset.spec.dims)
    if model.family != "autoregressive":
        labels = torch.arange(SAMPLES) % dataset.spec.classes if model.conditional else None
        samples = model.sample(
            SAMPLES, labels, rng=generator_for("settings", entry.name), **entry.sample
        )
        sets = [
            FeatureSet(features.EXTRACTOR, *features.extract(x, dataset.spec.levels))
            for x in (samples, dataset.valid_x)
        ]
        sets[0] = dataclasses.replace(sets[0], labels=labels)
        found |= {
            name: metric.value
            for name, metric in score(
                ["fid", "precision_recall", "class_shares", "label_fidelity"], *sets, seed=0
            )[0].items()
        }
    return found | {
        name: value for name, value in prepared.items() if name in ("ess", "log_z_stderr")
    }


def candidate(params: Params, name: str, text: str) -> dict[str, Any]:
    """What an entry resolves to, with some values replaced."""
    values = dataclasses.asdict(params.entry(name))
    del values["name"]
    for pair in [] if text == "-" else shlex.split(text):
        path, _, value = pair.partition("=")
        *parents, last = path.split(".")
        inner = values
        for key in parents:
            inner = inner.setdefault(key, {})
        inner[last] = yaml12.parse(value)
    entry = Entry(name=name, **values)
    broken = check_params(
        dataclasses.replace(params, entries={**params.entries, name: entry}), [name]
    )
    if broken:
        raise SystemExit(f"{text}: {broken[name]}")
    return values


def alike(kept: dict[str, Any], entry_values: dict[str, Any]) -> bool:
    """Whether a row was made with the settings of an entry, as far as it holds them;
    ``precision: auto`` is like either that it may be.
    """
    return all(_equal(value, entry_values[key]) for key, value in kept.items())


def _equal(kept: Any, given: Any) -> bool:
    if isinstance(kept, dict) and isinstance(given, dict):
        return kept.keys() == given.keys() and all(
            _equal(kept[key], given[key])
            or (key == "precision" and "auto" in (kept[key], given[key]))
            for key in kept
        )
    return bool(kept == given)


def with_resolved_precision(settings: Any) -> Any:
    """Settings with the precision that ``auto`` is here: what a row's figures were made in."""
    if not isinstance(settings, dict):
        return settings
    return {
        key: resolve(value, "cpu") if key == "precision" else with_resolved_precision(value)
        for key, value in settings.items()
    }


def record(name: str, row: dict[str, Any] | None, in_use: dict[str, Any]) -> None:
    """Put a candidate's row into the results, in place of one with the same settings, and mark the
    settings in use. Several runs may do so.
    """
    path = RESULTS / "settings.json"
    with (RESULTS / ".settings.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = read_json(path) if path.is_file() else {"machine": machine(), "candidates": {}}
        rows = result["candidates"].setdefault(name, [])
        if row is not None:
            rows[:] = [other for other in rows if not alike(other["settings"], row["settings"])] + [
                row
            ]
        for other in rows:
            other["chosen"] = alike(other["settings"], in_use)
        write_json(path, result)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and compare the candidates of an entry."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--threads",
        type=int,
        help="in place of compute.threads: two runs with a thread each may go side by side",
    )
    parser.add_argument("name")
    parser.add_argument("candidates", nargs="*", default=["-"])
    given = parser.parse_args(arguments)
    name, params = given.name, load_params("quick")
    threads = given.threads or params.compute.threads
    place = device.setup(dataclasses.replace(params.compute, threads=threads))
    code = entry_fingerprint(Sources(), "train", params.entry(name), params.metrics).hash
    in_use = {key: candidate(params, name, "-")[key] for key in FIELDS}
    path = RESULTS / "settings.json"
    done = read_json(path)["candidates"].get(name, []) if path.is_file() else []
    for text in given.candidates:
        entry_values = candidate(params, name, text)
        settings = with_resolved_precision({key: entry_values[key] for key in FIELDS})
        if any((row["settings"], row.get("code")) == (settings, code) for row in done):
            continue
        entry = Entry(name=name, **entry_values)
        dataset = splits.load(Layout.of(params).data(entry.dataset), entry.dataset)
        torch.manual_seed(seed_for("init", name, entry.seed))
        model = build(entry, dataset.spec)
        start = time.monotonic()
        fit(model, dataset, entry=name, seed=entry.seed, device=place, **entry.train)
        seconds = round(time.monotonic() - start)
        found = figures(model, dataset, entry, params.protocol)
        told = "  ".join(f"{key} {value:.4f}" for key, value in found.items())
        print(f"{name}  {text}  {told}  {seconds} s", flush=True)
        (metric, value), *also = found.items()
        row = {
            "candidate": text,
            "settings": settings,
            "metric": metric,
            "value": value,
            "also": dict(also),
        }
        record(name, {**row, "train_seconds": seconds, "threads": threads, "code": code}, in_use)
    record(name, None, in_use)


if __name__ == "__main__":
    main()
