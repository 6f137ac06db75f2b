"""The one reader of an entry's results: the state of each part, what counts, and that report,
MLflow and `genbench info` show the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from genbench.cli import info
from genbench.config.layout import Layout, RunDir
from genbench.config.params import Params
from genbench.files import read_json, sha256, write_json
from genbench.report.rows import leaderboard
from genbench.results import entry as reading
from genbench.results.entry import EntryResults, Part, State, read_entries, read_entry
from genbench.scoring.records import read_record, write_record
from genbench.tracking.runs import tracked_runs
from tests.entries import finished_project

PARTS = ("training", "sampling", "pictures", "likelihood", "quality", "probe")
BEHIND = {
    "training": set(PARTS),
    "sampling": {"sampling", "quality", "probe"},
    "pictures": {"pictures"},
    "likelihood": {"likelihood", "probe"},
    "quality": {"quality"},
    "probe": {"probe"},
}
"""Part → what does not count if it does not."""


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project of two finished entries, ``made`` and ``vae``."""
    monkeypatch.chdir(tmp_path)
    return finished_project(tmp_path, ["made", "vae"])


def results_of(params: Params, name: str = "made") -> EntryResults:
    return read_entry(params, params.entry(name))


def run_dir_of(params: Params) -> RunDir:
    return Layout.of(params).run_dir("made")


def part_of(results: EntryResults, part: str) -> Part:
    return getattr(results, part)


def counting(results: EntryResults) -> set[str]:
    return {part for part in PARTS if part_of(results, part).result is not None}


FILES: dict[str, tuple[str, Callable[[RunDir], Path]]] = {
    "training": ("train", lambda run_dir: run_dir.weights),
    "sampling": ("sample", lambda run_dir: run_dir.samples),
    "pictures": ("pictures", lambda run_dir: run_dir.pictures / "pictures.json"),
    "likelihood": ("score_likelihood", lambda run_dir: run_dir.likelihood),
    "quality": ("score_samples", lambda run_dir: run_dir.quality),
    "probe": ("probe", lambda run_dir: run_dir.probe),
}
"""Part → its stage and a file of it."""


def seen(params: Params, capsys: pytest.CaptureFixture[str]) -> tuple[str, str | None, str]:
    """What report, tracking and `genbench info` say of ``made``."""
    board = leaderboard(params, read_entries(params))
    (missing,) = [gap["reason"] for gap in board["missing"]] or [""]
    capsys.readouterr()
    info.print_info("quick", "made")
    return missing, tracked_runs(params)[1].get("made"), capsys.readouterr().out


