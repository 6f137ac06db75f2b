"""What stands under ``defaults`` and ``entries`` of a params file: checked, and put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genbench.config.inheritance import INHERITED, Written, resolve
from genbench.config.layout import SHARED_FOLDERS
from genbench.config.params import Entry
from genbench.errors import Mistakes, UserError, check_name, near

__all__ = ["read_entries"]

_OWN = ("dataset", "seed")
_OPTIONS = ("arch", "train", "sample", "score")
_BY_NAME = ("optim", "arithmetic")
"""Options of training whose values are mappings by name: of a phase, of a type of device."""


def read_entries(
    raw: Mapping[str, Any], mistakes: Mistakes
) -> tuple[dict[str, Entry], dict[str, dict[str, str]]]:
    """All entries with what they inherit, and for each the places of what it inherits
    (:attr:`genbench.config.params.Params.inherited`).

    Arguments:
        raw: the file; of its keys ``defaults``, ``entries`` and ``datasets`` are read.
        mistakes: where mistakes are noted, one that several entries inherit once.

    Raises:
        UserError: what is written is not sound, so that nothing can be inherited; with all that has
            been noted.
    """
    written: dict[str, Written] = {}
    for group in ("defaults", "entries"):
        written |= _written(group, raw, mistakes, taken=written)
    if raw["entries"] == {}:
        mistakes.note("entries: must have at least one entry")
    mistakes.tell()
    entries, inherited = {}, {}
    for name, (place, _) in written.items():
        try:
            values, sources = resolve(name, written)
            if place.startswith("entries."):
                entries[name], inherited[name] = _entry(name, values), sources
        except UserError as error:
            if str(error) not in mistakes.found:
                mistakes.note(str(error))
    return entries, inherited


def _written(
    group: str, raw: Mapping[str, Any], mistakes: Mistakes, taken: Mapping[str, Written]
) -> dict[str, Written]:
    """What stands under ``defaults`` or ``entries``, each checked by itself."""
    if not isinstance(raw[group], dict):
        mistakes.note(f"{group}: must be a mapping, got {raw[group]!r}")
        return {}
    written = {}
    for name, values in raw[group].items():
        with mistakes.noting():
            check_name(name, group)
            place = f"{group}.{name}"
            if name in taken:
                raise UserError(f"{place}: defaults has this name; choose another")
            _check_values(values, place, own=group == "entries")
            if group == "entries":
                _check_own(name, values, place, raw["datasets"])
            written[name] = place, values
    return written


def _check_values(values: Any, place: str, *, own: bool) -> None:
    """Check keys and types of one entry or default; ``own`` allows what is never inherited."""
    known = ["like", *INHERITED, *(_OWN if own else ())]
    for key in _check_mapping(values, place):
        if key not in known:
            hint = ", which each entry has by itself" if key in _OWN else near(str(key), known)
            raise UserError(f"{place}.{key}: unknown parameter{hint}")
    for key in ("like", "model", "dataset"):
        if key in values and not isinstance(values[key], str):
            raise UserError(f"{place}.{key}: must be a name, got {values[key]!r}")
    for key in _OPTIONS:
        _check_mapping(values.get(key, {}), f"{place}.{key}")
    for key in _BY_NAME:
        by_name = _check_mapping(values.get("train", {}).get(key, {}), f"{place}.train.{key}")
        for name, options in by_name.items():
            _check_mapping(options, f"{place}.train.{key}.{name}")


def _check_own(name: str, values: Mapping[str, Any], place: str, datasets: Any) -> None:
    """Check what an entry has by itself."""
    if name in SHARED_FOLDERS:
        raise UserError(f"{place}: this name is taken by a folder of runs/; choose another")
    seed = values.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise UserError(f"{place}.seed: must be an integer, got {seed!r}")
    if "dataset" not in values:
        raise UserError(f"{place}: missing the key 'dataset', which is never inherited")
    if isinstance(datasets, list) and values["dataset"] not in datasets:
        known = [d for d in datasets if isinstance(d, str)]
        raise UserError(
            f"{place}.dataset: {values['dataset']!r} is not in "
            f"datasets{near(values['dataset'], known)}"
        )


def _check_mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: must be a mapping (write {{}} for an empty one), got {value!r}")
    return value


def _entry(name: str, values: Mapping[str, Any]) -> Entry:
    if "model" not in values:
        raise UserError(f"entries.{name}: missing the key 'model', and none is inherited")
    left_out: dict[str, Any] = {"seed": 0, **{key: {} for key in _OPTIONS}}
    return Entry(name=name, **{**left_out, **values})
