"""The kind of a processor, and `compute.isa`, under which bits do not depend on it: golden hashes
that hold wherever these tests run.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genbench.config.load import load_params
from genbench.data.splits import Dataset
from genbench.errors import UserError
from genbench.hardware import isa
from genbench.hardware.compute import Compute
from genbench.hardware.device import identity, setup
from genbench.hardware.isa import check_isa, set_isa
from genbench.hardware.kind import in_words, kind_of
from genbench.nn.roots import square_root

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = json.loads((ROOT / "tests" / "golden.json").read_text())
X86 = pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux",
    reason="avx2 is of x86-64 processors; tried on Linux",
)
CPU = torch.device("cpu")


def python(code: str, **environment: str) -> str:
    cleared = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GENBENCH_") and name not in isa.LIMITS
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=cleared | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---------------------------------------------------------------------- compute.isa


def test_an_unknown_one_is_named() -> None:
    with pytest.raises(UserError, match=r"compute\.isa: unknown 'avx3'; did you mean 'avx2'"):
        Compute(isa="avx3")


def test_the_environment_stands_above_params(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_params("quick", root=ROOT).compute.isa == "native"
    monkeypatch.setenv("GENBENCH_ISA", "avx4")
    with pytest.raises(UserError, match=r"compute\.isa: unknown 'avx4'"):
        load_params("quick", root=ROOT)


def test_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with pytest.raises(
        UserError,
        match=r"compute\.isa: avx2 is an instruction set of x86-64, and this processor is arm64",
    ):
        check_isa("avx2")
    check_isa("native")


@X86
def test_a_processor_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isa, "cpuinfo", lambda field: "fpu sse4_2 avx")
    with pytest.raises(UserError, match=r"compute\.isa: this processor has no avx2"):
        check_isa("avx2")


@X86
def test_asking_after_torch_was_imported_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in isa.LIMITS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        UserError, match=r"avx2 was asked for after torch had been imported.*set GENBENCH_ISA=avx2"
    ):
        set_isa("avx2")
    with pytest.raises(UserError, match="after torch had been imported"):
        setup(Compute(isa="avx2", threads=1))
    # Nor does a variable that is set too late help, as far as it can be seen: PyTorch itself uses
    # other instructions.
    for name, value in isa._AVX2.items():
        monkeypatch.setenv(name, value)
    if torch.backends.cpu.get_cpu_capability() != "AVX2":
        with pytest.raises(UserError, match="after torch had been imported"):
            set_isa("avx2")
    set_isa("native")


@X86
def test_it_is_for_the_cpu() -> None:
    for refused in (
        lambda: setup(Compute(device="cuda", isa="avx2")),
        lambda: set_isa("avx2", "cuda:1"),
    ):
        with pytest.raises(
            UserError, match=r"compute\.isa: avx2 is for the CPU, and compute\.device is 'cuda"
        ):
            refused()


def test_mps_gets_a_clear_answer() -> None:
    with pytest.raises(
        UserError, match=r"compute\.device: mps is not supported, since it has no float64"
    ):
        Compute(device="mps")


@X86
def test_it_reaches_the_libraries_and_chooses_float32() -> None:
    code = """
from genbench.hardware.isa import set_isa
set_isa("avx2")
import os, torch
from genbench.hardware.precision import resolve
print(torch.backends.cpu.get_cpu_capability(), torch.ops.mkldnn._is_mkldnn_bf16_supported())
print(os.environ["MKL_CBWR"], resolve("auto", "cpu"))
set_isa("avx2")  # a second time is nothing new
"""
    assert python(code).split() == ["AVX2", "False", "COMPATIBLE", "float32"]


@X86
def test_it_reaches_the_stages_of_the_command_line(project: Path) -> None:
    command = [str(Path(sys.executable).with_name("genbench")), "train", "made"]
    subprocess.run(
        command,
        cwd=project,
        env=os.environ | {"GENBENCH_ISA": "avx2"},
        check=True,
        capture_output=True,
    )
    made = json.loads((project / "runs" / "quick" / "made" / "provenance.json").read_text())
    assert (
        made["kind"]["vendor"],
        made["kind"]["isa"],
        made["kind"]["limits"],
        made["precision"],
    ) == ("any", "AVX2", {}, "float32")


# ---------------------------------------------------------------------- kinds


@X86
def test_a_kind_is_what_the_libraries_say() -> None:
    code = """
