"""The process of sampling in frames, and the completion of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from genbench.base import GenerativeModel, Inpaintable, Traceable
from genbench.families.autoregressive import Autoregressive
from tests.contract.images import each_label, every_image, frequencies, labels_of, rng, toy_data
from tests.contract.likelihood import scores
from tests.contract.sampling import assert_images, sampling_noise, total_variation

__all__ = ["check_inpaintable", "check_traceable"]


@torch.no_grad()
def check_traceable(model: GenerativeModel) -> None:
    """frames are images, the last of them the sample of the same rng."""
    if not isinstance(model, Traceable):
        pytest.skip("it shows no process of sampling")
    y = labels_of(model, 6)
    frames = [frame.clone() for frame in model.frames(6, y, rng=rng(1))]
    assert len(frames) >= 2, "frames must show at least two states"
    for frame in frames:
        assert_images(model, frame, 6, "frames")
    assert torch.equal(frames[-1], model.sample(6, y, rng=rng(1))), (
        "the last frame is not the sample of the same rng"
    )


@torch.no_grad()
def check_inpaintable(model: GenerativeModel) -> None:
    """complete keeps what is known, draws the rest by rng; an autoregressive model draws it from
    the conditional distribution.
    """
    if not isinstance(model, Inpaintable):
        pytest.skip("it completes no images")
    spec, y = model.spec, labels_of(model, 200)
    x = toy_data(spec)[0][:200]
    nothing = torch.zeros(spec.height, spec.width, dtype=torch.bool)
    for mask in (nothing, _first_half(model), ~nothing):
        done, again, other = (model.complete(x, mask, y, rng=rng(seed)) for seed in (1, 1, 2))
        assert_images(model, done, 200, "completions")
        assert torch.equal(done[:, :, mask], x[:, :, mask]), "a completion changes what is known"
        assert torch.equal(done, again), "complete: the same rng gave other bits"
        assert mask.all() or not torch.equal(done, other), "complete does not depend on rng"
    if isinstance(model, Autoregressive):
        _completions_follow(model)


def _first_half(model: GenerativeModel) -> Tensor:
    """Mask (H, W) of the pixels that an autoregressive model draws first; for others the upper
    half.
    """
    order = torch.arange(model.spec.dims)
    if isinstance(model, Autoregressive):
        order = model.pixel_order()
    mask = torch.zeros(model.spec.dims, dtype=torch.bool)
    mask[order[: model.spec.dims // 2]] = True
    return mask.view(model.spec.height, model.spec.width)


def _completions_follow(model: Autoregressive, draws: int = 5000) -> None:
    spec, mask = model.spec, _first_half(model)
    known = toy_data(spec)[0][:1]
    y = torch.zeros(draws, dtype=torch.int64) if model.conditional else None
    done = model.complete(known.expand(draws, -1, -1, -1).clone(), mask, y, rng=rng(3))
    p = scores(model, each_label(model, len(every_image(spec)))[0]).p
    agrees = (every_image(spec)[:, :, mask] == known[:, :, mask]).all(2)[:, 0].numpy()
    p = np.where(agrees, p, 0)
    distance = total_variation(frequencies(done, spec), p / p.sum())
    limit = sampling_noise(p, draws) + 1e-3
    assert distance <= limit, (
        f"completions do not follow P(rest | known): distance {distance:.3f}, limit {limit:.3f}"
    )
