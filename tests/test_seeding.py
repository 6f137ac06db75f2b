"""Seeds: fixed numbers, so that no edit moves them unseen, and another one for each purpose, entry,
seed, chunk and label.
"""

from __future__ import annotations

import pytest
import torch

from genbench.seeding import generator_for, seed_for

GOLDEN = {
    ("init", "made", 0): 3131766181288627038,
    ("train", "made", 0, "loss", 0, 0): 506364788768261792,
    ("train", "made", 0, "loss", 0, 1): 2401828820695242240,
    ("order", "made", 0, "loss", 0): 8028327414912881761,
    ("validate", "made", 0, "loss", 0): 6523318629626988252,
    ("sample", "made", 0, 0): 1429096460713257019,
    ("sample", "made", 0, 1): 8412148970372662420,
    ("sample", "made", 1, 0): 1146094867294056402,
    ("sample", "made-s1", 1, 0): 2860775301475145807,
    ("prepare_likelihood", "rbm", 0): 348611819677217338,
    ("score", "made", 0, "nats", 0): 6179661613650305001,
    ("score", "cvae", 0, "nats", 0, 9): 3634724012994425949,
    ("score", "cvae", 0, "elbo_nats", 0): 3122480177269184043,
    ("metrics", "mnist"): 4474899501695149629,
    ("visuals", "made", 0, "process"): 4149886986106734505,
}
"""From `printf 'init\\x1fmade\\x1f0' | sha256sum`: its first eight bytes, the last of them the
highest, without the lowest bit.
"""


@pytest.mark.parametrize("identity", GOLDEN, ids=lambda identity: "-".join(map(str, identity)))
def test_a_seed_is_the_number_that_it_always_was(identity: tuple[str | int, ...]) -> None:
    assert seed_for(*map(str, identity)) == seed_for(*identity) == GOLDEN[identity]  # type: ignore[arg-type]
    assert generator_for(*identity).initial_seed() == GOLDEN[identity]  # type: ignore[arg-type]


def test_the_first_numbers_of_a_generator_are_those_of_its_seed() -> None:
    ours = torch.rand(3, generator=generator_for("sample", "made", 0, 1))
    assert torch.equal(
        ours, torch.rand(3, generator=torch.Generator().manual_seed(GOLDEN["sample", "made", 0, 1]))
    )
    assert not torch.equal(ours, torch.rand(3, generator=generator_for("sample", "made", 0, 0)))


def test_where_one_part_ends_and_the_next_begins_counts() -> None:
    assert seed_for("sample", "made", 1, 11) != seed_for("sample", "made", 11, 1)
    assert seed_for("sample", "a", "b") != seed_for("sample", "ab")
