"""Help for error messages: near matches of a name, and keyword arguments checked against a
signature.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = [
    "Mistakes",
    "Stopped",
    "UserError",
    "bind_options",
    "check_name",
    "check_positive",
    "near",
]


class UserError(ValueError):
    """A mistake in input or configuration; the message says what, where and how to mend. The CLI
    prints it without a traceback.
    """


class Mistakes:
    """Mistakes that are found one by one and told in one error, so that a user mends them in one
    go.
    """

    _SHOWN = 20

    def __init__(self) -> None:
        self.found: list[str] = []

    def note(self, *mistakes: str) -> None:
        """Add some."""
        self.found += mistakes

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Add the UserError that is raised inside, and go on after it."""
        try:
            yield
        except UserError as error:
            self.found.append(str(error))

    def tell(self) -> None:
        """Raise UserError with all of them, a line each; do nothing if there are none."""
        if len(self.found) == 1:
            raise UserError(self.found[0])
        if self.found:
            shown = self.found[: self._SHOWN]
            more = (
                [f"and {len(self.found) - len(shown)} more"] if len(self.found) > len(shown) else []
            )
            raise UserError("\n  ".join([f"{len(self.found)} mistakes:", *shown, *more]))


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def check_name(name: object, where: str) -> None:
    """The one rule for names of entries, profiles, data sets and metrics: they become parts of
    paths and of the commands that DVC runs.

    Raises:
        UserError: ``name`` does not follow it; ``where`` is the name's place.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        rule = (
            "a name has at most 64 of the characters A-Z, a-z, 0-9, '-' and '_', and begins "
            "with a letter or a digit"
        )
        raise UserError(f"{where}: {name!r} cannot be a name: {rule}")


class Stopped(SystemExit):
    """Work that ends in order because nobody waits for it any more: neither a success nor a
    failure.
    """


def check_positive(**sizes: int) -> None:
    """Raise UserError that names the first of ``sizes`` that is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f"{name}: must be at least 1, got {size}")


def near(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'a' or 'b'?"`` and what is known, for the end of a message about an unknown
    name.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else "."
    listed = ", ".join(names) if names else "none"
    return f"{hint} Known: {listed}"


def bind_options(
    function: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    where: str,
    skip: Collection[str] = (),
) -> dict[str, Any]:
    """``options`` as keywords of ``function``, checked by its signature.

    Arguments:
        function: a callable with explicit keyword parameters, or a class (its constructor).
        options: what params.yaml has for it.
        where: their place, for messages, e.g. ``entries.made.arch``.
        skip: parameters that the caller fills itself and a user may not set.

    Raises:
        UserError: an unknown keyword (with near matches), a missing one, or a value of another type
            than its annotation.
    """
    if not isinstance(options, Mapping):
        raise UserError(
            f"{where}: must be a mapping (write {{}} for an empty one), got {options!r}"
        )
    parameters = {
        name: p
        for name, p in inspect.signature(function).parameters.items()
        if name not in ("self", *skip) and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    }
    for name, value in options.items():
        if name not in parameters:
            for now in _RENAMED.get(name, ()):
                if now in parameters:
                    takes = _TAKES.get(now, "")
                    raise UserError(f"{where}.{name}: is now called {now!r}{takes}")
            raise UserError(f"{where}.{name}: unknown parameter{near(name, parameters)}")
        _check_type(f"{where}.{name}", value, parameters[name].annotation)
    missing = [
        name for name, p in parameters.items() if p.default is p.empty and name not in options
    ]
    if missing:
        raise UserError(f"{where}: missing {', '.join(missing)}")
    return dict(options)


_RENAMED: Mapping[str, tuple[str, ...]] = {
    "backend": ("arithmetic",),
    "bfloat16": ("precision",),
    "block": ("block_size",),
    "chains": ("buffer_size", "persistent_chains"),
    "first": ("beta_start", "log_snr_max"),
    "fresh": ("reinit_probability",),
    "last": ("beta_end", "log_snr_min"),
    "moves": ("mcmc_steps",),
    "scale": ("energy_scale",),
    "step": ("step_size",),
    "steps": ("timesteps", "flow_steps"),
}
"""Former name of an option → its present ones; which of them it is, the callee's signature says."""

_TAKES = {"precision": "; it takes auto, float32 or bfloat16"}
"""What an option takes whose values were others under its former name."""

# Annotations as the source writes them (they are strings under
# `from __future__ import annotations`).
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
}


def _check_type(where: str, value: Any, annotation: Any) -> None:
    text = (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", str(annotation))
    )
    alternatives = [part.strip() for part in text.split("|")]
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: must be finite, got {value}")
    if value is None and "None" in alternatives:
        return
    for name in alternatives:
        if name.startswith(("Sequence[", "list[", "tuple[")) and isinstance(value, list | tuple):
            inner = name[name.index("[") + 1 : -1].removesuffix(", ...")
            if inner in _TYPES:
                for i, item in enumerate(value):
                    _check_type(f"{where}[{i}]", item, inner)
            return
        if name.startswith(("Mapping", "dict")) and isinstance(value, Mapping):
            return
        if (
            name in _TYPES
            and isinstance(value, _TYPES[name])
            and (name == "bool" or not isinstance(value, bool))
        ):
            return
        if name not in _TYPES and not name.startswith(
            ("Sequence", "list", "tuple", "Mapping", "dict", "None")
        ):
            return  # an annotation that this check does not know is the callee's to validate
    raise UserError(f"{where}: must be {text}, got {value!r} of type {type(value).__name__}")
