"""The PixelCNN's kernels: the smallest one, and those that it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from genbench.base import DataSpec
from genbench.errors import UserError
from genbench.models.pixel_cnn import PixelCNN
from tests import contract


@pytest.mark.parametrize("conditional", [False, True])
def test_a_kernel_of_one_pixel(conditional: bool) -> None:
    torch.manual_seed(0)
    model = (
        PixelCNN(
            DataSpec(5, 4, 2, 3), channels=4, blocks=2, kernel=1, hidden=8, conditional=conditional
        )
        .double()
        .eval()
    )
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x = torch.randint(0, 2, (6, 1, 5, 4), dtype=torch.uint8, generator=Generator().manual_seed(0))
    y = torch.arange(6) % 3 if conditional else None
    contract.check_cached(model, x, y, tolerance=1e-10)
    assert model.sample(6, y, rng=Generator().manual_seed(0)).shape == x.shape


@pytest.mark.parametrize("kernel", [4, 0, -1])
def test_kernels_without_a_centre_are_refused(kernel: int) -> None:
    with pytest.raises(UserError, match=rf"^kernel: must be odd and at least 1, got {kernel}$"):
        PixelCNN(DataSpec(5, 4, 2), kernel=kernel)
