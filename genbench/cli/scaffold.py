"""New entries in params files, and a first version of a new model."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.resources import files as resources
from pathlib import Path

import yaml

from genbench.config import yaml12
from genbench.config.edit import add_entries
from genbench.config.further_seeds import seeds_of
from genbench.config.layout import Layout
from genbench.config.load import find_root, load_params, params_path, profiles
from genbench.errors import UserError
from genbench.files import write_text
from genbench.pipeline.seed_profile import EDITED, MAX_SEEDS, may_repeat
from genbench.processes.lock import hold

__all__ = ["add_seeds", "new_model"]


def _editing(root: Path, what: str) -> AbstractContextManager[None]:
    """One edit of the project's params files at a time: who reads them inside sees what the one
    before has written.
    """
    return hold(Layout(root).unfinished / EDITED, what)


def add_seeds(profile: str, count: int, names: Sequence[str] = ()) -> list[str]:
    """Write entries that repeat others with further seeds into a profile's params.yaml, such as
    ``made-s1: {like: made, dataset: mnist, seed: 1}``.

    Arguments:
        profile: the profile.
        count: number of seeds that each entry has afterwards, with its own; at most 1000.
        names: entries to repeat; empty for all but the control rows and copies.

    Returns:
        Names of the new entries; those that exist already are not written again.

    Raises:
        UserError: unknown entry or profile, ``count`` out of range, or a file that cannot be
            edited; nothing is changed then.
    """
    if not 2 <= count <= MAX_SEEDS:
        raise UserError(
            "N: the number of seeds must be at least 2 (an entry has one already) and at most "
            f"{MAX_SEEDS}, got {count}"
        )
    root = find_root()
    with _editing(root, f"genbench seeds {count}"):
        params, path = load_params(profile, root=root), params_path(profile, root)
        repeated = (
            [params.entry(name) for name in names]
            if names
            else [entry for entry in params.entries.values() if may_repeat(entry)]
        )
        wanted = {
            f"{entry.name}-s{seed}": {"like": entry.name, "dataset": entry.dataset, "seed": seed}
            for entry in repeated
            for seed in range(entry.seed + 1, entry.seed + count)
        }
        new = [name for name in wanted if name not in params.entries]
        if new:
            lines = [yaml12.write_flow(name, wanted[name]) for name in new]
            _write_all({path: add_entries(path.read_text(encoding="utf-8"), lines)}, root)
    return new


def new_model(name: str) -> list[Path]:
    """Write ``genbench/models/<name>.py``, a small model that passes the contract tests, and its
    entry in every profile.

    What a killed call has written is as this one would write it, and stays.

    Returns:
        The files that were written or changed.

    Raises:
        UserError: a name that cannot be a module's, or is taken; nothing is changed then.
    """
    root = find_root()
    folder = root / "genbench" / "models"
    _check_name(name, folder)
    template = resources(__package__).joinpath("templates")
    class_name = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    model = template.joinpath("model.py.txt").read_text("utf-8").replace("@Class@", class_name)
    entries = yaml.safe_load(template.joinpath("entries.yaml").read_text("utf-8"))
    with _editing(root, f"genbench new-model {name}"):
        files = {} if _is_there(folder / f"{name}.py", model) else {folder / f"{name}.py": model}
        for profile in profiles(root):
            path = params_path(profile, root)
            entry = entries.get(profile, entries["quick"]).replace("@name@", name)
            if seeds_of(load_params(profile, root=root)):
                continue
            text = path.read_text(encoding="utf-8")
            there = yaml12.parse(text)["entries"].get(name)
            if there is None:
                files[path] = _with_entry(path, text, entry)
            elif there != yaml12.parse(entry)[name]:
                raise UserError(
                    f"profile {profile!r} has an entry {name!r} already; choose another name"
                )
        if not files:
            raise UserError(f"there is a model {name!r} already; choose another name")
        _write_all(files, root)
    return list(files)


def _with_entry(path: Path, text: str, entry: str) -> str:
    try:
        return add_entries(text, [entry])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _check_name(name: str, folder: Path) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or keyword.iskeyword(name):
        raise UserError(
            f"{name!r} cannot be a model's name: use at most 64 lower-case letters, digits and "
            "'_', as in my_model"
        )
    if not folder.is_dir():
        raise UserError(
            f"{folder} does not exist: new-model works in a clone of genbench; "
            "a package of your own offers its model by the entry point group genbench.models "
            "(CONTRIBUTING.md)"
        )


def _is_there(path: Path, model: str) -> bool:
    """Whether a model's file is there, as it is to be written; UserError if there is another model
    of that name.
    """
    from genbench.registry import model_names

    there = path.exists()
    if path.read_bytes() != model.encode() if there else path.stem in model_names():
        raise UserError(f"there is a model {path.stem!r} already; choose another name")
    return there


def _write_all(files: Mapping[Path, str], root: Path) -> None:
    """Write all files and load every profile; on any error put everything back."""
    before = {path: path.read_text(encoding="utf-8") if path.exists() else None for path in files}
    try:
        for path, text in files.items():
            write_text(path, text)
        for profile in profiles(root):
            load_params(profile, root=root)
    except BaseException:
        for path, old in before.items():
            if old is None:
                path.unlink(missing_ok=True)
            else:
                write_text(path, old)
        raise
