"""Batch-norm statistics of the scored weights, taken once after training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from genbench.base import GenerativeModel
from genbench.nn.batch_norm_statistics import estimate_statistics
from genbench.training.phase_state import PhaseState
from genbench.training.randomness import Randomness

__all__ = ["set_statistics"]

_IMAGES, _CHUNK = 5_000, 250
"""Training images behind the statistics, and images of a pass: enough that a variance within a pass
is that of the data, in any batch size.
"""


def set_statistics(
    model: GenerativeModel,
    states: Sequence[PhaseState],
    x: Tensor,
    y: Tensor | None,
    randomness: Randomness,
) -> None:
    """Set the running statistics of a model's batch norms to averages over passes of all phases'
    losses.

    Arguments:
        model: with its scored weights.
        states: its phases.
        x: training images uint8 (N, 1, H, W).
        y: their labels int64 (N,), or None.
        randomness: of the run.
    """

    def evaluate(state: PhaseState, chunk: int) -> None:
        rng = randomness.set_to("statistics", state.phase.name, chunk)
        rows = slice(chunk * _CHUNK, (chunk + 1) * _CHUNK)
        state.phase.loss(x[rows], None if y is None else y[rows], rng=rng, progress=1.0)

    # Whole chunks only: one image alone has no variance.
    chunks = range(max(1, min(_IMAGES, len(x)) // _CHUNK))
    passes = [partial(evaluate, state, chunk) for state in states for chunk in chunks]
    estimate_statistics(model, passes)
