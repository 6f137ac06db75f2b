"""How fast this machine computes, in the terms that tell how long a training takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["Speeds", "relative_time", "shortest", "speeds"]


def speeds(threads: int, *, emulated: bool = False) -> dict[str, dict[str, float]]:
    """GFLOP/s of a 3 x 3 convolution, forward and backward, and of a matrix product, by precision;
    takes a second or two, with that many threads.

    Arguments:
        threads: of the CPU.
        emulated: also ``bfloat16`` where it is not native; else it is left out there.
    """
    import torch

    from genbench.hardware.precision import computes_bfloat16

    native = computes_bfloat16(torch.device("cpu"))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        result = {"float32": _speeds_in(torch.float32, edge=1024)}
        if native or emulated:
            # A large product would take an emulation seconds.
            result["bfloat16"] = _speeds_in(torch.bfloat16, edge=1024 if native else 256)
    finally:
        torch.set_num_threads(before)
    return result


class Speeds(Mapping[str, Mapping[str, float]]):
    """:func:`speeds`, measured when a speed is first asked for: which precisions there are is known
    without.

    Arguments:
        threads: of the CPU.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._found: Mapping[str, Mapping[str, float]] = {}

    def __getitem__(self, precision: str) -> Mapping[str, float]:
        if precision not in self:
            raise KeyError(precision)
        self._found = self._found or speeds(self._threads)
        return self._found[precision]

    def __contains__(self, precision: object) -> bool:
        return precision in list(self)

    def __iter__(self) -> Iterator[str]:
        import torch

        from genbench.hardware.precision import computes_bfloat16

        native = computes_bfloat16(torch.device("cpu"))
        yield from ("float32", "bfloat16") if native else ("float32",)

    def __len__(self) -> int:
        return sum(1 for _ in self)  # list would ask for the length


def _speeds_in(dtype: torch.dtype, *, edge: int) -> dict[str, float]:
    """The speeds in one precision, the product of matrices (edge, edge)."""
    import torch

    channels_last = torch.channels_last
    a = torch.ones(edge, edge, dtype=dtype)
    conv = torch.nn.Conv2d(32, 64, 3, padding=1, dtype=dtype).to(memory_format=channels_last)
    x = torch.ones(8, 32, 28, 28, dtype=dtype).to(memory_format=channels_last).requires_grad_()

    def convolve() -> None:
        out = conv(x)
        out.backward(out.detach())

    def multiply() -> None:
        a @ a

    # A multiplication and an addition for each weight; backward takes twice as many as forward.
    convolution_flops = 3 * 2 * 8 * 28 * 28 * 32 * 64 * 9
    return {
        "convolution": convolution_flops / shortest(convolve) / 1e9,
        "matrix_product": 2 * edge**3 / shortest(multiply) / 1e9,
    }


def relative_time(own: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """How many times as long as on the reference machine a training takes, from both machines'
    :func:`speeds` in its precision.
    """
    shares = [reference[name] / own[name] for name in ("convolution", "matrix_product")]
    return (shares[0] * shares[1]) ** 0.5


def shortest(work: Callable[[], None], least: float = 0.3) -> float:
    """Seconds of the shortest of some calls, which take ``least`` seconds in all: what else runs
    here can only make one longer.
    """
    work()
    best, end = float("inf"), time.perf_counter() + least
    while time.perf_counter() < end:
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
    return best
