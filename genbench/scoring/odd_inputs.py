"""Odd inputs: images that no model of digits should find likely, made from test digits or of none.

Nalisnick, Matsukawa, Teh, Gorur, Lakshminarayanan, "Do Deep Generative Models Know What They Don't
Know?", 2019, https://arxiv.org/abs/1810.09136: a likelihood may be higher on images of another kind
than on those that the model has learned.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["ODD_INPUTS", "odd_inputs"]

ODD_INPUTS: Mapping[str, str] = {
    "mirrored": "left and right exchanged",
    "rotated": "turned by 90 degrees",
    "inverted": "black and white exchanged",
    "shuffled": "pixels in another order, the same for all images",
    "noise": "every pixel uniform among its levels",
    "black": "all black",
}
"""Kinds of inputs, in their order, and what they are."""


def odd_inputs(digits: np.ndarray, levels: int, *, seed: int) -> dict[str, np.ndarray]:
    """Images of each kind of :data:`ODD_INPUTS`, as many as there are digits.

    Pixels that are not square have no image turned by 90 degrees: it is left out.

    Arguments:
        digits: uint8 (n, H, W).
        levels: levels of a pixel; of two the values are 0 and 1, and noise is a fair coin.
        seed: of the order of the pixels and of the noise.

    Returns:
        uint8 (n, H, W) by kind.
    """
    n, height, width = digits.shape
    rng = np.random.default_rng(seed)
    order = rng.permutation(height * width)
    made = {
        "mirrored": digits[:, :, ::-1],
        "rotated": np.rot90(digits, axes=(1, 2)),
        "inverted": (levels - 1) - digits,
        "shuffled": digits.reshape(n, -1)[:, order].reshape(n, height, width),
        "noise": rng.integers(0, levels, digits.shape, dtype=np.uint8),
        "black": np.zeros_like(digits),
    }
    if height != width:
        del made["rotated"]
    return {kind: np.ascontiguousarray(images, np.uint8) for kind, images in made.items()}
