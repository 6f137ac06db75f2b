"""The pinned feature net of the sample scores: its architecture, its shipped weights, and features
of images.

Its weights ship with the package and are pinned by their SHA-256, so that everybody's ``fid_mnist``
is the same number. ``genbench.scoring.feature_training`` is how they were made.
"""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from genbench.data.subsets import strided
from genbench.errors import UserError
from genbench.files import sha256
from genbench.hardware.precision import full_precision

__all__ = [
    "BATCH",
    "CLASSES",
    "EXTRACTOR",
    "FEATURES",
    "WEIGHTS",
    "WEIGHTS_SHA256",
    "FeatureNet",
    "check_images",
    "extract",
    "load_net",
    "reference_images",
]

EXTRACTOR = "mnist"
"""Name of the extractor, the suffix of its metrics' keys."""
FEATURES = 64
"""Width of the features, of the net that is shipped."""
CLASSES = 10
"""The digits, which it was trained to tell apart."""
BATCH = 100
"""Images per pass. It is fixed, because the last bits of a convolution depend on it; larger ones
fall out of the processor's cache.
"""
WEIGHTS = Path(__file__).parent / "feature_net.safetensors"
WEIGHTS_SHA256 = "99146a0eeab5e33eccdc705c2fafb16a1518bcb95de63258c006c2566979dfb5"


class FeatureNet(nn.Module):
    """A convolutional classifier of 28x28 digits whose penultimate activations are the features.

    Five 3x3 convolutions with batch normalisation and ReLU, pooled 28 -> 14 -> 7 -> 3, and one
    hidden layer, so that features know where strokes are.
    Input: float32 (B, 1, 28, 28) in [0, 1]. Output: features (B, 64) and logits (B, 10).
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_block(1, 32),
            *_block(32, 32),
            nn.MaxPool2d(2),
            *_block(32, 64),
            *_block(64, 64),
            nn.MaxPool2d(2),
            *_block(64, 64),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.hidden = nn.Sequential(
            nn.Linear(64 * 3 * 3, FEATURES, bias=False), nn.BatchNorm1d(FEATURES), nn.ReLU()
        )
        self.classify = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, 64) and logits (B, 10) of ``x``, float32 (B, 1, 28, 28) in [0, 1]."""
        features = self.hidden(self.body(x))
        return features, self.classify(features)


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def load_net(
    path: Path = WEIGHTS,
    *,
    checksum: str | None = WEIGHTS_SHA256,
    device: torch.device | str = "cpu",
) -> FeatureNet:
    """The trained net in eval mode.

    Arguments:
        path: safetensors file of a :class:`FeatureNet`.
        checksum: its SHA-256, or None to take any file of the right shapes.
        device: where to put it.

    Raises:
        UserError: missing, corrupt, or the weights of another net; names the file and how to mend.
    """
    mend = "restore it from the repository (`git checkout`) or install genbench again"
    if not path.is_file():
        raise UserError(f"{path}: the weights of the feature net are missing; {mend}")
    data = path.read_bytes()
    if checksum is not None and sha256(data) != checksum:
        raise UserError(
            f"{path} is corrupt: its SHA-256 is {sha256(data)}, the pinned one is {checksum}; "
            f"{mend}"
        )
    net = FeatureNet()
    try:
        net.load_state_dict(safetensors.torch.load(data))
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise UserError(f"{path} holds no weights of the feature net ({error}); {mend}") from error
    net = net.eval().requires_grad_(False).to(device)
    return net.to(memory_format=torch.channels_last)  # half the time on a CPU


def check_images(images: Tensor, levels: int) -> None:
    """Raise UserError unless ``images`` is uint8 (N, 1, 28, 28) with N >= 1 and values
    ``0..levels-1``.
    """
    if not 2 <= levels <= 256:
        raise UserError(f"levels: must be 2..256, got {levels}")
    if images.dtype != torch.uint8:
        raise UserError(
            f"images: dtype must be torch.uint8 (integer levels 0..{levels - 1}), got "
            f"{images.dtype}"
        )
    if images.ndim != 4 or tuple(images.shape[1:]) != (1, 28, 28) or len(images) == 0:
        raise UserError(
            f"images: shape must be (N, 1, 28, 28) with N >= 1, got {tuple(images.shape)}"
        )
    if int(images.max()) >= levels:
        raise UserError(f"images: levels must be 0..{levels - 1}, got {int(images.max())}")


def reference_images(x: Tensor, n: int) -> Tensor:
    """``n`` images of a split, or all if it has no more, evenly spread over it: MNIST's test split
    is not in random order.
    """
    return x[strided(len(x), n)]


@torch.no_grad()
def extract(
    images: Tensor,
    levels: int,
    *,
    device: torch.device | str = "cpu",
    net: FeatureNet | None = None,
) -> tuple[Tensor, Tensor]:
    """Features (N, 64) and logits (N, 10) of images, float32 on the CPU.

    Computed in float32 without autocast, in batches of ``BATCH``, from the input level/(levels -
    1).

    Arguments:
        images: uint8 (N, 1, 28, 28).
        levels: number of levels of the images.
        device: where to compute.
        net: another net than the pinned one.

    Raises:
        UserError: images of another shape, dtype or range; corrupt weights.
    """
    check_images(images, levels)
    net = (load_net() if net is None else net).to(device).eval()
    features, logits = [], []
    with full_precision(device):
        for batch in images.split(BATCH):
            f, z = net(batch.to(device).float() / (levels - 1))
            features.append(f.cpu())
            logits.append(z.cpu())
    return torch.cat(features), torch.cat(logits)
