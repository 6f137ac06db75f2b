"""Classification accuracy score: how well a classifier that saw nothing but labelled samples reads
real test digits, beside one that saw as many real digits.

Ravuri and Vinyals, "Classification Accuracy Score for Conditional Generative Models", 2019,
https://arxiv.org/abs/1905.10887. The classifier is a small convolutional network on pixels with
random weights at first, so nothing of it is borrowed from the feature net; 200 steps of 100 images,
the same for samples and for real digits.

It falls where samples do not look like their label, and where they lack variety: what a class has
never shown, the classifier cannot read.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genbench.data.subsets import strided
from genbench.hardware.precision import full_precision
from genbench.scoring.features import CLASSES
from genbench.scoring.metrics.base import FeatureSet, need
from genbench.scoring.records import Metric
from genbench.scoring.votes import votes
from genbench.seeding import generator_for, seed_for

__all__ = ["compute"]

STEPS = 200
BATCH = 100
_PEAK = 1e-2  # learning rate, which falls linearly to 0
_KEY = "cas"


def compute(generated: FeatureSet, reference: FeatureSet, *, seed: int) -> dict[str, Metric]:
    """``cas``, the share of the reference images that are read rightly; empty unless samples,
    reference and its training images have labels and pixels.

    The standard error is the binomial one of the test images. It leaves out other samples, other
    weights at first, and training. ``detail`` has the share of the classifier of real digits, and
    how many those are.

    Arguments:
        generated: the samples, with labels and images.
        reference: test images with the same, and training images with the same.
        seed: of the first weights and of the order of the images.

    Raises:
        TooFewSamples: fewer than ten samples.
    """
    training = reference.training
    if training is None or not all(map(_is_labelled, (generated, reference, training))):
        return {}
    need([_KEY], len(generated), 10, "a class each")
    some = torch.from_numpy(strided(len(training), len(generated)))
    levels = max(1, int(_pixels(training).max()))  # the brightest there is
    test_x, test_y = _pixels(reference), _labels(reference)
    made = _train(_pixels(generated), _labels(generated), levels, seed=seed)
    real = _train(_pixels(training)[some], _labels(training)[some], levels, seed=seed)
    share, real_share = (_accuracy(net, test_x, test_y, levels) for net in (made, real))
    n = len(reference)
    detail = {"real": real_share, "real_n": len(some), "reference_n": n}
    stderr = math.sqrt(share * (1 - share) / n)
    return {_KEY: Metric(share, stderr, len(generated), higher_is_better=True, detail=detail)}


def _is_labelled(images: FeatureSet) -> bool:
    return images.images is not None and images.labels is not None


def _pixels(images: FeatureSet) -> Tensor:
    assert images.images is not None
    return images.images


def _labels(images: FeatureSet) -> Tensor:
    assert images.labels is not None
    return images.labels


def _net(height: int, width: int) -> nn.Sequential:
    h, w = -(-height // 4), -(-width // 4)  # what two strides of 2 leave
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 32, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * h * w, CLASSES),
    )


def _train(x: Tensor, y: Tensor, levels: int, *, seed: int) -> nn.Sequential:
    """The classifier of images uint8 (N, 1, H, W) with labels int64 (N,)."""
    with torch.random.fork_rng(devices=[]), full_precision("cpu"), torch.enable_grad():
        torch.manual_seed(seed_for("classification_accuracy", "init", seed))
        net = _net(*x.shape[2:])
        optimiser = torch.optim.AdamW(net.parameters(), lr=_PEAK)
        order = _order(len(x), seed)
        for step in range(STEPS):
            for group in optimiser.param_groups:
                group["lr"] = _PEAK * (1 - step / STEPS)
            index = order[step * BATCH : (step + 1) * BATCH]
            optimiser.zero_grad()
            F.cross_entropy(net(x[index].float() / levels), y[index]).backward()
            optimiser.step()
    return net


def _order(n: int, seed: int) -> Tensor:
    """The images of all steps, each as often as any other before it comes again."""
    rng = generator_for("classification_accuracy", "order", seed)
    epochs = -(-STEPS * BATCH // n)
    return torch.cat([torch.randperm(n, generator=rng) for _ in range(epochs)])


@torch.no_grad()
def _accuracy(net: nn.Sequential, x: Tensor, y: Tensor, levels: int) -> float:
    with full_precision("cpu"):
        logits = torch.cat([net(batch.float() / levels) for batch in x.split(BATCH)])
    return float(votes(logits)[torch.arange(len(y)), y].mean())
