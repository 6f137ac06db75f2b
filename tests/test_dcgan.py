"""The losses of DCGAN against their formulas, the direction of its steps, and its quantisation."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from genbench.base import DataSpec
from genbench.data.splits import Dataset
from genbench.errors import UserError
from genbench.models.dcgan import DCGAN
from tests.training import fit

SPEC = DataSpec(8, 8, 256)


def build(seed: int = 0) -> DCGAN:
    torch.manual_seed(seed)
    return DCGAN(SPEC, latent=4, widths=[8, 16])


def real(n: int = 32) -> Tensor:
    return torch.randint(
        0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=Generator().manual_seed(9)
    )


def logits(model: DCGAN, x: Tensor, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Discriminator's logits of real and of generated images, float64, worked out apart from the
    model's losses.
    """
    twin = copy.deepcopy(model)
    z = torch.randn(len(x), model.latent, generator=Generator().manual_seed(seed))
    with torch.no_grad():
        on_real = twin.discriminator(x.float() / 127.5 - 1)
        on_fake = twin.discriminator(twin.generator(z))
    return on_real.double().numpy(), on_fake.double().numpy()


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def test_losses_are_the_formulas() -> None:
    model, x = build(), real()
    with torch.no_grad():
        for p in model.discriminator.parameters():
            p.mul_(5)  # logits far from 0
    on_real, on_fake = logits(model, x, seed=1)
    assert np.abs(on_real).max() > 0.1
    disc = model.disc_loss(x, None, rng=Generator().manual_seed(1), progress=0.0)
    assert disc.loss.item() == pytest.approx(
        -np.log(sigmoid(on_real)).mean() - np.log(1 - sigmoid(on_fake)).mean(), rel=1e-5
    )
    assert disc.logs["real"].item() == pytest.approx(on_real.mean(), rel=1e-5)
    gen = model.gen_loss(x, None, rng=Generator().manual_seed(1), progress=0.0)
    assert gen.loss.item() == pytest.approx(-np.log(sigmoid(on_fake)).mean(), rel=1e-5)
    assert gen.logs["fake"].item() == pytest.approx(on_fake.mean(), rel=1e-5)


def test_disc_phase_leaves_the_generator_alone() -> None:
    model = build()
    model.disc_loss(real(), None, rng=Generator().manual_seed(0), progress=0.0).loss.backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert all(p.grad is not None for p in model.discriminator.parameters())


def descend(model: DCGAN, phase_name: str, x: Tensor, lr: float) -> None:
    phase = next(phase for phase in model.phases() if phase.name == phase_name)
    phase.loss(x, None, rng=Generator().manual_seed(2), progress=0.0).loss.backward()
    with torch.no_grad():
        for p in phase.params:
            p -= lr * p.grad
            p.grad = None


def test_disc_step_separates_and_gen_step_fools() -> None:
    model, x = build(), real()
    before = [values.mean() for values in logits(model, x, seed=2)]
    descend(model, "disc", x, lr=0.01)
    after = [values.mean() for values in logits(model, x, seed=2)]
    assert after[0] - after[1] > before[0] - before[1]
    discriminator = copy.deepcopy(model.discriminator.state_dict())
    descend(model, "gen", x, lr=0.01)
    assert logits(model, x, seed=2)[1].mean() > after[1]
    parameters = dict(model.discriminator.named_parameters())
    assert all(torch.equal(value, discriminator[name]) for name, value in parameters.items())


def test_a_sure_discriminator_does_not_silence_the_generator() -> None:
    """d loss / d logit = sigmoid(D) - 1 tends to -1 where D is sure of a fake; the saturating loss
    would tend to 0.
    """
    norms = []
    for shift in (0.0, -30.0):
        model = build()
        with torch.no_grad():
            model.discriminator.layers[-1].bias.fill_(shift)
        model.gen_loss(real(), None, rng=Generator().manual_seed(0), progress=0.0).loss.backward()
        norms.append(
            torch.stack([p.grad.norm() for p in model.generator.parameters()]).norm().item()
        )
    assert norms[1] == pytest.approx(2 * norms[0], rel=0.05)  # sigmoid(0) - 1 = -1/2


