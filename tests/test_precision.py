"""Which precision `auto` is, that all who compute ask the one place, and what is refused before
anything is trained.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from genbench.base import DataSpec
from genbench.config.params import Entry, Params
from genbench.data.splits import Dataset
from genbench.errors import UserError
from genbench.hardware import precision
from genbench.hardware.compute import Compute
from genbench.models.ddpm import DDPM
from genbench.models.flow_matching import FlowMatching
from genbench.models.lstm import PixelLSTM
from genbench.pipeline.validate import check_entry, emulating
from genbench.scoring import feature_training
from tests.params_factory import protocol
from tests.training import fit

ROOT = Path(__file__).resolve().parents[1]
LIMITED = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
SPEC = DataSpec(4, 4, 2)

pytestmark = pytest.mark.processor


def flags() -> set[str]:
    found = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return set(found[1].split()) if found else set()


def entry_of(model: str) -> Entry:
    """An entry that leaves the precision to the device."""
    arithmetic = {"cpu": {"precision": "auto"}}
    train = {"steps": 3, "optim": {"loss": {"lr": 0.1}}, "arithmetic": arithmetic}
    if model == "ddpm":
        return Entry(model, model, "mnist", 0, {}, train, {"precision": "auto"}, {})
    return Entry(model, model, "binary_mnist", 0, {}, train, {}, {})


def asked(code: str, **environment: str) -> str:
    """What a fresh process prints."""
    cleared = {
        name: value
        for name, value in os.environ.items()
        if name not in (*LIMITED, "DNNL_MAX_CPU_ISA", "GENBENCH_ISA")
    }
    return subprocess.check_output(
        [sys.executable, "-c", code], env=cleared | environment, text=True
    ).strip()


# ---------------------------------------------------------------------- the rule


@pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux",
    reason="reads the flags of /proc/cpuinfo on x86-64",
)
@pytest.mark.parametrize(
    ("environment", "leaves_it"),
    [
        ({}, True),
        ({"ATEN_CPU_CAPABILITY": "avx2"}, False),
        ({"ATEN_CPU_CAPABILITY": "default"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, False),
        ({"DNNL_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, True),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_it_and_the_environment_leaves_it(
    environment: dict[str, str], leaves_it: bool
) -> None:
    native = bool({"avx512_bf16", "amx_bf16"} & flags())
    found = asked(
        "from genbench.hardware.precision import resolve; print(resolve('auto', 'cpu'))",
        **environment,
    )
    assert found == ("bfloat16" if native and leaves_it else "float32")


def test_an_explicit_precision_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for native in (True, False):
        monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda native=native: native)
        assert [precision.resolve(name, "cpu") for name in ("float32", "bfloat16")] == [
            "float32",
            "bfloat16",
        ]
        assert precision.resolve("auto", "cpu") == ("bfloat16" if native else "float32")


def test_a_gpu_is_asked_without_its_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch.cuda.is_available() or precision.resolve("auto", "cuda") == "float32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked: list[torch.device] = []
    monkeypatch.setattr(
        torch.cuda, "device", lambda device: asked.append(device) or contextlib.nullcontext()
    )
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    assert precision.resolve("auto", "cuda") == "float32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert precision.resolve("auto", "cuda:1") == "bfloat16"
    assert asked[-1] == torch.device("cuda:1")  # not the current one


def test_a_missing_operation_makes_auto_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that multiplies in bfloat16 but has no LSTM in it does not compute the models
    natively.
    """
    plain = precision._cpu_computes_bfloat16.__wrapped__
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"architecture": "arm64", "bf16": True}
    )
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(precision, "_failure", lambda layer: None)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    assert plain() is True
    monkeypatch.setattr(
        precision, "_failure", lambda layer: "no descriptor" if layer == "LSTM" else None
    )
    assert plain() is False


@pytest.mark.parametrize("where", ["train", "sample"])
def test_an_unknown_precision_is_named(where: str) -> None:
    entry = entry_of("ddpm")
    wrong = {
        "train": dataclasses.replace(
            entry, train={**entry.train, "arithmetic": {"cpu": {"precision": "bfloat61"}}}
        ),
        "sample": dataclasses.replace(entry, sample={"precision": "bfloat61"}),
    }[where]
    with pytest.raises(
        UserError,
        match=rf"entries\.ddpm\.{where}.*precision: unknown 'bfloat61'; did you mean 'bfloat16'",
    ):
        check_entry(wrong, Compute())


def test_the_former_name_says_the_new_one() -> None:
    entry = dataclasses.replace(entry_of("ddpm"), sample={"bfloat16": True})
    with pytest.raises(
        UserError,
        match=(
            r"entries\.ddpm\.sample\.bfloat16: is now called 'precision'; it takes auto, float32 "
            r"or bfloat16"
        ),
    ):
        check_entry(entry, Compute())


# ---------------------------------------------------------------------- who asks


