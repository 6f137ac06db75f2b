"""Groups of images, each of which the jackknife leaves out once."""

from __future__ import annotations

import numpy as np
import torch

from genbench.errors import UserError
from genbench.seeding import generator_for

__all__ = ["GROUPS", "groups_of", "groups_of_both"]

GROUPS = 20
"""Enough for a standard error that is good to about a sixth of itself, 1/sqrt(2 (GROUPS - 1))."""


def groups_of(n: int) -> np.ndarray:
    """The group of each of ``n`` images, int64 (n,) of 0..``GROUPS`` - 1; sizes differ by one at
    most.

    One fixed permutation for each ``n`` deals the images to the groups. So all entries of a data
    set have the same groups of reference images, and no group is special: samples have the labels
    i mod 10, by which every twentieth one is of one class, and the test split of MNIST is harder
    in its second half.

    Raises:
        UserError: fewer images than groups.
    """
    if n < GROUPS:
        raise UserError(f"groups: needs at least {GROUPS} images, one in each group, got {n}")
    order = torch.randperm(n, generator=generator_for("groups", n)).numpy()
    groups = np.empty(n, np.int64)
    groups[order] = np.arange(n) * GROUPS // n
    return groups


def groups_of_both(generated: int, reference: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The groups of so many samples and of so many reference images; None where either are fewer
    than ``GROUPS``, so that there is no standard error.
    """
    if min(generated, reference) < GROUPS:
        return None
    return groups_of(generated), groups_of(reference)
