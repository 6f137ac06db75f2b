"""From log-likelihoods to the likelihood columns of the table: test loop, class sums, standard
errors, and the only place where nats become bits/dim.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genbench.base import Diagnosed, GenerativeModel, Likelihood
from genbench.config.params import Entry, Protocol
from genbench.data.subsets import strided
from genbench.errors import bind_options
from genbench.scoring.records import Metric, Record
from genbench.scoring.votes import votes
from genbench.seeding import generator_for

__all__ = [
    "CHUNK",
    "Plan",
    "bits_per_dim",
    "diagnose",
    "plan_for",
    "score_chunk",
    "score_options",
    "summarise",
]

CHUNK = 250
"""Test images that share a random generator. Fixed, so that no result depends on a batch size."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One pass over test images.

    Attributes:
        purpose: ``nats``, or ``elbo_nats`` for one draw of a bound that tightens with more.
        index: test images, evenly spaced (n,).
        options: keywords of ``log_likelihood``.
        all_classes: score each image under every label, not only its own.
    """

    purpose: str
    index: np.ndarray
    options: Mapping[str, Any]
    all_classes: bool

    @property
    def chunks(self) -> list[np.ndarray]:
        """The index in pieces of ``CHUNK``."""
        return [self.index[i : i + CHUNK] for i in range(0, len(self.index), CHUNK)]


def bits_per_dim(nats: float, dims: int) -> float:
    """Nats per image as bits per pixel."""
    return nats / (dims * math.log(2))


def score_options(model: GenerativeModel, entry: Entry) -> tuple[dict[str, Any], dict[str, Any]]:
    """An entry's options under ``score``, split into the keywords of ``prepare_likelihood`` and
    those of ``log_likelihood``.

    Raises:
        UserError: a key that neither takes, or a wrong type.
    """
    where = f"entries.{entry.name}.score"
    names = inspect.signature(model.prepare_likelihood).parameters
    preparing = {k: v for k, v in entry.score.items() if k in names}
    scoring = {k: v for k, v in entry.score.items() if k not in names}
    bind_options(model.prepare_likelihood, preparing, where=where, skip=("rng",))
    bind_options(model.log_likelihood, scoring, where=where, skip=("x", "y", "rng"))
    return preparing, scoring


def plan_for(model: GenerativeModel, entry: Entry, protocol: Protocol, total: int) -> list[Plan]:
    """The passes that an entry's likelihood needs, cheap ones over more test images
    (docs/protocol.md).
    """
    if model.likelihood is Likelihood.NONE:
        return []
    _, options = score_options(model, entry)
    draws = inspect.signature(model.log_likelihood).parameters.get("draws")
    all_classes = model.conditional and model.sums_classes
    passes = model.likelihood_passes(**options) * (model.spec.classes if all_classes else 1)
    index = strided(total, protocol.images_for(passes))
    plans = [Plan("nats", index, options, all_classes)]
    if draws is not None:
        index = strided(total, protocol.images_for(1))
        plans.append(Plan("elbo_nats", index, {**options, "draws": 1}, False))
    return plans


@torch.no_grad()
def score_chunk(
    model: GenerativeModel, plan: Plan, number: int, x: Tensor, y: Tensor | None, entry: Entry
) -> dict[str, np.ndarray]:
    """Log-likelihoods of one chunk: ``log_p`` float64 (B,) , or (B, classes) where the plan asks
    for all classes.

    Arguments:
        model: in eval mode.
        plan: the pass.
        number: of the chunk, from which with the entry its randomness follows.
        x: the whole test split.
        y: its labels, or None where there are none.
        entry: identity of the run.
    """
    chosen = torch.from_numpy(plan.chunks[number])
    images = x[chosen].to(model.device)
    labels = y[chosen].to(model.device) if y is not None and model.conditional else None
    classes = range(model.spec.classes) if plan.all_classes else [None]
    columns = []
    for label in classes:
        own = [] if label is None else [label]
        rng = generator_for(
            "score", entry.name, entry.seed, plan.purpose, number, *own, device=model.device
        )
        given = labels
        if label is not None:
            given = torch.full((len(images),), label, dtype=torch.int64, device=model.device)
        columns.append(model.log_likelihood(images, given, rng=rng, **plan.options).double().cpu())
    return {"log_p": torch.stack(columns, 1).numpy() if plan.all_classes else columns[0].numpy()}


@torch.no_grad()
def diagnose(
    model: GenerativeModel, x: Tensor, y: Tensor | None, entry: Entry, protocol: Protocol
) -> dict[str, Metric]:
    """What a model says of how it works on the test images ``x`` with labels ``y``; empty for most
    models.
    """
    if not isinstance(model, Diagnosed):
        return {}
    chosen = torch.from_numpy(strided(len(x), protocol.images_for(1)))
    labels = y[chosen].to(model.device) if y is not None and model.conditional else None
    rng = generator_for("diagnostics", entry.name, entry.seed, device=model.device)
    values = model.diagnostics(x[chosen].to(model.device), labels, rng=rng)
    return {
        name: Metric(value, None, len(chosen), higher_is_better=None)
        for name, value in values.items()
    }


def summarise(
    model: GenerativeModel,
    entry: Entry,
    results: Mapping[str, tuple[Plan, np.ndarray]],
    labels: np.ndarray | None,
    prepared: Mapping[str, float],
) -> tuple[Record, dict[str, np.ndarray]]:
    """The record of an entry, and its per-image values.

    Arguments:
        model: what was scored.
        entry: the entry.
        results: purpose -> (plan, log_p of all its images).
        labels: labels of the whole test split.
        prepared: what ``prepare_likelihood`` returned.

    Raises:
        FloatingPointError: a log-likelihood is not finite; names the first image.
    """
    arrays: dict[str, np.ndarray] = {}
    for purpose, (plan, log_p) in results.items():
        if not np.isfinite(log_p).all():
            bad = plan.index[np.argwhere(~np.isfinite(log_p))[0][0]]
            raise FloatingPointError(
                f"{entry.name}: the log-likelihood of test image {bad} is not finite in pass "
                f"{purpose!r}"
            )
        arrays |= _per_image(model, purpose, plan, log_p, labels)
    metrics = {}
    for name, values in arrays.items():
        if name.startswith("index"):
            continue
        plan, _ = results["elbo_nats" if name == "elbo_nats" else "nats"]
        metrics[name] = _metric(model, name, values, plan, prepared)
    if "nats" in metrics:
        metrics["bits_per_dim"] = _scaled(metrics["nats"], model.spec.dims)
    reason = _distrust(prepared)
    if reason is None:
        return Record(entry.name, metrics), arrays
    return Record(entry.name, {}, dict.fromkeys(metrics, reason)), arrays


def _per_image(
    model: GenerativeModel, purpose: str, plan: Plan, log_p: np.ndarray, labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Negative log-likelihoods of each image, with the class sums that a conditional model allows;
    p(y) is uniform.
    """
    index = {"index" if purpose == "nats" else f"index_{purpose}": plan.index}
    if not model.conditional:
        return {**index, purpose: -log_p}
    log_classes = math.log(model.spec.classes)
    if not plan.all_classes:  # log P(x) >= log P(x, y) for the true y
        own = {"conditional_nats": -log_p} if purpose == "nats" else {}
        return {**index, purpose: log_classes - log_p, **own}
    assert labels is not None
    y, by_class = labels[plan.index], torch.from_numpy(log_p)
    # By PyTorch: numpy has other kernels for processors with more instructions.
    whole = by_class.logsumexp(1).numpy()
    return {
        **index,
        purpose: log_classes - whole,
        "conditional_nats": -log_p[np.arange(len(y)), y],
        "bayes_accuracy": votes(by_class).numpy()[np.arange(len(y)), y],
    }


