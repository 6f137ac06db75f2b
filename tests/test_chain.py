"""What a chain does before its first stage, on a machine that was told nothing but the task."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import yaml

from genbench.config.params import Params
from tests.params_factory import dump
from tests.trees import REPOSITORY

PROGRAM = """
import os, sys
from genbench.pipeline import chain, clone
from genbench.pipeline.identity import Identity, versions

def told(params, *arguments, **more):
    import torch
    print(torch.backends.cpu.get_cpu_capability(), os.environ["MKL_CBWR"])
    return set()

chain.run_stages_of, clone._run = told, told
work = chain.run_chain if sys.argv[1] == "folder" else clone.run_in_clone
more = {} if sys.argv[1] == "folder" else {"inputs": {}}
one = chain.Chain("made", ("train",), {})
work(sys.argv[2], "quick", one, identity=Identity(versions(), {}, {}), **more)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX2 is of x86-64")
@pytest.mark.parametrize("where", ["folder", "clone"])
def test_instructions_are_limited_before_torch_chooses_its_own(params: Params, where: str) -> None:
    path = params.root / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    path.write_text(dump(raw | {"compute": raw["compute"] | {"isa": "avx2"}}))
    limits = ("ATEN_", "ONEDNN_", "DNNL_", "MKL_", "GENBENCH_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(limits)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, where, str(params.root)],
        env=env | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["AVX2", "COMPATIBLE"], done.stderr
