"""Model names and their classes: a file ``models/<name>.py`` or an entry point of
``genbench.models`` is a model. Nothing is imported before use.

A model's file is somebody's work in progress. Whatever it raises, at import, in its constructor or
later in a check, is a ``BrokenModel`` that names the place: its entries cannot run, all others can.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import traceback
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from genbench.config.params import Entry
from genbench.errors import UserError, bind_options, near

if TYPE_CHECKING:
    from genbench.base import DataSpec, GenerativeModel

__all__ = [
    "BrokenModel",
    "blamed",
    "build",
    "model_class",
    "model_classes",
    "model_file",
    "model_names",
    "plugin",
]

_MODELS = Path(__file__).parent / "models"


class BrokenModel(UserError):
    """A model that cannot be imported or built: its entries cannot run, all others can."""


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="genbench.models")}


def model_names() -> list[str]:
    """All models: those of the package and those of installed plug-ins."""
    bundled = {path.stem for path in _MODELS.glob("*.py") if not path.stem.startswith("_")}
    return sorted(bundled | set(_plugins()))


def model_file(name: str) -> Path | None:
    """The file of a model of this package; None for a plug-in or an unknown name. Imports
    nothing.
    """
    path = _MODELS / f"{name}.py"
    return path if name.isidentifier() and path.is_file() else None


def plugin(name: str) -> str | None:
    """``distribution==version`` of the plug-in that brings a model; None for the models of this
    package.
    """
    point = None if model_file(name) else _plugins().get(name)
    if point is None or point.dist is None:
        return None
    return f"{point.dist.name}=={point.dist.version}"


def model_class(name: str) -> type[GenerativeModel]:
    """The class of a model.

    Raises:
        UserError: unknown name, with near matches.
        BrokenModel: it cannot be imported, or is no model class.
    """
    if model_file(name) is not None:
        with blamed(name, wrong_options=False):
            module = importlib.import_module(f"genbench.models.{name}")
            return _checked(_only_class(module, name), name)
    point = _plugins().get(name)
    if point is None:
        raise UserError(f"{name!r} is no model{near(name, model_names())}")
    with blamed(name, wrong_options=False):
        return _checked(point.load(), name)


def model_classes() -> tuple[dict[str, type[GenerativeModel]], dict[str, str]]:
    """All model classes by name; and by name of the others, why they cannot be had."""
    classes, broken = {}, {}
    for name in model_names():
        try:
            classes[name] = model_class(name)
        except BrokenModel as error:
            broken[name] = str(error)
    return classes, broken


def _only_class(module: ModuleType, name: str) -> Any:
    """The model class that a model's file names in its ``__all__``."""
    from genbench.base import GenerativeModel  # here, so that names are looked up without torch

    public = getattr(module, "__all__", None)
    if public is None:
        raise _broken(
            name, 'has no __all__, which must name its class, as in __all__ = ["MyModel"]'
        )
    if not isinstance(public, list | tuple) or not all(isinstance(one, str) for one in public):
        raise _broken(name, f"__all__ must be a list of names, got {public!r}")
    absent = [one for one in public if not hasattr(module, one)]
    if absent:
        raise _broken(name, f"__all__ names {', '.join(absent)}, which the file does not define")
    found = [getattr(module, one) for one in public]
    classes = [one for one in found if inspect.isclass(one) and issubclass(one, GenerativeModel)]
    if len(classes) != 1:
        raise _broken(
            name,
            (
                "__all__ must name exactly one GenerativeModel, got "
                f"{[one.__name__ for one in classes]}"
            ),
        )
    return classes[0]


def _checked(found: Any, name: str) -> type[GenerativeModel]:
    """A class that says all that the report needs of it."""
    from genbench.base import Conditioning, GenerativeModel, Likelihood

    if not (inspect.isclass(found) and issubclass(found, GenerativeModel)):
        raise _broken(name, f"must be a GenerativeModel class, got {found!r}")
    if inspect.isabstract(found):
        raise _broken(
            name, f"{found.__name__} does not define {', '.join(sorted(found.__abstractmethods__))}"
        )
    for attribute, kind in (
        ("likelihood", Likelihood),
        ("conditioning", Conditioning),
        ("family", str),
        ("control", bool),
    ):
        value = getattr(found, attribute, None)
        if not isinstance(value, kind):
            raise _broken(
                name, f"{found.__name__}.{attribute} must be a {kind.__name__}, got {value!r}"
            )
    return found


def _broken(name: str, reason: str, where: str | None = None) -> BrokenModel:
    return BrokenModel(
        f"{where or _source(name)}: {reason} (model {name!r}); mend it, then run the command again"
    )


def _source(name: str) -> str:
    """The file of a model, or the entry point of a plug-in."""
    file, point = model_file(name), _plugins().get(name)
    return (
        f"the entry point {point.value!r}"
        if file is None and point is not None
        else _short(str(file))
    )


@contextlib.contextmanager
def blamed(name: str, *, wrong_options: bool = True) -> Iterator[None]:
    """Whatever a model's code raises inside, ``sys.exit`` too, becomes a BrokenModel with the
    place; Ctrl-C stays what it is.

    Arguments:
        name: the model.
        wrong_options: whether a UserError is a mistake in an entry's options, and passes; else the
            model is to blame for it too.
    """
    try:
        yield
    except (KeyboardInterrupt, BrokenModel):
        raise
    except BaseException as error:
        if wrong_options and isinstance(error, UserError):
            raise
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        if not isinstance(error, ImportError | SyntaxError):
            reason = f"{type(error).__name__}: {reason}".removesuffix(": ")
        raise _broken(name, reason, _place(error, name)) from error


def _place(error: BaseException, name: str) -> str:
    """``file:line`` where an error was raised: in the model's file if it came by there, else
    both that file and where it was.
    """
    if isinstance(error, SyntaxError) and error.filename and not error.filename.startswith("<"):
        return f"{_short(error.filename)}:{error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<", importlib.__path__[0]))
    ]
    in_its_file = [frame for frame in frames if frame.filename == str(model_file(name))]
    if in_its_file:
        return f"{_short(in_its_file[-1].filename)}:{in_its_file[-1].lineno}"
    if frames[-1].filename == __file__:  # nobody else's code was reached
        return _source(name)
    return f"{_source(name)} (in {_short(frames[-1].filename)}:{frames[-1].lineno})"


def _short(file: str) -> str:
    return file.removeprefix(f"{_MODELS.parents[1]}{os.sep}")


def build(entry: Entry, spec: DataSpec) -> GenerativeModel:
    """The untrained model of an entry.

    Raises:
        UserError: unknown model, unknown or wrong option, or one that the model's constructor
            refuses by UserError; names the key.
        BrokenModel: the model cannot be imported, or its constructor raises anything else; names
            the place.
    """
    cls = model_class(entry.model)
    where = f"entries.{entry.name}.arch"
    arch = bind_options(cls, entry.arch, where=where, skip=("spec",))
    with blamed(entry.model):
        try:
            return cls(spec, **arch)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
