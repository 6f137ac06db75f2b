"""Which training images a run has seen. Their order follows from its identity, so that this can be
told long after it.
"""

from __future__ import annotations

import numpy as np
import torch

from genbench.base import GenerativeModel
from genbench.training.batches import Batches
from genbench.training.options import TrainOptions
from genbench.training.randomness import RunIdentity

__all__ = ["seen_images"]


def seen_images(
    model: GenerativeModel, options: TrainOptions, identity: RunIdentity, total: int
) -> np.ndarray:
    """Indices of the training images that were in a batch of any phase, ascending int64.

    A model without phases is made from the whole split. Images whose batch came after the weights
    that were kept count too, and what a model takes from all images before the first step, such as
    a mean, does not.

    Arguments:
        model: of the run, trained or not.
        options: how it was trained.
        identity: of the run.
        total: images of the training split.
    """
    phases = model.phases()
    if not phases:
        return np.arange(total)
    batches = Batches(torch.arange(total), None, options.batch_size, identity)
    seen = torch.zeros(total, dtype=torch.bool)
    for phase in phases:
        first, end = (round(share * options.steps) for share in phase.span)
        for number in range((end - first) * phase.repeats):
            seen[batches.take(phase.name, number)[0]] = True
    return np.asarray(seen.nonzero()[:, 0].numpy())
