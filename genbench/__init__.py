"""genbench: a reproducible benchmark of generative models on MNIST.

`genbench.load("runs/quick/made")` returns the trained model of an entry.
"""

from __future__ import annotations

import importlib
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genbench.base import GenerativeModel

__all__ = ["__version__", "load"]
__version__ = "0.1.0"

# By name, as below, so that no stage's fingerprint contains the list.
importlib.import_module("genbench.former_names").refuse_former_names()


def load(run: str | PathLike[str], *, device: str = "cpu") -> GenerativeModel:
    """The trained model of a run folder such as ``runs/quick/made``, in eval mode.

    Arguments:
        run: folder that holds ``weights.safetensors``, or that file.
        device: a torch device.

    Raises:
        FileNotFoundError: there are no weights there.
        ValueError: the file holds no weights of genbench, or belongs to another architecture.

    Example:
        >>> model = genbench.load("runs/quick/made")  # doctest: +SKIP
        >>> images = model.sample(16, rng=torch.Generator().manual_seed(0))  # doctest: +SKIP
    """
    # By name, so that the code fingerprint of a stage that loads no model does not contain the
    # loader.
    return importlib.import_module("genbench.weights").load(run, device=device)
