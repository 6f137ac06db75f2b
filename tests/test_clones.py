"""Entries that run in clones of the project on machines that share no folder with it: the same
results as here, over the remote and nothing but; whatever breaks, nothing is lost and nothing runs
where it must not.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from genbench.config.stages import ENTRY_STAGES
from genbench.errors import UserError
from genbench.pipeline import identity
from genbench.pipeline.identity import Identity
from tests.projects import environment
from tests.stand_ins import StandIns, make
from tests.trees import REPOSITORY

ENTRIES = ("one", "two")
SHARED = {"prepare mnist", "features mnist", "report", "track"}


@dataclass(frozen=True)
class Site:
    """A project, two clones of it, and the remote that all three know."""

    project: StandIns
    clones: tuple[StandIns, StandIns]
    remote: Path

    def run(self, *clones: StandIns, start: str = "") -> subprocess.CompletedProcess[str]:
        """Run the project's entries in these clones; ``start`` is Python that each process runs at
        its beginning.
        """
        return self.project.run(*self.command(*clones), GENBENCH_TEST_ELSEWHERE=start)

    def command(self, *clones: StandIns) -> list[str]:
        chosen = [str(clone.root) for clone in clones or self.clones]
        return [sys.executable, str(self.project.root / "elsewhere.py"), "$CLONE", *chosen]

    def reason(self, entry: str, stage: str = "train") -> str:
        """Why a stage failed, as the report would tell."""
        path = self.project.root / ".status" / "quick" / f"{entry}-{stage}.json"
        return json.loads(path.read_text())["error"]

    def known(self) -> set[str]:
        """The stages of which the remote holds results, by their commands."""
        files = (path for path in self.remote.glob("runs/*/*/*") if path.is_file())
        return {yaml.safe_load(path.read_text())["cmd"] for path in files}


def clone_of(project: StandIns, root: Path) -> StandIns:
    """As `git clone` makes it: with sources and parameters, without results."""
    left_out = shutil.ignore_patterns("runs", "dvc.lock", ".status", "tmp", "cache", "log")
    shutil.copytree(project.root, root, ignore=left_out)
    return StandIns(root, environment(root))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> StandIns:
    """A project that has what all entries share."""
    return _prepared(tmp_path_factory.mktemp("clones"), ENTRIES)


def _prepared(folder: Path, entries: tuple[str, ...]) -> StandIns:
    project = make(folder, entries)
    shutil.copy(REPOSITORY / "tests" / "elsewhere.py", project.root / "elsewhere.py")
    project.dvc("repro", "features@mnist")
    assert project.log() == ["prepare mnist", "features mnist"]
    return project


@pytest.fixture(scope="module")
def prepared_for_one(tmp_path_factory: pytest.TempPathFactory) -> StandIns:
    """The same with one entry, where a second one would tell nothing."""
    return _prepared(tmp_path_factory.mktemp("clones-of-one"), ENTRIES[:1])


@pytest.fixture
def site(prepared: StandIns, tmp_path: Path) -> Site:
    return _site(prepared, tmp_path)


@pytest.fixture
def small(prepared_for_one: StandIns, tmp_path: Path) -> Site:
    return _site(prepared_for_one, tmp_path)


def _site(prepared: StandIns, tmp_path: Path) -> Site:
    root, remote = tmp_path / "project", tmp_path / "remote"
    shutil.copytree(prepared.root, root, symlinks=True)
    project = StandIns(root, environment(root))
    with (project.root / ".dvc" / "config").open("a") as config:
        config.write(f"    remote = here\n['remote \"here\"']\n    url = {remote}\n")
    return Site(
        project,
        (clone_of(project, tmp_path / "first"), clone_of(project, tmp_path / "second")),
        remote,
    )


def ran(place: StandIns) -> set[str]:
    return set(place.log())


def of(entry: str, stages: tuple[str, ...] = ENTRY_STAGES) -> set[str]:
    return {f"{stage} {entry}" for stage in stages}


def test_clones_give_what_the_project_itself_gives(site: Site, tmp_path: Path) -> None:
    alone = make(tmp_path / "alone", ENTRIES)
    assert alone.genbench("run").returncode == 0

    done = site.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert ran(site.project) == {"report", "track"}, "no entry runs here"
    first, second = (ran(clone) for clone in site.clones)
    assert first == of("one")
    assert second == of("two")
    own, others = site.project.outputs(), alone.outputs()
    assert own == others
    assert "up to date" in site.project.dvc("status")
    assert site.run().returncode == 0
    assert not ran(site.clones[0]) | ran(site.clones[1])


def test_nothing_but_the_results_of_the_entry_is_sent(site: Site) -> None:
    clone = site.clones[0]
    assert site.run(clone).returncode == 0
    sent = {name for name in site.known() if "two" in name}
    assert len(sent) == len(ENTRY_STAGES)
    site.project.edit("two", seed=9)
    clone.edit("two", seed=9)
    clone.edit("one", seed=8)
    assert clone.genbench("run", "--entries", "one").returncode == 0, "work of somebody else"
    before = len(list(site.remote.glob("runs/*/*/*")))
    assert site.run(clone).returncode == 0
    assert len(list(site.remote.glob("runs/*/*/*"))) == before + len(ENTRY_STAGES)


def test_a_clone_that_differs_is_refused_by_the_name_of_what_differs(site: Site) -> None:
    first, second = site.clones
    path = first.root / "pipelines" / "sample.py"
    path.write_text(path.read_text() + "\nEDITED = True\n")
    second.edit("two", seed=99)
    assert site.run().returncode == 1
    assert f"{first.root} on " in site.reason("one")
    assert "differs from the project of the run in pipelines/sample.py;" in site.reason("one")
    assert "in parameter seed;" in site.reason("two")
    assert not ran(first) | ran(second)
    assert not ran(site.project) & {*of("one"), *of("two")}


def test_where_there_is_no_clone_is_said(site: Site) -> None:
    (site.clones[1].root / "dvc.yaml").unlink()
    assert site.run().returncode == 1
    assert f"{site.clones[1].root} on " in site.reason("two")
    assert "is no clone of the project" in site.reason("two")
    assert ran(site.clones[0]) == of("one"), "the others go on"


def test_a_project_without_a_remote_is_told_how_to_make_one(tmp_path: Path) -> None:
    project = make(tmp_path)
    shutil.copy(REPOSITORY / "tests" / "elsewhere.py", project.root / "elsewhere.py")
    done = project.run(sys.executable, "elsewhere.py", "$CLONE", str(tmp_path))
    assert done.returncode == 1
    assert "has no DVC remote" in done.stderr
    assert "dvc remote add --default" in done.stderr


def test_other_packages_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Identity(identity.versions(), {}, {})
    asked.check_versions()
    monkeypatch.setattr(identity, "versions", lambda: {**asked.versions, "torch": "0.1"})
    with pytest.raises(UserError, match=r"has torch 0\.1 instead of "):
        asked.check_versions()


UNREACHABLE = """
import genbench.pipeline.exchange as exchange
push = exchange.Exchange._push
def gone(self, stage):
    from pathlib import Path
    remote = Path(self._repo.config["remote"]["here"]["url"])
    if stage.name == "sample@one":
        remote.rename(remote.with_name("elsewhere"))
        remote.write_text("no folder")
    push(self, stage)
