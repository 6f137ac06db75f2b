"""Invertible layers: inverses, and log-determinants against autograd's Jacobian."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from genbench.base import DataSpec
from genbench.errors import UserError
from genbench.families.flow import Dequantizer, Flow, Multiscale
from genbench.models.glow import Glow
from genbench.models.real_nvp import RealNVP
from genbench.nn.bijections import ActNorm, Bijection, Coupling, InvertibleMixing, Squeeze
from genbench.nn.splines import BINS, BOUND, spline

CASES: dict[str, Callable[[], tuple[Bijection, tuple[int, int, int]]]] = {
    "squeeze": lambda: (Squeeze(), (1, 4, 2)),
    "actnorm": lambda: (ActNorm(3), (3, 2, 2)),
    "mixing": lambda: (InvertibleMixing(4), (4, 1, 2)),
    "affine": lambda: (Coupling(4, (0, 3), width=8, blocks=1), (4, 2, 1)),
    "spline": lambda: (Coupling(4, (1, 2), width=8, blocks=1, kind="spline"), (4, 2, 1)),
}


def shaken(bijection: Bijection) -> Bijection:
    """With parameters away from where they start."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in bijection.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return bijection


@pytest.mark.parametrize("name", CASES)
def test_the_log_determinant_is_that_of_the_jacobian(name: str) -> None:
    torch.manual_seed(0)
    bijection, shape = CASES[name]()
    bijection = shaken(bijection).double()
    x = torch.randn(3, *shape, dtype=torch.float64)
    _, log_det = bijection(x)
    for one, found in zip(x, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda v: bijection(v[None])[0].flatten(), one
        )
        expected = torch.linalg.slogdet(jacobian.reshape(one.numel(), one.numel())).logabsdet
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_inverse_leads_back(name: str) -> None:
    torch.manual_seed(0)
    bijection, shape = CASES[name]()
    bijection = shaken(bijection).double()
    x = 2 * torch.randn(50, *shape, dtype=torch.float64)
    torch.testing.assert_close(bijection.inverse(bijection(x)[0]), x, rtol=1e-9, atol=1e-9)


def test_actnorm_starts_with_mean_0_and_variance_1() -> None:
    x = 3 * torch.randn(200, 4, 3, 3, generator=torch.Generator().manual_seed(0)) + torch.arange(
        4.0
    ).view(1, 4, 1, 1)
    norm = ActNorm(4)
    norm.init_from_data(x)
    z, _ = norm(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(4))


@pytest.mark.parametrize("name", ["actnorm", "mixing"])
def test_values_keep_their_precision_under_autocast(name: str) -> None:
    torch.manual_seed(0)
    bijection, shape = CASES[name]()
    bijection = shaken(bijection)
    x = torch.randn(20, *shape)
    plain, log_det = bijection(x)
    with torch.autocast("cpu", torch.bfloat16):
        reduced, reduced_log_det = bijection(x)
    assert torch.equal(plain, reduced)
    assert torch.equal(log_det, reduced_log_det)


def test_a_fresh_coupling_is_the_identity() -> None:
    x = torch.randn(5, 4, 2, 2)
    for kind in ("affine", "spline"):
        z, log_det = Coupling(4, (0, 3), width=8, blocks=1, kind=kind)(x)
        torch.testing.assert_close(z, x, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(log_det, torch.zeros(5), rtol=0, atol=1e-4)


def test_a_coupling_leaves_the_kept_channels() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 4, 2, 2)
    z, _ = shaken(Coupling(4, (0, 3), width=8, blocks=1))(x)
    assert torch.equal(z[:, 1:3], x[:, 1:3])
    assert not torch.isclose(z[:, [0, 3]], x[:, [0, 3]]).any()


