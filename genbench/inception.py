"""Features of the Inception network that is usual for photographs, on request only: it knows no digits and is slow on a CPU.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision", 2015,
https://arxiv.org/abs/1512.00567, with the weights of the FID paper, through torch-fidelity. 10,000 images take a quarter of an hour on
two cores.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from genbench.errors import UserError
from genbench.features import check_images
from genbench.progress import Progress

__all__ = ["EXTRACTOR", "METRICS", "inception_features", "load_inception"]

EXTRACTOR = "inception"
METRICS = ("fid", "inception_score")
"""Metric families that are computed of its features."""
_BATCH = 50


def load_inception(weights: Path | None = None) -> nn.Module:
    """torch-fidelity's Inception network in eval mode: uint8 (B, 3, H, W) -> features (B, 2048) and logits (B, 1008).

    Arguments:
        weights: its weights file; None takes the one that torch-fidelity keeps below the torch hub folder, and downloads it once.

    Raises:
        UserError: no such file, no weights of this network, or no network; names the file, the address and the option.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3  # takes seconds

    cache = Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rsplit("/", 1)[-1]
    remedy = f"download {URL_INCEPTION_V3} and give its place by --inception-weights PATH, or put it at {cache}"
    if weights is not None and not weights.is_file():
        raise UserError(f"--inception-weights: {weights} is no file; {remedy}")
    cached = cache.is_file()
    try:
        net: nn.Module = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=None if weights is None else str(weights)
        )
    except (RuntimeError, EOFError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{weights or cache} holds no weights of torch-fidelity's Inception network ({error}); delete it, {remedy}"
        ) from error
    except OSError as error:  # URLError is one
        what = f"cannot read {weights or cache}" if weights is not None or cached else f"cannot download the Inception weights to {cache}"
        raise UserError(f"{what} ({error}); {remedy}") from error
    return net


@torch.no_grad()
def inception_features(
    images: Tensor, levels: int, *, weights: Path | None = None, device: torch.device | str = "cpu", net: nn.Module | None = None
) -> tuple[Tensor, Tensor]:
    """Features (N, 2048) and logits (N, 1008) of images, float32 on the CPU.

    Arguments:
        images: uint8 (N, 1, 28, 28); spread to 0..255 and repeated as red, green and blue.
        levels: number of levels of the images.
        weights: as in :func:`load_inception`.
        device: where to compute.
        net: a loaded network, instead of ``weights``.

    Raises:
        UserError: images of another shape, dtype or range; weights that cannot be had.
    """
    check_images(images, levels)
    net = (load_inception(weights) if net is None else net).to(device)
    features, logits = [], []
    with Progress("inception", len(images), unit="images") as progress:
        for batch in images.split(_BATCH):
            grey = (batch.to(device).float() * (255 / (levels - 1))).round().to(torch.uint8)
            f, z = net(grey.expand(-1, 3, -1, -1))
            features.append(f.cpu())
            logits.append(z.cpu())
            progress.update(sum(map(len, features)))
    return torch.cat(features), torch.cat(logits)
