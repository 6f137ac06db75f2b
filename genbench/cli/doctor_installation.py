"""Checks of `genbench doctor`: Python, the packages, what ships with genbench, a compiler."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterator

from genbench.cli.doctor_check import Check
from genbench.config.params import Params
from genbench.errors import UserError

__all__ = ["compiler", "feature_net", "packages", "python"]

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "dvc",
    "mlflow",
    "torch-fidelity",
    "safetensors",
    "typer",
)


def python() -> Check:
    """The version of Python, and where it is."""
    return Check("ok", "python", f"{platform.python_version()} in {sys.prefix}")


def packages() -> Iterator[Check]:
    """The packages that are used most."""
    versions, missing = [], []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        remedy = "make install, or pip install --require-hashes -r requirements.lock"
        yield Check("fail", "packages", f"missing: {', '.join(missing)}", remedy)
    else:
        yield Check("ok", "packages", ", ".join(versions))


def feature_net() -> str:
    """The shipped weights of the feature net."""
    from genbench.scoring.features import WEIGHTS, WEIGHTS_SHA256, load_net

    load_net()
    return f"{WEIGHTS.name}, SHA-256 {WEIGHTS_SHA256[:12]}..."


def compiler(params: Params) -> Check:
    """A C++ compiler, where an entry asks for torch.compile."""
    from genbench.training.arithmetic import check_compiler

    device = params.compute.device.split(":")[0]
    wanting = [
        entry.name
        for entry in params.entries.values()
        if entry.train.get("arithmetic", {}).get(device, {}).get("compile")
    ]
    try:
        check_compiler("train.arithmetic")
    except UserError as error:
        if wanting:
            remedy = f"install one, or set compile: false in {', '.join(wanting)}"
            return Check("fail", "compiler", str(error), remedy)
        return Check("ok", "compiler", "none, and no entry of this profile asks for torch.compile")
    users = ", ".join(wanting) or "no entry"
    return Check("ok", "compiler", f"there; torch.compile is used by {users}")
