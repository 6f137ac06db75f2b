"""Training of each entry of `quick`: two at once with a thread each against one with two threads,
interleaved, each in a process of its own.

Writes benchmarks/results/at_once.json: images per second of one training with two threads, with one
thread, and of two at once in sum, which is what `genbench run --jobs 2` gains or loses.

    python -m benchmarks.at_once [--entries 'vae,lstm'] [--rounds 3] [--seconds 4]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType

import torch

from benchmarks.common import fit, median, publish
from benchmarks.training import synthetic
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.data.splits import Dataset
from genbench.hardware.device import setup
from genbench.pipeline.targets import match_entries
from genbench.registry import build


def _serve(connection: Connection, params: Params) -> None:
    setup(params.compute)
    sets: dict[str, Dataset] = {}
    while True:
        try:
            name, steps = connection.recv()
        except EOFError:
            return
        entry = params.entry(name)
        data = sets.setdefault(entry.dataset, synthetic(entry.dataset))
        torch.manual_seed(0)
        train = {**entry.train, "steps": steps, "validations": 1, "validate_images": 1}
        fitted = fit(build(entry, data.spec), data, entry=name, seed=0, **train)
        rates = [row["images_per_second"] for row in fitted.history]
        connection.send(median(rates[len(rates) // 4 :]))


class Trainer:
    """A process that trains entries with a number of threads."""

    def __init__(self, params: Params, threads: int) -> None:
        compute = dataclasses.replace(params.compute, threads=threads)
        context = multiprocessing.get_context("spawn")
        self.end, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, dataclasses.replace(params, compute=compute)), daemon=True
        )
        self.process.start()
        theirs.close()

    def __enter__(self) -> Trainer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end.close()
        self.process.join()

    def begin(self, entry: str, steps: int) -> None:
        """Start a training of so many steps."""
        self.end.send((entry, steps))

    def images_per_second(self) -> float:
        """Of the training that was started, when it has ended; its beginning left out."""
        return float(self.end.recv())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", default="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args(arguments)
    params = load_params("quick")
    names = [name for name in match_entries(params, options.entries) if params.entry(name).train]
    rows: dict[str, dict[str, float]] = {}
    with Trainer(params, 2) as both, Trainer(params, 1) as left, Trainer(params, 1) as right:
        for name in names:
            both.begin(name, 8)
            batch = params.entry(name).train["batch_size"]
            steps = max(12, round(options.seconds * both.images_per_second() / batch))
            measured: dict[str, list[float]] = {"two_threads": [], "one_thread": [], "at_once": []}
            for _ in range(options.rounds):
                both.begin(name, steps)
                measured["two_threads"].append(both.images_per_second())
                left.begin(name, steps)
                measured["one_thread"].append(left.images_per_second())
                left.begin(name, steps)
                right.begin(name, steps)
                pair = left.images_per_second() + right.images_per_second()
                measured["at_once"].append(pair)
            rows[name] = {key: median(values) for key, values in measured.items()}
            rows[name]["ratio"] = rows[name]["at_once"] / rows[name]["two_threads"]
            print(name, rows[name], flush=True)
    ratio = math.exp(sum(math.log(row["ratio"]) for row in rows.values()) / len(rows))
    publish(
        "at_once",
        ["entry", "two threads", "one thread", "two at once", "ratio"],
        [[name, *row.values()] for name, row in rows.items()],
        {"entries": rows, "ratio": ratio},
    )


if __name__ == "__main__":
    main()
