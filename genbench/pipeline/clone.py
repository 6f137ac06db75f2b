"""An entry's stages in a clone of the project, on a machine that shares no folder with the run:
inputs come over DVC's remote, and so do results go.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Params
from genbench.disk import told
from genbench.errors import UserError
from genbench.files import read_json
from genbench.hardware.isa import set_isa
from genbench.pipeline.chain import Chain, forget, run_stages_of, shared_by
from genbench.pipeline.exchange import Exchange, Section
from genbench.pipeline.identity import Identity
from genbench.pipeline.receipts import read_receipt
from genbench.pipeline.record import Books
from genbench.pipeline.stage_runner import call_stage

__all__ = ["Outcome", "run_in_clone"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of a chain in a clone.

    Attributes:
        made: by stage, what dvc.lock would hold of it; its results are on the remote.
        receipts: by stage, its :class:`genbench.pipeline.receipts.Receipt`.
        failed: by stage, what its status file says.
    """

    made: Mapping[str, Section] = field(default_factory=dict)
    receipts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def run_in_clone(
    place: str,
    profile: str,
    chain: Chain,
    *,
    identity: Identity,
    inputs: Mapping[str, Section],
    at_once: int | None = 1,
    fresh: bool = False,
) -> Outcome:
    """Run the stages of a chain in a clone of this machine, in this process.

    Arguments:
        place: the clone; ``~`` and variables of this machine's environment are filled in.
        profile: name of the profile.
        chain: the entry and its stages.
        identity: the sources, parameters and packages that the clone must have.
        inputs: what dvc.lock of the run holds of stages outside the chain, by name.
        at_once: how many entries the run does at once on a machine; None if that is not known.
        fresh: take neither unfinished work nor what others have made.
    """
    root = Path(os.path.expanduser(os.path.expandvars(place)))
    try:
        if not (root / "dvc.yaml").is_file():
            raise UserError(
                f"{root} on {platform.node()} is no clone of the project; make one there, or name "
                "another place by --clones"
            )
        os.chdir(root)
        params = load_params(profile, root=root)
        set_isa(params.compute.isa, params.compute.device)  # before torch is imported
        with shared_by(at_once):
            return _run(params, chain, identity, inputs, fresh)
    except (UserError, OSError) as error:
        return Outcome(failed={chain.stages[0]: {"error": told(error)}})


def _run(
    params: Params,
    chain: Chain,
    identity: Identity,
    inputs: Mapping[str, Section],
    fresh: bool,
) -> Outcome:
    layout, entry = Layout.of(params), chain.entry
    identity.check_versions()
    identity.check_sources(params, entry)
    call_stage("fingerprints", params)
    made: dict[str, Section] = {}
    books = Books(params)
    try:
        exchange = Exchange(books)
        exchange.fetch(inputs)
        if fresh:
            forget(params, chain)

        def find(stage: str) -> bool:
            return not fresh and exchange.find(f"{stage}@{entry}")

        def send(stage: str) -> None:
            name = f"{stage}@{entry}"
            made[stage] = exchange.send([name], compare=True)[name]

        failed = run_stages_of(params, chain, identity, find=find, made=send)
    finally:
        books.close()
    found = {stage: read_receipt(params, stage, entry) for stage in made}
    return Outcome(
        made,
        {stage: asdict(receipt) for stage, receipt in found.items() if receipt is not None},
        {stage: _status(layout.status(entry, stage)) for stage in sorted(failed)},
    )


def _status(path: Path) -> dict[str, Any]:
    """What a status file says; nothing where there is none, as of a stage that was left out."""
    return dict(read_json(path)) if path.is_file() else {}
