"""Runs stages for the command line: hands each the paths that it reads and writes, and keeps its
status for the report (:mod:`genbench.results.status`).

A stage is the function ``run`` of ``pipelines/<stage>.py``. A stage of an entry or of a data set
takes, after the profile and the key, a keyword for each file and folder that the stage table names
(:mod:`genbench.config.stages`); one that resumes takes its fingerprint and the place of its
unfinished work too. So it knows no folder and no file name itself.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from genbench.config.further_seeds import seeds_of
from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.config.stages import STAGES, Stage
from genbench.errors import UserError, near
from genbench.hardware.isa import set_isa
from genbench.pipeline.costs import record_cost
from genbench.pipeline.fingerprints import check_unchanged
from genbench.results.status import recorded

__all__ = [
    "call_stage",
    "retrain_features",
    "run_recorded",
    "run_stage",
    "run_stages",
    "score",
    "stage_places",
]


def run_stage(profile: str, stage: str, key: str | None = None, **options: object) -> None:
    """Run a stage of a profile.

    Outside DVC the fingerprints are written first, as their stage would have.

    Arguments:
        profile: name of the profile.
        stage: one of :data:`genbench.config.stages.STAGES`.
        key: the entry, or the data set; None for stages of the profile.
        options: further keywords of the stage function.

    Raises:
        UserError: unknown profile, entry or data set, with near matches.
        Exception: what the stage raised, after it was written to ``.status/``.
    """
    run_stages(profile, [stage], key, **options)


def run_stages(profile: str, stages: list[str], key: str | None = None, **options: object) -> None:
    """Like :func:`run_stage` for several stages of one key, in order; ``options`` go to the last
    one.
    """
    params, by_hand = load_params(profile), "DVC_STAGE" not in os.environ
    set_isa(params.compute.isa, params.compute.device)
    _check_key(params, STAGES[stages[0]], key)
    if (of := seeds_of(params)) and stages[0] in ("report", "track"):
        raise UserError(
            f"{profile!r} holds further seeds, which stand in the report of {of!r}: "
            f"genbench {stages[0]} --profile {of}"
        )
    if by_hand and key is not None:
        call_stage("fingerprints", params)
    for stage in stages:
        places = {} if key is None else stage_places(params, STAGES[stage], key)
        own = options if stage == stages[-1] else {}
        seconds = run_recorded(params, stage, key, places, **own)
        if by_hand:
            done = f"{stage}{f' {key}' if key else ''}: done in {seconds:.1f} s"
            print(done, file=sys.stderr)


def run_recorded(
    params: Params, stage: str, key: str | None, places: Mapping[str, Path], **options: object
) -> float:
    """Run a stage with these paths, keep its status while it runs and why it failed, and what it
    cost; returns the seconds.

    Raises:
        Exception: what the stage raised.
    """
    start, begun = time.monotonic(), time.time()
    with recorded(Layout.of(params).status(key or "all", stage), stage, key or "all"):
        if key is not None:
            check_unchanged(params, stage, key)
        if stage in ("train", "sample"):
            _warn_of_emulation(params, key or "")
        _call(stage, params, key, places, options)
    seconds = time.monotonic() - start
    record_cost(params, stage, key or "all", seconds, begun=begun)
    return seconds


def call_stage(stage: str, params: Params, key: str | None = None, **options: object) -> None:
    """Call the function of a stage with its paths, and do nothing else.

    Arguments:
        stage: one of :data:`genbench.config.stages.STAGES`.
        params: the profile.
        key: the entry, or the data set; None for stages of the profile.
        options: further keywords of the function.

    Raises:
        UserError: an unknown entry, with near matches.
        Exception: what the stage raises.
    """
    places = {} if key is None else stage_places(params, STAGES[stage], key)
    _call(stage, params, key, places, options)


def _call(
    stage: str,
    params: Params,
    key: str | None,
    places: Mapping[str, Path],
    options: Mapping[str, object],
) -> None:
    function = importlib.import_module(f"pipelines.{stage}").run
    of = () if key is None else (key,)
    function(params, *of, **places, **options)


def stage_places(params: Params, stage: Stage, key: str) -> dict[str, Path]:
    """The paths that a stage of an entry or of a data set is handed, by keyword."""
    layout, is_entry = Layout.of(params), stage.per == "entry"
    entry, dataset = (key, params.entry(key).dataset) if is_entry else (None, key)
    named = (*stage.reads, *stage.writes, *stage.borrows)
    places = {part: layout.place(part, entry=entry, dataset=dataset) for part in named}
    if stage.resumes:
        places["fingerprint"] = layout.fingerprint(key, stage.name)
        places["unfinished"] = layout.work(key, stage.name)
    return places


def _check_key(params: Params, stage: Stage, key: str | None) -> None:
    if stage.per == "entry":
        params.entry(key or "")
    elif stage.per == "dataset" and key not in params.datasets:
        raise UserError(
            f"{key!r} is no data set of profile "
            f"{params.profile!r}{near(key or '', params.datasets)}"
        )


def _warn_of_emulation(params: Params, entry: str) -> None:
    """Say so if an entry asks for bfloat16 on a device that only emulates it."""
    from genbench.hardware.precision import EMULATED
    from genbench.pipeline.validate import emulating  # imports torch, as the stage itself does

    if emulating(params, [entry]):
        print(f"warning: {entry} asks for bfloat16, and {EMULATED}", file=sys.stderr, flush=True)


def score(
    profile: str,
    entry: str,
    *,
    inception: bool = False,
    inception_weights: Path | None = None,
    memorisation: bool = False,
) -> None:
    """Run both scoring stages of an entry and its probe, with the Inception scores and memorisation
    on request.
    """
    options = {"inception": True, "inception_weights": inception_weights} if inception else {}
    run_stages(profile, ["score_likelihood", "score_samples"], entry, **options)
    run_stage(profile, "probe", entry, **({"memorisation": True} if memorisation else {}))


def retrain_features(profile: str) -> None:
    """Train the feature net anew and print how it compares with the pinned one."""
    params = load_params(profile)
    set_isa(params.compute.isa, params.compute.device)
    layout = Layout.of(params)
    importlib.import_module("pipelines.features").retrain(
        params, data=layout.data, folder=layout.features_folder
    )
