"""Runs one stage on behalf of the command line: a failure leaves a status file that the report shows, the next start removes it."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from genbench.code import ENTRY_STAGES, check_unchanged
from genbench.costs import record_cost
from genbench.disk import told
from genbench.errors import UserError, near
from genbench.files import write_json
from genbench.isa import set_isa
from genbench.params import Params, load_params

__all__ = ["retrain_features", "run_stage", "run_stages", "score"]

_DATASET_STAGES = ("prepare", "features")
_LOG_CHARACTERS = 8000


def run_stage(profile: str, stage: str, key: str | None = None, **options: object) -> None:
    """Run ``pipelines/<stage>.py`` of a profile.

    Outside DVC the code fingerprints are written first, as the stage ``code`` would have.

    Arguments:
        profile: name of the profile.
        stage: file name in pipelines/.
        key: the entry, or the data set for ``prepare`` and ``features``; None for ``code``, ``report`` and ``track``.
        options: further keywords of the stage function.

    Raises:
        UserError: unknown profile, entry or data set, with near matches.
        Exception: what the stage raised, after it was written to ``.status/``.
    """
    run_stages(profile, [stage], key, **options)


def run_stages(profile: str, stages: list[str], key: str | None = None, **options: object) -> None:
    """Like :func:`run_stage` for several stages of one key, in order; ``options`` go to the last one."""
    params = load_params(profile)
    set_isa(params.compute.isa, params.compute.device)
    _check_key(params, stages[0], key)
    if "DVC_STAGE" not in os.environ and any(stage in (*_DATASET_STAGES, *ENTRY_STAGES) for stage in stages):
        importlib.import_module("pipelines.code").run(params)
    for stage in stages:
        arguments = () if key is None else (key,)
        start, begun = time.monotonic(), time.time()
        with _status(params, stage, key or "all"):
            if key is not None:
                check_unchanged(params, stage, key)
            if stage in ("train", "sample"):
                _warn_of_emulation(params, key or "")
            importlib.import_module(f"pipelines.{stage}").run(params, *arguments, **(options if stage == stages[-1] else {}))
        record_cost(params, stage, key or "all", time.monotonic() - start, begun=begun)
        if "DVC_STAGE" not in os.environ:
            print(f"{stage}{f' {key}' if key else ''}: done in {time.monotonic() - start:.1f} s", file=sys.stderr)


def _warn_of_emulation(params: Params, entry: str) -> None:
    """Say so if an entry asks for bfloat16 on a device that only emulates it."""
    from genbench.check import emulating  # imports torch, as the stage itself does
    from genbench.precision import EMULATED

    if emulating(params, [entry]):
        print(f"warning: {entry} asks for bfloat16, and {EMULATED}", file=sys.stderr, flush=True)


def score(profile: str, entry: str, *, inception: bool = False, inception_weights: Path | None = None) -> None:
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
        raise UserError(f"{key!r} is no data set of profile {params.profile!r}{near(key or '', params.datasets)}")


@contextlib.contextmanager
def _status(params: Params, stage: str, key: str) -> Iterator[None]:
    path = params.status(key, stage)
    path.unlink(missing_ok=True)  # if this run is killed, the reason of an earlier failure is not its own
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise  # stopped from outside, not failed
    except BaseException as error:
        log = "".join(traceback.format_exception(error))[-_LOG_CHARACTERS:]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"stage": stage, "entry": key, "error": told(error), "type": type(error).__name__, "time": now, "log": log}
        with contextlib.suppress(OSError):  # a full disk: the stage's own error is the one to tell
            write_json(path, content)
        raise
