"""The learning rate over a phase: linear warm-up, then cosine decay (Loshchilov & Hutter, "SGDR:
Stochastic Gradient Descent with Warm Restarts", 2017, without restarts), or a constant rate and a
linear decay at the end (Zhai et al., "Scaling Vision Transformers", 2022).
"""

from __future__ import annotations

import math

from genbench.training.options import OptimOptions

__all__ = ["learning_rate"]

LINEAR = 0.4
"""Share of the steps with a linear decay."""


def learning_rate(options: OptimOptions, progress: float, steps: int) -> float:
    """The rate of one step.

    Arguments:
        options: the peak, the share of the warm-up, and the share of the peak that is left.
        progress: share of the phase that lies before the step, 0..1.
        steps: of the whole phase.
    """
    # Half a step more than asked for, so that the first step's rate is not zero.
    warmup = options.warmup + 0.5 / steps
    rising = min(1.0, (progress + 0.5 / steps) / warmup)
    begin = options.warmup if options.decay == "cosine" else max(options.warmup, 1 - LINEAR)
    decayed = min(1.0, max(0.0, progress - begin) / max(1e-12, 1.0 - begin))
    left = 0.5 * (1 + math.cos(math.pi * decayed)) if options.decay == "cosine" else 1 - decayed
    return options.lr * rising * (options.final_lr + (1 - options.final_lr) * left)