@pytest.mark.parametrize(
    ("levels", "expected"), [(256, [0, 64, 191, 255]), (4, [0, 1, 2, 3]), (2, [0, 0, 1, 1])]
)
def test_output_goes_to_the_nearest_level(levels: int, expected: list[int]) -> None:
    model = DCGAN(DataSpec(2, 2, levels), latent=4, widths=[8]).eval()
    model.generator.layers = nn.Sequential(nn.Unflatten(1, (1, 2, 2)))
    x = model.decode(torch.tensor([[-1.0, -0.5, 0.5, 1.0]]), rng=Generator())
    assert x.dtype == torch.uint8
    assert x.flatten().tolist() == expected


def test_sample_is_decode_of_prior() -> None:
    model = build().eval()
    z = model.prior(300, rng=Generator().manual_seed(4))
    assert z.std().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(
        model.sample(300, rng=Generator().manual_seed(4)),
        model.decode(z, rng=Generator().manual_seed(5)),
    )


def test_a_fresh_generator_has_the_statistics_of_its_batches() -> None:
    """Evaluation then gives nearly what training mode gives, where the default statistics would
    give a constant grey.
    """
    model = build()
    before = {name: p.clone() for name, p in model.named_parameters()}
    model.init_from_data(real(), None, rng=Generator().manual_seed(0))
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert model.training
    z = model.prior(2000, rng=Generator().manual_seed(1))
    with torch.no_grad():
        in_training = copy.deepcopy(model).generator.train()(z)
        evaluated = model.generator.eval()(z)
    assert (evaluated - in_training).std() < 0.2 * in_training.std()
    momenta = {
        m.momentum
        for m in model.generator.modules()
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)
    }
    assert momenta == {0.1}


def test_initial_weights_have_the_spread_of_the_paper() -> None:
    torch.manual_seed(0)
    model = DCGAN(DataSpec(28, 28, 256))
    weights = torch.cat(
        [
            m.weight.flatten()
            for m in model.modules()
            if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        ]
    )
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    assert weights.mean().item() == pytest.approx(0, abs=2e-4)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(
        UserError, match="widths: 3 stages need height and width divisible by 8, got 28 x 28"
    ):
        DCGAN(DataSpec(28, 28, 256), widths=[8, 8, 8])
    with pytest.raises(UserError, match="latent: must be at least 1, got 0"):
        DCGAN(SPEC, latent=0)
    with pytest.raises(NotImplementedError, match="has no likelihood"):
        build().log_likelihood(real(), rng=Generator())
    with pytest.raises(ValueError, match=r"z: shape must be \(n, 4\), got \(2, 3\)"):
        build().decode(torch.zeros(2, 3), rng=Generator())


def tiny_fit(images: int, batch_size: int) -> None:
    spec = DataSpec(8, 8, 256)
    x = torch.randint(0, 256, (images, 1, 8, 8), dtype=torch.uint8)
    model = DCGAN(spec, latent=4, widths=[4], hidden=8)
    data = Dataset("toy", spec, x, None, x[:1], None, x[:1], None)
    fit(
        model,
        data,
        entry="toy",
        seed=0,
        steps=2,
        batch_size=batch_size,
        optim={"disc": {"lr": 0.01}, "gen": {"lr": 0.01}},
    )


def test_an_image_left_over_does_not_end_a_training() -> None:
    """Batch norm has no statistics of one image."""
    tiny_fit(images=9, batch_size=4)


def test_a_batch_of_one_image_is_refused() -> None:
    with pytest.raises(
        UserError,
        match="batch_size: DCGAN normalises over a batch and needs at least 2 images, got 1",
    ):
        tiny_fit(images=9, batch_size=1)
