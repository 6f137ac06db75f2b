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
from typing import Any

from genbench.hardware.isa import set_isa

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
    from torch.nn import functional as F

    from genbench.hardware.speed import speeds
    from genbench.nn.attention import _Blocks

    found = speeds(threads, emulated=True)
    torch.set_num_threads(threads)
    for name, speed in found.items():
        dtype = getattr(torch, name)
        conv, x = (
            torch.nn.Conv2d(32, 64, 3, padding=1, dtype=dtype),
            torch.ones(8, 32, 28, 28, dtype=dtype, requires_grad=True),
        )
        # The shapes of pixel_transformer in `quick`.
        q, k, v = (
            torch.randn(8, heads, 784, 32, dtype=dtype, requires_grad=True) for heads in (2, 1, 1)
        )
        speed["convolution_contiguous"] = (
            3 * 2 * 8 * 28 * 28 * 32 * 64 * 9 / _seconds(lambda: conv(x)) / 1e9
        )
        speed["attention_blocks_ms"] = 1000 * _seconds(lambda: _Blocks.apply(q, k, v))  # noqa: B023
        library = _seconds(
            lambda: F.scaled_dot_product_attention(
                q, k.expand_as(q), v.expand_as(q), is_causal=True
            )
        )
        speed["attention_library_ms"] = 1000 * library
    return found


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

    command = [
        sys.executable,
        "-m",
        "benchmarks.kinds",
        "--here",
        "--threads",
        str(options.threads),
    ]
    found = {
        kind: json.loads(
            subprocess.check_output(
                command, env=os.environ | limits, encoding="utf-8"
            ).splitlines()[-1]
        )
        for kind, limits in KINDS.items()
    }
    names = list(found["native"]["float32"])
    rows = [
        [kind, precision, *speed.values()]
        for kind, by_precision in found.items()
        for precision, speed in by_precision.items()
    ]
    publish(
        "kinds", ["kind", "precision", *names], rows, {"threads": options.threads, "kinds": found}
    )


if __name__ == "__main__":
    main()
