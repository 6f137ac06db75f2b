r"""Which way each kind of likelihood errs, and so what a difference of two numbers can prove.

Models are compared by :math:`N = E[-\log P(x)]` over the images of the data set's distribution;
lower is better. What is reported is a mean over test images; let U be its expectation, over the
images and over what the model itself draws.

- ``exact``: the number of an image is :math:`-\log P(x)`, so U = N.
- ``lower_bound`` (of log P): the number of an image is on average at least :math:`-\log P(x)`
  (Jensen's inequality: the mean of a logarithm is below the logarithm of the mean), so U >= N. It
  may be far above: a bound can be loose.
- ``estimate``: :math:`-\log P(x) = E(x) + \log Z` with an unbiased estimate of Z by annealed
  importance sampling. By the same inequality :math:`E[\log \hat Z] \le \log Z`, so U <= N: it
  flatters. It may be far below, where chains miss modes; it is rarely far above, as by Markov's
  inequality :math:`P(\log \hat Z \ge \log Z + t) \le e^{-t}` (Burda, Grosse, Salakhutdinov,
  "Accurate and Conservative Estimates of MRF Log-likelihood using Reverse Annealing", 2015,
  https://arxiv.org/abs/1412.8566).

A number of A below one of B proves that A is better if :math:`N_A \le U_A < U_B \le N_B`: the
number of A must not flatter, and that of B must not be too high. Where one of them is not exact,
the true difference is at least the one that is seen.
"""

from __future__ import annotations

from genbench.errors import UserError, near

__all__ = ["NAMES", "can_lose", "can_win", "check_kind"]

NAMES = {"exact": "exact value", "lower_bound": "bound", "estimate": "estimate"}
"""Kind, as records have it, → what its number is called in a sentence."""


def can_win(kind: str) -> bool:
    """Whether the true value is at most the number, so that a low number proves something."""
    return kind in ("exact", "lower_bound")


def can_lose(kind: str) -> bool:
    """Whether the true value is at least the number, so that a high number proves something."""
    return kind in ("exact", "estimate")


def check_kind(kind: str, name: str) -> None:
    """Raise UserError unless the likelihood of the entry ``name`` is of a kind that compares."""
    if kind not in NAMES:
        raise UserError(
            f"{name}: a likelihood of kind {kind!r} cannot be compared{near(kind, NAMES)}"
        )
