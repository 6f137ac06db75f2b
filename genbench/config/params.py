"""params.yaml: read, checked, typed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from genbench.config import yaml12
from genbench.config.aliases import check_experiment
from genbench.errors import Mistakes, UserError, bind_options, check_name, near
from genbench.hardware.compute import Compute

__all__ = ["Entry", "Params", "Protocol", "find_root", "load_params", "params_path", "profiles"]

_MAX_SAMPLES = 1_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the benchmark: a model on a data set with a seed and its options."""

    name: str
    model: str
    dataset: str
    seed: int
    arch: Mapping[str, Any]
    train: Mapping[str, Any]
    sample: Mapping[str, Any]
    score: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How entries are scored (docs/protocol.md).

    Attributes:
        samples: images sampled per entry.
        sample_chunk: images per independently seeded chunk of sampling.
        likelihood_images: test images for likelihoods of fewer than ``many_passes`` network passes
            per image.
        likelihood_images_many_passes: test images for more passes.
        many_passes: passes per image from which on that number holds.
        likelihood_images_very_many_passes: test images for still more passes: integrals along an
            ODE.
        very_many_passes: passes per image from which on that number holds.
        feature_reference_images: test images whose features are the reference of the sample scores.
        inception_sha256: SHA-256 of an Inception weights file that is accepted besides the
            published one; None accepts that one alone.
    """

    samples: int
    sample_chunk: int
    likelihood_images: int
    likelihood_images_many_passes: int
    many_passes: int
    likelihood_images_very_many_passes: int
    very_many_passes: int
    feature_reference_images: int
    inception_sha256: str | None = None

    def __post_init__(self) -> None:
        if self.inception_sha256 is not None and not re.fullmatch(
            "[0-9a-f]{64}", self.inception_sha256
        ):
            raise UserError(
                "protocol.inception_sha256: must be 64 hexadecimal digits in lower case, got "
                f"{self.inception_sha256!r}"
            )
        for f in fields(self):
            if f.name != "inception_sha256" and getattr(self, f.name) < 1:
                raise UserError(
                    f"protocol.{f.name}: must be at least 1, got {getattr(self, f.name)}"
                )
        for name in ("samples", "sample_chunk"):
            if getattr(self, name) > _MAX_SAMPLES:
                raise UserError(
                    f"protocol.{name}: must be at most {_MAX_SAMPLES}, got {getattr(self, name)}"
                )
        if self.very_many_passes <= self.many_passes:
            raise UserError(
                f"protocol.very_many_passes: must be above many_passes {self.many_passes}, got "
                f"{self.very_many_passes}"
            )

    def images_for(self, passes: int) -> int:
        """Test images for a likelihood of so many network passes per image."""
        if passes >= self.very_many_passes:
            return self.likelihood_images_very_many_passes
        return (
            self.likelihood_images_many_passes
            if passes >= self.many_passes
            else self.likelihood_images
        )


@dataclass(frozen=True, slots=True)
class Params:
    """A profile: its parameters, the project that it is in, and the paths of those blocks in its
    file that share their values by a YAML alias. Its files are where
    :class:`genbench.config.layout.Layout` says.
    """

    root: Path
    profile: str
    entries: Mapping[str, Entry]
    datasets: tuple[str, ...]
    metrics: tuple[str, ...]
    protocol: Protocol
    compute: Compute
    shared: tuple[str, ...] = ()

    def entry(self, name: str) -> Entry:
        """The entry of that name; UserError with near matches if there is none."""
        if name not in self.entries:
            raise UserError(
                f"{name!r} is no entry of profile {self.profile!r}{near(name, self.entries)}"
            )
        return self.entries[name]


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
            name; names the file and the keys, all of them as far as one mistake does not hide
            another.
    """
    root = find_root() if root is None else root
    path = params_path(profile, root)
    try:
        document = yaml12.parse(path.read_text(encoding="utf-8"))
        check_experiment(document.shared)
        return replace(_params(document.value, root, _place(profile)), shared=document.shared)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: must be UTF-8 text ({error}); save it in that encoding"
        ) from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _place(profile: str) -> dict[str, str]:
    """What dvc.yaml needs to know of a profile, which follows from where its file is."""
    if profile == "quick":
        return {"root": ".", "profile": profile, "params_file": "params.yaml"}
    return {"root": "../..", "profile": profile, "params_file": f"profiles/{profile}/params.yaml"}


