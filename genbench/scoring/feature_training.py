"""How the pinned feature net was made: a classifier trained on grey and binarized digits, chosen on
the validation split.
"""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from genbench.data.splits import Dataset
from genbench.errors import UserError
from genbench.hardware.precision import autocast
from genbench.scoring.features import BATCH, FeatureNet
from genbench.seeding import generator_for, seed_for

__all__ = [
    "Accuracy",
    "TrainedNet",
    "accuracy",
    "augment",
    "recover_labels",
    "test_accuracies",
    "train_feature_net",
]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of right answers, and mean cross-entropy in nats, on ``n`` images."""

    accuracy: float
    nats: float
    n: int


@dataclass(frozen=True, slots=True)
class TrainedNet:
    """A trained net in eval mode, the epoch that it is of, and its validation scores on grey and on
    binarized digits.
    """

    net: FeatureNet
    epoch: int
    valid_grey: Accuracy
    valid_binary: Accuracy


def augment(x: Tensor, *, rng: Generator, binary: bool) -> Tensor:
    """Digits (B, 1, 28, 28) in [0, 1] under small random affine maps; ``binary`` draws each pixel
    with its intensity as probability.

    Rotation within 10 degrees, scale within 10 %, shear within 0.1, shift within 2 pixels.
    """
    b = len(x)
    drawn = 2 * torch.rand(6, b, generator=rng, device=x.device) - 1
    angle, scale_x, scale_y, shear, shift_x, shift_y = drawn.unbind()
    angle, shear = angle * math.radians(10), shear * 0.1
    cos, sin, scale_x, scale_y = angle.cos(), angle.sin(), 1 + 0.1 * scale_x, 1 + 0.1 * scale_y
    shift = 2 * 2 / 28  # two pixels, in the grid's units of half an image
    top = torch.stack([cos * scale_x, (shear * cos - sin) * scale_y, shift * shift_x], 1)
    bottom = torch.stack([sin * scale_x, (shear * sin + cos) * scale_y, shift * shift_y], 1)
    grid = F.affine_grid(torch.stack([top, bottom], 1), [b, 1, 28, 28], align_corners=False)
    x = F.grid_sample(x, grid, align_corners=False).clamp(0, 1)
    return torch.bernoulli(x, generator=rng) if binary else x


def train_feature_net(
    data: Dataset,
    *,
    seed: int = 0,
    epochs: int = 6,
    batch_size: int = 250,
    lr: float = 4e-3,
    weight_decay: float = 0.02,
    progress: bool = True,
) -> TrainedNet:
    """Train the net and keep the epoch of the lowest validation cross-entropy, grey and binarized
    digits weighing the same.

    Arguments:
        data: ``mnist``.
        seed: of initialisation, order and augmentation.
        epochs: passes through the training split; every second batch is binarized.
        batch_size: images per step.
        lr: peak of a one-cycle schedule of AdamW.
        weight_decay: of AdamW.
        progress: print a line per epoch to stderr.

    Raises:
        UserError: data without labels or with binary images.
        FloatingPointError: the loss is not finite.
    """
    if data.train_y is None or data.valid_y is None or data.spec.levels != 256:
        raise UserError(
            f"the feature net is trained on mnist (256 levels, with labels), got {data.name}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("features", "init", seed))
        net = FeatureNet().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=weight_decay, foreach=True)
    steps = len(data.train_x) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, lr, total_steps=epochs * steps, pct_start=0.2, cycle_momentum=False
    )
    best: TrainedNet | None = None
    for epoch in range(1, epochs + 1):
        _train_epoch(
            net,
            data.train_x,
            data.train_y,
            optimiser,
            schedule,
            seed=seed,
            epoch=epoch,
            batch_size=batch_size,
        )
        grey, binary = _validate(net, data.valid_x, data.valid_y)
        if progress:
            scores = f"{grey.accuracy:.4f}, binarized {binary.accuracy:.4f}"
            told = f"epoch {epoch}/{epochs}: validation accuracy {scores}"
            print(told, file=sys.stderr, flush=True)
        if best is None or grey.nats + binary.nats < best.valid_grey.nats + best.valid_binary.nats:
            kept = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
            best = TrainedNet(kept.eval().requires_grad_(False), epoch, grey, binary)
    assert best is not None
    return best


def _train_epoch(
    net: FeatureNet,
    x: Tensor,
    y: Tensor,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
) -> None:
    net.train()
    order = torch.randperm(len(x), generator=generator_for("features", "order", seed, epoch))
    for step, index in enumerate(order.split(batch_size)[: len(x) // batch_size]):
        rng = generator_for("features", "augment", seed, epoch, step)
        batch = augment(x[index].float() / 255, rng=rng, binary=step % 2 == 1)
        batch = batch.contiguous(memory_format=torch.channels_last)
        with autocast("auto", "cpu"):
            loss = F.cross_entropy(net(batch)[1].float(), y[index])
        if not math.isfinite(loss.item()):
            raise FloatingPointError(
                f"feature net: the loss is {loss.item()} in epoch {epoch}, step {step}; lower lr"
            )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def _validate(net: FeatureNet, x: Tensor, y: Tensor) -> tuple[Accuracy, Accuracy]:
    rng = generator_for("features", "validation")
    drawn = torch.bernoulli(x.float() / 255, generator=rng).byte()
    return accuracy(net, x, y, levels=256), accuracy(net, drawn, y, levels=2)


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, y: Tensor, *, levels: int) -> Accuracy:
    """Accuracy of ``net`` on images uint8 (N, 1, 28, 28) with labels int64 (N,), in float32."""
    net.eval()
    logits = torch.cat([net(batch.float() / (levels - 1))[1] for batch in x.split(BATCH)])
    right = (logits.argmax(1) == y).double().mean().item()
    return Accuracy(right, F.cross_entropy(logits, y).item(), len(x))


def test_accuracies(net: nn.Module, mnist: Dataset, binary: Tensor | None) -> dict[str, Accuracy]:
    """Accuracy on the test digits of ``mnist`` and, if given, on those of the static binarization,
    uint8 (N, 1, 28, 28).
    """
    assert mnist.test_y is not None
    scores = {"mnist": accuracy(net, mnist.test_x, mnist.test_y, levels=256)}
    if binary is not None:
        labels, _ = recover_labels(binary, mnist.test_x, mnist.test_y)
        scores["binary_mnist"] = accuracy(net, binary, labels, levels=2)
    return scores


def recover_labels(
    binary: Tensor, x: Tensor, y: Tensor, *, floor: float = 1e-4
) -> tuple[Tensor, Tensor]:
    """Labels of binarized digits, which are published without, from the grey digits that they were
    drawn from.

    Each binarized image takes the label of the grey image under whose intensities, as probabilities
    of independent pixels, it is the likeliest.

    Arguments:
        binary: uint8 (N, 1, H, W) of levels 0 and 1.
        x: uint8 (M, 1, H, W) of 256 levels.
        y: labels of ``x``, int64 (M,).
        floor: probabilities are kept this far from 0 and 1.

    Returns:
        labels int64 (N,) and the index of the match int64 (N,).
    """
    p = (x.flatten(1).float() / 255).clamp(floor, 1 - floor)
    on, off = p.log(), (1 - p).log()
    match = torch.cat(
        [(b.flatten(1).float() @ (on - off).T + off.sum(1)).argmax(1) for b in binary.split(BATCH)]
    )
    return y[match], match
