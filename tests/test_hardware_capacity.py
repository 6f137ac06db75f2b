"""What a machine has left, by files of a system that is made up, and what its speeds are used
for.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
import torch

from genbench.hardware import capacity, precision, speed


def files(folder: Path, **content: str) -> Path:
    for name, text in content.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")
    return folder


def group(system: Path, line: str, folder: str, **content: str) -> Path:
    """A system whose process is in the control group that ``line`` names, with files in a folder of
    /sys/fs/cgroup.
    """
    for place in (system / "proc/self", system / "sys/fs/cgroup" / folder):
        place.mkdir(parents=True, exist_ok=True)
    (system / "proc/self/cgroup").write_text(line + "\n")
    files(system / "sys/fs/cgroup" / folder, **content)
    return system


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5}, raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 16 if logical else 8)


@pytest.mark.usefixtures("four_cores")
def test_usable_cores_are_those_that_it_is_bound_to_and_its_group_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert capacity.usable_cores(tmp_path) == 4
    second = group(tmp_path / "2", "0::/user/me", "user/me", cpu__max="max 100000")
    assert capacity.usable_cores(second) == 4
    # Of the group above.
    assert (
        capacity.usable_cores(group(second, "0::/user/me", "user", cpu__max="150000 100000")) == 1.5
    )
    assert (
        capacity.usable_cores(group(second, "0::/user/me", "user", cpu__max="800000 100000")) == 4
    )
    quota = {"cpu__cfs_quota_us": "50000", "cpu__cfs_period_us": "100000"}
    first = group(tmp_path / "1", "3:cpu,cpuacct:/job", "cpu/job", **quota)
    assert capacity.usable_cores(first) == 0.5
    assert (
        capacity.usable_cores(
            group(first, "3:cpu,cpuacct:/job", "cpu/job", **quota | {"cpu__cfs_quota_us": "-1"})
        )
        == 4
    )
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 4 if logical else 2)
    assert capacity.usable_cores(tmp_path) == 2  # four threads of two cores


def test_memory_is_what_the_group_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("", (), {"available": 8_000})())
    assert capacity.memory_left(tmp_path) == 8_000
    second = {
        "memory__max": "max",
        "memory__current": "5000",
        "memory__stat": "anon 1\ninactive_file 300",
    }
    assert capacity.memory_left(group(tmp_path / "2", "0::/a", "a", **second)) == 8_000
    assert (
        capacity.memory_left(
            group(tmp_path / "2", "0::/a", "a", **second | {"memory__max": "6000"})
        )
        == 1_300
    )
    first = {
        "memory__limit_in_bytes": "4000",
        "memory__usage_in_bytes": "1000",
        "memory__stat": "cache 7\ntotal_inactive_file 200",
    }
    assert (
        capacity.memory_left(group(tmp_path / "1", "4:memory:/b/c", "memory/b/c", **first)) == 3_200
    )


def test_a_clock_that_is_held_is_told(tmp_path: Path) -> None:
    assert capacity.slowed(tmp_path) is None
    full = files(
        tmp_path,
        cpuinfo_max_freq="4000000",
        scaling_max_freq="4000000",
        scaling_governor="performance",
        scaling_driver="acpi-cpufreq",
    )
    assert capacity.slowed(full) is None
    assert (
        capacity.slowed(files(tmp_path, scaling_max_freq="2000000"))
        == "its clock is held to 2.0 of 4.0 GHz"
    )
    files(tmp_path, scaling_max_freq="4000000", scaling_governor="powersave")
    assert "powersave" in str(capacity.slowed(tmp_path))
    # Where powersave is the default, and fast.
    assert capacity.slowed(files(tmp_path, scaling_driver="intel_pstate")) is None


@pytest.mark.parametrize("native", [True, False])
def test_speeds_are_those_of_the_precisions_that_are_native(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: native)
    times = iter([1.0, 0.5, 0.25, 2.0])
    monkeypatch.setattr(speed, "shortest", lambda work: next(times))
    before = torch.get_num_threads()
    found = speed.speeds(2)
    assert torch.get_num_threads() == before
    assert list(found) == (["float32", "bfloat16"] if native else ["float32"])
    assert found["float32"]["matrix_product"] == pytest.approx(2 * 1024**3 / 0.5 / 1e9)
    assert found["float32"]["convolution"] == pytest.approx(6 * 8 * 784 * 32 * 64 * 9 / 1e9)


@pytest.mark.parametrize("native", [True, False])
def test_speeds_are_measured_when_they_are_asked_for(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    found = {"float32": {"convolution": 1.0}} | ({"bfloat16": {}} if native else {})
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: native)
    monkeypatch.setattr(speed, "speeds", lambda threads: measured.append(threads) or found)
    lazy = speed.Speeds(3)
    assert list(lazy) == list(found)
    assert ("bfloat16" in lazy) == native
    assert not measured
    assert dict(lazy) == found
    assert measured == [3]


def test_emulated_speeds_are_measured_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: False)
    monkeypatch.setattr(speed, "shortest", lambda work: 1.0)
    found = speed.speeds(1, emulated=True)
    assert found["bfloat16"]["matrix_product"] == pytest.approx(2 * 256**3 / 1e9)


def test_half_as_fast_takes_twice_as_long() -> None:
    reference = {"convolution": 100.0, "matrix_product": 200.0}
    assert speed.relative_time(
        {"convolution": 50.0, "matrix_product": 100.0}, reference
    ) == pytest.approx(2)
    assert speed.relative_time(
        {"convolution": 50.0, "matrix_product": 200.0}, reference
    ) == pytest.approx(2**0.5)


def test_a_time_is_the_shortest_of_some() -> None:
    calls: list[None] = []
    assert 0 < speed.shortest(lambda: calls.append(None), least=0.01) < 0.01
    assert len(calls) > 2
