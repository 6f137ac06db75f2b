"""What this processor's arithmetic reaches natively, limited to AVX2, and under ``isa: avx2``, in
both precisions, layouts and kinds of attention.

Writes benchmarks/results/kinds.json. Each is measured in a process of its own, since the limits are
read when torch is imported. bfloat16 that is only emulated is measured too, by a small matrix
product.

    python -m benchmarks.kinds [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from genbench.hardware.isa import set_isa

if TYPE_CHECKING:
    import torch

KINDS = {
    "native": {},
    "limited to AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "isa: avx2": {"GENBENCH_ISA": "avx2"},
}


def measure(threads: int) -> dict[str, dict[str, float]]:
    """By precision: GFLOP/s of a convolution in both layouts and of a matrix product, milliseconds
    of a causal attention, both ways.
    """
    set_isa(os.environ.get("GENBENCH_ISA", "native"), "cpu")
    import torch

    from genbench.hardware.speed import speeds

    found = speeds(threads, emulated=True)
    torch.set_num_threads(threads)
    for name, speed in found.items():
        dtype = getattr(torch, name)
        speed["convolution_contiguous"] = _convolution(dtype)
        speed |= _attention(dtype)
    return found


def _convolution(dtype: torch.dtype) -> float:
    """GFLOP/s of a contiguous convolution, of three passes: forward, and backward to both."""
    import torch

    conv = torch.nn.Conv2d(32, 64, 3, padding=1, dtype=dtype)
    x = torch.ones(8, 32, 28, 28, dtype=dtype, requires_grad=True)
    operations = 3 * 2 * 8 * 28 * 28 * 32 * 64 * 9
    return operations / _seconds(lambda: conv(x)) / 1e9


def _attention(dtype: torch.dtype) -> dict[str, float]:
    """Milliseconds of causal attention, ours and torch's, with the shapes of pixel_transformer."""
    import torch
    from torch.nn import functional as F

    from genbench.nn.attention import _Blocks

    q, k, v = (
        torch.randn(8, heads, 784, 32, dtype=dtype, requires_grad=True) for heads in (2, 1, 1)
    )

    def library() -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k.expand_as(q), v.expand_as(q), is_causal=True)

    return {
        "attention_blocks_ms": 1000 * _seconds(lambda: _Blocks.apply(q, k, v)),
        "attention_library_ms": 1000 * _seconds(library),
    }


def _seconds(forward: Callable[[], Any]) -> float:
    """The shortest time of a forward and a backward pass."""
    from genbench.hardware.speed import shortest

    def work() -> None:
        out = forward()
        out.backward(out.detach())

    return shortest(work)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.here:
        print(json.dumps(measure(options.threads)))
        return
    from benchmarks.common import publish

    here = ["--here", "--threads", str(options.threads)]
    command = [sys.executable, "-m", "benchmarks.kinds", *here]
    found = {}
    for kind, limits in KINDS.items():
        said = subprocess.check_output(command, env=os.environ | limits, encoding="utf-8")
        found[kind] = json.loads(said.splitlines()[-1])
    names = list(found["native"]["float32"])
    rows = [
        [kind, precision, *speed.values()]
        for kind, by_precision in found.items()
        for precision, speed in by_precision.items()
    ]
    header = ["kind", "precision", *names]
    publish("kinds", header, rows, {"threads": options.threads, "kinds": found})


if __name__ == "__main__":
    main()