def test_splines_are_increasing_and_their_slope_is_the_derivative() -> None:
    torch.manual_seed(0)
    params = torch.randn(3 * BINS - 1, dtype=torch.float64).expand(2001, -1)
    values = torch.linspace(-BOUND - 1, BOUND + 1, 2001, dtype=torch.float64).requires_grad_()
    found, log_slope = spline(values, params)
    assert (found.diff() > 0).all()
    (slope,) = torch.autograd.grad(found.sum(), values)
    torch.testing.assert_close(log_slope.exp(), slope, rtol=1e-5, atol=1e-6)
    back, inverse_log_slope = spline(found, params, inverse=True)
    torch.testing.assert_close(back, values, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(inverse_log_slope, -log_slope, rtol=1e-5, atol=1e-5)
    outside = values.abs() > BOUND
    assert torch.equal(found[outside], values[outside])


def test_multiscale_lets_half_of_the_channels_leave() -> None:
    torch.manual_seed(0)
    stages = [
        [Squeeze(), shaken(Coupling(4, (0, 3), width=8, blocks=1))],
        [Squeeze(), shaken(Coupling(8, range(4), width=8, blocks=1))],
    ]
    flow = Multiscale(stages, (1, 8, 4))
    assert flow.shapes == [(2, 4, 2), (8, 2, 1)]
    x = torch.randn(6, 1, 8, 4)
    z, log_det = flow(x)
    assert z.shape == (6, 32)
    torch.testing.assert_close(flow.inverse(z), x, rtol=1e-5, atol=1e-5)
    double = flow.double()
    jacobian = torch.autograd.functional.jacobian(
        lambda v: double(v[None])[0].flatten(), x[0].double()
    )
    torch.testing.assert_close(
        log_det[0].double(),
        torch.linalg.slogdet(jacobian.reshape(32, 32)).logabsdet,
        rtol=1e-4,
        atol=1e-4,
    )


def test_learned_noise_has_the_density_that_it_says() -> None:
    """log q(u|x) is that of the change of variables from the normal noise."""
    torch.manual_seed(0)
    dequantizer = Dequantizer(4, 8).double()
    with torch.no_grad():
        for p in dequantizer.parameters():
            p.add_(0.2 * torch.randn_like(p))
    x, noise = (
        torch.rand(1, 1, 2, 4, dtype=torch.float64),
        torch.randn(1, 1, 2, 4, dtype=torch.float64),
    )
    u, log_q = dequantizer(x, noise)
    assert ((u > 0) & (u < 1)).all()
    jacobian = torch.autograd.functional.jacobian(
        lambda n: dequantizer(x, n)[0].flatten(), noise
    ).reshape(8, 8)
    expected = (
        torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum()
        - torch.linalg.slogdet(jacobian).logabsdet
    )
    torch.testing.assert_close(log_q[0], expected)


@pytest.mark.parametrize("cls", [RealNVP, Glow])
def test_the_density_of_a_flow_is_the_change_of_variables_from_pixels_to_latents(
    cls: Callable[..., Flow],
) -> None:
    torch.manual_seed(0)
    model = cls(DataSpec(2, 4, 4), scales=1, width=8, blocks=1).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    v = 4 * torch.rand(1, 1, 2, 4, dtype=torch.float64)
    z, log_p = model.log_density(v)
    jacobian = torch.autograd.functional.jacobian(
        lambda w: model.log_density(w)[0].flatten(), v
    ).reshape(8, 8)
    expected = (
        torch.distributions.Normal(0.0, 1.0).log_prob(z).sum()
        + torch.linalg.slogdet(jacobian).logabsdet
    )
    torch.testing.assert_close(log_p[0], expected)


def assert_leads_back(model: RealNVP) -> None:
    """Images of the real size lead back from their latents: logits as mostly black images have
    them, with weights a little off their start.
    """
    x = torch.randint(0, 256, (256, 1, 28, 28), dtype=torch.uint8) * (
        torch.rand(256, 1, 28, 28) < 0.2
    )
    model.eval().init_from_data(x, None, rng=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
        h = (1e-6 + (1 - 2e-6) * (x[:16] + torch.rand(16, 1, 28, 28)) / 256).logit()
        assert h.median() < -5
        z, _ = model.flow(h)
        assert (z - h.flatten(1)).abs().mean() > 0.1
        torch.testing.assert_close(model.flow.inverse(z), h, rtol=1e-5, atol=1e-5)


def test_a_flow_of_the_size_of_quick_leads_back_in_float32() -> None:
    torch.manual_seed(0)
    arch = {"scales": 2, "couplings": 4, "width": 48, "blocks": 1}
    assert_leads_back(RealNVP(DataSpec(28, 28, 256), **arch))


@pytest.mark.parametrize("cls", [RealNVP, Glow])
def test_an_image_is_encoded_without_loss(cls: Callable[..., Flow]) -> None:
    torch.manual_seed(0)
    model = cls(DataSpec(4, 4, 256), scales=1, width=8, blocks=1).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x = torch.randint(0, 256, (20, 1, 4, 4), dtype=torch.uint8)
    rng = torch.Generator().manual_seed(0)
    assert torch.equal(model.decode(model.encode(x, rng=rng), rng=rng), x)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(
        UserError, match="scales: 3 need height and width divisible by 8, got 28 x 28"
    ):
        RealNVP(DataSpec(28, 28, 256), scales=3)
    with pytest.raises(UserError, match="coupling: unknown 'afine'; did you mean 'affine'"):
        RealNVP(DataSpec(28, 28, 256), coupling="afine")
    with pytest.raises(UserError, match="dequantize: unknown 'unifrom'; did you mean 'uniform'"):
        RealNVP(DataSpec(28, 28, 256), dequantize="unifrom")