exchange.Exchange._push = gone
"""


def test_a_remote_that_goes_away_is_named_and_the_next_run_sends_what_is_kept(small: Site) -> None:
    first = small.clones[0]
    assert small.run(first, start=UNREACHABLE).returncode == 1
    assert "DVC's remote 'here'" in small.reason("one", "sample")
    assert "does not take results" in small.reason("one", "sample")
    assert "sample one" in ran(first)
    small.remote.unlink()
    small.remote.with_name("elsewhere").rename(small.remote)
    assert small.run(first).returncode == 0
    assert not ran(first) & {"train one", "sample one"}, "they were kept there"
    assert not ran(small.project) - SHARED
    assert "up to date" in small.project.dvc("status")


KILLED = """
import os, signal
import genbench.pipeline.exchange as exchange
def killed(self, stage):
    os.kill(os.getpid(), signal.SIGKILL)
exchange.Exchange._send_run = killed
"""


@pytest.mark.parametrize("again", [0, 1])
def test_a_worker_killed_between_objects_and_run_cache_leaves_nothing_half(
    small: Site, again: int
) -> None:
    first = small.clones[0]
    assert small.run(first, start=KILLED).returncode == 1
    assert "has ended before it was done" in small.reason("one")
    assert not any("one" in command for command in small.known())
    weights = first.root / "runs" / "quick" / "one" / "weights.safetensors"
    md5 = hashlib.md5(weights.read_bytes()).hexdigest()
    assert (small.remote / "files" / "md5" / md5[:2] / md5[2:]).exists(), "objects go first"
    assert "train one" in ran(first)
    # In the same clone its results are found, elsewhere they are made again.
    assert small.run(small.clones[again]).returncode == 0
    assert ("train one" in ran(small.clones[again])) == bool(again)
    assert not ran(small.project) - SHARED
    assert "up to date" in small.project.dvc("status")


FULL = """
import errno
import genbench.pipeline.receipts as receipts
put = receipts._put
def full(source, target):
    if target.parent.name == "one" and target.name.startswith("samples"):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))
    put(source, target)
