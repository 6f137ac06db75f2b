"""Whether two runs of a profile gave equal results: weights, samples, likelihoods of images,
pictures and histories to the bit, scores to 1e-9.

Left out is what a machine or a clock decides: times, memory, the kind of processor, the commit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genbench.errors import UserError
from genbench.files import as_json as to_json
from genbench.files import read_json, sha256
from genbench.hardware.kind import in_words
from genbench.results.compare import Difference, files_differ

__all__ = ["Report", "compare", "lines", "locate", "print_diff"]

_PARTS: Mapping[str, str] = {
    "weights.safetensors": "weights",
    "samples.npz": "samples",
    "sampling.json": "sampling",
    "nats.npz": "nats",
    "history.csv": "history",
    "likelihood.json": "likelihood",
    "quality.json": "quality",
    "cost.json": "size",
}
"""File of an entry → what it is called here. Of cost.json the numbers of parameters and steps are
compared, and no times.
"""

_SOURCES = ("weights.safetensors", "samples.npz")
"""Files by whose hashes others say what they were made from."""

_OTHERS = "other files"
_PLURAL = ("weights", "samples", "nats", "pictures", "arrays", _OTHERS)
_SHARED = ("data", "features")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Report:
    """Two runs compared.

    Attributes:
        first, second: their folders.
        items: entry, ``data/<dataset>`` or ``features/<dataset>`` → part → its differences, none
            where it is equal. What neither run has is absent.
        only_in_first, only_in_second: items that the other run lacks.
    """

    first: Path
    second: Path
    items: Mapping[str, Mapping[str, Sequence[Difference]]]
    only_in_first: tuple[str, ...]
    only_in_second: tuple[str, ...]

    @property
    def differing(self) -> list[str]:
        """The items of both runs that are not equal."""
        return [name for name, parts in self.items.items() if any(parts.values())]

    @property
    def equal(self) -> bool:
        """Whether there is no difference at all."""
        return not (self.differing or self.only_in_first or self.only_in_second)


def compare(first: Path, second: Path) -> Report:
    """Compare two folders ``runs/<profile>``, item by item."""
    ours, theirs = _items(first), _items(second)
    both = [name for name in ours if name in theirs]
    items = {
        name: _entries_differ(ours[name], theirs[name])
        if ours[name].is_dir()
        else {"arrays": files_differ(ours[name], theirs[name])}
        for name in both
    }
    return Report(
        first,
        second,
        items,
        tuple(n for n in ours if n not in both),
        tuple(n for n in theirs if n not in both),
    )


def _items(run: Path) -> dict[str, Path]:
    """Folders of entries by name, then files of data sets by ``data/<dataset>`` and
    ``features/<dataset>``.
    """
    folders = sorted(
        path for path in run.iterdir() if path.is_dir() and path.name not in (*_SHARED, "code")
    )
    entries = {path.name: path for path in folders if _PARTS.keys() & _files(path)}
    return entries | {
        f"{name}/{path.stem}": path
        for name in _SHARED
        for path in sorted((run / name).glob("*.npz"))
    }


def _files(folder: Path) -> set[str]:
    """Files below a folder, by their paths in it, without those that are being written."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {
        path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)
    }


def _entries_differ(first: Path, second: Path) -> dict[str, list[Difference]]:
    """Part → differences of two folders of an entry, in the order of :data:`_PARTS`; files of later
    stages, unknown here, count too.
    """
    names = _files(first) | _files(second)
    found: dict[str, list[Difference]] = {}
    same: dict[str, str] = {}  # by hash, as files of equal content may differ in their form
    for name in [
        *(name for name in _PARTS if name in names),
        *sorted(names - _PARTS.keys() - {"provenance.json"}),
    ]:
        part = _PARTS.get(name, "pictures" if name.startswith("visuals/") else _OTHERS)
        differences = files_differ(first / name, second / name, same)
        found.setdefault(part, []).extend(differences)
        if name in _SOURCES and not differences:
            same[sha256(second / name)] = sha256(first / name)
    return found