def _metric(
    model: GenerativeModel, name: str, values: np.ndarray, plan: Plan, prepared: Mapping[str, float]
) -> Metric:
    stderr = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    detail = {key: plan.options[key] for key in ("draws",) if key in plan.options}
    if name == "bayes_accuracy":
        return Metric(
            float(values.mean()), stderr, len(values), higher_is_better=True, detail=detail
        )
    kind = model.likelihood
    if name == "nats" and model.conditional and not plan.all_classes:
        kind = Likelihood.LOWER_BOUND
    if stderr is not None and "log_z_stderr" in prepared:
        stderr = math.hypot(stderr, prepared["log_z_stderr"])
    return Metric(
        float(values.mean()),
        stderr,
        len(values),
        higher_is_better=False,
        kind=kind.value,
        detail={**detail, **prepared},
    )


def _scaled(nats: Metric, dims: int) -> Metric:
    stderr = None if nats.stderr is None else bits_per_dim(nats.stderr, dims)
    return Metric(
        bits_per_dim(nats.value, dims),
        stderr,
        nats.n,
        higher_is_better=False,
        kind=nats.kind,
        detail=nats.detail,
    )


def _distrust(prepared: Mapping[str, float]) -> str | None:
    """Why an estimate of log Z is not to be published, or None."""
    ess, floor = prepared.get("ess"), prepared.get("ess_floor")
    if ess is None or floor is None or ess >= floor:
        return None
    return (
        f"annealed importance sampling did not converge: effective sample size {ess:.1f} is "
        f"below the floor of {floor:g}; use more chains or temperatures"
    )
