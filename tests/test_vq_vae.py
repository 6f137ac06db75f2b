"""VQ-VAE: its bound against the sum over all codes, its codebook against the formulas, its
gradients.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from genbench.base import DataSpec, Step
from genbench.data.splits import Dataset
from genbench.errors import UserError
from genbench.models.vq_vae import VQVAE
from genbench.nn.autoencoder import to_cells
from genbench.nn.codebook import DEAD, DECAY, Codebook
from tests.training import fit

SPEC = DataSpec(2, 4, 2)


def build(**arch: object) -> VQVAE:
    torch.manual_seed(0)
    options = {"codes": 3, "size": 4, "widths": [8], "prior_width": 8, "prior_layers": 1} | arch
    model = VQVAE(SPEC, **options).eval()
    with torch.no_grad():
        for p in model.decoder.parameters():
            p.mul_(2.0)
    return model


def every_image() -> Tensor:
    return torch.tensor(list(itertools.product((0, 1), repeat=8)), dtype=torch.uint8).view(
        -1, 1, 2, 4
    )


def every_code() -> Tensor:
    return torch.tensor(list(itertools.product(range(3), repeat=2)), dtype=torch.uint8).view(
        -1, 1, 1, 2
    )


@torch.no_grad()
def test_the_bound_is_one_term_of_the_sum_over_all_codes() -> None:
    model, x, codes = build(), every_image(), every_code()
    log_prior = model.code_prior.log_likelihood(codes, rng=Generator())
    assert log_prior.exp().sum().item() == pytest.approx(1, abs=1e-6)
    vectors = model.codebook(codes)
    log_p = torch.stack(
        [model._log_p(x, vector.expand(len(x), -1, -1, -1)) for vector in vectors], 1
    )  # (images, codes)
    joint = log_prior + log_p
    assert joint.exp().sum().item() == pytest.approx(
        1, abs=1e-5
    )  # the sum over codes is a distribution
    bound = model.log_likelihood(x, rng=Generator())
    assert (bound < joint.logsumexp(1)).all()
    own = (model.encode(x, rng=Generator()).flatten(1) * torch.tensor([3, 1])).sum(1)
    torch.testing.assert_close(bound, joint[torch.arange(len(x)), own])


@torch.no_grad()
def test_codes_are_the_nearest_vectors() -> None:
    model, x = build(codes=7, size=4), every_image()
    z = model.encoder(model.spec.signed(x)).permute(0, 2, 3, 1)
    expected = torch.cdist(z.flatten(0, 2), model.codebook.vectors).argmin(1)
    assert torch.equal(model.encode(x, rng=Generator()).flatten(), expected)


def test_the_gradient_passes_straight_through_the_codes() -> None:
    """The encoder gets the gradient that the decoder's input has, plus twice the weighted
    distance.
    """
    model, x = build(commitment=0.7).train(), every_image()[:8]
    seen: dict[str, Tensor] = {}
    model.encoder.register_forward_hook(
        lambda module, args, out: (out.retain_grad(), seen.update(z=out))[1]
    )
    model.decoder.register_forward_pre_hook(
        lambda module, args: (args[0].retain_grad(), seen.update(q=args[0]))[1]
    )
    model.autoencoder_loss(x, None, rng=Generator(), progress=0.0).loss.backward()
    expected = seen["q"].grad + 2 * 0.7 / len(x) * (seen["z"] - seen["q"]).detach()
    torch.testing.assert_close(seen["z"].grad, expected)


@pytest.mark.parametrize("learned", ["ema", "loss"])
def test_the_codebook_is_learned_one_way_or_the_other(learned: str) -> None:
    model, x = build(codebook=learned).train(), every_image()
    step = model.autoencoder_loss(x, None, rng=Generator(), progress=0.0)
    step.loss.backward()
    if learned == "ema":
        assert not list(model.codebook.parameters())
        return
    z = model.encoder(model.spec.signed(x)).detach()
    vectors, codes = model.codebook.vectors, model.codebook.nearest(z).flatten().long()
    flat = z.permute(0, 2, 3, 1).flatten(0, 2)
    expected = torch.zeros_like(vectors)
    for j in range(
        len(vectors)
    ):  # d/de of the sum of |z - e|^2 over the outputs that e takes, per image
        expected[j] = 2 * (vectors[j] - flat[codes == j]).sum(0).detach() / len(x)
    torch.testing.assert_close(vectors.grad, expected)


def test_moving_averages_are_the_formulas() -> None:
    torch.manual_seed(0)
    book = Codebook(4, 3)
    n, m = torch.ones(4), book.vectors.clone()  # in parts of an even share
    for seed in range(5):
        z = torch.randn(6, 3, 2, 2, generator=Generator().manual_seed(seed))
        codes, flat = book.nearest(z).flatten().long(), z.permute(0, 2, 3, 1).reshape(-1, 3)
        even = len(flat) / 4
        for j in range(4):
            n[j] = DECAY * n[j] + (1 - DECAY) * (codes == j).sum() / even
            m[j] = DECAY * m[j] + (1 - DECAY) * flat[codes == j].sum(0) / even
        book.update(z, book.nearest(z), rng=Generator().manual_seed(0))
        torch.testing.assert_close(book.vectors, m / n[:, None])


def test_codes_are_chosen_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss, prior and codebook share them, whichever way its vectors are learned."""
    for learned in ("ema", "loss"):
        model, x = build(joint=True, codebook=learned).train(), every_image()
        calls: list[Tensor] = []
        nearest = model.codebook.nearest
        monkeypatch.setattr(
            model.codebook, "nearest", lambda z, f=nearest, n=calls: (n.append(z), f(z))[1]
        )
        step = model.training_loss(x, None, rng=Generator(), progress=0.0)
        model.after_step("loss", step.aux, rng=Generator(), progress=0.0)
        assert len(calls) == 1


