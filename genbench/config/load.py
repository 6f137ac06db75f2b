"""params.yaml: found, read and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genbench.config import yaml12
from genbench.config.entries import read_entries
from genbench.config.further_seeds import (
    SEEDS_OF,
    FurtherSeeds,
    read_seeds,
    seeds_of,
    seeds_profile,
)
from genbench.config.params import ImageCount, Params, Protocol
from genbench.config.profile import MEMORISATION, Profile
from genbench.errors import Mistakes, UserError, bind_options, check_name, near
from genbench.hardware.compute import Compute

__all__ = ["find_root", "load_params", "load_seeds", "params_path", "profiles", "seeds_place"]


def find_root(start: Path | None = None) -> Path:
    """The benchmark's folder: the nearest one at or above ``start`` that holds params.yaml and
    dvc.yaml and is no profile.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (
            (folder / "params.yaml").is_file()
            and (folder / "dvc.yaml").is_file()
            and (folder / "profiles").is_dir()
        ):
            return folder
    raise UserError(
        f"{here} is not inside a genbench project (no params.yaml, dvc.yaml and profiles/ here or "
        "above); change into its clone first"
    )


def profiles(root: Path) -> list[str]:
    """Names of the profiles of a project; the default one first. UserError for a folder whose name
    cannot be one.
    """
    names = sorted(p.name for p in (root / "profiles").iterdir() if (p / "params.yaml").is_file())
    for name in names:
        where = f"{root / 'profiles'}: the folder"
        check_name(name, where)
        if name == "quick":
            raise UserError(
                f"{where} 'quick' has the name of the profile in {root / 'params.yaml'}; choose "
                "another"
            )
    return ["quick", *names]


def params_path(profile: str, root: Path) -> Path:
    """The params.yaml of a profile."""
    if profile not in profiles(root):
        raise UserError(f"{profile!r} is no profile{near(profile, profiles(root))}")
    return (
        root / "params.yaml" if profile == "quick" else root / "profiles" / profile / "params.yaml"
    )


def load_params(profile: str = "quick", *, root: Path | None = None) -> Params:
    """Read and check the params.yaml of a profile.

    Raises:
        UserError: not YAML, an unknown or missing key (with near matches), a wrong type, a bad
            name, an entry like none that is there, a further seed with other settings; names the
            file and the keys, all of them as far as one mistake does not hide another.
    """
    root = find_root() if root is None else root
    path = params_path(profile, root)
    try:
        raw = yaml12.parse(path.read_text(encoding="utf-8"))
        if isinstance(raw, dict) and SEEDS_OF in raw:
            return _further_seeds(raw, root, profile)
        return _params(raw, root, _place(profile))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: must be UTF-8 text ({error}); save it in that encoding"
        ) from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def load_seeds(params: Params) -> Params | None:
    """The profile of further seeds of a profile's entries; None where there is none, as of one that
    is such a profile itself.
    """
    name = seeds_profile(params.profile)
    if seeds_of(params) or not (params.root / "profiles" / name / "params.yaml").is_file():
        return None
    found = load_params(name, root=params.root)
    return found if seeds_of(found) == params.profile else None


def _place(profile: str) -> dict[str, str]:
    """What dvc.yaml needs to know of a profile, which follows from where its file is."""
    if profile == "quick":
        return {"root": ".", "profile": profile, "params_file": "params.yaml"}
    return {"root": "../..", "profile": profile, "params_file": f"profiles/{profile}/params.yaml"}


def seeds_place(of: str) -> dict[str, str]:
    """The same of the profile of further seeds of the profile ``of``, whose settings it has."""
    return _place(seeds_profile(of)) | {SEEDS_OF: of, "settings_file": _place(of)["params_file"]}


def _params(raw: Any, root: Path, place: Mapping[str, str]) -> Params:
    _check_keys(raw, (*place, "datasets", "metrics", "protocol", "compute", "defaults", "entries"))
    mistakes = Mistakes()
    _check_place(raw, place, mistakes)
    for key in ("datasets", "metrics"):
        with mistakes.noting():
            _check_names(raw[key], key)
    with mistakes.noting():
        protocol, memorisation = _protocol(raw["protocol"])
    with mistakes.noting():
        compute = Compute(**bind_options(Compute, _overridden(raw["compute"]), where="compute"))
    entries, inherited = read_entries(raw, mistakes)
    mistakes.tell()
    return Profile(
        root=root,
        profile=place["profile"],
        entries=entries,
        datasets=tuple(raw["datasets"]),
        metrics=tuple(raw["metrics"]),
        protocol=protocol,
        compute=compute,
        inherited=inherited,
        memorisation=memorisation,
    )


