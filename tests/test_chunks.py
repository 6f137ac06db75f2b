"""Batches in parts."""

from __future__ import annotations

import torch

from genbench.families.chunks import chunks


def test_parts_are_views_that_together_are_the_batch() -> None:
    x, y = torch.arange(14).view(7, 2), torch.arange(7) % 3
    parts = list(chunks(x, y, 3))
    assert [len(part) for part, _ in parts] == [3, 3, 1]
    assert torch.equal(torch.cat([part for part, _ in parts]), x)
    assert [labels.tolist() for _, labels in parts if labels is not None] == [
        [0, 1, 2],
        [0, 1, 2],
        [0],
    ]
    parts[1][0].zero_()
    assert x[3:6].eq(0).all() and x[2].tolist() == [4, 5]


def test_a_batch_without_labels() -> None:
    assert [y for _, y in chunks(torch.zeros(5, 1), None, 2)] == [None, None, None]
    assert len(list(chunks(torch.zeros(5, 1), None, 5))) == 1
    assert list(chunks(torch.zeros(0, 1), None, 5)) == []