def test_a_finished_entry_is_whole(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    results = results_of(params)
    assert {part_of(results, part).state for part in PARTS} == {State.PRESENT}
    assert counting(results) == set(PARTS)
    assert (results.complete, results.reasons) == (True, ())
    missing, skipped, told = seen(params, capsys)
    assert (missing, skipped) == ("", None)
    assert "Not complete" not in told and "out of date" not in told
    assert "nats: 400" in told and "trained in 1.0 s in float32" in told


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part(params: Params, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, file = FILES[part]
    path = file(run_dir_of(params))
    path.unlink()
    results = results_of(params)
    found = part_of(results, part)
    relative = path.relative_to(params.root).as_posix()
    assert (found.state, found.content, found.problem) == (State.MISSING, None, relative)
    assert counting(results) == set(PARTS) - BEHIND[part]
    reason = f"{relative} is not there; run `genbench run --entries made`"
    assert results.reasons == (reason,)
    missing, skipped, told = seen(params, capsys)
    assert missing == reason
    assert skipped == (None if part == "pictures" else reason)  # they may not have been drawn yet
    assert f"Not complete\n  {reason}\n" in told


@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_part(params: Params, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    stage, file = FILES[part]
    path = file(run_dir_of(params))
    path.write_bytes(path.read_bytes()[:-3])
    results = results_of(params)
    found = part_of(results, part)
    assert (found.state, found.content) == (State.DAMAGED, None)
    assert path.relative_to(params.root).as_posix() in found.problem
    assert counting(results) == set(PARTS) - BEHIND[part]
    reason = f"{stage}: {found.problem}"
    assert results.reasons == (reason,)
    missing, skipped, told = seen(params, capsys)
    assert (missing, skipped) == (reason, reason)
    assert f"Not complete\n  {reason}\n" in told


OUTDATED: dict[str, tuple[str, dict, dict]] = {
    "training": ("seed was 0 and is now 3", {"seed": 3}, {}),
    "sampling": ("sample was {} and is now {'steps': 9}", {"sample": {"steps": 9}}, {}),
    "likelihood": ("score.draws was None and is now 9", {"score": {"draws": 9}}, {}),
    "quality": ("test images was 100 and is now 50", {}, {"feature_reference_images": 50}),
}


@pytest.mark.parametrize("part", OUTDATED)
def test_an_outdated_part_keeps_its_content(params: Params, part: str) -> None:
    difference, entry, protocol = OUTDATED[part]
    made = replace(params.entry("made"), **entry)
    changed = replace(
        params,
        entries={**params.entries, "made": made},
        protocol=replace(params.protocol, **protocol),
    )
    results = results_of(changed)
    found = part_of(results, part)
    assert (found.state, found.problem) == (State.OUTDATED, difference)
    assert found.content is not None
    assert counting(results) == set(PARTS) - BEHIND[part]
    stage = FILES[part][0]
    reason = f"{stage} is out of date: {difference}; run `genbench run --entries made`"
    assert results.reasons == (reason,)
    assert tracked_runs(changed)[1]["made"] == reason


def test_scores_out_of_date_are_told_as_that(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    path = params.root / "params.yaml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    raw["entries"]["made"]["score"] = {"draws": 9}
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    info.print_info("quick", "made")
    told = capsys.readouterr().out
    assert "nats: 400 ± 0.5 (100 images, exact, lower is better), out of date\n" in told
    assert "fid_mnist: 12.5 (120 images, lower is better)\n" in told
    assert "score_likelihood is out of date: score.draws was None and is now 9" in told


@pytest.mark.parametrize(
    ("part", "behind", "name"),
    [("likelihood", "weights", "weights"), ("quality", "samples", "samples")],
)
def test_scores_of_other_files_than_those_there(
    params: Params, part: str, behind: str, name: str
) -> None:
    run_dir = run_dir_of(params)
    path, source = getattr(run_dir, part), getattr(run_dir, behind)
    made_from = {name: sha256(source)}
    if part == "likelihood":
        made_from["options"] = {}
    write_record(path, replace(read_record(path), made_from=made_from))
    assert part_of(results_of(params), part).state is State.PRESENT
    write_record(path, replace(read_record(path), made_from={**made_from, name: "0"}))
    found = part_of(results_of(params), part)
    assert (found.state, found.problem) == (State.OUTDATED, f"the {name} are other ones now")
    source.unlink()
    assert part_of(results_of(params), part).problem == f"the {name} are gone"


def test_nothing_yet_is_said_in_a_line(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted(run_dir_of(params).path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert not results_of(params).begun
    info.print_info("quick", "made")
    told = capsys.readouterr().out
    assert "none yet: genbench run --profile quick --entries made" in told
    assert "Not complete" not in told


def test_a_failure_is_the_reason_and_reaches_info(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = Layout.of(params)
    run_dir_of(params).quality.unlink()
    write_json(layout.status("mnist", "prepare"), {"error": "no network", "type": "OSError"})
    reason = "prepare of mnist failed: no network (log: .status/quick/mnist-prepare.json)"
    assert results_of(params).reasons == (reason,)
    write_json(layout.status("made", "score_samples"), {"error": "no good", "type": "UserError"})
    reason = "score_samples failed: no good (log: .status/quick/made-score_samples.json)"
    missing, skipped, told = seen(params, capsys)
    assert missing == skipped == reason
    assert reason in told


def test_a_model_that_cannot_be_used_lets_nothing_count(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> type:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(reading, "model_class", broken)
    results = results_of(params)
    assert counting(results) == set()
    assert results.likelihood.content is not None
    assert results.reasons == ("model 'made' cannot be used: no such thing",)


def test_all_parts_have_a_stage_of_their_own(params: Params) -> None:
    assert list(results_of(params).parts) == [FILES[part][0] for part in PARTS]
    board = leaderboard(params, read_entries(params))
    assert read_json(run_dir_of(params).cost)["parameters"] in {
        row["cost"]["parameters"] for row in board["rows"]
    }
