"""Time and memory of scoring samples with all metrics of the profile: the stage ``score_samples``
on training digits with their labels.

Run ``python benchmarks/metrics.py`` in a project whose ``mnist`` is prepared
(``genbench prepare``). Prints a table and writes benchmarks/results/metrics.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import tempfile
import time
from pathlib import Path

import torch

from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Entry, Params
from genbench.data.splits import load
from genbench.files import read_npz, write_json, write_npz
from genbench.hardware.compute import Compute
from genbench.hardware.device import hardware, peak_memory_mb
from genbench.pipeline.stage_runner import call_stage
from genbench.scoring.features import extract
from genbench.scoring.records import read_record

ENTRY = "samples"


def project(root: Path, params: Params, n: int, threads: int) -> Params:
    """A project below ``root`` of one entry, whose samples are ``n`` training digits with their
    labels.
    """
    data = load(Layout.of(params).data("mnist"), "mnist")
    assert data.train_y is not None
    assert data.test_y is not None
    entry = Entry(ENTRY, "made", "mnist", 0, {}, {}, {}, {})
    protocol = dataclasses.replace(
        params.protocol, samples=n, sample_chunk=500, feature_reference_images=10_000
    )
    compute = Compute(threads=threads)
    small = dataclasses.replace(
        params,
        root=root,
        entries={ENTRY: entry},
        protocol=protocol,
        compute=compute,
    )
    write_npz(
        Layout.of(small).data("mnist"),
        {
            f"{split}_{axis}": array
            for split, x, y in (
                ("train", data.train_x, data.train_y),
                ("test", data.test_x, data.test_y),
            )
            for axis, array in (("x", x[:, 0].numpy()), ("y", y.numpy()))
        },
    )
    write_npz(
        Layout.of(small).run_dir(ENTRY).samples,
        {"images": data.train_x[:n, 0].numpy(), "labels": data.train_y[:n].numpy()},
    )
    return small


def measure(params: Params, n: int) -> dict[str, object]:
    """Seconds of the whole stage (by the clock and of the processors), of extraction alone, and the
    peak memory of this process.
    """
    call_stage("features", params, "mnist")
    wall, processor = time.perf_counter(), time.process_time()
    call_stage("score_samples", params, ENTRY)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    images = torch.from_numpy(read_npz(Layout.of(params).run_dir(ENTRY).samples)["images"])[:, None]
    start = time.perf_counter()
    extract(images, 256)
    extraction = time.perf_counter() - start
    record = read_record(Layout.of(params).run_dir(ENTRY).quality)
    return {
        "images": n,
        "seconds": round(wall, 2),
        "processor_seconds": round(processor, 2),
        "extraction_seconds": round(extraction, 2),
        "peak_rss_mb": round(peak_memory_mb(torch.device("cpu"))),
        "metrics": {key: metric.value for key, metric in record.metrics.items()},
    }


def machine(threads: int) -> dict[str, object]:
    """What the numbers were measured on."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {
        "hardware": hardware(torch.device("cpu")),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 1),
        **versions,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    params = load_params()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(
            project(Path(folder), params, arguments.images, arguments.threads), arguments.images
        )
    result["machine"] = machine(arguments.threads)
    for key, value in result.items():
        if isinstance(value, dict):
            print(f"{key}:", *(f"  {name:<20}{part}" for name, part in value.items()), sep="\n")
        else:
            print(f"{key:<22}{value}")
    write_json(params.root / "benchmarks" / "results" / "metrics.json", result)


if __name__ == "__main__":
    main()