class Seen(nn.Module):
    """Remembers in what type a layer computes."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 1)
        self.types: set[torch.dtype] = set()

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        out = self.conv(x)
        self.types.add(out.dtype)
        return out.float()


@pytest.mark.parametrize("native", [True, False])
def test_training_computes_in_what_auto_is(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: native)
    model = DDPM(SPEC, timesteps=20, beta_end=0.5, widths=[16], blocks=1, patch=1)
    model.network = seen = Seen()  # type: ignore[assignment]
    x = torch.zeros(8, 1, 4, 4, dtype=torch.uint8)
    data = Dataset("tiny", SPEC, x, None, x, None, x, None)
    fit(
        model,
        data,
        entry="e",
        seed=0,
        steps=2,
        batch_size=4,
        optim={"loss": {"lr": 0.1}},
        arithmetic={"cpu": {"precision": "auto"}},
    )
    assert seen.types == {torch.bfloat16 if native else torch.float32}


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("given", ["float32", "bfloat16", "auto"])
@pytest.mark.parametrize("kind", [DDPM, FlowMatching])
def test_sampling_computes_in_what_it_says(
    kind: Any, given: str, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: native)
    arch = {"widths": [16], "blocks": 1, "patch": 1}
    model = kind(
        SPEC, **arch, **({"timesteps": 20, "beta_end": 0.5} if kind is DDPM else {"ode_steps": 3})
    ).eval()
    model.network = seen = Seen()
    expected = "bfloat16" if given == "bfloat16" or (given == "auto" and native) else "float32"
    model.sample(2, rng=Generator().manual_seed(0), precision=given)
    assert seen.types == {getattr(torch, expected)}
    name, matches = model.describe_sampler(precision=given)
    assert name.endswith("(precision=bfloat16)") == (expected == "bfloat16")
    assert "auto" not in name
    assert matches == (expected == "float32")


@pytest.mark.parametrize("native", [True, False])
def test_the_feature_net_trains_in_what_auto_is(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: native)
    seen: set[torch.dtype] = set()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(784, 10)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            out = self.layer(x.flatten(1))
            seen.add(out.dtype)
            return out, out

    net = Net()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimiser)
    x, y = torch.zeros(8, 1, 28, 28, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64)
    feature_training._train_epoch(net, x, y, optimiser, schedule, seed=0, epoch=1, batch_size=4)  # type: ignore[arg-type]
    assert seen == {torch.bfloat16 if native else torch.float32}


def test_full_precision_holds_inside_of_autocast() -> None:
    layer = nn.Linear(2, 2)
    with precision.autocast("bfloat16", "cpu"):
        assert layer(torch.zeros(1, 2)).dtype == torch.bfloat16
        with precision.full_precision("cpu"):
            assert layer(torch.zeros(1, 2)).dtype == torch.float32


# ------------------------------------------------------------------ bfloat16 where it is not native


def lstm_in_bfloat16() -> Any:
    entry = entry_of("lstm")
    return dataclasses.replace(
        entry, train={**entry.train, "arithmetic": {"cpu": {"precision": "bfloat16"}}}
    )


def test_an_operation_that_a_processor_lacks_is_an_error_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        precision, "_failure", lambda layer: "could not create it" if layer == "LSTM" else None
    )
    entry = lstm_in_bfloat16()
    place = (
        r"entries\.lstm\.train\.arithmetic\.cpu\.precision: this processor has no LSTM in "
        r"bfloat16 \(could not create it\); set it to auto"
    )
    with pytest.raises(UserError, match=place):
        check_entry(entry, Compute())
    x = torch.zeros(4, 1, 4, 4, dtype=torch.uint8)
    model = PixelLSTM(SPEC, width=4, hidden=4, layers=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train = {
        "steps": 1,
        "optim": {"loss": {"lr": 0.1}},
        "arithmetic": {"cpu": {"precision": "bfloat16"}},
    }
    with pytest.raises(UserError, match=place):
        fit(model, Dataset("tiny", SPEC, x, None, x, None, x, None), entry="lstm", seed=0, **train)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_other_models_and_auto_are_no_error_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        precision, "_failure", lambda layer: "could not create it" if layer == "LSTM" else None
    )
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: False)
    check_entry(entry_of("lstm"), Compute())
    made = entry_of("made")
    check_entry(
        dataclasses.replace(
            made, train={**made.train, "arithmetic": {"cpu": {"precision": "bfloat16"}}}
        ),
        Compute(),
    )


@pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux", reason="limits an x86-64 processor"
)
def test_the_lstm_of_a_processor_with_avx2_alone_is_refused_and_auto_trains_it() -> None:
    """The real thing: oneDNN has no such primitive."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.test_precision import entry_of, lstm_in_bfloat16
from genbench.pipeline.validate import check_entry
from genbench.hardware.compute import Compute
try:
    check_entry(lstm_in_bfloat16(), Compute())
except ValueError as error:
    print(error)
check_entry(entry_of("lstm"), Compute())
print("auto is checked")
"""
    out = asked(code, **LIMITED)
    assert (
        "entries.lstm.train.arithmetic.cpu.precision: this processor has no LSTM in bfloat16" in out
    )
    assert out.endswith("auto is checked")


def _with(name: str = "made", **blocks: Mapping[str, Any]) -> Params:
    """A project of three entries, with these blocks in one of them."""
    entries = {entry: entry_of(entry) for entry in ("made", "ddpm", "lstm")}
    changed = {key: {**getattr(entries[name], key), **value} for key, value in blocks.items()}
    entries[name] = dataclasses.replace(entries[name], **changed)
    return Params(ROOT, "quick", entries, ("mnist",), ("fid",), protocol(), Compute())


def test_entries_that_emulate_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = _with("made", train={"arithmetic": {"cpu": {"precision": "bfloat16"}}})
    sampled = _with("ddpm", sample={"precision": "bfloat16"})
    monkeypatch.setattr("genbench.pipeline.validate.computes_bfloat16", lambda device: False)
    assert emulating(trained) == ["made"]
    assert emulating(trained, ["ddpm"]) == []
    assert emulating(sampled) == ["ddpm"]
    assert emulating(_with()) == []
    monkeypatch.setattr("genbench.pipeline.validate.computes_bfloat16", lambda device: True)
    assert emulating(trained) == []
