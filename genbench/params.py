"""params.yaml: read, checked, typed; and where each profile keeps its files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from genbench.errors import UserError, bind_options, near
from genbench.isa import check_isa

__all__ = ["Compute", "Entry", "Params", "Protocol", "find_root", "load_params", "params_path", "profiles"]


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
        likelihood_images: test images for likelihoods of fewer than ``many_passes`` network passes per image.
        likelihood_images_many_passes: test images for more passes.
        many_passes: passes per image from which on that number holds.
        likelihood_images_very_many_passes: test images for still more passes: integrals along an ODE.
        very_many_passes: passes per image from which on that number holds.
        feature_reference_images: test images whose features are the reference of the sample scores.
        inception_sha256: SHA-256 of an Inception weights file that is accepted besides the published one; None accepts that one alone.
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
        if self.inception_sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.inception_sha256):
            raise UserError(f"protocol.inception_sha256: must be 64 hexadecimal digits in lower case, got {self.inception_sha256!r}")
        for f in fields(self):
            if f.name != "inception_sha256" and getattr(self, f.name) < 1:
                raise UserError(f"protocol.{f.name}: must be at least 1, got {getattr(self, f.name)}")
        if self.very_many_passes <= self.many_passes:
            raise UserError(f"protocol.very_many_passes: must be above many_passes {self.many_passes}, got {self.very_many_passes}")

    def images_for(self, passes: int) -> int:
        """Test images for a likelihood of so many network passes per image."""
        if passes >= self.very_many_passes:
            return self.likelihood_images_very_many_passes
        return self.likelihood_images_many_passes if passes >= self.many_passes else self.likelihood_images


@dataclass(frozen=True, slots=True)
class Compute:
    """Where the work is done. No DVC parameter: it is hardware, recorded in the provenance.

    GENBENCH_DEVICE, GENBENCH_THREADS and GENBENCH_ISA override it.

    Attributes:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: of the CPU.
        isa: ``native``, or ``avx2`` for bits that do not depend on the processor (:mod:`genbench.isa`).
    """

    device: str = "cpu"
    threads: int = 2
    isa: str = "native"

    def __post_init__(self) -> None:
        kind = self.device.split(":")[0]
        if kind == "mps":
            raise UserError("compute.device: mps is not supported, since it has no float64, in which likelihoods are summed; set it to cpu")
        if kind not in ("cpu", "cuda"):
            raise UserError(f"compute.device: must be cpu, cuda or cuda:N, got {self.device!r}")
        if self.threads < 1:
            raise UserError(f"compute.threads: must be at least 1, got {self.threads}")
        check_isa(self.isa)


@dataclass(frozen=True, slots=True)
class Params:
    """A profile: its parameters and its places on disk."""

    root: Path
    profile: str
    entries: Mapping[str, Entry]
    datasets: tuple[str, ...]
    metrics: tuple[str, ...]
    protocol: Protocol
    compute: Compute

    def entry(self, name: str) -> Entry:
        """The entry of that name; UserError with near matches if there is none."""
        if name not in self.entries:
            raise UserError(f"{name!r} is no entry of profile {self.profile!r}{near(name, self.entries)}")
        return self.entries[name]

    @property
    def runs(self) -> Path:
        """All outputs of the profile's stages but the report."""
        return self.root / "runs" / self.profile

    @property
    def report(self) -> Path:
        """The report's folder."""
        return self.root / "reports" / self.profile

    def run(self, entry: str) -> Path:
        """The outputs of one entry."""
        return self.runs / entry

    def data(self, dataset: str) -> Path:
        """The prepared arrays of a data set."""
        return self.runs / "data" / f"{dataset}.npz"

    def features(self, dataset: str) -> Path:
        """The reference features of a data set's test split."""
        return self.runs / "features" / f"{dataset}.npz"

    def fingerprint(self, entry: str, stage: str) -> Path:
        """The code fingerprint of a stage of an entry."""
        return self.runs / "code" / entry / f"{stage}.json"

    def status(self, entry: str, stage: str) -> Path:
        """Where a failing stage leaves its error."""
        return self.root / ".status" / self.profile / f"{entry}-{stage}.json"

    @property
    def checkpoints(self) -> Path:
        """Unfinished work that a killed run resumes from."""
        return self.root / ".ckpt"