def test_the_average_finds_the_centres_of_clusters() -> None:
    centres = torch.tensor([[5.0, 0.0], [0.0, 5.0], [-5.0, -5.0]])
    g = Generator().manual_seed(0)
    torch.manual_seed(1)
    book = Codebook(3, 2)
    for _ in range(1500):
        chosen = torch.randint(3, (64,), generator=g)
        z = (centres[chosen] + 0.1 * torch.randn(64, 2, generator=g)).view(64, 2, 1, 1)
        book.update(z, book.nearest(z), rng=g)
    nearest = torch.cdist(centres, book.vectors).min(1).values
    assert (nearest < 0.1).all(), book.vectors


@pytest.mark.parametrize("learned", ["ema", "loss"])
def test_a_vector_out_of_use_moves_onto_an_output_and_stays_in_use(learned: str) -> None:
    book = Codebook(2, 2, learned=learned)
    with torch.no_grad():
        book.vectors.copy_(torch.tensor([[0.0, 0.0], [100.0, 100.0]]))
        if learned == "ema":
            book.sums.copy_(book.vectors)
    z = torch.randn(32, 2, 1, 1, generator=Generator().manual_seed(0))
    steps = 0
    while (book.vectors[1] > 50).all():
        book.update(z, book.nearest(z), rng=Generator().manual_seed(steps))
        steps += 1
        assert steps < 1000
    assert DECAY**steps <= DEAD < DECAY ** (steps - 1)
    assert any(torch.equal(book.vectors[1], row) for row in z.flatten(1))
    moved = book.vectors[1].detach().clone()
    book.update(z, book.nearest(z), rng=Generator().manual_seed(steps))
    assert (
        book.vectors[1] - moved
    ).norm() < 0.1  # it has a whole even part to its name, so one batch moves it little
    assert book.counts[1] > 0.9


def test_codes_are_chosen_in_full_precision_under_autocast() -> None:
    """Two vectors that bfloat16 cannot tell apart."""
    book = Codebook(2, 2)
    with torch.no_grad():
        book.vectors.copy_(torch.tensor([[1.0, 0.0], [1.001, 0.0]]))
    z = torch.tensor([[1.0, 0.0], [1.001, 0.0]])[:, :, None, None]
    with torch.autocast("cpu", torch.bfloat16):
        assert book.nearest(z).flatten().tolist() == [0, 1]


def test_phases_are_one_or_two() -> None:
    assert [phase.span for phase in build(joint=True).phases()] == [(0.0, 1.0)]
    first, second = build(share=0.7).phases()
    assert (first.span, second.span) == ((0.0, 0.7), (0.7, 1.0))
    assert (first.name, second.name) == ("autoencoder", "prior")


@pytest.mark.parametrize("learned", ["ema", "loss"])
def test_in_the_second_phase_nothing_but_the_prior_moves(learned: str) -> None:
    torch.manual_seed(0)
    spec = DataSpec(8, 8, 2)
    model = VQVAE(
        spec,
        codes=6,
        size=4,
        widths=[8],
        blocks=0,
        codebook=learned,
        prior_width=8,
        prior_layers=1,
        share=0.5,
    )
    x = torch.randint(0, 2, (64, 1, 8, 8), dtype=torch.uint8, generator=Generator().manual_seed(0))
    states: list[dict[str, Tensor]] = []
    prior_loss = model.prior_loss

    def spy(*arguments: Any, **options: Any) -> Step:
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        return prior_loss(*arguments, **options)

    model.prior_loss = spy  # type: ignore[method-assign]
    data = Dataset("toy", spec, x, None, x[:8], None, x[:8], None)
    phases = {"autoencoder": {"lr": 0.01}, "prior": {"lr": 0.01}}
    fit(model, data, entry="toy", seed=0, steps=12, batch_size=16, optim=phases, validations=2)
    states.append(model.state_dict())
    for name, value in states[0].items():
        same = all(torch.equal(value, state[name]) for state in states[1:])
        assert same == (not name.startswith("code_prior.") or not value.is_floating_point()), name


