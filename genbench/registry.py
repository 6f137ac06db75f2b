"""Model names and their classes: a file ``models/<name>.py`` or an entry point of ``genbench.models`` is a model. Nothing is imported before use."""

from __future__ import annotations

import importlib
import inspect
import os
import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genbench.errors import UserError, bind_options, near
from genbench.params import Entry

if TYPE_CHECKING:
    from genbench.base import DataSpec, GenerativeModel

__all__ = ["BrokenModel", "build", "model_class", "model_file", "model_names", "plugin"]

_MODELS = Path(__file__).parent / "models"


class BrokenModel(UserError):
    """A model whose file cannot be imported: its entries cannot run, all others can."""


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="genbench.models")}


def model_names() -> list[str]:
    """All models: those of the package and those of installed plug-ins."""
    own = {path.stem for path in _MODELS.glob("*.py") if not path.stem.startswith("_")}
    return sorted(own | set(_plugins()))


def model_file(name: str) -> Path | None:
    """The file of a model of this package; None for a plug-in or an unknown name. Imports nothing."""
    path = _MODELS / f"{name}.py"
    return path if name.isidentifier() and path.is_file() else None


def plugin(name: str) -> str | None:
    """``distribution==version`` of the plug-in that brings a model; None for the models of this package."""
    point = None if model_file(name) else _plugins().get(name)
    if point is None or point.dist is None:
        return None
    return f"{point.dist.name}=={point.dist.version}"


def model_class(name: str) -> type[GenerativeModel]:
    """The class of a model.

    Raises:
        UserError: unknown name (with near matches), or a file without exactly one public model class.
        BrokenModel: the file cannot be imported.
    """
    from genbench.base import GenerativeModel  # here, so that names are looked up without torch

    if model_file(name) is not None:
        module = _loaded(name, lambda: importlib.import_module(f"genbench.models.{name}"))
        found = [getattr(module, public) for public in getattr(module, "__all__", ())]
        classes = [c for c in found if inspect.isclass(c) and issubclass(c, GenerativeModel)]
        if len(classes) != 1:
            raise UserError(
                f"genbench/models/{name}.py: __all__ must name exactly one GenerativeModel, got {[c.__name__ for c in classes]}"
            )
        return classes[0]
    point = _plugins().get(name)
    if point is None:
        raise UserError(f"{name!r} is no model{near(name, model_names())}")
    loaded = _loaded(name, point.load)
    if not (inspect.isclass(loaded) and issubclass(loaded, GenerativeModel)):
        raise UserError(f"the entry point {point.value!r} of model {name!r} is no GenerativeModel class")
    return loaded


def _loaded(name: str, load: Callable[[], Any]) -> Any:
    """What ``load`` imports; BrokenModel with the place of the mistake for all that a file under construction raises."""
    try:
        return load()
    except (ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
        place, line, reason = frames[-1].filename, frames[-1].lineno, str(error)
        if isinstance(error, SyntaxError):
            place, line, reason = error.filename or place, error.lineno, error.msg
        place = place.removeprefix(f"{_MODELS.parents[1]}{os.sep}")
        raise BrokenModel(f"{place}:{line}: {reason} (model {name!r}); mend it, then run the command again") from error


def build(entry: Entry, spec: DataSpec) -> GenerativeModel:
    """The untrained model of an entry.

    Raises:
        UserError: unknown model, unknown or wrong option, or one that the model's constructor refuses; names the key.
    """
    cls = model_class(entry.model)
    where = f"entries.{entry.name}.arch"
    arch = bind_options(cls, entry.arch, where=where, skip=("spec",))
    try:
        return cls(spec, **arch)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
