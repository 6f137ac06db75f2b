"""All of a profile by two entries at once against one after another: `genbench run --jobs 2` with a
thread for each entry, the same with `--jobs 1`, and one entry at a time with two threads. Chunks of
entries by turns, each from nothing, in projects of their own.

Writes benchmarks/results/parallel.json, for the profile and for some of its entries apart: minutes
of each, their ratios, the largest memory of all processes of a run together, whether `--jobs 1` and
`--jobs 2` have the same bits, and the seconds until the first entry was finished. What is done is
kept in --root; the same command goes on. While FOLDER/pause is there, no further run begins.

    python -m benchmarks.parallel --root FOLDER [--profile quick] [--entries A,B] [--chunks 4]
                                  [--alone 4]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import RESULTS, publish
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.files import read_json, write_json
from genbench.pipeline.estimate import reference
from genbench.pipeline.targets import match_entries
from tests.trees import copy_tree

GENBENCH = str(Path(sys.executable).parent / "genbench")


@dataclass(frozen=True)
class Way:
    """How a profile is run."""

    name: str
    jobs: int
    threads: int


TWO_AT_ONCE = Way("two at once", 2, 1)
ONE_THREAD = Way("one thread", 1, 1)
TWO_THREADS = Way("two threads", 1, 2)
WAYS = (TWO_THREADS, TWO_AT_ONCE, ONE_THREAD)


def in_chunks(params: Params, names: Sequence[str], number: int) -> list[list[str]]:
    """Entries of a profile in chunks that last about as long."""
    costs = reference(params, "bfloat16")
    seconds = {} if costs is None else costs["seconds"]
    lasting = {
        name: sum(value for stage, value in seconds.items() if stage.endswith(f"@{name}"))
        for name in names
    }
    chunks: list[list[str]] = [[] for _ in range(number)]
    for name in sorted(lasting, key=lambda name: -lasting[name]):
        min(chunks, key=lambda chunk: sum(lasting[one] for one in chunk)).append(name)
    return [chunk for chunk in chunks if chunk]


def run(root: Path, way: Way, profile: str, entries: Sequence[str]) -> dict[str, float]:
    """Run entries of a project; seconds, the largest memory, seconds until the first was done."""
    env = os.environ | {
        "PYTHONPATH": str(root),
        "DVC_SITE_CACHE_DIR": f"{root}-site",
        "GENBENCH_THREADS": str(way.threads),
    }
    command = [GENBENCH, "run", "--profile", profile, "--jobs", str(way.jobs)]
    begun = time.monotonic()
    with (root.parent / f"{root.name}.log").open("ab") as log:
        started = subprocess.Popen(
            [*command, "--entries", ",".join(entries)], cwd=root, env=env, stdout=log, stderr=log
        )
        watch = Watch(started.pid, [root / "runs" / profile / name for name in entries])
        watch.start()
        code = started.wait()
    watch.ended.set()
    watch.join()
    if code != 0:
        raise SystemExit(f"{way.name} failed: {root.parent / f'{root.name}.log'}")
    return {
        "seconds": time.monotonic() - begun,
        "memory_mb": watch.memory,
        "first_seconds": watch.first,
    }


class Watch(threading.Thread):
    """Looks at a run every two seconds: its memory, and when the first entry is finished."""

    def __init__(self, pid: int, folders: Sequence[Path]) -> None:
        super().__init__(daemon=True)
        self.process, self.folders = psutil.Process(pid), folders
        self.memory, self.first = 0.0, 0.0
        self.ended, self.begun = threading.Event(), time.monotonic()

    def run(self) -> None:
        """Look."""
        while not self.ended.wait(2.0):
            self.memory = max(self.memory, self._now())
            if not self.first and any((one / "quality.json").exists() for one in self.folders):
                self.first = time.monotonic() - self.begun

    def _now(self) -> float:
        """Megabytes of all processes, what they share counted once."""
        total = 0.0
        for process in (self.process, *self.process.children(recursive=True)):
            try:
                total += process.memory_full_info().pss / 1e6
            except psutil.Error:
                continue
        return total


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, compare, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--entries", help="names or wildcards; all by default")
    parser.add_argument("--chunks", type=int, default=4)
    parser.add_argument("--alone", type=int, default=4, help="chunks with `--jobs 1` and a thread")
    options = parser.parse_args(arguments)
    base: Path = options.root.resolve()
    state = base / "parallel.json"
    done: dict[str, Any] = read_json(state) if state.is_file() else {}
    roots = {way: base / way.name.replace(" ", "-") for way in WAYS}
    for root in roots.values():
        if not root.exists():
            copy_tree(root)
            subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    params = load_params(options.profile)
    names = match_entries(params, options.entries)
    chunks = in_chunks(params, names, options.chunks)
    for number, entries in enumerate(chunks):
        for way in (*WAYS[number % 3 :], *WAYS[: number % 3]):
            key = f"{number} {way.name}"
            if key in done or (way is ONE_THREAD and number >= options.alone):
                continue
            while (base / "pause").exists():
                time.sleep(1)
            done[key] = run(roots[way], way, options.profile, entries)
            write_json(state, done)
            print(key, done[key], flush=True)
    which = options.profile if options.entries is None else f"{options.profile}: {options.entries}"
    _publish(done, roots, which, len(chunks), options.alone)


def _equal(roots: Mapping[Way, Path], profile: str) -> bool:
    """Whether one at a time and two at once have the same bits; prints what differs."""
    both = [str(roots[way]) for way in (ONE_THREAD, TWO_AT_ONCE)]
    command = [GENBENCH, "diff", *both, "--profile", profile]
    return subprocess.run(command, cwd=roots[ONE_THREAD], check=False).returncode == 0


def _publish(
    done: Mapping[str, Any], roots: Mapping[Way, Path], which: str, chunks: int, alone: int
) -> None:
    def total(way: Way, number: int) -> float:
        return sum(done[f"{chunk} {way.name}"]["seconds"] for chunk in range(number)) / 60

    alone, profile = min(alone, chunks), which.partition(":")[0]
    two = [value for key, value in done.items() if key.endswith(TWO_AT_ONCE.name)]
    result = {
        "chunks": chunks,
        "minutes": {way.name: total(way, chunks) for way in (TWO_THREADS, TWO_AT_ONCE)},
        "ratio_to_two_threads": total(TWO_AT_ONCE, chunks) / total(TWO_THREADS, chunks),
        "ratio_to_one_thread": (
            total(TWO_AT_ONCE, alone) / total(ONE_THREAD, alone) if alone else None
        ),
        "chunks_with_one_thread": alone,
        "equal_bits": _equal(roots, profile) if alone == chunks else None,
        "memory_mb": max(one["memory_mb"] for one in two),
        "first_seconds": done[f"0 {TWO_AT_ONCE.name}"]["first_seconds"],
    }
    path = RESULTS / "parallel.json"
    found = (read_json(path)["found"] if path.is_file() else {}) | {which: result}
    rows = [[name, *map(str, values.values())] for name, values in found.items()]
    publish("parallel", ["entries", *result], rows, {"found": found})


if __name__ == "__main__":
    main()
