"""Docstrings for a terminal: their formulas, which are LaTeX, in plain Unicode text, and no other
markup.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

__all__ = ["plain_docstring", "plain_formula"]

_SMALL = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "mu", "nu", "xi",
    "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
)  # fmt: skip
_CAPITAL = ("Delta", "Theta", "Pi", "Sigma", "Phi", "Psi", "Omega")
_SYMBOLS: Mapping[str, str] = {
    **{name: unicodedata.lookup(f"GREEK SMALL LETTER {name.upper()}") for name in _SMALL},
    "lambda": "λ",
    **{name: unicodedata.lookup(f"GREEK CAPITAL LETTER {name.upper()}") for name in _CAPITAL},
    "approx": "≈", "cdot": "·", "dots": "…", "ge": "≥", "in": "∈", "infty": "∞", "int": "∫",
    "le": "≤", "leftarrow": "←", "mid": "|", "nabla": "∇", "ne": "≠", "odot": "⊙", "prod": "∏",
    "propto": "∝", "sim": "~", "sum": "∑", "times": "×", "to": "→",
    "|": "‖", "{": "{", "}": "}", ",": " ", ";": " ", ":": " ", " ": " ", "!": "",
    "quad": "\u2003", "qquad": "\u2003",
}  # fmt: skip
_WORDS = ("arg", "cosh", "det", "exp", "inf", "ln", "log", "max", "min", "sinh", "sup", "tanh")
_ACCENTS: Mapping[str, str] = {"bar": "\u0304", "dot": "\u0307", "hat": "\u0302", "tilde": "\u0303"}
_FONTS = ("mathbb", "mathbf", "mathcal", "mathrm", "operatorname", "text")

_LOWERED = dict(
    zip("0123456789+−=aehijklmnoprstuvxβγρφχ", "₀₁₂₃₄₅₆₇₈₉₊₋₌ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ", strict=True)
)
_RAISED = dict(
    zip(
        "0123456789+−=abcdefghijklmnoprstuvwxyzKTβ",
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᴷᵀᵝ",
        strict=True,
    )
)
_SHORT = 4
"""Characters up to which sub- and superscripts are written small; longer ones are harder to read
so.
"""

_BREAK = "\u2003"
_APART = "\0"
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)


def plain_docstring(text: str) -> str:
    """A docstring without its markup: formulas in Unicode, a line of a displayed formula for each
    of its parts, names without their roles.
    """
    text = re.sub(r"^( *)\.\. math::(.*(?:\n\1 +\S.*)*)", _displayed, text, flags=re.MULTILINE)
    text = re.sub(r":math:`([^`]*)`", lambda found: plain_formula(found[1]), text)
    text = re.sub(r":[a-z]+:`~?([^`]+)`", r"\1", text)
    return text.replace("``", "`")


def _displayed(found: re.Match[str]) -> str:
    parts = plain_formula(found[2], apart="\n").splitlines()
    return "\n".join(f"{found[1]}    {part.strip()}" for part in parts)


def plain_formula(latex: str, *, apart: str = "   ") -> str:
    r"""A LaTeX formula as Unicode text; a macro that is unknown here stays as it is, with its
    backslash.

    Arguments:
        latex: the formula, of the macros that docstrings here use.
        apart: what stands for the wide space between two formulas, ``\qquad``.

    Example:
        >>> plain_formula(r"\\frac{1}{K} \\sum_k e^{-\\beta E(x_k)} \\le \\lVert h_{t-1} \\rVert^2")
        '1/K ∑ₖ e^(−β E(xₖ)) ≤ ‖hₜ₋₁‖²'
    """
    text = _Reader(latex).text()
    text = re.sub(rf"(?<=[\w)\]]){_APART}", " ", text).replace(_APART, "")
    text = re.sub(r" +", " ", text)
    text = re.sub(rf" ?{_BREAK} ?", _BREAK, text).strip(f" {_BREAK}")
    return unicodedata.normalize("NFC", text.replace(_BREAK, apart))


class _Reader:
    """Reads a formula from left to right."""

    def __init__(self, latex: str) -> None:
        self.tokens = _TOKEN.findall(latex)
        self.at = 0

    def text(self, end: str | None = None) -> str:
        """What stands before ``end``, or before the end of the formula."""
        out = ""
        while self.at < len(self.tokens) and (token := self.next()) != end:
            if token == r"\rVert":
                out = out.rstrip() + "‖"
            elif token == r"\right":
                out = out.rstrip() + self.argument()
            else:
                out += self.one(token)
        return out

    def next(self) -> str:
        """The next token."""
        self.at += 1
        return self.tokens[self.at - 1]

    def skip_space(self) -> None:
        """Go on to what is no space."""
        while self.at < len(self.tokens) and self.tokens[self.at].isspace():
            self.at += 1

    def argument(self) -> str:
        """What a macro takes: a group in braces, a macro with its arguments, or a character."""
        self.skip_space()
        return self.one(self.next()).strip() if self.at < len(self.tokens) else ""

    def one(self, token: str) -> str:
        """A token with what it takes."""
        if token.startswith("\\") and len(token) > 1:
            return self.macro(token[1:])
        if token == "{":
            return self.text("}")
        if token in "^_":
            return _script(self.argument(), token)
        return "−" if token == "-" else " " if token.isspace() else token

    def macro(self, name: str) -> str:
        """A macro with its arguments."""
        if name in ("lVert", "partial"):
            self.skip_space()
            return "‖" if name == "lVert" else "∂"
        if name == "left":
            opening = self.argument()
            self.skip_space()
            return opening
        if name in ("frac", "tfrac"):
            return f"{_operand(self.argument())}/{_operand(self.argument())}"
        if name == "sqrt":
            return f"√{_operand(self.argument())}"
        if name in _ACCENTS:
            accented = self.argument()
            return accented[:1] + _ACCENTS[name] + accented[1:]
        if name in _FONTS:
            self.skip_space()
            return self.one(self.next()) if self.at < len(self.tokens) else ""
        if name in _WORDS:
            return _APART + name
        return _SYMBOLS.get(name, f"\\{name}")


def _script(text: str, sign: str) -> str:
    small, compact = _RAISED if sign == "^" else _LOWERED, text.replace(" ", "").replace(_APART, "")
    if 0 < len(compact) <= _SHORT and all(c in small for c in compact):
        return "".join(small[c] for c in compact)
    return f"{sign}{text}" if len(compact) == 1 or compact.isalnum() else f"{sign}({text})"


def _operand(text: str) -> str:
    """``text`` in parentheses, unless a fraction or root of it is clear without them."""
    outside = re.sub(r"[(\[‖][^()\[\]‖]*[)\]‖]", "", text)
    return f"({text})" if re.search(r"[ +−/,]", outside) else text