receipts._put = full
"""


def test_a_full_disk_elsewhere_is_told_here_and_stops_no_other(site: Site) -> None:
    first = site.clones[0]
    assert site.run(first, start=FULL).returncode == 1
    assert "the disk is full" in site.reason("one", "sample")
    assert {"score_likelihood one", *of("two")} <= ran(first)
    assert site.run(first).returncode == 0
    assert "train one" not in ran(first)
    assert "up to date" in site.project.dvc("status")


def wait_for(place: StandIns, text: str) -> None:
    import time

    deadline, path = time.monotonic() + 300, place.root / "log"
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_of_several_results_of_a_stage_none_is_taken_and_the_others_go_on(
    site: Site, tmp_path: Path
) -> None:
    first, second = site.clones
    assert site.run(first).returncode == 0
    (path,) = (path for path in site.remote.glob("runs/*/*/*") if " train one " in path.read_text())
    section = yaml.safe_load(path.read_text())
    for out in section["outs"]:
        out["md5"] = out["md5"][::-1]
    path.with_name("0" * 64).write_text(yaml.safe_dump(section))
    other = clone_of(site.project, tmp_path / "other")
    run = Site(other, site.clones, site.remote)
    assert run.run(second).returncode == 1
    assert "train of one was run more than once with the same inputs" in run.reason("one")
    assert "train one" not in ran(second) | ran(other)
    assert (other.root / "runs" / "quick" / "two" / "quality.json").exists()


@pytest.fixture
def paused(small: Site) -> Iterator[Path]:
    path = small.clones[0].root / "pause"
    path.write_text("sample one")
    yield path
    path.unlink(missing_ok=True)


def test_who_hands_out_may_be_killed_and_started_again(small: Site, paused: Path) -> None:
    first, second = small.clones
    run = small.project.start(*small.command(first))
    wait_for(first, "sample one")
    run.kill()
    run.wait()
    again = small.project.start(*small.command(second))
    wait_for(second, "sample one")
    assert "train one" not in ran(second), "the remote has what was made before"
    paused.unlink()
    assert again.wait(400) == 0
    assert not ran(small.project) - SHARED
    assert "up to date" in small.project.dvc("status")


def test_two_may_hand_out_the_same_at_once(small: Site, paused: Path, tmp_path: Path) -> None:
    first, _ = small.clones
    other = clone_of(small.project, tmp_path / "other")
    runs = [
        small.project.start(*small.command(first)),
        other.start(*Site(other, small.clones, small.remote).command(first)),
    ]
    wait_for(first, "sample one")
    paused.unlink()
    assert [run.wait(400) for run in runs] == [0, 0]
    assert small.project.outputs() == other.outputs()
    for place in (small.project, other):
        assert not ran(place) - SHARED
        assert "up to date" in place.dvc("status")
