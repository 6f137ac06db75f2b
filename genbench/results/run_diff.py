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

from genbench.config.layout import SHARED_FOLDERS, RunDir
from genbench.errors import UserError
from genbench.files import as_json as to_json
from genbench.files import read_json, sha256
from genbench.hardware.kind import in_words
from genbench.pictures.picture import LIST
from genbench.results.file_diff import Difference, files_differ

__all__ = ["Report", "compare_runs", "lines", "locate", "print_diff"]

_PARTS = (
    "weights",
    "samples",
    "sampling",
    "nats",
    "history",
    "likelihood",
    "quality",
    "probe",
    "neighbours",
    "cost",
    "pictures",
)
"""Parts of an entry that are compared, in their order, as :class:`genbench.config.layout.RunDir`
names them. Of the cost the numbers of parameters and steps are compared, and no times.
"""

_CALLED = {"cost": "size"}
"""What parts are called here, where that is another name."""

_FORMER_PICTURES = "visuals/"
"""The folder of pictures in earlier versions, whose list was ``visuals.json``."""

_SOURCES = ("weights", "samples")
"""Parts by whose hashes others say what they were made from."""

_OTHERS = "other files"
_PLURAL = ("weights", "samples", "nats", "neighbours", "pictures", "arrays", _OTHERS)
_OF_DATASETS = ("data", "features")
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


def compare_runs(first: Path, second: Path) -> Report:
    """Compare two folders ``runs/<profile>``, item by item."""
    ours, theirs = _items(first), _items(second)
    both = [name for name in ours if name in theirs]
    items: dict[str, dict[str, list[Difference]]] = {}
    for name in both:
        if ours[name].is_dir():
            items[name] = _entries_differ(ours[name], theirs[name])
        else:
            items[name] = {"arrays": files_differ(ours[name], theirs[name])}
    only_first = tuple(name for name in ours if name not in both)
    return Report(first, second, items, only_first, tuple(n for n in theirs if n not in both))


def _items(run: Path) -> dict[str, Path]:
    """Folders of entries by name, then files of data sets by ``data/<dataset>`` and
    ``features/<dataset>``.
    """
    folders = sorted(path for path in run.iterdir() if path.is_dir())
    items = {
        path.name: path for path in folders if path.name not in SHARED_FOLDERS and _results(path)
    }
    for name in _OF_DATASETS:
        items |= {f"{name}/{path.stem}": path for path in sorted((run / name).glob("*.npz"))}
    return items


def _results(folder: Path) -> bool:
    """Whether a folder holds any result of an entry, not its pictures alone."""
    return any(_part(name) not in ("pictures", _OTHERS) for name in _files(folder))


def _files(folder: Path) -> dict[str, Path]:
    """Files below a folder by their paths in it, without those that are being written. Those of
    earlier versions have the names of now, unless there are files of now beside them.
    """
    found: dict[str, Path] = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        relative = path.relative_to(folder)
        if not any(part.startswith(".") for part in relative.parts):
            found[relative.as_posix()] = path
    former = {name: path for name, path in found.items() if name.startswith(_FORMER_PICTURES)}
    now = {name: path for name, path in found.items() if name not in former}
    if any(_part(name) == "pictures" for name in now):
        return now
    folder_now = RunDir(Path()).pictures
    lists = {f"{_FORMER_PICTURES}visuals.json": (folder_now / LIST).as_posix()}
    for name, path in former.items():
        now[lists.get(name, (folder_now / name.removeprefix(_FORMER_PICTURES)).as_posix())] = path
    return now


def _part(name: str) -> str:
    """The part of an entry that a file belongs to."""
    run_dir = RunDir(Path())
    for part in _PARTS:
        path: Path = getattr(run_dir, part)
        if path in (Path(name), *Path(name).parents):
            return part
    return _OTHERS


def _entries_differ(first: Path, second: Path) -> dict[str, list[Difference]]:
    """Part → differences of two folders of an entry, in the order of :data:`_PARTS`; files of later
    stages, unknown here, count too.
    """
    ours, theirs = _files(first), _files(second)
    names = sorted((ours.keys() | theirs.keys()) - {RunDir(Path()).provenance.name})
    order = (*_PARTS, _OTHERS)
    found: dict[str, list[Difference]] = {}
    same: dict[str, str] = {}  # by hash, as files of equal content may differ in their form
    for name in sorted(names, key=lambda name: order.index(_part(name))):
        part = _part(name)
        one, other = ours.get(name, first / name), theirs.get(name, second / name)
        differences = files_differ(one, other, same)
        found.setdefault(_CALLED.get(part, part), []).extend(differences)
        if part in _SOURCES and not differences:
            same[sha256(other)] = sha256(one)
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
        differing = any(parts.values())
        told = [_in_words(part, found) for part, found in parts.items()] if differing else ["equal"]
        yield f"{name}: {', '.join(told)}{_absent(parts)}"
    for names, place in ((report.only_in_first, first), (report.only_in_second, second)):
        yield from (f"{name}: only in {place}" for name in names)
    lacking = len(report.only_in_first) + len(report.only_in_second)
    if report.equal:
        yield f"all {len(report.items)} are equal"
        return
    more = f"; in one of the runs only: {lacking}" if lacking else ""
    yield f"{len(report.differing)} of {len(report.items)} differ{more}"
    ours, theirs = _made_on(report.first), _made_on(report.second)
    if ours != theirs:
        unknown = ["an unknown machine"]
        yield (
            f"{first} was made on {' and '.join(ours or unknown)}, {second} on "
            f"{' and '.join(theirs or unknown)}"
        )


def _absent(parts: Mapping[str, object]) -> str:
    """The parts of an entry that neither run has, of which nothing can be said."""
    if "arrays" in parts:
        return ""
    known = [_CALLED.get(part, part) for part in _PARTS if part != "pictures"]
    absent = [part for part in known if part not in parts]
    return f" (neither has {', '.join(absent)})" if absent else ""


def _in_words(name: str, differences: Sequence[Difference]) -> str:
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
    for path in run.glob(f"*/{RunDir(Path()).provenance.name}"):
        try:
            made = read_json(path)
            kind = in_words(made["kind"]) if "kind" in made else made["hardware"]
            torch = made["versions"]["torch"]
            found.add(f"{kind} with {made['threads']} threads and torch {torch}")
        except (ValueError, KeyError, TypeError, OSError):
            # Of a damaged record there is no more to say; the results were compared all the same.
            found.add("an unknown machine")
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
    report = compare_runs(*folders)
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
