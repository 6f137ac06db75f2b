"""The hinge GAN: its losses, its normalisations, and how it reads labels, against their
formulas.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Generator, nn
from torch.nn import functional as F

from genbench.base import DataSpec
from genbench.errors import UserError
from genbench.models.hinge_gan import HingeGAN, _doubled
from genbench.nn.norm import ConditionalBatchNorm2d

SPEC = DataSpec(8, 8, 256, 3)


def build(*, conditional: bool = True, **arch: object) -> HingeGAN:
    torch.manual_seed(0)
    return HingeGAN(SPEC, latent=4, widths=[8, 16], hidden=16, conditional=conditional, **arch)


def real(n: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=Generator().manual_seed(9))
    return x, torch.arange(n) % 3


def test_losses_are_the_formulas() -> None:
    model, (x, y) = build(), real()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        z = torch.randn(len(x), 4, generator=Generator().manual_seed(1))
        on_real = 3 * twin.discriminator(x.float() / 127.5 - 1, y)
        on_fake = 3 * twin.discriminator(twin.generator(z, y), y)
        out = model.discriminator.out.parametrizations.weight
        out.original0.mul_(3)
        model.discriminator.out.bias.mul_(3)
        model.discriminator.labels.weight.mul_(3)
    disc = model.disc_loss(x, y, rng=Generator().manual_seed(1), progress=0.0)
    expected = (
        torch.stack([1 - on_real, torch.zeros(30)]).amax(0).mean()
        + torch.stack([1 + on_fake, torch.zeros(30)]).amax(0).mean()
    )
    torch.testing.assert_close(disc.loss.detach(), expected)
    gen = model.gen_loss(x, y, rng=Generator().manual_seed(1), progress=0.0)
    torch.testing.assert_close(gen.loss.detach(), -on_fake.mean())


def test_sure_logits_cost_nothing() -> None:
    model = build()
    real_logit, fake_logit = (
        torch.tensor([1.5, 3.0], requires_grad=True),
        torch.tensor([-1.5, -3.0], requires_grad=True),
    )
    loss = model.disc_objective(real_logit, fake_logit)
    loss.backward()
    assert loss.item() == 0
    assert not real_logit.grad.any()
    assert not fake_logit.grad.any()


def test_the_discriminator_reads_labels_by_projection() -> None:
    model, (x, _) = build(), real()
    pixels = model.spec.signed(x)
    h = model.discriminator.features(pixels)
    for label in range(3):
        y = torch.full((len(x),), label)
        expected = (
            F.linear(h, model.discriminator.out.weight, model.discriminator.out.bias)[:, 0]
            + h @ model.discriminator.labels.weight[label]
        )
        torch.testing.assert_close(model.discriminator(pixels, y), expected)


def test_the_discriminator_sees_how_much_a_batch_differs() -> None:
    """A batch of one image again and again is told by its features; the statistic is the standard
    deviation over the batch, mean over places.
    """
    model, (x, _) = build(), real()
    pixels = model.spec.signed(x)
    h = model.discriminator.blocks(pixels)
    spread = (h - h.mean(0)).square().mean(0).sqrt().mean((1, 2))
    both = torch.cat([h.flatten(1), spread.expand(len(x), -1)], 1)
    expected = F.leaky_relu(
        F.linear(both, model.discriminator.dense.weight, model.discriminator.dense.bias), 0.2
    )
    torch.testing.assert_close(model.discriminator.features(pixels), expected)
    same = pixels[:1].expand_as(pixels).clone().requires_grad_()
    features = model.discriminator.features(same)
    assert not torch.allclose(features[0], expected[0], atol=1e-3)
    features.sum().backward()
    assert same.grad.isfinite().all()  # where nothing differs, too


def test_weights_of_the_discriminator_are_normalised() -> None:
    """w = g v / |v|, the norm taken over all that one output reads; rescaling v changes nothing.
    The exception is the layer whose outputs read one value each.
    """
    model, (x, y) = build(), real()
    before = model.discriminator(model.spec.signed(x), y)
    layers = [m for m in model.discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    plain = model.discriminator.blocks[0].around
    assert plain.weight[0].numel() == 1
    for layer in layers:
        if layer is plain:
            continue
        g, v = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
        norm = v.flatten(1).norm(dim=1).view(-1, *[1] * (v.ndim - 1))
        torch.testing.assert_close(layer.weight, g * v / norm)
        with torch.no_grad():
            v.mul_(7.0)
    torch.testing.assert_close(model.discriminator(model.spec.signed(x), y), before)


def test_conditional_batch_norm_is_batch_norm_with_the_labels_gain_and_shift() -> None:
    torch.manual_seed(0)
    norm = ConditionalBatchNorm2d(5, 3)
    nn.init.normal_(norm.labels.weight)
    x, y = torch.randn(12, 5, 4, 4), torch.arange(12) % 3
    out = norm(x, y)
    plain = F.batch_norm(x, None, None, training=True)
    for i, label in enumerate(y.tolist()):
        gain, shift = norm.labels.weight[label].chunk(2)
        torch.testing.assert_close(out[i], gain[:, None, None] * plain[i] + shift[:, None, None])
    torch.testing.assert_close(ConditionalBatchNorm2d(5, 0)(x), plain)


def test_the_resolution_is_doubled() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(_doubled(x), F.interpolate(x, scale_factor=2, mode="nearest"))


def test_labels_change_generated_images() -> None:
    model, z = build().eval(), torch.randn(6, 4, generator=Generator().manual_seed(0))
    with torch.no_grad():
        for module in model.generator.modules():
            if isinstance(module, ConditionalBatchNorm2d) and module.labels is not None:
                module.labels.weight.add_(torch.randn_like(module.labels.weight))
    images = [model.decode(z, torch.full((6,), label), rng=Generator()) for label in range(3)]
    assert not torch.equal(images[0], images[1])
    assert torch.equal(
        images[0], model.decode(z, torch.zeros(6, dtype=torch.int64), rng=Generator())
    )


def test_the_discriminator_takes_more_steps_on_request() -> None:
    assert [phase.repeats for phase in build(disc_steps=3).phases()] == [3, 1]


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(UserError, match="disc_steps: must be at least 1, got 0"):
        build(disc_steps=0)
    with pytest.raises(
        UserError, match="widths: 3 stages need height and width divisible by 8, got 28 x 28"
    ):
        HingeGAN(DataSpec(28, 28, 256), widths=[8, 8, 8])
    x, y = real(4)
    with pytest.raises(NotImplementedError, match="HingeGAN has no likelihood: its generator maps"):
        build().log_likelihood(x, y, rng=Generator())
    with pytest.raises(ValueError, match=r"labels must be 0\.\.2, got 3\.\.3"):
        build().sample(2, torch.tensor([3, 3]), rng=Generator())


@pytest.mark.parametrize("conditional", [False, True])
def test_no_parameter_is_without_a_gradient(conditional: bool) -> None:
    """In double precision each has one that is more than rounding: none is before a norm that takes
    it back, none is the direction of a single weight.
    """
    torch.manual_seed(0)
    spec = DataSpec(8, 8, 256, 3)
    model = HingeGAN(spec, latent=4, widths=(4, 6), hidden=8, conditional=conditional).double()
    z, y = torch.randn(40, 4).double(), torch.arange(40) % 3 if conditional else None
    for network, inputs in ((model.generator, z), (model.discriminator, torch.rand(40, 1, 8, 8))):
        out = network.train()(inputs.double(), y)
        (out * torch.randn_like(out)).sum().backward()
        found = {name: float(p.grad.abs().max()) for name, p in network.named_parameters()}
        assert {name: value for name, value in found.items() if value < 1e-9} == {}
