"""Stage ``probe``: whether samples are copies of training images, what the run's own training
images cost it, and what images cost that are no digits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from genbench.base import GenerativeModel, Likelihood
from genbench.config.params import Entry, Params
from genbench.config.profile import asks_for_memorisation
from genbench.data.splits import Dataset
from genbench.data.splits import load as load_data
from genbench.files import read_npz, sha256, write_npz
from genbench.hardware import device as devices
from genbench.scoring.copies import find_copies
from genbench.scoring.likelihood_probes import LikelihoodProbe, Probed, withheld_with
from genbench.scoring.records import Record, read_record, write_record
from genbench.weights import load

__all__ = ["run"]


def run(
    params: Params,
    name: str,
    *,
    data: Path,
    weights: Path,
    samples: Path,
    likelihood: Path,
    nats: Path,
    probe: Path,
    neighbours: Path,
    memorisation: bool = False,
) -> None:
    """Probe an entry: memorisation where ``protocol.memorisation`` asks for it, and odd inputs.

    Arguments:
        params: the profile.
        name: the entry.
        data: read: the arrays of its data set.
        weights: read: its weights.
        samples: read: its samples.
        likelihood: read: the record of its likelihood.
        nats: read: the likelihood of each test image.
        probe: written: the record of what was found.
        neighbours: written: some samples' nearest training images; empty where memorisation is not
            asked for.
        memorisation: look for it, whatever the profile says.
    """
    entry = params.entry(name)
    device = devices.setup(params.compute)
    model = load(weights, device=device)
    model.to(memory_format=torch.channels_last)  # the faster layout for convolutions
    dataset = load_data(data, entry.dataset)
    asked = memorisation or asks_for_memorisation(params, control=model.control)
    found = _of_likelihood(model, params, entry, dataset, likelihood, nats, asked)
    shown: dict[str, np.ndarray] = {}
    if asked:
        copies = find_copies(read_npz(samples)["images"], dataset)
        found.metrics.update(copies.metrics)
        found.withheld.update(copies.withheld)
        shown |= copies.shown
    made_from = {
        "weights": sha256(weights),
        "samples": sha256(samples),
        "memorisation": asked,
        "kind": devices.identity(params.compute, device)["kind"],
    }
    write_npz(neighbours, shown)
    write_record(probe, Record(name, found.metrics, found.withheld, made_from))


def _of_likelihood(
    model: GenerativeModel,
    params: Params,
    entry: Entry,
    data: Dataset,
    likelihood: Path,
    nats: Path,
    asked: bool,
) -> Probed:
    if model.likelihood is Likelihood.NONE:
        return Probed()
    scored = read_record(likelihood)
    if "nats" not in scored.metrics:
        return withheld_with(scored) if asked else Probed()
    probe = LikelihoodProbe(model, entry, params.protocol, data, scored, read_npz(nats))
    found = probe.odd_inputs()
    if asked:
        gap = probe.gap()
        found.metrics.update(gap.metrics)
        found.withheld.update(gap.withheld)
    return found
