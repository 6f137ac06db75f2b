"""Which images a training has seen, against what its losses were given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from genbench.base import Step
from genbench.models.pixel_marginals import PixelMarginals
from genbench.training.options import TrainOptions
from genbench.training.randomness import RunIdentity
from genbench.training.seen import seen_images
from tests.test_training_oracle import OPTIONS, SPEC, Chain, Regression, dataset, made, optim
from tests.training import fit


def _noted(model: Regression) -> set[int]:
    """Training images that a model was shown in train mode, by their content; those of equal
    content count together.
    """
    train = dataset().train_x
    codes = _codes(train)
    shown = {code for training, x, *_ in model.seen if training for code in _codes(x)}
    return {i for i, code in enumerate(codes) if code in shown}


def _codes(x: Tensor) -> list[int]:
    found: list[int] = (x.flatten(1).long() @ 4 ** torch.arange(4)).tolist()
    return found


class Watched(Chain):
    """Also notes what its second phase is given."""

    def second_loss(self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float) -> Step:
        assert y is not None
        self.seen.append((self.training, x.clone(), y, 0, x))
        return super().second_loss(x, y, rng=rng, progress=progress)


@pytest.mark.parametrize("kind", [Regression, Watched])
@pytest.mark.parametrize("steps", [3, 5, 37])
def test_the_images_that_a_training_saw_are_told_long_after_it(
    kind: type[Regression], steps: int
) -> None:
    model = made(kind)
    given = {**OPTIONS, "steps": steps, "validations": 1, "optim": optim(model)}
    fit(model, dataset(), entry="toy", seed=2, **given)
    options = TrainOptions.of(kind(), given, "cpu", where="train")
    found = seen_images(kind(), options, RunIdentity("toy", 2), len(dataset().train_x))
    assert np.array_equal(found, np.unique(found))
    assert _all_alike(found) == _noted(model)
    assert steps != 3 or len(found) < len(dataset().train_x)
    other = seen_images(kind(), options, RunIdentity("toy", 3), len(dataset().train_x))
    assert steps == 37 or not np.array_equal(found, other)


def _all_alike(index: np.ndarray) -> set[int]:
    """With the images of equal content, which cannot be told apart."""
    codes = _codes(dataset().train_x)
    own = {codes[i] for i in index}
    return {i for i, code in enumerate(codes) if code in own}


def test_a_model_without_phases_is_made_from_all() -> None:
    model = PixelMarginals(SPEC)
    options = TrainOptions.of(model, {}, "cpu", where="train")
    assert seen_images(model, options, RunIdentity("x", 0), 7).tolist() == list(range(7))
