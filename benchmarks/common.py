"""What the benchmarks share: the machine in words, interleaved timing, a table on the terminal and
a JSON file.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genbench.base import GenerativeModel
from genbench.data.splits import Dataset
from genbench.files import write_json
from genbench.hardware.device import hardware
from genbench.nn.unet import UNet
from genbench.training import fit as loop
from genbench.training.history import Fitted
from genbench.training.options import TrainOptions
from genbench.training.randomness import RunIdentity

__all__ = ["contiguous", "fit", "interleaved", "machine", "median", "publish"]

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor, threads and versions."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "hardware": hardware(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def fit(
    model: GenerativeModel,
    data: Dataset,
    *,
    entry: str,
    seed: int,
    device: torch.device | str = "cpu",
    **train: Any,
) -> Fitted:
    """Train a model by the keys of `train`."""
    options = TrainOptions.of(model, train, device, where=f"entries.{entry}.train")
    return loop.fit(model, data, options, RunIdentity(entry, seed), device=device)


def contiguous(model: nn.Module) -> nn.Module:
    """The model as a plain loop has it, whose U-Nets keep PyTorch's layout of the features."""
    for module in model.modules():
        if isinstance(module, UNet):
            module.first.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    return model


def interleaved(work: Mapping[str, Callable[[], Any]], *, repeats: int) -> dict[str, list[float]]:
    """Seconds of each piece of work, taken in turn so that a slow moment of the machine meets all
    of them, after one round that is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    for round_ in range(repeats + 1):
        for name, call in work.items():
            start = time.perf_counter()
            call()
            if round_:
                times[name].append(time.perf_counter() - start)
    return times


def median(times: Sequence[float]) -> float:
    """Median of some seconds."""
    return statistics.median(times)


def publish(
    name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], result: Mapping[str, Any]
) -> None:
    """Print a table, and write ``benchmarks/results/<name>.json``."""
    cells = [
        list(columns),
        *[
            [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row]
            for row in rows
        ],
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    write_json(RESULTS / f"{name}.json", {"machine": machine(), **result})
