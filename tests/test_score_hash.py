"""The score hash: equal for equal scores and weights, up to the digits that machines differ in, and
for nothing else.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors.torch import save

from genbench.errors import UserError
from genbench.scoring.records import Metric, score_hash
from genbench.weights_file import hash_of, read_weights

DETAIL = {
    "draws": 16,
    "shares": [0.25, 0.75],
    "library": "1.0",
    "exact": True,
    "entries": ["a", "b"],
}
METRIC = Metric(90.123456789, 0.25, 100, False, "exact", DETAIL)
OTHERS: dict[str, Metric] = {
    "value": replace(METRIC, value=90.1234569),
    "sign": replace(METRIC, value=-METRIC.value),
    "stderr": replace(METRIC, stderr=0.250000001),
    "no stderr": replace(METRIC, stderr=None),
    "n": replace(METRIC, n=101),
    "kind": replace(METRIC, kind="lower_bound"),
    "direction": replace(METRIC, higher_is_better=True),
    "no direction": replace(METRIC, higher_is_better=None),
}
OTHER_DETAILS = {
    "draws": 17,
    "shares": [0.25, 0.750000001],
    "library": "1.1",
    "exact": False,
    "entries": ["b", "a"],
    "more": 1,
}
OTHERS |= {
    f"detail {key}": replace(METRIC, detail={**DETAIL, key: value})
    for key, value in OTHER_DETAILS.items()
}


def hashed(metric: Metric, *behind: str) -> str:
    return score_hash({"nats": metric}, *(behind or ("w",)))


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_each_field_counts(other: Metric) -> None:
    assert hashed(other) != hashed(METRIC)


@pytest.mark.parametrize("name", [name for name in OTHERS if not name.endswith("direction")])
def test_each_field_of_a_diagnostic_counts(name: str) -> None:
    """Also where neither higher nor lower is better."""
    assert hashed(replace(OTHERS[name], higher_is_better=None)) != hashed(
        replace(METRIC, higher_is_better=None)
    )


def test_names_and_weights_count() -> None:
    assert score_hash({"elbo_nats": METRIC}, "w") != hashed(METRIC)
    assert score_hash({"nats": METRIC, "elbo_nats": METRIC}, "w") != hashed(METRIC)
    assert (
        len(
            {hashed(METRIC, *behind) for behind in (("w",), ("v",), ("w", "v"), ("v", "w"))}
            | {score_hash({"nats": METRIC})}
        )
        == 5
    )


def test_nine_digits_count() -> None:
    near, far = 90.1234568 * (1 + 1e-12), 90.1234569
    assert (
        hashed(replace(METRIC, value=90.1234568))
        == hashed(METRIC)
        == hashed(replace(METRIC, value=near))
    )
    assert hashed(replace(METRIC, value=far)) != hashed(METRIC)
    shares: list[Any] = [0.25 * (1 - 1e-13), 0.75 * (1 + 1e-13)]
    assert hashed(
        replace(METRIC, stderr=0.25 * (1 + 1e-13), detail={**DETAIL, "shares": shares})
    ) == hashed(METRIC)
    assert hashed(replace(METRIC, value=0.0)) == hashed(replace(METRIC, value=-0.0))
    # Relative, not absolute.
    assert hashed(replace(METRIC, value=1e-13)) != hashed(replace(METRIC, value=1.1e-13))


def test_a_value_on_the_edge_of_rounding_may_fall_to_either_side() -> None:
    below, above = 1.0000000049999, 1.0000000050001
    assert hashed(replace(METRIC, value=below)) != hashed(replace(METRIC, value=above))


# ---------------------------------------------------------------------- weights

TENSORS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array([3])}


def test_the_hash_of_tensors_is_that_of_names_types_shapes_and_bits() -> None:
    changed = {
        "name": {"v": TENSORS["w"], "steps": TENSORS["steps"]},
        "type": {**TENSORS, "w": TENSORS["w"].view(np.int32)},
        "shape": {**TENSORS, "w": TENSORS["w"].reshape(3, 2)},
        "bit": {**TENSORS, "w": np.nextafter(TENSORS["w"], np.float32(9))},
        "sign of zero": {
            **TENSORS,
            "w": np.where(TENSORS["w"] == 0, np.float32(-0.0), TENSORS["w"]),
        },
        "less": {"w": TENSORS["w"]},
    }
    assert len({hash_of(tensors) for tensors in (TENSORS, *changed.values())}) == 1 + len(changed)
    assert hash_of(dict(reversed(TENSORS.items()))) == hash_of(TENSORS)
    assert hash_of({**TENSORS, "w": np.asfortranarray(TENSORS["w"])}) == hash_of(TENSORS)


def header(**about: Any) -> dict[str, str]:
    """Of a weights file without a checksum."""
    return {"genbench": json.dumps({"format": "genbench-1", **about})}


def test_tensors_are_read_with_their_metadata_and_hash_alike_in_any_file(tmp_path) -> None:
    for name, about in (("a", {"seed": 1}), ("b", {})):
        safetensors.numpy.save_file(TENSORS, tmp_path / name, header(**about))
    found, about, data = read_weights(tmp_path / "a")
    assert about == {"seed": 1}
    assert data == (tmp_path / "a").read_bytes()
    assert {name: (a.dtype, a.tolist()) for name, a in found.items()} == {
        name: (a.dtype, a.tolist()) for name, a in TENSORS.items()
    }
    other, none, _ = read_weights(tmp_path / "b")
    assert none == {}
    assert hash_of(found) == hash_of(other) == hash_of(TENSORS)


def test_types_that_numpy_lacks_are_read_by_their_bits(tmp_path) -> None:
    values = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    for name, dtype in (
        ("brain", torch.bfloat16),
        ("half", torch.float16),
        ("flags", torch.bool),
        ("small", torch.int8),
    ):
        (tmp_path / name).write_bytes(
            save(
                {
                    "w": values.to(dtype),
                    "none": torch.zeros(0, 3, dtype=dtype),
                    "one": values[0, 0].to(dtype),
                },
                header(),
            )
        )
    brain = read_weights(tmp_path / "brain").arrays
    assert brain["w"].tobytes() == values.bfloat16().view(torch.uint8).numpy().tobytes()
    assert (brain["w"].shape, brain["none"].shape, brain["one"].shape) == ((2, 2), (0, 3), ())
    assert read_weights(tmp_path / "half").arrays["w"].tolist() == values.tolist()
    assert read_weights(tmp_path / "flags").arrays["w"].tolist() == [[True, True], [True, True]]
    assert read_weights(tmp_path / "small").arrays["w"].tolist() == [[1, -2], [0, 3]]


@pytest.mark.parametrize("data", [b"", b"\x10\x00\x00", b"\xff" * 40, None])
def test_damaged_weights_are_named(tmp_path, data: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(save({"w": torch.zeros(5)})[:-1] if data is None else data)
    with pytest.raises(
        UserError,
        match=r"w\.safetensors is no safetensors file, or truncated \(.*train the entry again",
    ):
        read_weights(path)
