"""The tables of docs/speed.md, from the committed benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.common import RESULTS
from genbench.files import read_json

__all__ = ["speed", "table"]


def speed() -> str:
    """The measured speeds."""
    results = {path.stem: read_json(path) for path in RESULTS.glob("*.json")}
    return "\n".join(
        [
            *_sampling(results["sampling"]),
            *_autoregressive(results["autoregressive"]),
            *_plain_loop(results["plain_loop"]),
            *_diffusion_sampling(results["diffusion_sampling"]),
            *_training(results["training"]),
            *_at_once(results["at_once"]),
            *_whole(results["parallel"], results["cluster"]),
            *_rest(results),
        ]
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown, an empty one before and after it."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return ["", *("| " + " | ".join(line) + " |" for line in lines), ""]


def _sampling(result: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            name,
            f"{r['parameters'] / 1e6:.2f} M",
            f"{r['cached_sec']:.2f} s",
            f"{r['naive_sec']:.0f} s",
            f"{r['ratio']:.0f}",
            f"{r['peak_memory_mb']:.0f} MB",
        ]
        for name, r in sorted(result["results"].items())
    ]
    n = next(iter(result["results"].values()))["n"]
    text = [
        f"Sampling {n} images with the cache, against the naive loop with the same weights "
        "(784 times one timed full pass), float32; peak memory",
        "of a process that draws 1,200:",
    ]
    return [
        *text,
        *table(["model", "parameters", "cached", "naive", "times faster", "peak memory"], rows),
    ]


def _autoregressive(result: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, r in result["results"].items():
        speeds = [
            r[key]
            for key in (
                "images_per_second",
                "plain_images_per_second",
                "plain_memory_kept_images_per_second",
            )
        ]
        ratios = [r["ratio"], r["ratio_memory_kept"]]
        share = f"{r['gflops']:.0f}, {100 * r['share_of_peak']:.0f} % of {r['peak']}"
        rows.append(
            [
                f"{name}, {r['parameters'] / 1e6:.1f} M",
                *(f"{speed:.1f}" for speed in speeds),
                *(f"{ratio:.1f}" for ratio in ratios),
                share,
            ]
        )
    header = [
        "model",
        "images/s",
        "plain",
        "plain, memory kept",
        "times plain",
        "times plain, memory kept",
        "GFLOP/s",
    ]
    peaks, attention = result["peak_gflops"], result["attention"]
    return [
        "Training steps against plain versions of the same networks (float32, contiguous, "
        "eager; full kernels with masks, attention as masked",
        "softmax), each version in a process of its own. *Memory kept*: with the allocator set "
        "as genbench sets it. Shares are of the bfloat16 peaks",
        f"measured in the same run, {peaks['convolution']:.0f} GFLOP/s for convolutions and "
        f"{peaks['matrix']:.0f} for matrix products:",
        *table(header, rows),
        "Of the transformer's attention alone, forward and backward: "
        f"{1000 * attention['blocks']:.0f} ms in blocks as here, "
        f"{1000 * attention['library']:.0f} ms as PyTorch has it.",
        "",
    ]


def _plain_loop(result: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, r in result["results"].items():
        largest = sorted(r["operations"].items(), key=lambda item: -item[1])[:3]
        most = ", ".join(
            f"{key.removeprefix('aten::').strip('_')} {100 * share:.0f} %" for key, share in largest
        )
        speeds = (f"{speed:.0f}" for speed in r["images_per_second"].values())
        rows.append(
            [
                name,
                str(r["batch_size"]),
                *speeds,
                f"{r['ratio']:.1f}",
                f"{r['ratio_memory_kept']:.1f}",
                most,
            ]
        )
    header = [
        "entry",
        "batch",
        "images/s",
        "plain",
        "plain, memory kept",
        "times plain",
        "times plain, memory kept",
        "most of ours",
    ]
    fast, slow = (result["convolution_gflops"][precision] for precision in ("bfloat16", "float32"))
    return [
        (
            "Training by `fit` against a plain loop over the same network: float32, contiguous, "
            "batches from a DataLoader over PIL images, Adam. Precision"
        ),
        (
            f"alone makes a convolution {fast / slow:.1f} times faster on this machine ({fast:.0f} "
            f"against {slow:.0f} GFLOP/s, bfloat16 with channels last"
        ),
        "against float32), and the many small operations of a small batch less so:",
        *table(header, rows),
    ]


def _diffusion_sampling(result: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, r in result["results"].items():
        entry, steps = name.removesuffix(" steps").rsplit(", ", 1)
        rows.append(
            [
                entry,
                steps,
                *(f"{ms:.1f}" for ms in r["ms_per_image"].values()),
                f"{r['ratio']:.1f}",
                f"{r['ratio_memory_kept']:.1f}",
            ]
        )
    rows.sort(key=lambda row: (row[0], int(row[1])))
    header = [
        "entry",
        "steps",
        "ms/image",
        "plain",
        "plain, memory kept",
        "times plain",
        "times plain, memory kept",
    ]
    return [
        f"Sampling {result['images']} images with the networks of `quick`, by number of steps "
        "(of the midpoint method, which runs the network twice in",
        "each, for `flow_matching`, whose entry draws with `rk4`), in bfloat16, against the "
        "same sampler on contiguous float32 features:",
        *table(header, rows),
    ]


def _training(result: Mapping[str, Any]) -> list[str]:
    rows = [
        [name, f"{r['bare_ms']:.1f}", f"{r['fit_ms']:.1f}", f"{r['ratio']:.2f}"]
        for name, r in sorted(result["overhead"].items())
    ]
    return [
        "A training step of `fit` against a bare loop with the same batches, optimiser, "
        "clipping and weight average (float32; medians of runs in turn):",
        *table(["entry", "bare loop, ms", "`fit`, ms", "ratio"], rows),
    ]


def _whole(parallel: Mapping[str, Any], cluster: Mapping[str, Any]) -> list[str]:
    lines = ["Whole runs:", ""]
    for which, r in parallel["found"].items():
        minutes = r["minutes"]
        profile, _, entries = which.partition(":")
        some = f"{len(entries.split(','))} entries of `{profile}`" if entries else f"`{profile}`"
        lines.append(
            f"- {some}: {minutes['two at once']:.1f} minutes two at once with "
            f"a thread each, {minutes['two threads']:.1f} one after another with two threads, "
            f"{r['ratio_to_two_threads']:.2f} times as long; at most {r['memory_mb'] / 1e3:.1f} GB "
            f"of memory, and the first entry was finished after {r['first_seconds']:.0f} s."
        )
    ways = {way: r for way, r in cluster.items() if way != "machine"}
    took = {way: r["seconds"] for way, r in ways.items()}
    alone = took.pop("--jobs 1")
    equal = "All have the same bits." if all(r["equal"] for r in ways.values()) else "Bits differ!"
    lines.append(
        f"- All of `smoke` against `--jobs 1` ({alone:.0f} s), times as long: "
        + ", ".join(f"`{way}` {value / alone:.2f}" for way, value in took.items())
        + f"; the clusters have two nodes of a core on the same machine. {equal}"
    )
    return [*lines, ""]


def _at_once(result: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            name,
            *(f"{r[key]:.3g}" for key in ("two_threads", "one_thread", "at_once")),
            f"{r['ratio']:.2f}",
        ]
        for name, r in sorted(result["entries"].items(), key=lambda item: item[1]["ratio"])
    ]
    return [
        "Training of entries of `quick`, images/s: one with two threads, one with a thread, and "
        "two at once with a thread each, in sum, which is",
        f"{result['ratio']:.2f} times as fast as one after another with two threads (geometric "
        "mean). So `quick` has `threads: 1`, and `genbench run`",
        "does as many entries at once as there are cores:",
        *table(["entry", "two threads", "one thread", "two at once", "times"], rows),
    ]


def _rest(results: Mapping[str, Any]) -> list[str]:
    metrics, commands = results["metrics"], results["cli"]["commands"]
    times = "; ".join(f"`{name}`: {r['median_sec']:.2g} s" for name, r in sorted(commands.items()))
    return [
        f"All default metrics of {metrics['images']:,} samples: {metrics['seconds']:.0f} s and "
        f"{metrics['peak_rss_mb']} MB, features included. {times}.",
        "",
    ]