def find_root(start: Path | None = None) -> Path:
    """The benchmark's folder: the nearest one at or above ``start`` that holds params.yaml and dvc.yaml and is no profile."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file() and (folder / "profiles").is_dir():
            return folder
    raise UserError(
        f"{here} is not inside a genbench project (no params.yaml, dvc.yaml and profiles/ here or above); change into its clone first"
    )


def profiles(root: Path) -> list[str]:
    """Names of the profiles of a project; the default one first."""
    return ["quick", *sorted(p.name for p in (root / "profiles").iterdir() if (p / "params.yaml").is_file())]


def params_path(profile: str, root: Path) -> Path:
    """The params.yaml of a profile."""
    if profile not in profiles(root):
        raise UserError(f"{profile!r} is no profile{near(profile, profiles(root))}")
    return root / "params.yaml" if profile == "quick" else root / "profiles" / profile / "params.yaml"


def load_params(profile: str = "quick", *, root: Path | None = None) -> Params:
    """Read and check the params.yaml of a profile.

    Raises:
        UserError: not YAML, an unknown or missing key (with near matches), a wrong type; names the file and the key.
    """
    root = find_root() if root is None else root
    path = params_path(profile, root)
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no valid YAML: {error}") from error
    try:
        return _params(raw, root, _place(profile))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _place(profile: str) -> dict[str, str]:
    """What dvc.yaml needs to know of a profile, which follows from where its file is."""
    if profile == "quick":
        return {"root": ".", "profile": profile, "params_file": "params.yaml"}
    return {"root": "../..", "profile": profile, "params_file": f"profiles/{profile}/params.yaml"}


def _check_keys(raw: Any, known: Sequence[str], where: str) -> None:
    """Raise UserError unless ``raw`` is a mapping with exactly these keys; ``where`` is its place, empty for the whole file."""
    if not isinstance(raw, dict):
        raise UserError(f"{f'{where}: ' if where else ''}must be a mapping with {', '.join(known)}")
    for key in raw:
        if key not in known:
            raise UserError(f"{f'{where}.' if where else ''}{key}: unknown parameter{near(str(key), known)}")
    for key in known:
        if key not in raw:
            raise UserError(f"{where}: missing the key {key!r} (write {{}} for an empty block)" if where else f"missing the key {key!r}")


def _params(raw: Any, root: Path, place: Mapping[str, str]) -> Params:
    _check_keys(raw, (*place, "datasets", "metrics", "protocol", "compute", "entries"), "")
    for key, value in place.items():
        if raw[key] != value:
            raise UserError(f"{key}: must be {value!r} in this place, got {raw[key]!r}")
    datasets = raw["datasets"]
    if not isinstance(datasets, list) or not all(isinstance(d, str) for d in datasets):
        raise UserError(f"datasets: must be a list of names, got {datasets!r}")
    if not isinstance(raw["metrics"], list) or not all(isinstance(m, str) for m in raw["metrics"]):
        raise UserError(f"metrics: must be a list of names, got {raw['metrics']!r}")
    if not isinstance(raw["entries"], dict) or not raw["entries"]:
        raise UserError("entries: must be a mapping with at least one entry")
    compute = dict(_mapping(raw, "compute"))
    for key in ("device", "isa"):
        if f"GENBENCH_{key.upper()}" in os.environ:
            compute[key] = os.environ[f"GENBENCH_{key.upper()}"]
    if "GENBENCH_THREADS" in os.environ:
        try:
            compute["threads"] = int(os.environ["GENBENCH_THREADS"])
        except ValueError as error:
            raise UserError(f"GENBENCH_THREADS must be an integer, got {os.environ['GENBENCH_THREADS']!r}") from error
    return Params(
        root=root,
        profile=place["profile"],
        entries={name: _entry(name, block, datasets) for name, block in raw["entries"].items()},
        datasets=tuple(datasets),
        metrics=tuple(raw["metrics"]),
        protocol=Protocol(**bind_options(Protocol, _mapping(raw, "protocol"), where="protocol")),
        compute=Compute(**bind_options(Compute, compute, where="compute")),
    )


def _mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw[key]
    if not isinstance(value, dict):
        raise UserError(f"{key}: must be a mapping, got {value!r}")
    return value


def _entry(name: str, block: Any, datasets: list[str]) -> Entry:
    where = f"entries.{name}"
    if not isinstance(name, str) or not name or not all(c.isalnum() or c in "-_" for c in name):
        raise UserError(f"{where}: names consist of letters, digits, '-' and '_'")
    if name in ("data", "code", "features", "_stages"):
        raise UserError(f"{where}: this name is taken by a folder of runs/; choose another")
    known = [f.name for f in fields(Entry) if f.name != "name"]
    _check_keys(block, known, where)
    for key in ("model", "dataset"):
        if not isinstance(block[key], str):
            raise UserError(f"{where}.{key}: must be a name, got {block[key]!r}")
    if not isinstance(block["seed"], int) or isinstance(block["seed"], bool):
        raise UserError(f"{where}.seed: must be an integer, got {block['seed']!r}")
    if block["dataset"] not in datasets:
        raise UserError(f"{where}.dataset: {block['dataset']!r} is not in datasets{near(block['dataset'], datasets)}")
    for key in ("arch", "train", "sample", "score"):
        if not isinstance(block[key], dict):
            raise UserError(f"{where}.{key}: must be a mapping, got {block[key]!r}")
    return Entry(name=name, **block)
