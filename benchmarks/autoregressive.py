"""Training throughput of the gated PixelCNN and the pixel transformer, against plain versions and
against the machine's peaks.

The plain versions are the same architectures as textbooks write them: float32, contiguous, eager;
full kernels with masks on the weights, or attention scores with a mask before a softmax. Each
version has a process of its own, and steps are taken in turn: ours, set up as a stage is; the plain
one as a script is, with the C library's allocator as it comes; and the plain one with the allocator
set as ours, which tells what the arithmetic alone brings. A step is loss, backward and AdamW. The
peaks are the best of some bfloat16 matrix products and convolutions, timed in the same run. Writes
benchmarks/results/autoregressive.json.

    python -m benchmarks.autoregressive [--repeats 5]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.common import interleaved, median, publish
from benchmarks.processes import VERSIONS, Workers
from genbench.base import DataSpec
from genbench.config.load import load_params
from genbench.data.datasets import spec_of
from genbench.families.autoregressive import Autoregressive
from genbench.models.gated_pixel_cnn import GatedPixelCNN
from genbench.models.pixel_transformer import PixelTransformer
from genbench.nn.attention import causal_attention
from genbench.training.arithmetic import Arithmetic

SPEC = spec_of("binary_mnist")


class _Masked(nn.Conv2d):
    """A convolution whose whole kernel is computed, with a mask on it."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int], rows: int, columns: int
    ) -> None:
        super().__init__(inputs, outputs, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
        mask = torch.zeros(kernel)
        mask[:rows] = 1
        mask[max(0, rows - 1), columns:] = 0
        self.register_buffer("mask", mask)

    mask: Tensor

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight * self.mask, self.bias, padding=self.padding)


class PlainGatedPixelCNN(Autoregressive):
    """Kernels of full size with masks, two stacks, gates as written."""

    def __init__(self, spec: DataSpec, *, channels: int, layers: int, hidden: int) -> None:
        super().__init__(spec, head=GatedPixelCNN(spec, channels=1, layers=1).head)
        self.first_vertical = _Masked(1, channels, (7, 7), 3, 7)
        self.first_horizontal = _Masked(1, channels, (1, 7), 1, 3)
        self.positions = nn.Parameter(torch.zeros(2, channels, spec.height, spec.width))
        vertical = [_Masked(channels, 2 * channels, (3, 3), 2, 3) for _ in range(layers)]
        horizontal = [_Masked(channels, 2 * channels, (1, 3), 1, 2) for _ in range(layers)]
        self.vertical, self.horizontal = nn.ModuleList(vertical), nn.ModuleList(horizontal)
        self.across = nn.ModuleList(nn.Conv2d(2 * channels, 2 * channels, 1) for _ in range(layers))
        self.outer = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(layers))
        self.last, self.out = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, 1, 1)

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Head parameters (B, D, 1)."""
        pixels = 2 * self.spec.unit(x) - 1
        v, h = (
            self.first_vertical(pixels) + self.positions[0],
            self.first_horizontal(pixels) + self.positions[1],
        )
        for vertical, horizontal, across, outer in zip(
            self.vertical, self.horizontal, self.across, self.outer, strict=True
        ):
            seen = vertical(v)
            a, b = (across(seen) + horizontal(h)).chunk(2, 1)
            h = h + outer(a.tanh() * b.sigmoid())
            a, b = seen.chunk(2, 1)
            v = a.tanh() * b.sigmoid()
        return self.out(self.last(h.relu()).relu()).flatten(2).transpose(1, 2)


class _PlainBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attend, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project = nn.Linear(width, width + 2 * width // heads, bias=False)
        self.merge = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        size = h.shape[-1] // self.heads
        q, k, v = self.project(self.norm_attend(h)).split([h.shape[-1], size, size], -1)
        q = q.unflatten(-1, (self.heads, size)).transpose(1, 2)
        scores = q @ k[:, None].transpose(-1, -2) / size**0.5 + mask
        mixed = (scores.softmax(-1) @ v[:, None]).transpose(1, 2).flatten(2)
        h = h + self.merge(mixed)
        return h + self.down(F.gelu(self.up(self.norm_forward(h))))


class PlainTransformer(Autoregressive):
    """Scores, mask, softmax."""

    def __init__(self, spec: DataSpec, *, width: int, layers: int, heads: int) -> None:
        super().__init__(spec, head=GatedPixelCNN(spec, channels=1, layers=1).head)
        self.sequence = PixelTransformer(spec, width=width, layers=1, heads=1).sequence
        self.blocks = nn.ModuleList(_PlainBlock(width, heads) for _ in range(layers))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 1)
        self.register_buffer("mask", torch.full((spec.dims, spec.dims), float("-inf")).triu(1))

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Head parameters (B, D, 1)."""
        h = self.sequence(x)
        for block in self.blocks:
            h = block(h, self.mask)
        return self.out(self.norm(h))


