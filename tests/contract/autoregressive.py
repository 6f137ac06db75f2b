"""Autoregressive models: the cache of the steps, and who depends on whom."""

from __future__ import annotations

import torch
from torch import Tensor

from genbench.families.autoregressive import Autoregressive

__all__ = ["check_cached", "check_causality"]


@torch.no_grad()
def check_cached(model: Autoregressive, x: Tensor, y: Tensor | None, *, tolerance: float) -> None:
    """Step by step with the cache, the logits are those of the full pass; pixels that are not drawn
    yet play no part.
    """
    full, order = model.logits(x, y), model.pixel_order()
    assert full.shape[:2] == (len(x), model.spec.dims), (
        f"logits must be (B, {model.spec.dims}, K), got {tuple(full.shape)}"
    )
    drawn, cache = torch.zeros_like(x), model.init_cache(len(x), y)
    for i, pixel in enumerate(order.tolist()):
        got, cache = model.step(drawn, i, cache)
        bound = tolerance * (1 + float(full[:, i].abs().max()))
        error = float((got - full[:, i]).abs().max())
        assert error <= bound, (
            f"step {i} differs from the full pass by {error:.1e}, more than {bound:.1e}"
        )
        drawn.view(len(x), -1)[:, pixel] = x.view(len(x), -1)[:, pixel]


@torch.no_grad()
def check_causality(
    model: Autoregressive, x: Tensor, y: Tensor | None, *, positions: list[int], tolerance: float
) -> None:
    """Changing the pixel at place j leaves the logits of places 0..j alone; all together, such
    changes reach what comes after them.
    """
    full, order, reached = model.logits(x, y), model.pixel_order(), 0
    for j in positions:
        other, pixel = x.clone(), int(order[j])
        flat = other.view(len(x), -1)
        flat[:, pixel] = (
            (flat[:, pixel].long() + model.spec.levels // 2)
            .remainder(model.spec.levels)
            .to(torch.uint8)
        )
        moved = (model.logits(other, y) - full).abs().amax((0, 2)) > tolerance
        early = torch.nonzero(moved[: j + 1])[:, 0].tolist()
        assert not early, (
            f"pixel {j} changes the logits of {early}, which are drawn before it is known"
        )
        reached += int(moved[j + 1 :].any())
    needed = sum(j + 1 < model.spec.dims for j in positions)
    dependent = bool(list(model.parameters()))  # independent pixels are counted, not learned
    assert reached == needed or not dependent, (
        f"only {reached} of {needed} pixels change what is drawn after them"
    )
