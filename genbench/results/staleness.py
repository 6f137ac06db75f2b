"""Whether the files of an entry are results of what params.yaml says now: what they tell of their
making, compared with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genbench.base import Conditioning, GenerativeModel
from genbench.config.params import Entry, Params
from genbench.data.datasets import sizes_of
from genbench.errors import UserError
from genbench.files import sha256
from genbench.scoring.records import Record

__all__ = [
    "is_conditional",
    "outdated_likelihood",
    "outdated_quality",
    "outdated_sampling",
    "outdated_training",
]


def is_conditional(model: type[GenerativeModel], entry: Entry) -> bool:
    """Whether an entry's model takes labels."""
    return model.conditioning is Conditioning.REQUIRED or bool(entry.arch.get("conditional", False))


def outdated_training(
    entry: Entry, about: Mapping[str, Any], provenance: Mapping[str, Any]
) -> str | None:
    """In what the weights differ from the entry, or None.

    Arguments:
        entry: the entry.
        about: what the weights file says of its model.
        provenance: the content of provenance.json.
    """
    was = {**about, "train": provenance.get("train")}
    # Through JSON, as the weights' own: a tuple there is a list here.
    block = json.loads(
        json.dumps(
            {name: getattr(entry, name) for name in ("model", "dataset", "seed", "arch", "train")}
        )
    )
    return _difference({name: (was.get(name), value) for name, value in block.items()})


def outdated_sampling(params: Params, entry: Entry, about: Mapping[str, Any], n: int) -> str | None:
    """In what ``n`` samples, of which sampling.json says ``about``, differ from the protocol and
    the entry's ``sample`` block, or None.
    """
    options = json.loads(json.dumps(dict(entry.sample)))
    difference = _difference(
        {
            "protocol.samples": (n, params.protocol.samples),
            "sample": (about.get("options"), options),
        }
    )
    return difference or _other_file(
        about, "weights", params.run(entry.name) / "weights.safetensors"
    )


def outdated_likelihood(params: Params, entry: Entry, record: Record) -> str | None:
    """In what the options and images of a likelihood record differ from the entry's ``score`` block
    and the protocol, or None.

    Raises:
        UserError: the record's options are no mapping.
    """
    was, now = _score_options(entry, record)
    pairs = {f"score.{name}": (was.get(name), now.get(name)) for name in sorted({*was, *now})}
    if (nats := record.metrics.get("nats")) is not None:
        # Which of these numbers holds only the built model can say.
        limits = {
            params.protocol.images_for(passes)
            for passes in (1, params.protocol.many_passes, params.protocol.very_many_passes)
        }
        test = sizes_of(entry.dataset)["test"]
        allowed = [min(limit, test) for limit in limits]
        pairs = {"test images": (nats.n, nats.n if nats.n in allowed else max(allowed)), **pairs}
    return _difference(pairs) or _other_file(
        record.made_from, "weights", params.run(entry.name) / "weights.safetensors"
    )


def _score_options(entry: Entry, record: Record) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The options that a likelihood was scored with, and the entry's; of a record of an earlier
    version those that its details tell.
    """
    now = json.loads(json.dumps(dict(entry.score)))
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


def outdated_quality(params: Params, record: Record) -> str | None:
    """In what the metrics and the numbers of images behind sample scores differ from the profile,
    or None.
    """
    if "metrics" in record.made_from and list(params.metrics) != record.made_from["metrics"]:
        return _difference({"metrics": (record.made_from["metrics"], list(params.metrics))})
    compared = [metric for metric in record.metrics.values() if "reference_n" in metric.detail]
    test = sizes_of(params.entry(record.entry).dataset)["test"]
    reference = min(params.protocol.feature_reference_images, test)
    for metric in compared:
        pairs = {
            "protocol.samples": (metric.n, params.protocol.samples),
            "test images": (metric.detail["reference_n"], reference),
        }
        if (difference := _difference(pairs)) is not None:
            return difference
    return _other_file(record.made_from, "samples", params.run(record.entry) / "samples.npz")


def _other_file(made_from: Mapping[str, Any], name: str, path: Path) -> str | None:
    """That a result says to be made from another file than the one that is there, or None."""
    return (
        f"the {name} are other ones now"
        if name in made_from and made_from[name] != sha256(path)
        else None
    )


def _difference(pairs: Mapping[str, tuple[Any, Any]]) -> str | None:
    found = [
        f"{name} was {was!r} and is now {now!r}" for name, (was, now) in pairs.items() if was != now
    ]
    return ", ".join(found) or None