@dataclass(frozen=True)
class Work:
    """What is trained.

    Attributes:
        ours: the model.
        plain: the same, as a textbook writes it.
        batch: images per step.
        peak: the kind of product that most of its arithmetic is.
    """

    ours: Callable[[], Autoregressive]
    plain: Callable[[], Autoregressive]
    batch: int
    peak: str


_GATED: dict[str, Any] = {"channels": 128, "layers": 10, "hidden": 128}
_ATTEND: dict[str, Any] = {"width": 64, "layers": 8, "heads": 2}
WORK = {
    "gated_pixel_cnn": Work(
        lambda: GatedPixelCNN(SPEC, **_GATED, positions=True),  # as the entries, with positions
        lambda: PlainGatedPixelCNN(SPEC, **_GATED),
        64,
        "convolution",
    ),
    "pixel_transformer": Work(
        lambda: PixelTransformer(SPEC, **_ATTEND),
        lambda: PlainTransformer(SPEC, **_ATTEND),
        16,
        "matrix",
    ),
}


@functools.cache
def _work(name: str, version: str) -> Callable[[], None]:
    """One training step of a version; built once in its process."""
    torch.manual_seed(0)
    work, ours = WORK[name], version == "ours"
    model = work.ours() if ours else work.plain()
    return _trainer(
        model, work.batch, "bfloat16" if ours else "float32", ours and work.peak == "convolution"
    )


def _seconds(name: str, version: str) -> float:
    """Of one step."""
    step = _work(name, version)
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def _operations(name: str) -> dict[str, float]:
    """Shares of the operations that take most of a step of ours."""
    step = _work(name, "ours")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    events = sorted(profile.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return {event.key: event.self_cpu_time_total / total for event in events[:10]}


def _trainer(
    model: Autoregressive, batch: int, precision: str, channels_last: bool
) -> Callable[[], None]:
    """One training step."""
    if channels_last:
        model.to(memory_format=torch.channels_last)
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(
        0, SPEC.levels, (batch, 1, SPEC.height, SPEC.width), dtype=torch.uint8, generator=rng
    )
    adam = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    autocast: contextlib.AbstractContextManager[Any] = Arithmetic(precision=precision).autocast()

    def step() -> None:
        with autocast:
            loss = model.training_loss(x, None, rng=rng, progress=0.0).loss
        loss.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)

    return step


def peaks(repeats: int) -> dict[str, float]:
    """GFLOP/s of the best matrix product and the best convolution in bfloat16."""
    best = {"matrix": 0.0, "convolution": 0.0}
    for m, k, n in (
        (1024, 1024, 1024),
        (2048, 2048, 2048),
        (4096, 4096, 4096),
        (50176, 1152, 256),
        (12544, 1024, 1024),
    ):
        a, b = torch.randn(m, k).bfloat16(), torch.randn(n, k).bfloat16()
        best["matrix"] = max(
            best["matrix"], _rate(functools.partial(F.linear, a, b), 2.0 * m * k * n, repeats)
        )
    for channels in (128, 256):
        x = torch.randn(64, channels, 28, 28).bfloat16().to(memory_format=torch.channels_last)
        weight = (
            torch.randn(2 * channels, channels, 3, 3)
            .bfloat16()
            .to(memory_format=torch.channels_last)
        )
        flops = 2 * 64 * 784 * 9 * 2 * channels**2
        best["convolution"] = max(
            best["convolution"],
            _rate(functools.partial(F.conv2d, x, weight, padding=1), flops, repeats),
        )
    return best


