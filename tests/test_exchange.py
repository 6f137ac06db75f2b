"""Results over DVC's remote when there are several of the same inputs: those that differ in more
than times are refused by name, and none of them is taken.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from genbench.config.layout import Layout
from genbench.config.stages import STAGES
from genbench.pipeline.exchange import Exchange
from genbench.pipeline.receipts import OtherBitsError
from genbench.pipeline.record import Books
from genbench.pipeline.stage_runner import stage_places
from tests.projects import environment
from tests.stand_ins import StandIns, make

TRAIN = "train@one"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StandIns:
    """A project with a remote, in which `train` of `one` has run."""
    project = make(tmp_path_factory.mktemp("exchange"), ("one",))
    with (project.root / ".dvc" / "config").open("a") as config:
        config.write("    remote = here\n['remote \"here\"']\n    url = ../../remote\n")
    params = project.params
    places = stage_places(params, STAGES["train"], "one")
    written = [places[part] for part in (*STAGES["train"].reads, *STAGES["train"].writes)]
    for path in (Layout.of(params).fingerprint("one", "train"), *written):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    return project


@pytest.fixture
def project(made: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """A copy of it."""
    root = tmp_path / "project"
    shutil.copytree(made.root, root, symlinks=True)
    copy = StandIns(root, environment(root))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", copy.env["DVC_SITE_CACHE_DIR"])
    monkeypatch.chdir(root)
    return copy


@pytest.fixture
def exchange(project: StandIns) -> Iterator[Exchange]:
    with contextlib.closing(Books(project.params)) as books:
        yield Exchange(books)


def write(project: StandIns, name: str, text: str) -> None:
    """As another run of the stage does."""
    path = project.root / "runs" / "quick" / "one" / name
    path.unlink()
    path.write_text(text)


def entries(folder: Path) -> list[Path]:
    """Those of a run-cache."""
    return [path for path in folder.glob("runs/*/*/*") if path.is_file()]


def objects(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("files/md5/*/*")}


def other_entry(remote: Path) -> Path:
    """Put a second entry into the remote, as another machine does at the same moment."""
    (own,) = entries(remote)
    section = yaml.safe_load(own.read_text())
    for out in section["outs"]:
        out["md5"] = out["md5"][::-1]
    other = own.with_name("0" * 64)
    other.write_text(yaml.safe_dump(section))
    return other


def test_other_bits_are_refused_by_name_and_the_first_ones_stay(
    project: StandIns, exchange: Exchange, tmp_path: Path
) -> None:
    remote = tmp_path / "remote"
    exchange.send([TRAIN], compare=True)
    (first,) = entries(remote)
    known = objects(remote)
    write(project, "weights.safetensors", "others")
    with pytest.raises(OtherBitsError, match=r"train of one .*one/weights\.safetensors differs"):
        exchange.send([TRAIN], compare=True)
    assert entries(remote) == [first]
    assert objects(remote) == known
    assert [path.name for path in entries(project.root / ".dvc" / "cache")] == [first.name]


def test_times_may_differ(project: StandIns, exchange: Exchange, tmp_path: Path) -> None:
    exchange.send([TRAIN], compare=True)
    write(project, "cost.json", "9 s")
    exchange.send([TRAIN], compare=True)
    assert len(entries(tmp_path / "remote")) == 2
    shutil.rmtree(project.root / "runs" / "quick" / "one")
    assert exchange.find(TRAIN)


def test_what_others_only_read_is_sent_and_what_is_found_stays(
    project: StandIns, exchange: Exchange, tmp_path: Path
) -> None:
    remote = tmp_path / "remote"
    exchange.send([TRAIN])
    known = objects(remote)
    write(project, "weights.safetensors", "others")
    exchange.send([TRAIN])
    assert len(objects(remote) - known) == 1
    assert len(entries(remote)) == 1


def test_of_two_that_differ_none_is_taken(
    project: StandIns, exchange: Exchange, tmp_path: Path
) -> None:
    remote, cache = tmp_path / "remote", project.root / ".dvc" / "cache"
    exchange.send([TRAIN], compare=True)
    (first,) = entries(remote)
    second = other_entry(remote)
    shutil.rmtree(cache / "runs")
    told = f"train of one was run more than once.*{second.name} and {first.name}"
    for _ in range(2):
        with pytest.raises(OtherBitsError, match=told):
            exchange.find(TRAIN)
        assert entries(cache) == [], "DVC alone would take either of them the next time"
    second.unlink()
    assert exchange.find(TRAIN)


def test_what_is_half_written_is_no_entry(
    project: StandIns, exchange: Exchange, tmp_path: Path
) -> None:
    exchange.send([TRAIN], compare=True)
    (first,) = entries(tmp_path / "remote")
    first.with_name("1" * 64).write_text("cmd: [")
    first.with_name(".of-another.tmp").write_text("cmd: other")
    exchange.send([TRAIN], compare=True)
    assert exchange.find(TRAIN)
