"""What a run says before it begins: which stages, how long, and from what that is known."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import replace

import pytest
import yaml

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import ENTRY_STAGES
from genbench.files import write_json
from genbench.pipeline import estimate as estimating
from genbench.pipeline import pending
from genbench.pipeline.costs import read_costs, record_cost
from genbench.pipeline.estimate import (
    REFERENCE,
    duration,
    estimate,
    forecast,
    how_long,
    in_order,
    makespan,
)
from genbench.pipeline.pending import stages_to_run, whole
from genbench.pipeline.stage_runner import call_stage

SPEEDS = {"float32": {"convolution": 100.0, "matrix_product": 100.0}}
FAST = SPEEDS | {"bfloat16": {"convolution": 400.0, "matrix_product": 400.0}}


@pytest.fixture
def few(params: Params) -> Params:
    """Two entries, of a data set each."""
    few = replace(params, entries={name: params.entries[name] for name in ("made", "binary-made")})
    call_stage("fingerprints", few)
    return few


def finish(params: Params) -> None:
    """What DVC leaves after all stages: outputs, and their inputs, with those that one stage has
    from another, in dvc.lock.
    """
    call_stage("fingerprints", params)
    stages = {}
    for stage, key in whole(params):
        own = Layout.of(params).fingerprint(
            key if stage not in ("prepare", "features") else "_stages", stage
        )
        deps = [
            {
                "path": own.relative_to(params.root).as_posix(),
                "hash": "md5",
                "md5": hashlib.md5(own.read_bytes()).hexdigest(),
            }
        ]
        deps += [
            {"path": f"{other}.out", "hash": "md5", "md5": "0"}
            for other in pending._before(params, stage, key)
        ]
        out = params.root / f"{(stage, key)}.out"
        out.touch()
        stages[f"{stage}@{key}"] = {
            "cmd": "x",
            "deps": deps,
            "outs": [{"path": out.name, "hash": "md5", "md5": "0"}],
        }
    (params.root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def edit_lock(params: Params, stage: str, md5: str) -> None:
    """As after a run that was stopped when this stage had new outputs, and no other had yet read
    them.
    """
    lock = yaml.safe_load((params.root / "dvc.lock").read_text())
    lock["stages"][stage]["outs"][0]["md5"] = md5
    (params.root / "dvc.lock").write_text(yaml.safe_dump(lock))


def test_before_the_first_run_all_is_to_do(few: Params) -> None:
    stages = stages_to_run(few)
    assert stages == whole(few)
    assert len(stages) == 2 * 2 + 2 * 6
    assert set(stages_to_run(few, ["made"])) == {
        ("prepare", "mnist"),
        ("features", "mnist"),
        *((s, "made") for s, k in stages if k == "made"),
    }


def test_nothing_is_to_do_where_the_fingerprints_are_those_of_the_lock(few: Params) -> None:
    finish(few)
    assert stages_to_run(few) == []
    found = forecast(few)
    assert (found.stages, found.text) == ((), "quick: everything is up to date")


@pytest.mark.parametrize(
    ("stage", "key", "follow"),
    [
        ("train", "made", set(ENTRY_STAGES)),
        ("sample", "made", {"sample", "score_samples", "probe"}),
        ("score_likelihood", "made", {"score_likelihood", "probe"}),
    ],
)
def test_a_changed_fingerprint_and_a_lost_output_run_what_follows(
    few: Params, stage: str, key: str, follow: set[str]
) -> None:
    finish(few)
    entry = few.entries[key]
    changes = {
        "train": {"train": {**entry.train, "steps": 4}},
        "sample": {"sample": {"x": 1}},
        "score_likelihood": {"score": {"x": 1}},
    }
    changed = replace(few, entries={**few.entries, key: replace(entry, **changes[stage])})
    # Whose pictures are drawn by the same sampler.
    following = follow | ({"pictures"} if stage == "sample" else set())
    assert set(stages_to_run(changed)) == {(name, key) for name in following}
    (few.root / f"{(stage, key)}.out").unlink()
    assert set(stages_to_run(few)) == {(name, key) for name in follow}


def test_outputs_that_nothing_has_read_yet_run_what_reads_them(few: Params) -> None:
    """A run that was stopped after a training: the stages behind have their own fingerprints still,
    and the former outputs.
    """
    finish(few)
    edit_lock(few, "train@made", "1")
    assert set(stages_to_run(few)) == {
        (stage, "made") for stage in ENTRY_STAGES if stage != "train"
    }


def test_changed_preparation_runs_all_of_its_data_set(few: Params) -> None:
    finish(few)
    (few.root / f"{('prepare', 'binary_mnist')}.out").unlink()
    found = set(stages_to_run(few))
    assert {key for _, key in found} == {"binary_mnist", "binary-made"}
    assert len(found) == 2 + len(ENTRY_STAGES)


@pytest.mark.parametrize(
    "text", ["", "stages: [", "stages: 3", "<<<<<<< HEAD", "stages: {train@made: {deps: 4}}"]
)
def test_a_damaged_lock_is_no_error_here(few: Params, text: str) -> None:
    (few.root / "dvc.lock").write_text(text)
    assert stages_to_run(few) == whole(few)


# ---------------------------------------------------------------------- how long


def reference(params: Params, **costs: dict[str, object]) -> None:
    write_json(params.root / REFERENCE, {"profiles": {params.profile: costs}})


def costs_of(
    scale: float, *stages: str, speeds: dict[str, float] | None = None
) -> dict[str, object]:
    both = dict.fromkeys(("float32", "bfloat16"), speeds or SPEEDS["float32"])
    return {"seconds": dict.fromkeys(stages, scale), "speeds": both, "processor": "AMD, AVX2"}


def test_costs_of_the_reference_are_scaled_by_the_speeds(few: Params) -> None:
    reference(few, float32=costs_of(10.0, "train@made", "sample@made"))
    half = {"float32": {"convolution": 50.0, "matrix_product": 50.0}}
    found = estimate(few, [("train", "made"), ("sample", "made"), ("pictures", "made")], half)
    assert found.seconds == pytest.approx(40.0)
    assert (found.known, found.unknown, found.measured) == (2, (("pictures", "made"),), 0)


def test_a_processor_with_bfloat16_reads_the_costs_in_it(few: Params) -> None:
    fast = costs_of(2.0, "train@made", speeds={"convolution": 800.0, "matrix_product": 800.0})
    reference(few, float32=costs_of(10.0, "train@made"), bfloat16=fast)
    assert estimate(few, [("train", "made")], FAST).seconds == pytest.approx(2.0 * 2)
    assert estimate(few, [("train", "made")], SPEEDS).seconds == pytest.approx(10.0)


def test_own_costs_stand_above_the_reference_if_kind_and_threads_are_the_same(few: Params) -> None:
    reference(few, float32=costs_of(10.0, "train@made"))
    for seconds in (3.0, 4.0):
        record_cost(few, "train", "made", seconds, begun=time.time())
    assert [line["seconds"] for line in read_costs(few)] == [3.0, 4.0]
    found = estimate(few, [("train", "made")], SPEEDS)
    assert (found.seconds, found.measured) == (4.0, 1)
    more = replace(few, compute=replace(few.compute, threads=few.compute.threads + 1))
    assert estimate(more, [("train", "made")], SPEEDS).seconds == pytest.approx(10.0)
    longer = replace(few.entries["made"], train={**few.entries["made"].train, "steps": 99})
    assert estimate(
        replace(few, entries={**few.entries, "made": longer}), [("train", "made")], SPEEDS
    ).seconds == pytest.approx(10.0)
    (line,) = read_costs(few)[-1:]
    Layout.of(few).stage_costs.write_text(
        json.dumps({**line, "kind": {**line["kind"], "isa": "another"}}) + "\n{half a li"
    )
    assert estimate(few, [("train", "made")], SPEEDS).seconds == pytest.approx(10.0)


def test_work_that_went_on_and_stages_that_take_no_time_leave_no_cost(few: Params) -> None:
    folder = Layout.of(few).unfinished / f"quick-made-train-{'0' * 16}"
    folder.mkdir(parents=True)
    for name in ("lock", "identity.json"):
        (folder / name).touch()
    begun = time.time()
    record_cost(few, "train", "made", 3.0, begun=begun)
    assert len(read_costs(few)) == 1
    os.utime(folder / "identity.json", (begun - 100, begun - 100))  # it was begun by an earlier run
    record_cost(few, "train", "made", 1.0, begun=begun)
    record_cost(few, "report", "all", 1.0, begun=begun)
    assert [line["seconds"] for line in read_costs(few)] == [3.0]


def test_the_sentence_says_what_how_long_and_why(
    few: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimating, "Speeds", lambda threads: SPEEDS)
    assert "how long that takes is not known" in forecast(few).text
    reference(few, float32=costs_of(600.0, *(f"{stage}@{key}" for stage, key in whole(few))))
    said = forecast(few).text
    assert said.startswith("quick: 16 stages of 2 entries to run, about 160 min with 1 thread on ")
    assert said.endswith("where precision: auto is float32, since bfloat16 is not native")
    assert "bfloat16" not in how_long(few, whole(few), FAST).split(" on ")[0]
    assert "not native" not in how_long(few, whole(few), FAST)
    reference(few, float32=costs_of(600.0, "train@made"))
    assert "about 10 min, and 15 stages of unknown cost" in forecast(few).text
    finish(few)
    assert forecast(few).stages == ()
    assert forecast(few, force=True).text.startswith("quick: 16 stages")


def test_entries_at_once_share_the_time(few: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimating, "Speeds", lambda threads: SPEEDS)
    reference(few, float32=costs_of(600.0, *(f"{stage}@{key}" for stage, key in whole(few))))
    alone, both = forecast(few), forecast(few, at_once=2)
    assert alone.seconds == both.seconds == dict.fromkeys(whole(few), 600.0)
    # Four stages of data sets come first, then the two entries' six stages side by side.
    assert "to run, about 100 min with 2 entries at once, each with 1 thread on" in both.text


def test_where_a_cluster_decides_all_computing_is_told(
    few: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimating, "Speeds", lambda threads: SPEEDS)
    reference(few, float32=costs_of(600.0, *(f"{stage}@{key}" for stage, key in whole(few))))
    text = forecast(few, at_once=0).text
    assert (
        "to run, about 160 min of computing in all with 1 thread on nodes like this one, " in text
    )
    assert text.endswith("; how many entries run at once is up to the cluster")


def test_what_begins_first() -> None:
    lasting = {"long": 9.0, "short": 1.0, "middle": 5.0, "control": 2.0, "unknown": None}
    seconds = {("train", key): value for key, value in lasting.items() if value is not None}
    seconds["features", "mnist"] = 100.0
    assert in_order(list(lasting), seconds, {"control"}) == [
        "control",
        "short",
        "long",
        "middle",
        "unknown",
    ]
    assert in_order([], {}) == []


@pytest.mark.parametrize(
    ("seconds", "at_once", "expected"),
    [([3, 1, 2], 1, 6), ([3, 1, 2], 2, 3), ([1, 1, 1, 5], 2, 6), ([], 2, 0), ([2], 9, 2)],
)
def test_the_time_of_work_side_by_side(seconds: list[float], at_once: int, expected: float) -> None:
    assert makespan(seconds, at_once) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "about 5 s"),
        (42, "about 40 s"),
        (95, "about 2 min"),
        (1500, "about 25 min"),
        (5800, "about 95 min"),
        (54000, "about 15 h"),
    ],
)
def test_durations_have_no_more_digits_than_an_estimate(seconds: float, text: str) -> None:
    assert duration(seconds) == text
