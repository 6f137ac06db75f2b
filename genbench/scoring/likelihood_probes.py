"""What a likelihood says of images that it is not scored on: those that the run has trained on, and
those that are no digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from genbench.base import GenerativeModel
from genbench.config.params import Entry, Protocol
from genbench.data.splits import Dataset
from genbench.data.subsets import strided
from genbench.models.pixel_marginals import PixelMarginals
from genbench.scoring.likelihood import (
    bits_per_dim,
    plan_for,
    score_chunk,
    score_options,
    summarise,
)
from genbench.scoring.memorisation import nats_gap
from genbench.scoring.metrics.base import TooFewSamples
from genbench.scoring.odd_inputs import odd_inputs
from genbench.scoring.records import Metric, Record
from genbench.seeding import generator_for, seed_for
from genbench.training.options import TrainOptions
from genbench.training.randomness import RunIdentity
from genbench.training.seen import seen_images

__all__ = ["GAP", "ODD", "LikelihoodProbe", "Probed", "withheld_with"]

GAP = 1000
"""Images of each split whose nats are compared, at most."""
ODD = 200
"""Odd inputs of each kind, at most, and at most a tenth of the images that the entry is scored on.
"""


@dataclass(frozen=True, slots=True)
class Probed:
    """Diagnostics by name, and the reasons for those that are not there."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)


def withheld_with(scored: Record) -> Probed:
    """What is known of an entry whose likelihood is withheld: the reason, of the gap."""
    reason = scored.withheld.get("nats", "the likelihood is not there")
    return Probed(withheld={"nats_gap": reason})


class LikelihoodProbe:
    """Scores further images of an entry as its test images were scored.

    Arguments:
        model: in eval mode; what ``prepare_likelihood`` gave it when it was scored is put back.
        entry: the entry.
        protocol: of the profile.
        data: all splits.
        scored: the record of its likelihood, which is not withheld.
        nats: ``index`` and ``nats`` of the test images that it was scored on.
    """

    def __init__(
        self,
        model: GenerativeModel,
        entry: Entry,
        protocol: Protocol,
        data: Dataset,
        scored: Record,
        nats: Mapping[str, np.ndarray],
    ) -> None:
        self.model, self.entry, self.data = model, entry, data
        self.index, self.nats = nats["index"], nats["nats"]
        self.kind = scored.metrics["nats"].kind
        self.plan = plan_for(model, entry, protocol, len(data.test_x))[0]
        self._restore(scored.metrics["nats"].detail)

    def _restore(self, detail: Mapping[str, Any]) -> None:
        """Put back what scoring has prepared, such as a normaliser: the record's details have it
        under the names of the buffers that hold it. Where they have none of it, prepare it again.
        """
        model, entry = self.model, self.entry
        if type(model).prepare_likelihood is GenerativeModel.prepare_likelihood:
            return
        buffers = dict(model.named_buffers())
        known = detail.keys() & buffers.keys()
        for name in known:
            buffers[name].fill_(detail[name])
        if not known:
            rng = generator_for("prepare_likelihood", entry.name, entry.seed, device=model.device)
            model.prepare_likelihood(rng=rng, **score_options(model, entry)[0])

    # ------------------------------------------------------------------ images it has trained on

    def gap(self) -> Probed:
        """``nats_gap``, by :func:`genbench.scoring.memorisation.nats_gap`; withheld for the control
        that it is compared with, whose gap would be 0 by definition.
        """
        model, entry, data = self.model, self.entry, self.data
        if isinstance(model, PixelMarginals):
            return Probed(withheld={"nats_gap": "it is the row that others are compared with"})
        where = f"entries.{entry.name}.train"
        options = TrainOptions.of(model, entry.train, model.device, where=where)
        run = RunIdentity(entry.name, entry.seed)
        seen = seen_images(model, options, run, len(data.train_x))
        count = min(GAP, len(seen), len(self.index))
        chosen = torch.from_numpy(seen[strided(len(seen), count)])
        scored = strided(len(self.index), count)
        x, y = data.train_x[chosen], None if data.train_y is None else data.train_y[chosen]
        control = PixelMarginals(data.spec)
        control.init_from_data(data.train_x, None, rng=Generator())
        tests = data.test_x[torch.from_numpy(self.index[scored])]
        of_tests, of_seen = (
            -control.log_likelihood(images, rng=Generator()).numpy() for images in (tests, x)
        )
        try:
            gap = nats_gap(
                self.nats[scored],
                self._nats("seen", x, y),
                control_test=of_tests,
                control_seen=of_seen,
                seen_share=len(seen) / len(data.train_x),
            )
        except (TooFewSamples, FloatingPointError) as error:
            return Probed(withheld={"nats_gap": str(error)})
        return Probed({"nats_gap": gap})

    # ------------------------------------------------------------------ images that are no digits

    def odd_inputs(self) -> Probed:
        """``bits_per_dim_digits`` of some of the test digits, and the same of what
        :func:`genbench.scoring.odd_inputs.odd_inputs` makes of them, e.g.
        ``bits_per_dim_mirrored``.
        """
        data = self.data
        scored = strided(len(self.index), min(ODD, math.ceil(len(self.index) / 10)))
        chosen = torch.from_numpy(self.index[scored])
        y = None if data.test_y is None else data.test_y[chosen]
        digits, seed = data.test_x[chosen, 0].numpy(), seed_for("odd inputs", self.entry.dataset)
        found = Probed({"bits_per_dim_digits": self._bits(self.nats[scored])})
        for kind, images in odd_inputs(digits, data.spec.levels, seed=seed).items():
            key = f"bits_per_dim_{kind}"
            try:
                nats = self._nats(kind, torch.from_numpy(images)[:, None], y)
                found.metrics[key] = self._bits(nats)
            except FloatingPointError as error:
                found.withheld[key] = str(error)
        return found

    def _bits(self, nats: np.ndarray) -> Metric:
        dims, n = self.data.spec.dims, len(nats)
        error = bits_per_dim(float(nats.std(ddof=1)) / math.sqrt(n), dims) if n > 1 else None
        value = bits_per_dim(float(nats.mean()), dims)
        return Metric(value, error, n, higher_is_better=None, kind=self.kind)

    # ------------------------------------------------------------------ both

    def _nats(self, purpose: str, x: Tensor, y: Tensor | None) -> np.ndarray:
        """Nats (n,) of images uint8 (n, 1, H, W), whose labels are ``y``.

        Raises:
            FloatingPointError: some are not finite; says how many.
        """
        plan = replace(self.plan, purpose=purpose, index=np.arange(len(x)))
        log_p = np.concatenate(
            [
                score_chunk(self.model, plan, number, x, y, self.entry)["log_p"]
                for number in range(len(plan.chunks))
            ]
        )
        broken = int((~np.isfinite(log_p.reshape(len(x), -1))).any(1).sum())
        if broken:
            raise FloatingPointError(
                f"the log-likelihood of {broken} of {len(x)} images is not finite"
            )
        labels = None if y is None else y.numpy()
        return summarise(self.model, self.entry, {"nats": (plan, log_p)}, labels, {})[1]["nats"]
