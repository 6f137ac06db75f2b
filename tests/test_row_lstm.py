"""The Row LSTM against torch's LSTM cell, and what its places see."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genbench.base import DataSpec
from genbench.models.row_lstm import RowLSTM

SPEC = DataSpec(9, 9, 2)


def model_of(**options: int) -> RowLSTM:
    torch.manual_seed(0)
    return RowLSTM(SPEC, **{"hidden": 5, "layers": 1, "last": 8} | options).double()


def test_with_kernels_of_width_one_each_column_is_an_lstm_over_the_rows() -> None:
    layer = model_of(kernel=1)._layers()[0]
    cell = nn.LSTMCell(10, 5).double()
    # torch's gates are i, f, g, o; ours o, f, i, g, as in the paper.
    order = torch.tensor([2, 1, 3, 0])
    with torch.no_grad():
        for ours, theirs in (
            (layer.inputs.weight, cell.weight_ih),
            (layer.states.weight, cell.weight_hh),
            (layer.inputs.bias, cell.bias_ih),
        ):
            theirs.copy_(ours.unflatten(0, (4, 5))[order].flatten(0, 1))
        cell.bias_hh.zero_()
    h = torch.randn(3, 9, 9, 10, dtype=torch.float64)
    state = (torch.zeros(27, 5, dtype=torch.float64), torch.zeros(27, 5, dtype=torch.float64))
    rows = []
    for row in h.unbind(1):
        state = cell(row.flatten(0, 1), state)
        rows.append(state[0].unflatten(0, (3, 9)))
    torch.testing.assert_close(layer(h, None), h + layer.outer(torch.stack(rows, 1)))


def test_a_place_reads_the_inputs_on_its_left_and_a_widening_triangle_above() -> None:
    layer = model_of()._layers()[0]
    h = torch.randn(1, 9, 9, 10, dtype=torch.float64, requires_grad=True)
    row, column = 6, 4
    (slope,) = torch.autograd.grad(layer(h, None)[0, row, column].sum(), h)
    seen = (slope[0] != 0).any(-1)
    for r in range(9):
        # The states above widen by one to both sides per row, and each has read its input and the
        # one on its left.
        reach = row - r
        expected = [0 <= reach and -(reach + 1) <= c - column <= reach for c in range(9)]
        assert seen[r].tolist() == expected, r


@pytest.mark.parametrize(
    ("options", "name"), [({"kernel": 2}, "kernel"), ({"hidden": 0}, "hidden")]
)
def test_sizes_that_make_no_sense(options: dict[str, int], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        model_of(**options)
