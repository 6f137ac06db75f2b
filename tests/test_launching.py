"""Which launcher a run uses, how many entries at once, on which devices, and what is refused."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from genbench.config.further_seeds import FurtherSeeds
from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.errors import UserError
from genbench.files import write_json
from genbench.launchers import slurm_arrays, slurm_programs
from genbench.launchers.base import Launcher
from genbench.launchers.local import LocalLauncher
from genbench.launchers.slurm import SlurmLauncher
from genbench.pipeline import jobs, launching
from genbench.pipeline.jobs import default_jobs, environments
from genbench.pipeline.launching import check_jobs, make_launcher, slurm_options
from genbench.pipeline.watch import Plan
from tests.elsewhere import Elsewhere


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "usable_cores", lambda: 9.0)
    monkeypatch.setattr(jobs, "memory_left", lambda: 40e9)


def on(params: Params, device: str = "cpu", threads: int = 1) -> Params:
    compute = replace(params.compute, device=device, threads=threads)
    return replace(params, compute=compute)


@pytest.mark.usefixtures("machine")
def test_as_many_at_once_as_cores_allow(params: Params) -> None:
    assert default_jobs(on(params)) == 9
    assert default_jobs(on(params, threads=2)) == 4
    assert default_jobs(on(params, threads=20)) == 1


@pytest.mark.usefixtures("machine")
def test_no_more_at_once_than_memory_allows(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An entry that was never run may take 2 GB.
    monkeypatch.setattr(jobs, "memory_left", lambda: 7e9)
    assert default_jobs(on(params)) == 3
    write_json(Layout.of(params).run_dir("made").cost, {"peak_memory_mb": 3200})
    assert default_jobs(on(params)) == 2
    monkeypatch.setattr(jobs, "memory_left", lambda: 1e9)
    assert default_jobs(on(params)) == 1


@pytest.mark.usefixtures("machine")
def test_on_cuda_no_more_than_devices(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert default_jobs(on(params, "cuda")) == 3
    assert default_jobs(on(params, "cuda:1")) == 1
    assert default_jobs(on(params, "cuda", threads=4)) == 2, "nine cores"
    monkeypatch.setattr(jobs, "memory_left", lambda: 5e9)
    assert default_jobs(on(params, "cuda")) == 2, "an entry that was never run may take 2 GB"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert default_jobs(on(params, "cuda")) == 1


def test_each_at_once_has_a_device(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert environments(on(params, "cuda"), 3) == [{"CUDA_VISIBLE_DEVICES": n} for n in "012"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 7")
    assert environments(on(params, "cuda"), 3) == [{"CUDA_VISIBLE_DEVICES": n} for n in "575"]
    assert environments(on(params), 3) == []


def test_jobs_reach_the_launcher(params: Params) -> None:
    launcher = make_launcher(params, jobs=5)
    assert isinstance(launcher, LocalLauncher)
    assert launcher.at_once == 5


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "slurmm"}, r"--launcher: unknown 'slurmm'.*slurm"),
        ({"name": "ray", "jobs": 2}, "--jobs belongs to --launcher local, and the launcher is ray"),
        ({"options": Path("x")}, "--launcher-options belongs to --launcher slurm"),
        ({"address": "x"}, "--address belongs to --launcher ray"),
        ({"name": "slurm", "clones": "x"}, "--clones belongs to --launcher ray"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    params: Params, given: dict[str, object], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        make_launcher(params, **given)  # type: ignore[arg-type]


def leave_job(params: Params) -> Path:
    """What a killed run of Slurm has left of the job of `made`."""
    layout = Layout.of(params)
    chains = [(name, ("train",)) for name in ("made", "vae")]
    command = "genbench run --launcher slurm --launcher-options slurm.yaml"
    write_json(layout.run_plan, asdict(Plan(time.time(), "login", "Slurm", 0, chains, {}, command)))
    path = layout.slurm / "jobs.json"
    write_json(path, {"made": {"job": "7_0", "work": ""}})
    return path


def test_beside_jobs_of_slurm_that_are_left_nothing_else_does_their_work(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_job(params)
    queue = {"7_0": ("PENDING", "")}
    monkeypatch.setattr(slurm_programs, "queue", lambda: queue)
    told = (
        r"quick: 1 job of it is queued or running on Slurm.*go on with them by `genbench run "
        r"--launcher slurm --launcher-options slurm\.yaml`, or cancel them first by `scancel 7`$"
    )
    others: list[Launcher] = [LocalLauncher(1), Elsewhere([])]
    for launcher in others:
        with pytest.raises(UserError, match=told):
            check_jobs(params, ["vae", "made"], launcher)
    check_jobs(params, ["vae"], LocalLauncher(1))
    queue.clear()
    check_jobs(params, ["made"], LocalLauncher(1))


def test_where_slurm_cannot_be_asked_its_jobs_are_taken_to_go_on(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = leave_job(params)

    def silent() -> None:
        raise UserError("squeue does not answer")

    monkeypatch.setattr(slurm_programs, "queue", silent)
    told = rf"may be queued or running \(squeue does not answer\).*gone, remove {path}$"
    with pytest.raises(UserError, match=told):
        check_jobs(params, ["made"], LocalLauncher(1))
    Layout.of(params).run_plan.unlink()
    with pytest.raises(UserError, match="by `genbench run --profile quick --launcher slurm`"):
        check_jobs(params, ["made"], LocalLauncher(1))


def test_what_a_run_submitted_in_the_instant_of_its_kill_counts_too(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Layout.of(params).slurm / "submitting.json"
    write_json(path, [{"name": "genbench-1", "tasks": [["vae", "w"], ["made", "w"]]}])
    monkeypatch.setattr(slurm_arrays, "named", lambda names: {"genbench-1": ["9_1"]})
    with pytest.raises(UserError, match=r"cancel them first by `scancel 9`$"):
        check_jobs(params, ["made"], LocalLauncher(1))
    check_jobs(params, ["vae"], LocalLauncher(1))


def test_the_launcher_of_slurm_takes_up_jobs_that_are_left(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_job(params)
    monkeypatch.setattr(slurm_programs, "queue", lambda: {"7_0": ("PENDING", "")})
    monkeypatch.setattr(SlurmLauncher, "__init__", lambda self: None)
    check_jobs(params, ["made"], SlurmLauncher())  # type: ignore[call-arg]


def test_options_of_slurm_know_the_profile(params: Params, tmp_path: Path) -> None:
    asked = slurm_options(on(params, "cuda", threads=2), None)("made")
    assert (asked.cpus, asked.gpus) == (2, 1)
    path = tmp_path / "slurm.yaml"
    path.write_text("overrides: {made: {time: 7}}")
    of = slurm_options(params, path)
    assert (of("made").time, of("vae").time, of("made").gpus) == (7, 120, 0)
    path.write_text("overrides: {maed: {time: 7}}")
    with pytest.raises(UserError, match=r"overrides\.maed: matches no entry; did you mean .*made"):
        slurm_options(params, path)


def test_options_of_slurm_may_be_of_the_entries_that_further_seeds_repeat(
    params: Params, tmp_path: Path
) -> None:
    made = replace(params.entries["made"], name="made-s1")
    seeds = FurtherSeeds.like(params, of="quick", entries={"made-s1": made})
    path = tmp_path / "slurm.yaml"
    path.write_text("overrides: {vae: {time: 5}, made-s1: {time: 7}}")
    assert slurm_options(seeds, path)("made-s1").time == 7


@pytest.mark.parametrize(
    ("is_terminal", "answer", "leaves"),
    [(False, "n", True), (True, "n", False), (True, "", True), (True, "Y", True)],
)
def test_somebody_at_the_terminal_says_whether_jobs_are_left(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, answer: str, leaves: bool
) -> None:
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: is_terminal)
    monkeypatch.setattr("builtins.input", lambda *_: answer)
    assert launching._leave(["12"]) is leaves