import json, torch
from genbench.hardware.kind import kind_of
print(json.dumps(kind_of(torch.device("cpu")).record()))
"""
    cpuinfo = dict(
        line.split(":", 1)
        for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    )
    cpuinfo = {key.strip(): value.strip() for key, value in cpuinfo.items()}
    own, limited = (
        json.loads(python(code)),
        json.loads(python(code, ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2")),
    )
    assert own["vendor"] == limited["vendor"] == cpuinfo["vendor_id"]
    assert own["libraries"]["torch"] == torch.__version__
    assert {"mkl", "onednn"} <= own["libraries"].keys()
    flags = cpuinfo["flags"].split()
    widest = ("AMX", "AVX512") if "amx_bf16" in flags else "AVX512"
    assert own["isa"].startswith(widest if "avx512bw" in flags else "AVX2")
    assert own["limits"] == {}
    assert limited["isa"] == "AVX2"
    assert limited["limits"] == {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def test_kinds_in_words() -> None:
    base: dict[str, Any] = {
        "machine": "x86_64",
        "vendor": "AuthenticAMD",
        "isa": "AVX512_BF16",
        "libraries": {},
        "limits": {},
    }
    assert in_words(base) == "AMD, AVX512_BF16"
    assert (
        in_words(
            base
            | {"vendor": "GenuineIntel", "isa": "AVX2", "limits": {"ATEN_CPU_CAPABILITY": "avx2"}}
        )
        == "Intel, AVX2 (limited)"
    )
    assert in_words(base | {"vendor": "any", "isa": "AVX2"}) == "any x86-64, AVX2"
    assert (
        in_words(base | {"machine": "cuda", "vendor": "NVIDIA H100", "isa": "sm_90"})
        == "NVIDIA H100, sm_90"
    )


def test_an_identity_names_device_threads_and_kind() -> None:
    assert identity(Compute(threads=3), CPU) == {
        "device": "cpu",
        "threads": 3,
        "kind": kind_of(CPU).record(),
    }
    fixed = identity(Compute(isa="avx2"), CPU)["kind"] if platform.machine() == "x86_64" else None
    assert fixed is None or (fixed["vendor"], fixed["limits"]) == ("any", {})


# ---------------------------------------------------------------------- the same bits


def test_the_square_root_is_one() -> None:
    drawn = torch.rand(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 100
    x = torch.cat([torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64), drawn]).requires_grad_()
    for dtype in (torch.float64, torch.float32):
        expected = torch.from_numpy(np.sqrt(x.detach().to(dtype).numpy()))
        torch.testing.assert_close(
            square_root(x.detach().to(dtype)), expected, rtol=4 * torch.finfo(dtype).eps, atol=0
        )
    inner = x.detach()[1:].requires_grad_()
    torch.testing.assert_close(
        torch.autograd.grad(square_root(inner).sum(), inner)[0], 0.5 / inner.detach() ** 0.5
    )
    assert torch.isfinite(torch.autograd.grad(square_root(x).sum(), x)[0]).all()


@X86
@pytest.mark.skipif(
    torch.__version__.split("+")[0] != GOLDEN["torch"],
    reason=f"the golden hashes are those of torch {GOLDEN['torch']}",
)
def test_weights_samples_and_nats_are_the_golden_ones(
    mnist: Dataset, binary_mnist: Dataset
) -> None:
    """On whatever x86-64 processor this runs; the data are asked for only to skip without them."""
    raw = ROOT / "data" / "raw"
    environment = {
        "GENBENCH_RAW": str(raw),
        **{k: v for k, v in os.environ.items() if k == "GENBENCH_MIRROR"},
    }
    code = """
import json
from pathlib import Path
from tests.golden import main
golden = json.loads(Path("tests/golden.json").read_text())
print(json.dumps(main([], golden["settings"])))
"""
    found = json.loads(python(code, **environment))
    assert found["entries"].keys() == GOLDEN["entries"].keys()
    different = {
        name: [k for k in kinds if kinds[k] != GOLDEN["entries"][name][k]]
        for name, kinds in found["entries"].items()
    }
    assert {name: kinds for name, kinds in different.items() if kinds} == {}
