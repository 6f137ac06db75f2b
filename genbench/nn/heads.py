"""Pixel heads by their names in params.yaml."""

from __future__ import annotations

from genbench.errors import UserError, near
from genbench.nn.head import Head, init_output
from genbench.nn.logistic_mixture import LogisticMixture
from genbench.nn.softmax_heads import Bernoulli, Categorical

__all__ = ["Bernoulli", "Categorical", "Head", "LogisticMixture", "init_output", "make_head"]


def make_head(name: str | None, levels: int, *, mixtures: int = 5) -> Head:
    """The head called ``name``: "bernoulli" (2 levels only), "categorical" or "logistic_mixture"
    (of ``mixtures`` components).

    None is bernoulli for 2 levels, else logistic_mixture.

    Raises:
        UserError: an unknown name, or levels that the head does not take.
    """
    name = name or ("bernoulli" if levels == 2 else "logistic_mixture")
    if name == "bernoulli":
        return Bernoulli(levels)
    if name == "categorical":
        return Categorical(levels)
    if name == "logistic_mixture":
        return LogisticMixture(levels, mixtures)
    raise UserError(
        f"head: unknown head {name!r}{near(name, ['bernoulli', 'categorical', 'logistic_mixture'])}"
    )
