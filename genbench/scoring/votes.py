"""Classification by the largest score, with ties split."""

from __future__ import annotations

from torch import Tensor

__all__ = ["votes"]


def votes(scores: Tensor) -> Tensor:
    """Each row's vote for the class of its largest score, in equal parts where several classes
    share it.

    So whoever cannot tell C classes apart is right in one of C cases, whatever the classes are
    called and however many images each has.

    Arguments:
        scores: log-probabilities or logits (N, C), finite.

    Returns:
        float64 (N, C); each row sums to 1.
    """
    largest = (scores == scores.amax(1, keepdim=True)).double()
    return largest / largest.sum(1, keepdim=True)
