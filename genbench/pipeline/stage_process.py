"""Runs one stage on behalf of the command line, and keeps its status for the report
(:mod:`genbench.results.status`).
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path

from genbench.config.params import Params, load_params
from genbench.errors import UserError, near
from genbench.hardware.isa import set_isa
from genbench.pipeline.costs import record_cost
from genbench.pipeline.fingerprints import ENTRY_STAGES, check_unchanged
from genbench.results.status import recorded

__all__ = ["retrain_features", "run_stage", "run_stages", "score"]

_DATASET_STAGES = ("prepare", "features")


def run_stage(profile: str, stage: str, key: str | None = None, **options: object) -> None:
    """Run ``pipelines/<stage>.py`` of a profile.

    Outside DVC the code fingerprints are written first, as the stage ``code`` would have.

    Arguments:
        profile: name of the profile.
        stage: file name in pipelines/.
        key: the entry, or the data set for ``prepare`` and ``features``; None for ``code``,
            ``report`` and ``track``.
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
    params = load_params(profile)
    set_isa(params.compute.isa, params.compute.device)
    _check_key(params, stages[0], key)
    if "DVC_STAGE" not in os.environ and any(
        stage in (*_DATASET_STAGES, *ENTRY_STAGES) for stage in stages
    ):
        importlib.import_module("pipelines.code").run(params)
    for stage in stages:
        arguments = () if key is None else (key,)
        start, begun = time.monotonic(), time.time()
        with recorded(params.status(key or "all", stage), stage, key or "all"):
            if key is not None:
                check_unchanged(params, stage, key)
            if stage in ("train", "sample"):
                _warn_of_emulation(params, key or "")
            importlib.import_module(f"pipelines.{stage}").run(
                params, *arguments, **(options if stage == stages[-1] else {})
            )
        record_cost(params, stage, key or "all", time.monotonic() - start, begun=begun)
        if "DVC_STAGE" not in os.environ:
            print(
                f"{stage}{f' {key}' if key else ''}: done in {time.monotonic() - start:.1f} s",
                file=sys.stderr,
            )


def _warn_of_emulation(params: Params, entry: str) -> None:
    """Say so if an entry asks for bfloat16 on a device that only emulates it."""
    from genbench.hardware.precision import EMULATED
    from genbench.pipeline.validate import emulating  # imports torch, as the stage itself does

    if emulating(params, [entry]):
        print(f"warning: {entry} asks for bfloat16, and {EMULATED}", file=sys.stderr, flush=True)


def score(
    profile: str, entry: str, *, inception: bool = False, inception_weights: Path | None = None
) -> None:
    """Run both scoring stages of an entry, with the Inception scores on request."""
    options = {"inception": True, "inception_weights": inception_weights} if inception else {}
    run_stages(profile, ["score_likelihood", "score_samples"], entry, **options)


def retrain_features(profile: str) -> None:
    """Train the feature net anew and print how it compares with the pinned one."""
    params = load_params(profile)
    set_isa(params.compute.isa, params.compute.device)
    importlib.import_module("pipelines.features").retrain(params)


def _check_key(params: Params, stage: str, key: str | None) -> None:
    if stage in ENTRY_STAGES:
        params.entry(key or "")
    elif stage in _DATASET_STAGES and key not in params.datasets:
        raise UserError(
            f"{key!r} is no data set of profile "
            f"{params.profile!r}{near(key or '', params.datasets)}"
        )