def _further_seeds(raw: Mapping[str, Any], root: Path, profile: str) -> Params:
    """A profile of further seeds: its entries, and all else as the profile has it that it
    repeats.
    """
    of = raw[SEEDS_OF]
    if of not in profiles(root) or seeds_profile(of) != profile:
        raise UserError(f"{SEEDS_OF}: {of!r} must be a profile, and this one {of}-seeds")
    base, place = load_params(of, root=root), seeds_place(of)
    _check_keys(raw, (*place, "datasets", "entries"))
    mistakes = Mistakes()
    _check_place(raw, place, mistakes)
    with mistakes.noting():
        _check_names(raw["datasets"], "datasets")
    entries, inherited = read_seeds(raw, base, mistakes)
    mistakes.tell()
    return FurtherSeeds.like(
        base,
        profile=profile,
        entries=entries,
        datasets=tuple(raw["datasets"]),
        inherited=inherited,
        of=of,
        repeated={name: raw["entries"][name]["like"] for name in entries},
    )


def _check_place(raw: Mapping[str, Any], place: Mapping[str, str], mistakes: Mistakes) -> None:
    """Note what a file says otherwise of its own place."""
    for key, value in place.items():
        if raw[key] != value:
            mistakes.note(f"{key}: must be {value!r} in this place, got {raw[key]!r}")


def _check_keys(raw: Any, keys: Sequence[str]) -> None:
    """Raise UserError unless the file is a mapping with exactly these keys."""
    if not isinstance(raw, dict):
        raise UserError(f"must be a mapping with {', '.join(keys)}")
    for key in raw:
        if key not in keys:
            raise UserError(f"{key}: unknown parameter{near(str(key), keys)}")
    for key in keys:
        if key not in raw:
            hint = " (write defaults: {} where entries share nothing)" if key == "defaults" else ""
            raise UserError(f"missing the key {key!r}{hint}")


def _check_names(names: Any, where: str) -> None:
    if not isinstance(names, list):
        raise UserError(f"{where}: must be a list of names, got {names!r}")
    for i, name in enumerate(names):
        check_name(name, f"{where}[{i}]")
        if name in names[:i]:
            raise UserError(f"{where}[{i}]: {name!r} is there twice; keep one of them")


def _overridden(compute: Any) -> Any:
    """What is under ``compute``, with what the environment says in its place."""
    names = {key: f"GENBENCH_{key.upper()}" for key in ("device", "threads", "isa")}
    given: dict[str, Any] = {
        key: os.environ[name] for key, name in names.items() if name in os.environ
    }
    if "threads" in given:
        try:
            given["threads"] = int(given["threads"])
        except ValueError as error:
            raise UserError(
                f"GENBENCH_THREADS must be an integer, got {given['threads']!r}"
            ) from error
    return {**compute, **given} if isinstance(compute, dict) else compute


_FORMER = (
    "likelihood_images_many_passes",
    "many_passes",
    "likelihood_images_very_many_passes",
    "very_many_passes",
)
"""Former keys of the protocol that are one list with ``likelihood_images`` now."""


def _protocol(raw: Any) -> tuple[Protocol, str]:
    """The protocol, and what it says of memorisation."""
    _check_no_former(raw)
    raw, memorisation = _without_memorisation(raw)
    options, counts = bind_options(Protocol, raw, where="protocol"), []
    for i, count in enumerate(options["likelihood_images"]):
        where = f"protocol.likelihood_images[{i}]"
        counts.append(ImageCount(**bind_options(ImageCount, count, where=where)))
    return Protocol(**options | {"likelihood_images": tuple(counts)}), memorisation


def _without_memorisation(raw: Any) -> tuple[Any, str]:
    if not isinstance(raw, Mapping) or "memorisation" not in raw:
        return raw, "none"
    asked = raw["memorisation"]
    if asked not in MEMORISATION:
        raise UserError(
            f"protocol.memorisation: must be one of {', '.join(MEMORISATION)}, got {asked!r}"
        )
    return {key: value for key, value in raw.items() if key != "memorisation"}, asked


def _check_no_former(raw: Any) -> None:
    """Raise UserError that has the present form of the numbers of test images where the file has
    the former one, or none.
    """
    if not isinstance(raw, Mapping):
        return
    former, first = [key for key in _FORMER if key in raw], raw.get("likelihood_images")
    if not former and (isinstance(first, list) or "likelihood_images" not in raw):
        return
    many, from_many, very_many, from_very_many = (raw.get(key, "N") for key in _FORMER)
    counts = [
        f"{{from_passes: 1, images: {first if isinstance(first, int) else 'N'}}}",
        f"{{from_passes: {from_many}, images: {many}}}",
        f"{{from_passes: {from_very_many}, images: {very_many}}}",
    ]
    raise UserError(
        f"protocol.{[*former, 'likelihood_images'][0]}: the numbers of test images are one list; "
        f"write likelihood_images: [{', '.join(counts)}]"
        + (f" in place of {', '.join(['likelihood_images', *former])}" if former else "")
    )