def test_in_one_phase_the_prior_does_not_move_the_codes() -> None:
    model, x = build(joint=True).train(), every_image()
    model.training_loss(x, None, rng=Generator(), progress=0.0).loss.backward()
    together = [p.grad.clone() for p in model.encoder.parameters()]
    model.zero_grad()
    model.autoencoder_loss(x, None, rng=Generator(), progress=0.0).loss.backward()
    for a, b in zip(together, model.encoder.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad)


def test_perplexity_counts_the_codes_in_use() -> None:
    model, x = build(codes=5), every_image()
    model.init_from_data(x, None, rng=Generator().manual_seed(0))
    codes = model.encode(x, rng=Generator())
    assert len(codes.unique()) > 2
    shares = torch.bincount(codes.flatten()).double() / codes.numel()
    shares = shares[shares > 0]
    expected = float((-(shares * shares.log()).sum()).exp())
    assert model.diagnostics(x, rng=Generator())["code_perplexity"] == pytest.approx(expected)
    with torch.no_grad():
        model.codebook.vectors[1:] = 1e6
    assert model.diagnostics(x, rng=Generator())["code_perplexity"] == pytest.approx(1)


def test_perplexity_is_over_all_images() -> None:
    """The first 250 are one image, which alone uses few codes."""
    model, x = build(codes=5), every_image()
    model.init_from_data(x, None, rng=Generator().manual_seed(0))
    x = torch.cat([x[:1].expand(250, -1, -1, -1), x.repeat(20, 1, 1, 1)])
    shares = torch.bincount(model.encode(x, rng=Generator()).flatten()).double()
    shares = shares[shares > 0] / shares.sum()
    expected = float((-(shares * shares.log()).sum()).exp())
    assert expected > 1.2 * model.diagnostics(x[:250], rng=Generator())["code_perplexity"]
    assert model.diagnostics(x, rng=Generator())["code_perplexity"] == pytest.approx(expected)


def test_rate_and_distortion_are_the_parts_of_the_bound() -> None:
    model, x = build().eval(), every_image()
    found = model.diagnostics(x, rng=Generator())
    assert found["rate_nats"] + found["distortion_nats"] == pytest.approx(
        -float(model.log_likelihood(x, rng=Generator()).mean())
    )
    codes = model.encode(x, rng=Generator())
    logits = model.code_prior.logits(codes[:, None].to(torch.uint8)).double()
    expected = F.cross_entropy(logits.transpose(1, 2), codes.flatten(1), reduction="sum") / len(x)
    assert found["rate_nats"] == pytest.approx(float(expected), rel=1e-5)


def test_errors_name_what_is_wrong() -> None:
    big = DataSpec(28, 28, 256)
    for match, arch in (
        (r"codes: must be 2\.\.256, got 257", {"codes": 257}),
        (
            r"widths: 3 stages need height and width divisible by 8, got 28 x 28; at most 2",
            {"widths": [8, 8, 8]},
        ),
        (r"codebook: unknown 'emma'; did you mean 'ema'", {"codebook": "emma"}),
        (r"commitment: must not be negative, got -1", {"commitment": -1.0}),
        (r"share: must be between 0 and 1", {"share": 1.0}),
        (r"prior_heads: must divide prior_width = 64, got 5", {"prior_heads": 5}),
        (r"prior_layers: must be at least 1, got 0", {"prior_layers": 0}),
        (r"blocks: must not be negative, got -3", {"blocks": -3}),
    ):
        with pytest.raises(UserError, match=match):
            VQVAE(big, **arch)
    with pytest.raises(
        ValueError, match=r"z: must be integer codes \(n, 1, 2\), got torch.float32 \(3, 1, 2\)"
    ):
        build().decode(torch.zeros(3, 1, 2), rng=Generator())
    for bad in (-1, 3):
        with pytest.raises(ValueError, match=r"z: codes must be 0\.\.2, got"):
            build(codes=3).decode(torch.tensor([[[0, bad]]]), rng=Generator())
    assert to_cells(every_image()).shape == (256, 1, 2, 4)
