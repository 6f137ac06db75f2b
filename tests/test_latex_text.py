"""Formulas of docstrings as plain text."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genbench.cli.info import family_in_short
from genbench.cli.latex_text import plain_docstring, plain_formula
from genbench.cli.main import app
from genbench.registry import model_class, model_names

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"P(x \mid y) \ge 0", "P(x | y) ≥ 0"),
        (r"h_{t-1}", "hₜ₋₁"),
        (r"\sigma^2(y)", "σ²(y)"),
        (r"\sum_{k=1}^K x_k", "∑ₖ₌₁ᴷ xₖ"),
        (r"\sum_{j<i} W_{ij}", "∑_(j<i) Wᵢⱼ"),
        (r"v_\theta(x_t)", "v_θ(xₜ)"),
        (r"e^{-\beta E(x)}", "e^(−β E(x))"),
        (r"e^{s(x_1)}", "e^(s(x₁))"),
        (r"(a^T b)^{-1}", "(aᵀ b)⁻¹"),
        (r"\frac1K", "1/K"),
        (r"\frac{a}{b c}", "a/(b c)"),
        (r"\frac{a + b}{f(x, y)}", "(a + b)/f(x, y)"),
        (r"g \frac{v}{\lVert v \rVert}", "g v/‖v‖"),
        (r"\frac{\partial y}{\partial x}", "∂y/∂x"),
        (r"\sqrt{\bar\alpha_t}", "√ᾱₜ"),
        (r"\sqrt{1 - \bar\alpha_t}", "√(1 − ᾱₜ)"),
        (r"\hat{h} + \dot x", "ĥ + ẋ"),
        (r"\log \left| \det M \right|", "log |det M|"),
        (r"\arg\min_j \lVert a - b \rVert^2", "arg minⱼ ‖a − b‖²"),
        (r"2\log x", "2 log x"),
        (r"(\log x)", "(log x)"),
        (r"\mathrm{KL}(q \,\|\, p)", "KL(q ‖ p)"),
        (r"\beta_t \text{ linear in } t", "βₜ linear in t"),
        (r"a, \qquad b", "a,   b"),
        (r"\{0, 1\}", "{0, 1}"),
        (r"\mathcal{N}(z; 0, I)", "N(z; 0, I)"),
        (r"x \unknown{y}", r"x \unknowny"),
    ],
)
def test_latex_becomes_unicode(latex: str, text: str) -> None:
    assert plain_formula(latex) == text


def test_docstrings_lose_their_markup() -> None:
    doc = """A path :math:`f_\\beta` of ``E``, see :class:`genbench.base.Entry` and :meth:`~a.b`:

.. math:: x_1 = \\alpha, \\qquad
    x_2 = \\gamma

as well as

    .. math::
        y

End."""
    expected = (
        "A path fᵦ of `E`, see genbench.base.Entry and a.b:\n\n    x₁ = α,\n    x₂ = "
        "γ\n\nas well as\n\n        y\n\nEnd."
    )
    assert plain_docstring(doc) == expected


@pytest.mark.parametrize("name", model_names())
def test_no_latex_is_left_of_any_model(name: str) -> None:
    text = plain_docstring(inspect.getdoc(model_class(name)) or "").split("\nArguments:")[0]
    assert len(text) > 100
    assert not re.search(r"\\|\$|:math:|\.\. math|[_^]\{|\}|\0", text), text


@pytest.mark.parametrize("family", sorted({model_class(name).family for name in model_names()}))
def test_no_latex_is_in_the_short_text_on_a_family(family: str) -> None:
    text = family_in_short(family, REPOSITORY)
    assert text is not None and len(text) > 100
    assert not re.search(r"\\|\$|[_^]\{", text), text


def test_no_latex_is_left_of_the_template_of_a_new_model() -> None:
    source = (REPOSITORY / "genbench" / "cli" / "templates" / "model.py.txt").read_text(
        encoding="utf-8"
    )
    found = re.search(r'class @Class@.*?r"""(.*?)"""', source, re.DOTALL)
    assert found
    text = plain_docstring(inspect.cleandoc(found[1])).split("\nArguments:")[0]
    assert "∏ᵢ" in text
    assert "\\" not in text


def test_models_and_info_print_formulas_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    listed = CliRunner().invoke(app, ["models"])
    assert listed.exit_code == 0
    assert "the Gaussian prior p(z | y) from the label" in listed.stdout
    assert "\\" not in listed.stdout
    told = CliRunner().invoke(app, ["info", "vae"])
    assert told.exit_code == 0
    assert "    P(x) = ∫ P(x | z) N(z; 0, I) dz,\n" in told.stdout
    assert "] ≤ log P(x)\n" in told.stdout
    assert "\\" not in told.stdout
