"""How an entry's inputs get to where it runs, and its results back: by a folder that all machines
share, or over DVC's remote.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.config.stages import DATASET_STAGES, ENTRY_STAGES
from genbench.files import write_json
from genbench.launchers.base import Task
from genbench.pipeline.chain import Chain, forget, grows, run_chain
from genbench.pipeline.clone import Outcome, run_in_clone
from genbench.pipeline.exchange import Exchange
from genbench.pipeline.identity import Identity
from genbench.pipeline.receipts import Receipt, write_receipt
from genbench.pipeline.record import Books

__all__ = ["Clones", "SharedFolder", "Transport"]


class Transport(Protocol):
    """See the module."""

    def find(self, stage: str) -> bool:
        """Whether the results of a stage, such as ``train@made``, are to be had from elsewhere;
        then they are in their places.
        """

    def task(self, chain: Chain, *, at_once: int | None, fresh: bool) -> Task:
        """What is to be launched for a chain.

        Arguments:
            chain: the entry and its stages.
            at_once: how many entries run at once on a machine; None if that is not known.
            fresh: begin anew, whatever there is; nothing else may be at work on the entry then.
        """

    def bring(self, chain: Chain, result: Any) -> None:
        """Put what a chain has made into its places, and why its stages have failed.

        Arguments:
            chain: one that has ended.
            result: what its task has returned.
        """


class SharedFolder:
    """Everything is in its places already.

    Arguments:
        params: the profile.
    """

    def __init__(self, params: Params) -> None:
        self._params = params

    def find(self, stage: str) -> bool:
        """No."""
        return False

    def task(self, chain: Chain, *, at_once: int | None, fresh: bool) -> Task:
        """As above."""
        if fresh:
            forget(self._params, chain)
        identity = Identity.of(self._params, chain.entry, ENTRY_STAGES)
        options = {"identity": identity, "at_once": at_once}
        where = str(self._params.root), self._params.profile
        patterns = grows(Layout.of(self._params), chain)
        return Task(chain.entry, run_chain, (*where, chain), options, identity.hash, patterns)

    def bring(self, chain: Chain, result: Any) -> None:
        """Nothing to do."""


class Clones:
    """Each machine has a clone of the project, and all reach DVC's remote.

    Arguments:
        params: the profile.
        books: DVC's notes about it.
        place: of the clones.

    Raises:
        UserError: the project has no DVC remote.
    """

    def __init__(self, params: Params, books: Books, place: str) -> None:
        self._params, self._place = params, place
        self._exchange = Exchange(books)
        self._sent: dict[str, Any] = {}

    def find(self, stage: str) -> bool:
        """Whether the remote has them."""
        return self._exchange.find(stage)

    def task(self, chain: Chain, *, at_once: int | None, fresh: bool) -> Task:
        """As above; what the chain reads is on the remote then.

        Raises:
            UserError: the remote does not take it.
        """
        identity = Identity.of(self._params, chain.entry, ENTRY_STAGES, elsewhere=True)
        options = {
            "identity": identity,
            "inputs": self._inputs(chain),
            "at_once": at_once,
            "fresh": fresh,
        }
        where = self._place, self._params.profile
        layout = Layout(Path(self._place), self._params.profile)
        patterns = grows(layout, chain)
        return Task(chain.entry, run_in_clone, (*where, chain), options, identity.hash, patterns)

    def bring(self, chain: Chain, result: Any) -> None:
        """As above.

        Raises:
            UserError: the remote does not give it.
        """
        if not isinstance(result, Outcome):
            return
        layout, entry = Layout.of(self._params), chain.entry
        for stage, status in result.failed.items():
            if status:
                whose = {"stage": stage, "entry": entry}
                write_json(layout.status(entry, stage), {**status, **whose})
        self._exchange.fetch({f"{stage}@{entry}": made for stage, made in result.made.items()})
        for receipt in result.receipts.values():
            write_receipt(self._params, Receipt(**receipt))

    def _inputs(self, chain: Chain) -> dict[str, Any]:
        """What dvc.lock holds of the stages that a chain needs, and whose results are here."""
        dataset = self._params.entry(chain.entry).dataset
        here = [
            stage for stage in ENTRY_STAGES if stage not in chain.stages or stage in chain.unless
        ]
        names = [f"{stage}@{dataset}" for stage in DATASET_STAGES]
        names += [f"{stage}@{chain.entry}" for stage in here]
        self._send([name for name in names if name not in self._sent])
        return {name: self._sent[name] for name in names}

    def _send(self, names: Sequence[str]) -> None:
        if names:
            self._sent |= self._exchange.send(names)