def locate(run: str, profile: str) -> Path:
    """The folder ``runs/<profile>`` that ``run`` stands for: that folder, a project that holds it,
    or a profile's name in a project.

    Raises:
        UserError: there is nothing of that kind, or no results in it.
    """
    path = Path("runs", run) if not Path(run).exists() and Path("runs", run).is_dir() else Path(run)
    if not path.is_dir():
        raise UserError(
            f"{run} is no folder; name a folder runs/<profile>, or a project that has one"
        )
    inner = path / "runs"
    if inner.is_dir() or (path / "dvc.yaml").is_file():
        path = inner / profile
        if not path.is_dir():
            there = sorted(one.name for one in inner.iterdir()) if inner.is_dir() else []
            raise UserError(
                f"{run} has no results of profile {profile!r}, but of: "
                f"{', '.join(there) or 'none'}; choose one by --profile"
            )
    if not _items(path):
        raise UserError(
            f"{path} holds no results of genbench; name a folder runs/<profile>, or a project that "
            "has one"
        )
    return path.resolve()


def lines(report: Report, first: str, second: str) -> Iterator[str]:
    """A report in words, a line for each item; ``first`` and ``second`` are what the runs are
    called.
    """
    for name, parts in report.items.items():
        yield f"{name}: {', '.join(_part(*part) for part in parts.items()) if any(parts.values()) else 'equal'}{_absent(parts)}"
    for names, place in ((report.only_in_first, first), (report.only_in_second, second)):
        yield from (f"{name}: only in {place}" for name in names)
    lacking = len(report.only_in_first) + len(report.only_in_second)
    if report.equal:
        yield f"all {len(report.items)} are equal"
        return
    yield f"{len(report.differing)} of {len(report.items)} differ" + (
        f"; in one of the runs only: {lacking}" if lacking else ""
    )
    made = [_made_on(folder) for folder in (report.first, report.second)]
    if made[0] != made[1]:
        yield f"{first} was made on {' and '.join(made[0]) or 'an unknown machine'}, {second} on {' and '.join(made[1]) or 'an unknown machine'}"


def _absent(parts: Mapping[str, object]) -> str:
    """The parts of an entry that neither run has, of which nothing can be said."""
    absent = [part for part in _PARTS.values() if part not in parts and "arrays" not in parts]
    return f" (neither has {', '.join(absent)})" if absent else ""


def _part(name: str, differences: Sequence[Difference]) -> str:
    if not differences:
        return f"{name} equal"
    shown = [f"{difference.where}: {difference.how}" for difference in differences[:_SHOWN]]
    more = [f"{len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
    return f"{name} {'differ' if name in _PLURAL else 'differs'} ({'; '.join([*shown, *more])})"


def _made_on(run: Path) -> list[str]:
    """On what the bits of a run depend, besides the code: kinds of processors, threads and versions
    of torch, from its provenance files.
    """
    found = set()
    for path in run.glob("*/provenance.json"):
        try:
            made = read_json(path)
            kind = in_words(made["kind"]) if "kind" in made else made["hardware"]
            found.add(
                f"{kind} with {made['threads']} threads and torch {made['versions']['torch']}"
            )
        except (ValueError, KeyError, TypeError, OSError):
            found.add(
                "an unknown machine"
            )  # of a damaged record there is no more to say; the results were compared all the same
    return sorted(found)


def print_diff(first: str, second: str, profile: str, *, as_json: bool = False) -> int:
    """Compare two runs and print a line for each item, or all differences as JSON. Returns 0 where
    all is equal, 1 where not, 2 for no runs.
    """
    try:
        folders = locate(first, profile), locate(second, profile)
        if folders[0] == folders[1]:
            raise UserError(f"{first} and {second} are one and the same folder, {folders[0]}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    report = compare(*folders)
    print(
        to_json(_as_dict(report)).rstrip() if as_json else "\n".join(lines(report, first, second))
    )
    return 0 if report.equal else 1


def _as_dict(report: Report) -> dict[str, Any]:
    return {
        **asdict(report),
        "first": str(report.first),
        "second": str(report.second),
        "equal": report.equal,
    }
