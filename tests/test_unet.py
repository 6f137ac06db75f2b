"""The U-Net: what its output depends on, its attention against the library's, its shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from genbench.base import DataSpec
from genbench.errors import UserError
from genbench.nn.unet import UNet, _Attention

SPEC = DataSpec(12, 20, 256, 3)


def build(spec: DataSpec = SPEC, **options: Any) -> UNet:
    torch.manual_seed(0)
    net = UNet(
        spec,
        **{"widths": (16, 32), "blocks": 1, "patch": 2, "norm": "group", "heads": 2, **options},
    ).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))  # its last layers start at zero
    return net


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize(
    ("height", "width", "widths", "patch"),
    [(2, 2, (16,), 2), (3, 5, (16, 32), 1), (7, 7, (16, 16, 16), 1), (28, 28, (16, 32), 2)],
)
def test_the_output_has_the_images_size(
    norm: str, height: int, width: int, widths: tuple[int, ...], patch: int
) -> None:
    net = build(
        DataSpec(height, width, 256), widths=widths, patch=patch, norm=norm, inputs=3, outputs=2
    )
    assert net(noise(4, 3, height, width), torch.rand(4)).shape == (4, 2, height, width)


def test_each_pixel_depends_on_each_pixel_of_its_own_image_alone() -> None:
    net = build().double()
    x = noise(2, 1, 12, 20).double().requires_grad_()
    out = net(x, torch.tensor([0.2, 0.8]).double())
    gradient = torch.autograd.grad(out[0, 0, 0, 0], x)[0]
    assert bool((gradient[0] != 0).all())
    assert bool((gradient[1] == 0).all())


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_times_and_labels_count(norm: str) -> None:
    net, x, t = build(norm=norm, classes=4), noise(1, 1, 12, 20), torch.tensor([0.5])
    outputs = [net(x, t, torch.tensor([label])) for label in (0, 1, 2, 3)]  # 3 stands for none
    outputs += [net(x, t + shift, torch.tensor([0])) for shift in (1e-3, 0.4)]
    for i, a in enumerate(outputs):
        for b in outputs[:i]:
            assert (a - b).abs().max() > 1e-4


def test_attention_is_the_librarys() -> None:
    torch.manual_seed(0)
    layer, x = _Attention(32, 2, "group", 0), noise(3, 32, 4, 5)
    torch.nn.init.normal_(layer.out.weight)
    q, k, v = layer.qkv(layer.norm(x)).flatten(2).transpose(1, 2).chunk(3, -1)  # (B, HW, C) each
    split = [part.unflatten(2, (2, 16)).transpose(1, 2) for part in (q, k, v)]
    mixed = F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)
    expected = x + layer.out(mixed.transpose(1, 2).unflatten(2, (4, 5)))
    torch.testing.assert_close(layer(x, None), expected, rtol=1e-4, atol=1e-4)


def test_attention_carries_what_convolutions_do_not_reach() -> None:
    """Of images so wide that the ends are out of the convolutions' reach: without group norms,
    which see all places too.
    """
    net = build(DataSpec(2, 400, 256), widths=(16,), patch=1, norm="batch")
    x = noise(1, 1, 2, 400).requires_grad_()

    def reaches() -> bool:
        return bool(
            torch.autograd.grad(net(x, torch.tensor([0.5]))[0, 0, 0, 0], x)[0][..., -1].abs().max()
            > 0
        )

    assert reaches()
    with torch.no_grad():
        net.attention.out.weight.zero_()
    assert not reaches()


def test_what_grows_keeps_its_place() -> None:
    """Each place of the lower resolution becomes four; where an odd size was halved, the last row
    or column is left out.
    """
    net, found = build(DataSpec(5, 8, 256), patch=1), []
    rows, columns = torch.arange(6)[:, None], torch.arange(8)
    places = (100 * rows + columns).float().expand(2, 16, 6, 8)
    net.grow[0].register_forward_hook(lambda *_: F.pixel_unshuffle(places, 2))
    net.up[2].register_forward_pre_hook(lambda _, args: found.append(args[0][:, :16]))
    net(noise(2, 1, 5, 8), torch.rand(2))
    assert torch.equal(found[0], places[:, :, :5])


def test_the_output_follows_the_scale_of_the_input_despite_group_norm() -> None:
    """A thousandfold and a ten-thousandfold image: without the path around the last norm both
    outputs are the same.
    """
    net, x, t = build().double(), noise(1, 1, 12, 20).double(), torch.tensor([0.5]).double()

    def ratio() -> float:
        return float(net(1e4 * x, t).norm() / net(1e3 * x, t).norm())

    assert ratio() == pytest.approx(10, rel=0.05)
    with torch.no_grad():
        net.around.weight.zero_()
    assert ratio() == pytest.approx(1, rel=0.05)


def test_a_fresh_network_puts_out_zero() -> None:
    net = UNet(SPEC, widths=(16, 32), blocks=1, patch=2, norm="group", heads=2)
    assert bool((net(noise(2, 1, 12, 20), torch.rand(2)) == 0).all())


def test_errors_name_what_is_wrong() -> None:
    for match, options in (
        ("patch: must divide 12 x 20, got 3", {"patch": 3}),
        ("norm: unknown 'bach'; did you mean 'batch'", {"norm": "bach"}),
        (r"widths: must be one or more multiples of 16, got \[24\]", {"widths": [24]}),
        (r"widths: must be one or more multiples of 16, got \[\]", {"widths": []}),
        ("heads: must divide the lowest resolution's channels 32, got 5", {"heads": 5}),
        ("blocks: must be at least 1, got 0", {"blocks": 0}),
    ):
        with pytest.raises(UserError, match=match):
            build(**options)


def test_labels_start_without_effect_and_learn_as_soon_as_the_time_does() -> None:
    """The table is added to the time's embedding, from zero. In a fresh network the last layers are
    zero too, and let no gradient through at first: then each row has one in the very step in which
    the embedding has its first one.
    """
    torch.manual_seed(0)
    net = UNet(SPEC, widths=(16, 32), blocks=1, patch=2, norm="group", heads=2, classes=3)
    assert net.labels is not None
    assert bool((net.labels.weight == 0).all())
    y = torch.arange(8) % 3
    x, target, t = noise(8, 1, 12, 20), noise(8, 1, 12, 20, seed=1), torch.linspace(0.1, 0.9, 8)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    first = {}
    for step in range(5):
        optimiser.zero_grad()
        (net(x, t, y) - target).square().mean().backward()
        for name, tensor in (("time", net.time[2].bias), ("labels", net.labels.weight)):
            assert tensor.grad is not None
            rows = tensor.grad.view(-1, tensor.shape[-1])
            if name not in first and bool((rows != 0).any(1).all()):
                first[name] = step
        optimiser.step()
    assert first["labels"] == first["time"] <= 2


def test_layers_before_a_batch_norm_have_no_bias_and_those_before_padding_have_one() -> None:
    """What a padded convolution makes of a constant differs at the border, and the next norm cannot
    take it back.
    """
    net = build(norm="batch").double().train()
    x, t = noise(6, 1, 12, 20).double(), torch.linspace(0.1, 0.9, 6).double()
    before = net(x, t)
    full = len(net.up) - net.blocks - 1  # the first block at full resolution
    for i, block in enumerate(net.up):
        assert block.first.bias is None and block.time.bias is None
        assert (block.last.bias is None) == (i >= full)
        if i < full:
            with torch.no_grad():
                block.last.bias += 1.0
            assert float((net(x, t) - before).abs().max()) > 1e-3
            with torch.no_grad():
                block.last.bias -= 1.0


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_no_parameter_is_taken_back_by_a_norm(norm: str) -> None:
    """In double precision each parameter has a gradient that is more than rounding; one before a
    batch norm that is the same for a whole channel would have none.
    """
    net = build(norm=norm, classes=3).double().train()
    y, t = torch.arange(6) % 3, torch.linspace(0.1, 0.9, 6).double()
    out = net(noise(6, 1, 12, 20).double(), t, y)
    (out * noise(*out.shape, seed=1)).sum().backward()
    found = {name: float(p.grad.abs().max()) for name, p in net.named_parameters()}
    assert {name: value for name, value in found.items() if value < 1e-8} == {}
