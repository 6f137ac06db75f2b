"""Whether the files of an entry are results of what params.yaml says now: what they tell of their
making, compared with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genbench.base import Conditioning, GenerativeModel
from genbench.config.layout import Layout
from genbench.config.params import Entry, Params
from genbench.config.profile import asks_for_memorisation
from genbench.config.stages import STAGES
from genbench.data.datasets import sizes_of
from genbench.errors import UserError
from genbench.files import sha256
from genbench.results.reader import Probe, Sampling, Training
from genbench.scoring.records import Record

__all__ = [
    "is_conditional",
    "outdated_likelihood",
    "outdated_probe",
    "outdated_quality",
    "outdated_sampling",
    "outdated_training",
]


def is_conditional(model: type[GenerativeModel], entry: Entry) -> bool:
    """Whether an entry's model takes labels."""
    return model.conditioning is Conditioning.REQUIRED or bool(entry.arch.get("conditional", False))


def outdated_training(entry: Entry, training: Training) -> str | None:
    """In what the weights differ from the entry, or None."""
    was = {**training.metadata, "train": training.provenance.get("train")}
    now = _as_json({key: getattr(entry, key) for key in STAGES["train"].entry_keys})
    return _difference({key: (was.get(key), value) for key, value in now.items()})


def outdated_sampling(params: Params, entry: Entry, sampling: Sampling) -> str | None:
    """In what samples differ from the protocol and the entry's ``sample``, or from what its
    weights would give; or None.
    """
    pairs = {
        "protocol.samples": (len(sampling.images), params.protocol.samples),
        "sample": (sampling.info.get("options"), _as_json(dict(entry.sample))),
    }
    weights = Layout.of(params).run_dir(entry.name).weights
    return _difference(pairs) or _other_file(sampling.info, "weights", weights)


def outdated_likelihood(params: Params, entry: Entry, record: Record) -> str | None:
    """In what the options and images of a likelihood record differ from the entry's ``score``
    and the protocol, or None.

    Raises:
        UserError: the record's options are no mapping.
    """
    was, now = _score_options(entry, record)
    pairs = {f"score.{name}": (was.get(name), now.get(name)) for name in sorted({*was, *now})}
    if (nats := record.metrics.get("nats")) is not None:
        # Which of these numbers holds only the built model can say.
        test = sizes_of(entry.dataset)["test"]
        allowed = [min(count.images, test) for count in params.protocol.likelihood_images]
        expected = nats.n if nats.n in allowed else max(allowed)
        pairs = {"test images": (nats.n, expected), **pairs}
    weights = Layout.of(params).run_dir(entry.name).weights
    return _difference(pairs) or _other_file(record.made_from, "weights", weights)


def _score_options(entry: Entry, record: Record) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The options that a likelihood was scored with, and the entry's; of a record of an earlier
    version those that its details tell.
    """
    now = _as_json(dict(entry.score))
    if "options" not in record.made_from:
        nats = record.metrics.get("nats")
        told = {} if nats is None else {"draws": None, **nats.detail}
        now = {name: value for name, value in now.items() if name in told}
        return {name: value for name, value in told.items() if name in ("draws", *now)}, now
    was = record.made_from["options"]
    if not isinstance(was, Mapping):
        raise UserError(
            f"the likelihood record of {record.entry!r} says that it was made with options "
            f"{was!r}; delete it and score again"
        )
    return was, now


def outdated_quality(params: Params, entry: Entry, record: Record) -> str | None:
    """In what the metrics and the numbers of images behind sample scores differ from the profile,
    or None.
    """
    metrics = list(params.metrics)
    scored = {"metrics": (record.made_from.get("metrics", metrics), metrics)}
    if (difference := _difference(scored)) is not None:
        return difference
    test = sizes_of(entry.dataset)["test"]
    reference = min(params.protocol.feature_reference_images, test)
    for metric in record.metrics.values():
        if "reference_n" not in metric.detail:
            continue
        numbers = {
            "protocol.samples": (metric.n, params.protocol.samples),
            "test images": (metric.detail["reference_n"], reference),
        }
        if (difference := _difference(numbers)) is not None:
            return difference
    samples = Layout.of(params).run_dir(entry.name).samples
    return _other_file(record.made_from, "samples", samples)


def outdated_probe(params: Params, entry: Entry, probe: Probe, *, control: bool) -> str | None:
    """That the profile asks for memorisation and a probe has not looked for it, or in what it
    differs from what the entry's present weights and samples would give; or None.
    """
    made_from, run_dir = probe.record.made_from, Layout.of(params).run_dir(entry.name)
    if asks_for_memorisation(params, control=control) and not made_from.get("memorisation", False):
        return "memorisation was not looked for, and protocol.memorisation asks for it now"
    return _other_file(made_from, "weights", run_dir.weights) or _other_file(
        made_from, "samples", run_dir.samples
    )


def _as_json(value: Any) -> Any:
    """A value as it comes back from a file: a tuple is a list there."""
    return json.loads(json.dumps(value))


def _other_file(made_from: Mapping[str, Any], name: str, path: Path) -> str | None:
    """That a result says to be made from another file than the one that is there, or None."""
    if name not in made_from:
        return None
    if not path.is_file():
        return f"the {name} are gone"
    return f"the {name} are other ones now" if made_from[name] != sha256(path) else None


def _difference(pairs: Mapping[str, tuple[Any, Any]]) -> str | None:
    found = [
        f"{name} was {was!r} and is now {now!r}" for name, (was, now) in pairs.items() if was != now
    ]
    return ", ".join(found) or None