@torch.no_grad()
def _rate(call: Callable[[], Tensor], flops: float, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return flops / min(times[1:]) / 1e9


def attention_seconds(repeats: int) -> dict[str, float]:
    """Seconds of the benchmark's attention, forward and backward in bfloat16: in blocks as in
    training here, and as the library has it.
    """
    heads, size = _ATTEND["heads"], _ATTEND["width"] // _ATTEND["heads"]
    q, k, v = (
        torch.randn(
            WORK["pixel_transformer"].batch,
            n,
            SPEC.dims,
            size,
            dtype=torch.bfloat16,
            requires_grad=True,
        )
        for n in (heads, 1, 1)
    )

    def library() -> Tensor:
        return F.scaled_dot_product_attention(q, k.expand_as(q), v.expand_as(q), is_causal=True)

    def run(attend: Callable[[], Tensor]) -> None:
        attend().backward(torch.ones_like(q))
        q.grad = k.grad = v.grad = None

    times = interleaved(
        {"blocks": lambda: run(lambda: causal_attention(q, k, v)), "library": lambda: run(library)},
        repeats=4 * repeats,
    )
    return {name: median(values) for name, values in times.items()}


def _flops(model: nn.Module) -> float:
    """Of one training step per image: every weight of a layer meets every pixel once forward and
    twice backward.
    """
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    return 6.0 * weights * SPEC.dims


def _attention_flops(width: int, layers: int) -> float:
    """Causal scores and mixtures of one training step per image: half of all pairs."""
    return 6.0 * layers * width * SPEC.dims**2


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    compute = load_params("quick").compute
    with Workers(compute) as workers:
        peak = workers.call("ours", peaks, options.repeats)
        attention = workers.call("ours", attention_seconds, options.repeats)
    results, rows = {}, []
    for name, work in WORK.items():
        model, batch, kind = work.ours(), work.batch, work.peak
        more = (
            _attention_flops(_ATTEND["width"], _ATTEND["layers"])
            if name == "pixel_transformer"
            else 0.0
        )
        times: dict[str, list[float]] = {version: [] for version in VERSIONS}
        with Workers(compute) as workers:
            for round_, version in itertools.product(range(options.repeats + 2), VERSIONS):
                seconds = workers.call(version, _seconds, name, version)
                if round_ > 1:  # the first steps build and allocate
                    times[version].append(seconds)
            operations = workers.call("ours", _operations, name)
        typical = {version: median(values) for version, values in times.items()}
        ratios = {
            version: median([p / o for p, o in zip(times[version], times["ours"], strict=True)])
            for version in VERSIONS[1:]
        }
        rate = (_flops(model) + more) * batch / typical["ours"] / 1e9
        results[name] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "batch": batch,
            "images_per_second": batch / typical["ours"],
            "plain_images_per_second": batch / typical["plain"],
            "plain_memory_kept_images_per_second": batch / typical["plain, memory kept"],
            "ratio": ratios["plain"],
            "ratio_memory_kept": ratios["plain, memory kept"],
            "gflops": rate,
            "peak": kind,
            "share_of_peak": rate / peak[kind],
            "share_of_other_peak": rate / peak["convolution" if kind == "matrix" else "matrix"],
            "operations": operations,
        }
        rows.append(
            [
                name,
                *(batch / typical[version] for version in VERSIONS),
                *ratios.values(),
                rate,
                rate / peak[kind],
            ]
        )
    publish(
        "autoregressive",
        [
            "model",
            *(f"{version} images/s" for version in VERSIONS),
            "ratio",
            "memory kept",
            "GFLOP/s",
            "of its peak",
        ],
        rows,
        {"peak_gflops": peak, "attention": attention, "results": results},
    )


if __name__ == "__main__":
    main()
