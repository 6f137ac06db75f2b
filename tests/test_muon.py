"""Muon, against torch's and against the singular value decomposition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genbench.base import DataSpec
from genbench.models.gated_pixel_cnn import GatedPixelCNN
from genbench.training.muon import WIDEST, Muon, hidden_matrices, orthogonal


def moved(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (8, 8)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_matrices_take_the_steps_of_torchs(shape: tuple[int, int], decay: float) -> None:
    mine, theirs = ([nn.Parameter(moved(shape, i)) for i in range(3)] for _ in range(2))
    ours = Muon(mine, 0.02, momentum=0.9, weight_decay=decay, precision=torch.bfloat16)
    reference = torch.optim.Muon(
        theirs, 0.02, momentum=0.9, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
    )
    for number in range(4):
        for params in (mine, theirs):
            for i, p in enumerate(params):
                p.grad = moved(shape, 100 * number + 10 + i)
        ours.step()
        reference.step()
        for p, q in zip(mine, theirs, strict=True):
            torch.testing.assert_close(p, q, atol=2e-4, rtol=0)
    assert all((p - moved(shape, i)).abs().max() > 0.01 for i, p in enumerate(mine))


def test_a_convolution_is_the_matrix_of_its_output_channels() -> None:
    matrix, kernel = nn.Parameter(moved((6, 36), 0)), nn.Parameter(moved((6, 4, 3, 3), 1))
    last = nn.Parameter(moved((6, 4, 3, 3), 1).to(memory_format=torch.channels_last))
    with torch.no_grad():
        kernel.copy_(matrix.view_as(kernel))
        last.copy_(matrix.view_as(last))
    for number in range(3):
        grad = moved((6, 36), 10 + number)
        for p in (matrix, kernel, last):
            p.grad = grad.view(p.shape).clone()
            Muon([p], 0.1).step()
    torch.testing.assert_close(kernel.flatten(1), matrix)
    torch.testing.assert_close(last.flatten(1), matrix)


def test_the_step_is_nearly_orthogonal_and_as_large_as_adamws() -> None:
    grads = torch.stack([moved((20, 50), 0), 1e-4 * moved((20, 50), 1)])
    found = orthogonal(grads)
    for one, grad in zip(found, grads, strict=True):
        u, _, v = torch.linalg.svd(grad, full_matrices=False)
        values = torch.linalg.svdvals(one)
        assert 0.6 < values.min() and values.max() < 1.25
        # The same singular vectors: what is left of their rotation is diagonal.
        rotated = u.T @ one @ v.T
        assert (rotated - torch.diag(rotated.diagonal())).abs().max() < 1e-3
    p = nn.Parameter(torch.zeros(20, 50))
    p.grad = grads[0]
    Muon([p], 0.01).step()
    assert float(p.detach().square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.25)


def test_without_a_gradient_nothing_moves() -> None:
    p = nn.Parameter(torch.ones(3, 3))
    Muon([p], 0.1, weight_decay=0.5).step()
    assert torch.equal(p, torch.ones(3, 3))


def test_embeddings_biases_outputs_and_wide_matrices_are_left_out() -> None:
    model = GatedPixelCNN(DataSpec(4, 4, 2, 3), channels=8, layers=2, conditional=True)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {names[id(p)] for p in hidden_matrices(model)}
    assert found, "it has hidden layers"
    for name in found:
        assert name.endswith("weight")
        assert not name.startswith("out.")
    left = {name: p for name, p in model.named_parameters() if name not in found}
    embeddings = {
        f"{path}.weight" for path, m in model.named_modules() if isinstance(m, nn.Embedding)
    }
    assert embeddings <= set(left)
    for name, p in left.items():
        known = name in embeddings or name.startswith("out.") or p.ndim < 2
        assert known or min(p.flatten(1).shape) == 1, name
    wide = nn.Sequential(nn.Linear(4, WIDEST), nn.Linear(4, WIDEST + 1))
    assert hidden_matrices(wide) == {wide[0].weight}


def test_recurrent_weights_are_hidden_matrices() -> None:
    lstm = nn.LSTM(5, 7)
    assert hidden_matrices(lstm) == {lstm.weight_ih_l0, lstm.weight_hh_l0}
