"""The counts of images in balls that several metrics need, made once for a pair of sets.

:mod:`genbench.scoring.neighbours` counts; here is what is counted, and where it is kept: beside the
features that it was made of (:attr:`genbench.scoring.metrics.base.FeatureSet.memo`). Groups are
left out where both sets have enough images.
"""

from __future__ import annotations

from dataclasses import dataclass

from genbench.scoring.groups import groups_of_both
from genbench.scoring.metrics.base import FeatureSet
from genbench.scoring.neighbours import Hits, Nearest, hits, hits_of_pairs, nearest

__all__ = ["Ball", "real_in_real", "real_in_samples", "samples_in_real"]


@dataclass(frozen=True, slots=True)
class Ball:
    """What balls reach to: the k-th neighbour, ``neighbours``, and no farther than half of all
    balls where they are ``clipped``.
    """

    neighbours: int
    clipped: bool = False


_USUAL = (Ball(3), Ball(5), Ball(5, clipped=True))
"""Of precision, of density and coverage, and of clipped density: counted in one pass."""


def samples_in_real(generated: FeatureSet, reference: FeatureSet, ball: Ball) -> Hits:
    """Samples in balls around real images, of which there are more than the ball has neighbours."""
    key = "samples in balls around real images"
    known, found = generated.memo.get(key, (None, {}))
    if known is not reference or ball not in found:
        usual = [one for one in _USUAL if one.neighbours < len(reference)]
        found = _samples_in_real(generated, reference, list(dict.fromkeys([ball, *usual])))
        generated.memo[key] = reference, found
    return found[ball]


def real_in_samples(generated: FeatureSet, reference: FeatureSet, ball: Ball) -> Hits:
    """Real images in balls around samples, of which there are more than the ball has neighbours."""
    near = _nearest(generated, ball.neighbours)
    both = groups_of_both(len(generated), len(reference))
    reach = near.radii(ball.neighbours, clipped=ball.clipped)
    return hits(generated.features, reference.features, [reach], both)[0]


def real_in_real(generated: FeatureSet, reference: FeatureSet, ball: Ball) -> Hits:
    """Real images in balls around other real images, with the groups of :func:`samples_in_real`."""
    near = _nearest(reference, ball.neighbours)
    both = groups_of_both(len(generated), len(reference))
    reach = near.radii(ball.neighbours, clipped=ball.clipped)
    return hits_of_pairs(near, reach, None if both is None else (both[1], both[1]))


def _samples_in_real(
    generated: FeatureSet, reference: FeatureSet, wanted: list[Ball]
) -> dict[Ball, Hits]:
    near = _nearest(reference, max(ball.neighbours for ball in wanted))
    both = groups_of_both(len(generated), len(reference))
    radii = [near.radii(ball.neighbours, clipped=ball.clipped) for ball in wanted]
    groups = None if both is None else (both[1], both[0])
    found = hits(reference.features, generated.features, radii, groups)
    return dict(zip(wanted, found, strict=True))


def _nearest(images: FeatureSet, neighbours: int) -> Nearest:
    near: Nearest | None = images.memo.get("nearest")
    if near is None or near.indices.shape[1] < neighbours:
        near = images.memo["nearest"] = nearest(images.features, neighbours)
    return near
