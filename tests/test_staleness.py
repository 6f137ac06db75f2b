"""What the report and the tracker take for a result of the present parameters: likelihoods with
their options and weights.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genbench.config.layout import Layout
from genbench.config.load import load_params
from genbench.config.params import Entry, Params
from genbench.data.datasets import spec_of
from genbench.errors import UserError
from genbench.files import sha256, write_bytes
from genbench.hardware.compute import Compute
from genbench.pipeline.stage_runner import call_stage
from genbench.registry import build, model_class
from genbench.results.staleness import is_conditional, outdated_likelihood
from genbench.scoring.records import Metric, Record, read_record
from genbench.weights import save
from tests.params_factory import protocol
from tests.small_project import ENTRIES, untrained
from tests.toys import weights_of

PROTOCOL = protocol(samples=100, sample_chunk=50, images={1: 100, 10: 20, 200: 10}, references=100)
ENTRY = Entry("e", "ddpm", "mnist", 0, {}, {}, {}, {"terms": 5})
NATS = {"nats": Metric(80.0, 1.0, 20, False, "lower_bound")}
WITHHELD = {"nats": "annealed importance sampling did not converge"}


@pytest.fixture
def params(tmp_path: Path) -> Params:
    found = Params(tmp_path, "quick", {"e": ENTRY}, ("mnist",), ("fid",), PROTOCOL, Compute())
    write_bytes(Layout.of(found).run_dir("e").weights, weights_of(ENTRY))
    return found


def record(params: Params, *, withheld: bool = False, **made_from: Any) -> Record:
    weights = sha256(Layout.of(params).run_dir("e").weights)
    made = {"weights": weights, "options": {"terms": 5}, **made_from}
    return Record("e", {} if withheld else NATS, WITHHELD if withheld else {}, made)


@pytest.mark.parametrize("withheld", [False, True])
@pytest.mark.parametrize(
    ("score", "said"),
    [
        ({"terms": 5}, None),
        ({"terms": 9}, "score.terms was 5 and is now 9"),
        ({}, "score.terms was 5 and is now None"),
        ({"terms": 5, "draws": 3}, "score.draws was None and is now 3"),
        ({"chains": 7, "terms": 5}, "score.chains was None and is now 7"),
    ],
)
def test_a_likelihood_is_of_all_its_options(
    params: Params, score: dict[str, Any], said: str | None, withheld: bool
) -> None:
    assert (
        outdated_likelihood(params, replace(ENTRY, score=score), record(params, withheld=withheld))
        == said
    )


@pytest.mark.parametrize("withheld", [False, True])
def test_a_likelihood_is_of_its_weights_also_where_it_is_withheld(
    params: Params, withheld: bool
) -> None:
    made = record(params, withheld=withheld)
    assert outdated_likelihood(params, ENTRY, made) is None
    write_bytes(Layout.of(params).run_dir("e").weights, weights_of(ENTRY, 1.0))
    assert outdated_likelihood(params, ENTRY, made) == "the weights are other ones now"


def test_of_a_record_that_does_not_tell_its_options_the_draws_count(params: Params) -> None:
    """As written by earlier versions."""
    nats = {"nats": replace(NATS["nats"], detail={"draws": 4})}
    assert (
        outdated_likelihood(params, replace(ENTRY, score={"draws": 4}), Record("e", nats)) is None
    )
    assert (
        outdated_likelihood(params, replace(ENTRY, score={"draws": 5}), Record("e", nats))
        == "score.draws was 4 and is now 5"
    )
    assert outdated_likelihood(params, ENTRY, Record("e", NATS)) is None
    assert (
        outdated_likelihood(params, replace(ENTRY, score={"draws": 5}), Record("e", {}, WITHHELD))
        is None
    )


@pytest.mark.parametrize("options", [5, None, ["terms"], "terms"])
def test_damaged_options_are_named(params: Params, options: object) -> None:
    with pytest.raises(
        UserError, match=r"the likelihood record of 'e' .* delete it and score again"
    ):
        outdated_likelihood(params, ENTRY, record(params, options=options))


def test_the_stage_tells_its_options(project: Path) -> None:
    found = load_params("quick", root=project)
    entry = found.entry("binary-rbm")
    save(
        build(entry, spec_of(entry.dataset)),
        Layout.of(found).run_dir(entry.name).weights,
        entry=entry,
    )
    call_stage("fingerprints", found)
    call_stage("score_likelihood", found, entry.name)
    made = read_record(Layout.of(found).run_dir(entry.name).likelihood)
    assert made.made_from["options"] == dict(entry.score) == {"chains": 50, "temperatures": 100}
    assert outdated_likelihood(found, entry, made) is None
    changed = replace(entry, score={**entry.score, "temperatures": 200})
    assert outdated_likelihood(found, changed, made) == "score.temperatures was 100 and is now 200"


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_conditional_if_its_model_is(name: str) -> None:
    """Without building it: by a choice (ddpm), or since the model knows no other way (cvae)."""
    entry = ENTRIES[name]
    assert (
        is_conditional(model_class(entry.model), entry)
        == untrained(entry).conditional
        == (name in ("cvae", "ddpm", "gan"))
    )
