"""Features of the Inception network that is usual for photographs, on request only: it knows no
digits and is slow on a CPU.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer
Vision", 2015, https://arxiv.org/abs/1512.00567, with the weights of the FID paper, through
torch-fidelity. 10,000 images take a quarter of an hour on two cores.

torch-fidelity unpickles its weights file, and a pickle can run any program. So no file reaches it
by its name: it is given bytes that were checked before, those of the published file, or tensors
alone out of another one that params.yaml names by its SHA-256.
"""

from __future__ import annotations

import http.client
import io
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from genbench.disk import ExplainedError, explained
from genbench.errors import UserError
from genbench.files import sha256
from genbench.progress import Progress
from genbench.scoring.features import check_images

__all__ = [
    "EXTRACTOR",
    "METRICS",
    "PUBLISHED_SHA256",
    "InceptionWeights",
    "checked_weights",
    "inception_features",
    "load_inception",
]

EXTRACTOR = "inception"
METRICS = ("fid", "inception_score")
"""Metric families that are computed of its features."""
PUBLISHED_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of ``weights-inception-2015-12-05-6726825d.pth``, as torch-fidelity publishes it."""
_PUBLISHED_SIZE = 95_628_359
_LARGEST = 2**30  # bytes, ten times the published file: what is larger is another
_BATCH = 50  # of images enlarged to 299 x 299: 54 MB, and few enough for any machine's memory
_NO_WEIGHTS = (
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    pickle.UnpicklingError,
)
"""What torch raises for a file that is none of weights."""


# ---------------------------------------------------------------------- weights


@dataclass(frozen=True, slots=True)
class InceptionWeights:
    """The bytes of a weights file, with its place and its SHA-256, by :func:`checked_weights`."""

    path: Path
    data: bytes
    sha256: str


def checked_weights(path: Path | None = None, *, accepted: str | None = None) -> InceptionWeights:
    """A weights file of the Inception network that may be loaded.

    Arguments:
        path: the file; None takes the one that torch-fidelity keeps below the torch hub folder, and
            downloads it once.
        accepted: SHA-256 of another file than the published one that is accepted too
            (``protocol.inception_sha256``).

    Raises:
        UserError: no such file, neither the published nor the accepted one, or no network; names
            the file, the address and the option.
        OSError: the file cannot be read, or the download not written; names it.
    """
    if path is not None and not path.is_file():
        raise UserError(f"--inception-weights: {path} is no file; {_remedy()}")
    path = _cached() if path is None else path
    with explained(path, "read"), path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise UserError(
            f"{path} is larger than {_LARGEST:,} bytes, so it holds no weights of the Inception "
            f"network; {_remedy()}"
        )
    found = sha256(data)
    if found not in (PUBLISHED_SHA256, accepted):
        raise UserError(
            f"{path} is not the published weights file: it has {len(data):,} bytes and the SHA-256 "
            f"{found}, that one {_PUBLISHED_SIZE:,} bytes and {PUBLISHED_SHA256}. Such a file can "
            f"run any program when it is loaded, so it was not; {_remedy()}. If you made it "
            f"yourself, name it in params.yaml, under protocol: `inception_sha256: {found}`"
        )
    return InceptionWeights(path, data, found)


def _address() -> str:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3  # takes seconds

    return str(URL_INCEPTION_V3)


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / _address().rsplit("/", 1)[-1]


def _remedy() -> str:
    return (
        f"download {_address()} and give its place by --inception-weights PATH, or put it at "
        f"{_cache()}"
    )


def _cached() -> Path:
    """The file in torch-fidelity's cache, downloaded if it is not there."""
    cache = _cache()
    if cache.is_file():
        return cache
    try:
        with explained(cache):
            cache.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(
                _address(), os.fspath(cache), hash_prefix=PUBLISHED_SHA256
            )
    # RuntimeError: other bytes than the published.
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        if isinstance(error, ExplainedError):
            raise
        raise UserError(
            f"cannot download the Inception weights to {cache} ({error}); {_remedy()}"
        ) from error
    return cache


def load_inception(weights: InceptionWeights) -> nn.Module:
    """torch-fidelity's Inception network in eval mode: uint8 (B, 3, H, W) -> features (B, 2048) and
    logits (B, 1008).

    Raises:
        UserError: they are no weights of this network, or more than weights; names the file.
    """
    from torch_fidelity import feature_extractor_inceptionv3 as inception  # takes seconds

    published = weights.sha256 == PUBLISHED_SHA256
    try:
        trusted = io.BytesIO(weights.data if published else _tensors_alone(weights.data))
        net: nn.Module = inception.FeatureExtractorInceptionV3(
            "inception-v3-compat",
            ["2048", "logits_unbiased"],
            feature_extractor_weights_path=trusted,
        )
    except _NO_WEIGHTS as error:
        raise UserError(
            f"{weights.path} holds no weights of torch-fidelity's Inception network, or more than "
            f"weights ({error}); delete it, {_remedy()}"
        ) from error
    return net


def _tensors_alone(data: bytes) -> bytes:
    """A state dict written anew from one that was read without running what its pickle says."""
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise ValueError(f"a state dict of tensors is needed, got {type(state).__name__}")
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


# ---------------------------------------------------------------------- features


@torch.no_grad()
def inception_features(
    images: Tensor, levels: int, net: nn.Module, *, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Features (N, 2048) and logits (N, 1008) of images, float32 on the CPU.

    Arguments:
        images: uint8 (N, 1, 28, 28); spread to 0..255 and repeated as red, green and blue.
        levels: number of levels of the images.
        net: the network, by :func:`load_inception`.
        device: where to compute.

    Raises:
        UserError: images of another shape, dtype or range.
    """
    check_images(images, levels)
    net = net.to(device)
    features, logits = [], []
    with Progress("inception", len(images), unit="images") as progress:
        for batch in images.split(_BATCH):
            grey = (batch.to(device).float() * (255 / (levels - 1))).round().to(torch.uint8)
            f, z = net(grey.expand(-1, 3, -1, -1))
            features.append(f.cpu())
            logits.append(z.cpu())
            progress.update(sum(map(len, features)))
    return torch.cat(features), torch.cat(logits)
