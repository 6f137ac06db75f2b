"""Train, sample and score entries of `smoke` under ``compute.isa: avx2``, and print the hashes of
what comes out, with the settings that they are of.

A process of its own for test_processor.py, since the instruction set is chosen when torch is
imported; it takes the settings of tests/golden.json, so that an edit of `smoke` alone changes
nothing. By hand, after a change that is meant to move bits, or of `smoke`:

    python -m tests.golden > tests/golden.json
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.files import read_npz
from genbench.hardware.isa import set_isa
from genbench.pipeline.stage_runner import call_stage
from tests.params_factory import written_entry

REPOSITORY = Path(__file__).resolve().parents[1]
STAGES = ("train", "sample", "score_likelihood")


def settings() -> dict[str, Any]:
    """What the bits of `smoke` depend on, as JSON reads it."""
    params = load_params("smoke", root=REPOSITORY)
    protocol = {k: value for k, value in params.protocol.plain().items() if value is not None}
    found = {
        "datasets": params.datasets,
        "compute": {"device": params.compute.device, "threads": params.compute.threads},
        "protocol": protocol,
        "defaults": {},
        "entries": {name: written_entry(entry) for name, entry in params.entries.items()},
    }
    return json.loads(json.dumps(found))


def project(root: Path, given: dict[str, Any]) -> Params:
    """A project whose default profile has these settings."""
    raw = {"root": ".", "profile": "quick", "params_file": "params.yaml", "metrics": ["fid"]}
    raw |= given
    (root / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    (root / "dvc.yaml").touch()
    (root / "profiles").mkdir()
    return load_params("quick", root=root)


def hashes(params: Params, entry: str) -> dict[str, str]:
    """SHA-256 of the arrays of an entry, by what they are; not of the files, whose headers name
    versions.
    """
    import safetensors.numpy

    folder = Layout.of(params).run_dir(entry).path
    arrays = {
        "weights": safetensors.numpy.load_file(folder / "weights.safetensors"),
        "samples": read_npz(folder / "samples.npz"),
        "nats": read_npz(folder / "nats.npz"),
    }
    found = {}
    for kind, values in arrays.items():
        digest = hashlib.sha256()
        for name in sorted(values):
            digest.update(f"{name} {values[name].dtype} {values[name].shape}".encode())
            digest.update(values[name].tobytes())
        found[kind] = digest.hexdigest()[:16]
    return found


def main(names: list[str], given: dict[str, Any]) -> dict[str, Any]:
    """The hashes of the named entries, or of all, with these settings."""
    os.environ["GENBENCH_ISA"] = "avx2"
    with tempfile.TemporaryDirectory() as folder:
        params = project(Path(folder), given)
        set_isa(params.compute.isa)  # before torch is imported, as the command line does
        import torch

        raw = Path(os.environ.get("GENBENCH_RAW", REPOSITORY / "data" / "raw"))
        (params.root / "data").mkdir()
        if raw.is_dir():
            (params.root / "data" / "raw").symlink_to(raw)
        for dataset in params.datasets:
            call_stage("prepare", params, dataset)
        call_stage("fingerprints", params)
        torch_version = torch.__version__.split("+")[0]
        found: dict[str, Any] = {"torch": torch_version, "settings": given, "entries": {}}
        for entry in names or list(params.entries):
            for stage in STAGES:
                call_stage(stage, params, entry)
            found["entries"][entry] = hashes(params, entry)
            print(entry, found["entries"][entry], file=sys.stderr, flush=True)
        return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:], settings()), indent=2))
