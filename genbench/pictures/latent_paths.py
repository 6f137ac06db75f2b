"""Ways through a latent space, measured in standard deviations of the model's own prior."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from genbench.base import GenerativeModel, Latent
from genbench.pictures.subject import labels_for

__all__ = ["Scale", "a_latent", "between", "is_real_valued", "prior_scale", "turned"]

DRAWS = 1024
"""Latents from which the prior's mean and standard deviation are taken."""

Scale = tuple[Tensor, Tensor]
"""Mean and standard deviation of the prior, (n, ...) each."""


@torch.no_grad()
def a_latent(model: GenerativeModel, *, rng: Generator) -> Tensor:
    """One latent (1, ...) of the prior, for its form."""
    assert isinstance(model, Latent)
    return model.prior(1, labels_for(model, None, 1), rng=rng)


def is_real_valued(model: GenerativeModel, *, rng: Generator) -> bool:
    """Whether latents are real numbers, not codes."""
    return a_latent(model, rng=rng).is_floating_point()


@torch.no_grad()
def prior_scale(model: Latent, labels: Tensor | None, n: int, *, rng: Generator) -> Scale | None:
    """Mean and standard deviation of each latent coordinate under the prior, for ``n`` latents of
    these labels; None where latents are codes.

    A learned prior has its mass elsewhere than a standard normal one, and for each label in another
    place.
    """
    if not model.prior(1, None if labels is None else labels[:1], rng=rng).is_floating_point():
        return None
    if labels is None:
        z = model.prior(DRAWS, None, rng=rng)
        return z.mean(0).expand(n, *z.shape[1:]), z.std(0).expand(n, *z.shape[1:])
    found = {}
    for label in labels.unique().tolist():
        z = model.prior(DRAWS, torch.full((DRAWS,), label, device=labels.device), rng=rng)
        found[label] = z.mean(0), z.std(0)
    means, deviations = zip(*(found[label] for label in labels.tolist()), strict=True)
    return torch.stack(means), torch.stack(deviations)


def between(a: Tensor, b: Tensor, steps: int, scale: Scale | None) -> Tensor:
    """Latents (n, steps, ...) from ``a`` to ``b`` (n, ...), both ends included.

    Real-valued latents move on a sphere around the prior's mean, in units of its standard
    deviations, where a Gaussian prior has its mass (Shoemake, "Animating rotation with quaternion
    curves", 1985). Codes, without a scale, have no in-between: one position changes after another.
    """
    t = torch.linspace(0, 1, steps, device=a.device)
    u, v = a.flatten(1)[:, None], b.flatten(1)[:, None]  # (n, 1, D)
    if scale is None:
        position = (torch.arange(u.shape[-1], device=a.device) + 0.5) / u.shape[-1]
        path = torch.where(position < t[:, None], v, u)
    else:
        mean, std = (part.flatten(1)[:, None] for part in scale)
        first, last = (u - mean) / std, (v - mean) / std
        path = _along_the_sphere(first, last, t[:, None].to(a.dtype)) * std + mean
    path = path.clone()
    path[:, 0], path[:, -1] = u[:, 0], v[:, 0]
    return path.unflatten(-1, a.shape[1:])


def _along_the_sphere(u: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """Points (n, T, D) between ``u`` and ``v`` (n, 1, D) at ``t`` (T, 1); a straight line where
    they are nearly parallel.
    """
    cosine = torch.nn.functional.cosine_similarity(u, v, dim=-1)[..., None].clamp(-1, 1)
    angle = cosine.acos()
    sine = angle.sin()
    sphere = ((1 - t) * angle).sin() / sine * u + (t * angle).sin() / sine * v
    return torch.where(sine > 1e-3, sphere, (1 - t) * u + t * v)


def turned(z: Tensor, coordinates: Tensor, values: Tensor, scale: Scale | None) -> Tensor:
    """``z`` (1, ...) with each of ``coordinates`` at each of ``values`` standard deviations from
    the prior's mean, (coordinates * values, ...).
    """
    assert scale is not None
    mean, std = (part.flatten(1)[0, coordinates].repeat_interleave(len(values)) for part in scale)
    n = len(coordinates) * len(values)
    latents = z.flatten(1).repeat(n, 1)
    places = torch.arange(n), coordinates.repeat_interleave(len(values))
    latents[places] = values.repeat(len(coordinates)).to(z) * std + mean
    return latents.unflatten(-1, z.shape[1:])
