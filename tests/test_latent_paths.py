"""Ways through latent spaces, in the units of the prior."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from genbench.pictures.latent_paths import Scale, between, prior_scale, turned


def rng(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def standard(a: Tensor) -> Scale:
    return torch.zeros_like(a), torch.ones_like(a)


class Prior:
    """Means 10 y and -10 y, standard deviations y + 1 and 1; without labels y = 0."""

    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        y = torch.zeros(n) if y is None else y.float()
        noise = torch.randn(n, 2, generator=rng)
        return torch.stack([10 * y + (y + 1) * noise[:, 0], -10 * y + noise[:, 1]], 1)

    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        raise NotImplementedError


def test_paths_join_their_ends_along_the_sphere() -> None:
    a, b = (
        normalize(torch.randn(5, 3, 4, generator=rng(s)).flatten(1), dim=1).view(5, 3, 4)
        for s in (1, 2)
    )
    path = between(a, b, 9, standard(a))
    assert path.shape == (5, 9, 3, 4)
    assert torch.equal(path[:, 0], a)
    assert torch.equal(path[:, -1], b)
    torch.testing.assert_close(path.flatten(2).norm(dim=2), torch.ones(5, 9))
    steps = path.flatten(2).diff(dim=1).norm(dim=2)
    # Equal angles.
    torch.testing.assert_close(steps, steps[:, :1].expand(-1, 8), rtol=1e-4, atol=1e-5)


def test_the_sphere_is_that_of_the_prior() -> None:
    a, b = (normalize(torch.randn(5, 6, generator=rng(s)), dim=1) for s in (1, 2))
    mean, std = torch.randn(5, 6, generator=rng(3)), torch.rand(5, 6, generator=rng(4)) + 0.5
    path = between(mean + std * a, mean + std * b, 9, (mean, std))
    torch.testing.assert_close(
        ((path - mean[:, None]) / std[:, None]).norm(dim=2), torch.ones(5, 9)
    )


@pytest.mark.parametrize("factor", [1.0, 0.5, -1.0])
def test_paths_between_parallel_latents_are_straight(factor: float) -> None:
    a = torch.randn(2, 6, generator=rng(1))
    path = between(a, factor * a, 5, standard(a))
    torch.testing.assert_close(path[:, 2], (1 + factor) / 2 * a)


def test_codes_change_over_one_after_another() -> None:
    a, b = torch.zeros(1, 2, 2, dtype=torch.int64), torch.full((1, 2, 2), 7)
    path = between(a, b, 5, None)
    assert path.dtype == torch.int64
    assert set(path.unique().tolist()) == {0, 7}
    assert (path == 7).flatten(2).sum(2).tolist() == [[0, 1, 2, 3, 4]]


def test_the_scale_is_that_of_each_label() -> None:
    mean, std = prior_scale(Prior(), torch.tensor([2, 0, 2]), 3, rng=rng(0))  # type: ignore[misc]
    torch.testing.assert_close(
        mean, torch.tensor([[20.0, -20.0], [0.0, 0.0], [20.0, -20.0]]), atol=0.4, rtol=0
    )
    torch.testing.assert_close(
        std, torch.tensor([[3.0, 1.0], [1.0, 1.0], [3.0, 1.0]]), atol=0.3, rtol=0
    )
    assert torch.equal(mean[0], mean[2])
    mean, std = prior_scale(Prior(), None, 4, rng=rng(0))  # type: ignore[misc]
    assert mean.shape == std.shape == (4, 2)


def test_codes_have_no_scale() -> None:
    class Codes(Prior):
        def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
            return torch.zeros(n, 2, dtype=torch.int64)

    assert prior_scale(Codes(), None, 1, rng=rng(0)) is None


def test_coordinates_are_turned_one_at_a_time_in_units_of_the_prior() -> None:
    z = torch.tensor([[1.0, 2.0, 3.0]])
    scale = torch.tensor([[10.0, 20.0, 30.0]]), torch.tensor([[1.0, 2.0, 4.0]])
    found = turned(z, torch.tensor([2, 0]), torch.tensor([-1.0, 0.0, 2.0]), scale)
    expected = [[1, 2, 26], [1, 2, 30], [1, 2, 38], [9, 2, 3], [10, 2, 3], [12, 2, 3]]
    assert found.tolist() == expected
