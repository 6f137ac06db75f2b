"""The parameters that a stage depends on: what DVC compares to know whether it must run again."""

from __future__ import annotations

from typing import Any

from genbench.config.params import Entry, Params
from genbench.config.profile import plain_protocol
from genbench.config.stages import STAGES

__all__ = ["THREADS", "entry_params", "shared_params"]

THREADS = "compute.threads"
"""What a stage that computes on the CPU depends on besides."""


def entry_params(params: Params, stage: str, entry: Entry) -> dict[str, Any]:
    """The parameters that a stage of an entry depends on, inherited ones too, named as in
    params.yaml but for the ``entries.<entry>.`` in front.

    Arguments:
        params: the profile.
        stage: one of :data:`genbench.config.stages.ENTRY_STAGES`.
        entry: the entry.
    """
    own = {key: getattr(entry, key) for key in STAGES[stage].entry_keys}
    whole = {key: list(getattr(params, key)) for key in STAGES[stage].profile_keys}
    return {**own, **shared_params(params, stage), **whole}


def shared_params(params: Params, stage: str) -> dict[str, Any]:
    """The keys of ``protocol`` that a stage depends on, and where it computes on the CPU the number
    of threads; named as in params.yaml, and their values as JSON gives them back.
    """
    protocol = plain_protocol(params)
    own = {f"protocol.{key}": protocol[key] for key in STAGES[stage].protocol_keys}
    if STAGES[stage].computes and params.compute.device == "cpu":
        # Sums are split among the threads, so the last digits depend on their number.
        own[THREADS] = params.compute.threads
    return own
