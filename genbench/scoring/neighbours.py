"""Balls around images in feature space, and which images lie in which: what precision, recall,
density and coverage count.

A ball reaches from its image to the k-th nearest other image of the same set. Where images have
groups, everything is counted for all images and for all but each group, so that the jackknife needs
no second pass over the distances; the balls keep their radii.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genbench.scoring.groups import GROUPS

__all__ = ["Hits", "Nearest", "hits", "hits_of_pairs", "nearest"]

_ROWS = 1000  # of the distance matrix at a time: 40 MB for 10,000 images


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest other images of each image.

    Attributes:
        distances: float32 (N, K), ascending.
        indices: int64 (N, K).
    """

    distances: np.ndarray
    indices: np.ndarray

    def radii(self, neighbours: int, *, clipped: bool = False) -> np.ndarray:
        """Distances to the k-th neighbour, float32 (N,); where they are ``clipped``, no larger than
        their median.
        """
        reach = self.distances[:, neighbours - 1]
        return np.minimum(reach, np.median(reach)) if clipped else reach


@dataclass(frozen=True, slots=True)
class Hits:
    """How many points lie in balls, for all images and for all but each group.

    Attributes:
        by_point: int64 (points, 1 + G) balls that hold a point; (points, 1) without groups.
            Column 1 + g counts no balls of group g; its own points are for the caller to leave out.
        by_ball: int64 (balls, 1 + G) points that a ball holds, in the same way.
    """

    by_point: np.ndarray
    by_ball: np.ndarray


Groups = tuple[np.ndarray, np.ndarray] | None
"""The group of each ball (N,) and of each point (M,)."""


def nearest(x: Tensor, n: int) -> Nearest:
    """The ``n`` nearest other images of each image, of features (N, D) with N > ``n``."""
    distances, indices = [], []
    for start in range(0, len(x), _ROWS):
        block = x[start : start + _ROWS]
        matrix = torch.cdist(block, x)  # (B, N)
        own = torch.arange(len(block))
        matrix[own, start + own] = torch.inf  # an image is no neighbour of its own
        found = matrix.topk(n, dim=1, largest=False)
        distances.append(found.values.numpy())
        indices.append(found.indices.numpy())
    return Nearest(np.concatenate(distances), np.concatenate(indices))


def hits(
    balls: Tensor, points: Tensor, radii: Sequence[np.ndarray], groups: Groups = None
) -> list[Hits]:
    """Which points lie in which balls, for balls of several radii in one pass over the distances.

    Arguments:
        balls: features (N, D) of the centres.
        points: features (M, D) of other images.
        radii: of the balls, each (N,).
        groups: of centres and points.

    Returns:
        the counts for each of ``radii``.
    """
    tallies = [_Tally(len(balls), len(points), groups) for _ in radii]
    for ball, point, distance in _pairs(balls, points, np.max(radii, axis=0)):
        for tally, reach in zip(tallies, radii, strict=True):
            held = distance <= reach[ball]
            tally.add(ball[held], point[held])
    return [tally.result() for tally in tallies]


def hits_of_pairs(near: Nearest, radii: np.ndarray, groups: Groups = None) -> Hits:
    """Which images lie in which balls around others of the same set, by their neighbours, among
    which are all that the radii (N,) reach.
    """
    tally = _Tally(len(radii), len(radii), groups)
    ball, place = (near.distances <= radii[:, None]).nonzero()
    tally.add(ball, near.indices[ball, place])
    return tally.result()


def _pairs(
    balls: Tensor, points: Tensor, widest: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Ball, point and distance of all pairs within the widest radius of the ball, in blocks."""
    reach = torch.from_numpy(widest)[:, None]
    for start in range(0, len(balls), _ROWS):
        rows = slice(start, start + _ROWS)
        matrix = torch.cdist(balls[rows], points)  # (B, M)
        ball, point = (matrix <= reach[rows]).nonzero(as_tuple=True)
        yield (start + ball).numpy(), point.numpy(), matrix[ball, point].numpy()


class _Tally:
    """Counts pairs of ball and point, of all images and of each group."""

    def __init__(self, balls: int, points: int, groups: Groups) -> None:
        parts = 1 if groups is None else 1 + GROUPS
        self.groups = groups
        self.by_ball, self.by_point = (np.zeros((n, parts), np.int64) for n in (balls, points))

    def add(self, ball: np.ndarray, point: np.ndarray) -> None:
        """Pairs (P,) that were not added before."""
        self.by_ball[:, 0] += np.bincount(ball, minlength=len(self.by_ball))
        self.by_point[:, 0] += np.bincount(point, minlength=len(self.by_point))
        if self.groups is not None:
            of_balls, of_points = self.groups
            self.by_ball[:, 1:] += _table(ball, of_points[point], len(self.by_ball))
            self.by_point[:, 1:] += _table(point, of_balls[ball], len(self.by_point))

    def result(self) -> Hits:
        by_point, by_ball = (
            np.concatenate([counts[:, :1], counts[:, :1] - counts[:, 1:]], 1)
            for counts in (self.by_point, self.by_ball)
        )
        return Hits(by_point, by_ball)


def _table(row: np.ndarray, group: np.ndarray, rows: int) -> np.ndarray:
    """How often each row meets each group, (rows, G)."""
    return np.bincount(row * GROUPS + group, minlength=rows * GROUPS).reshape(rows, GROUPS)