def _check_keys(raw: Any, known: Sequence[str], where: str) -> None:
    """Raise UserError unless ``raw`` is a mapping with exactly these keys; ``where`` is its place,
    empty for the whole file.
    """
    if not isinstance(raw, dict):
        raise UserError(f"{f'{where}: ' if where else ''}must be a mapping with {', '.join(known)}")
    for key in raw:
        if key not in known:
            raise UserError(
                f"{f'{where}.' if where else ''}{key}: unknown parameter{near(str(key), known)}"
            )
    for key in known:
        if key not in raw:
            raise UserError(
                f"{where}: missing the key {key!r} (write {{}} for an empty block)"
                if where
                else f"missing the key {key!r}"
            )


def _params(raw: Any, root: Path, place: Mapping[str, str]) -> Params:
    _check_keys(raw, (*place, "datasets", "metrics", "protocol", "compute", "entries"), "")
    mistakes, entries = Mistakes(), {}
    for key, value in place.items():
        if raw[key] != value:
            mistakes.note(f"{key}: must be {value!r} in this place, got {raw[key]!r}")
    for key in ("datasets", "metrics"):
        with mistakes.noting():
            _check_names(raw[key], key)
    with mistakes.noting():
        protocol = Protocol(**bind_options(Protocol, raw["protocol"], where="protocol"))
    with mistakes.noting():
        compute = Compute(**bind_options(Compute, _overridden(raw["compute"]), where="compute"))
    if not isinstance(raw["entries"], dict) or not raw["entries"]:
        mistakes.note("entries: must be a mapping with at least one entry")
        mistakes.tell()
    for name, block in raw["entries"].items():
        with mistakes.noting():
            entries[name] = _entry(name, block, raw["datasets"])
    mistakes.tell()
    datasets, metrics = tuple(raw["datasets"]), tuple(raw["metrics"])
    return Params(root, place["profile"], entries, datasets, metrics, protocol, compute)


def _check_names(names: Any, where: str) -> None:
    if not isinstance(names, list):
        raise UserError(f"{where}: must be a list of names, got {names!r}")
    for i, name in enumerate(names):
        check_name(name, f"{where}[{i}]")
        if name in names[:i]:
            raise UserError(f"{where}[{i}]: {name!r} is there twice; keep one of them")


def _overridden(block: Any) -> Any:
    """The block ``compute``, with what the environment says in its place."""
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
    return {**block, **given} if isinstance(block, dict) else block


def _entry(name: str, block: Any, datasets: Any) -> Entry:
    check_name(name, "entries")
    where = f"entries.{name}"
    if name in ("data", "features", "fingerprints"):
        raise UserError(f"{where}: this name is taken by a folder of runs/; choose another")
    known = [f.name for f in fields(Entry) if f.name != "name"]
    _check_keys(block, known, where)
    for key in ("model", "dataset"):
        if not isinstance(block[key], str):
            raise UserError(f"{where}.{key}: must be a name, got {block[key]!r}")
    if not isinstance(block["seed"], int) or isinstance(block["seed"], bool):
        raise UserError(f"{where}.seed: must be an integer, got {block['seed']!r}")
    if isinstance(datasets, list) and block["dataset"] not in datasets:
        known = [d for d in datasets if isinstance(d, str)]
        raise UserError(
            f"{where}.dataset: {block['dataset']!r} is not in "
            f"datasets{near(block['dataset'], known)}"
        )
    for key in ("arch", "train", "sample", "score"):
        _check_mapping(block[key], f"{where}.{key}")
    for key in (
        "optim",
        "arithmetic",
    ):  # of their blocks each is one of its own: of a phase, of a type of device
        for inner, value in _check_mapping(
            block["train"].get(key, {}), f"{where}.train.{key}"
        ).items():
            _check_mapping(value, f"{where}.train.{key}.{inner}")
    return Entry(name=name, **block)


def _check_mapping(block: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(block, dict):
        raise UserError(f"{where}: must be a mapping (write {{}} for an empty one), got {block!r}")
    return block
