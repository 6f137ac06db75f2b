"""How the settings of an entry are chosen: candidates trained alike and compared on the validation split, never on the test split.

    python -m benchmarks.settings made - train.optim.loss.lr=2.5e-3 "train.optim.loss.lr=1.0e-2 arch.hidden=[800]"

Each further argument is a candidate: ``field=value`` pairs with spaces between them that replace fields of the entry in params.yaml;
``-`` is the entry as it stands. The figure is bits/dim of validation images for models with a likelihood, else FID against the validation
images. Candidates that ``results/settings.json`` holds for the same code are not trained again; the one that params.yaml holds is marked.
"""

from __future__ import annotations

import copy
import dataclasses
import shlex
import sys
import time
from typing import Any

import torch
import yaml

from benchmarks.common import RESULTS, machine
from genbench import data, device, features
from genbench.base import GenerativeModel, Likelihood
from genbench.check import check_params
from genbench.code import Sources, entry_fingerprint
from genbench.files import read_json, write_json
from genbench.fit import fit
from genbench.likelihood import bits_per_dim
from genbench.metrics import score
from genbench.metrics.base import FeatureSet
from genbench.params import Entry, Params, load_params
from genbench.registry import build
from genbench.seeding import generator_for, seed_for

LIKELIHOOD_IMAGES = 1000
CHUNK = 100
DRAWS = 64
SAMPLES = 5000


def figure(model: GenerativeModel, dataset: data.Dataset, entry: Entry) -> tuple[str, float]:
    """Name and value of what the candidates are compared by; lower is better."""
    if model.likelihood is not Likelihood.NONE:
        chosen = torch.from_numpy(data.strided(len(dataset.valid_x), LIKELIHOOD_IMAGES))
        x = dataset.valid_x[chosen]
        y = dataset.valid_y[chosen] if model.conditional and dataset.valid_y is not None else None
        options = {"draws": min(DRAWS, entry.score["draws"])} if "draws" in entry.score else {}
        total = 0.0
        with torch.no_grad():
            for begin in range(0, len(x), CHUNK):
                rng = generator_for("settings", entry.name, begin)
                labels = None if y is None else y[begin : begin + CHUNK]
                total -= model.log_likelihood(x[begin : begin + CHUNK], labels, rng=rng, **options).sum().item()
        return "bits_per_dim", bits_per_dim(total / len(x), dataset.spec.dims)
    labels = torch.arange(SAMPLES) % dataset.spec.classes if model.conditional else None
    images = model.sample(SAMPLES, labels, rng=generator_for("settings", entry.name), **entry.sample)
    sets = [FeatureSet(features.EXTRACTOR, *features.extract(x, dataset.spec.levels)) for x in (images, dataset.valid_x)]
    return "fid_mnist", score(["fid"], *sets, seed=0)[0]["fid_mnist"].value


def candidate(params: Params, name: str, text: str) -> dict[str, Any]:
    """The block of an entry with some fields replaced."""
    block: dict[str, Any] = copy.deepcopy(yaml.safe_load((params.root / "params.yaml").read_text())["entries"][name])
    for pair in [] if text == "-" else shlex.split(text):
        path, _, value = pair.partition("=")
        *parents, last = path.split(".")
        inner = block
        for key in parents:
            inner = inner.setdefault(key, {})
        inner[last] = yaml.safe_load(value)
    entry = Entry(name=name, **block)
    broken = check_params(dataclasses.replace(params, entries={**params.entries, name: entry}), [name])
    if broken:
        raise SystemExit(f"{text}: {broken[name]}")
    return block


def main(name: str, texts: list[str]) -> None:
    """Train and compare the candidates of an entry."""
    params = load_params("quick")
    place = device.setup(params.compute)
    code = entry_fingerprint(Sources(), "train", params.entry(name), params.metrics).hash
    path = RESULTS / "settings.json"
    result = read_json(path) if path.is_file() else {"machine": machine(), "candidates": {}}
    done = result["candidates"].setdefault(name, [])
    for text in texts:
        block = candidate(params, name, text)
        settings = {key: block[key] for key in ("arch", "train")}
        if any((row["settings"], row.get("code")) == (settings, code) for row in done):
            continue
        done[:] = [row for row in done if row["settings"] != settings]
        entry = Entry(name=name, **block)
        dataset = data.load(params.data(entry.dataset), entry.dataset)
        torch.manual_seed(seed_for("init", name, entry.seed))
        model = build(entry, dataset.spec)
        start = time.monotonic()
        fit(model, dataset, entry=name, seed=entry.seed, device=place, **entry.train)
        seconds = time.monotonic() - start
        metric, value = figure(model, dataset, entry)
        print(f"{name}  {text}  {metric} {value:.4f}  {seconds:.0f} s", flush=True)
        done.append(
            {"candidate": text, "settings": settings, "metric": metric, "value": value, "train_seconds": round(seconds), "code": code}
        )
        write_json(path, result)
    for row in done:
        row["chosen"] = row["settings"] == {key: candidate(params, name, "-")[key] for key in ("arch", "train")}
    write_json(path, result)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or ["-"])
