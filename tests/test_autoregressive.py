"""What the autoregressive models share: the training loss is the scored quantity, and labels start
without effect.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from genbench.base import Conditioning, DataSpec
from genbench.families.autoregressive import Autoregressive
from genbench.registry import model_class, model_names

CASES = [
    (name, spec, arch)
    for name in model_names()
    if issubclass(model_class(name), Autoregressive)
    for spec, arch in model_class(name).tiny_specs
    # With several masks a step trains one of them, and their mean is scored.
    if arch.get("masks", 1) == 1
]
CONDITIONAL = [case for case in CASES if model_class(case[0]).conditioning is not Conditioning.NONE]


@pytest.mark.parametrize(("name", "spec", "arch"), CASES)
def test_the_loss_is_the_mean_negative_log_likelihood_per_image(
    name: str, spec: DataSpec, arch: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    model = model_class(name)(spec, **arch).eval()
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(
        0, spec.levels, (32, 1, spec.height, spec.width), dtype=torch.uint8, generator=rng
    )
    loss = model.training_loss(x, None, rng=rng, progress=0.5).loss
    assert loss.item() == pytest.approx(-model.log_likelihood(x, rng=rng).mean().item(), rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("name", "spec", "arch"), CONDITIONAL)
def test_labels_start_without_effect(name: str, spec: DataSpec, arch: dict[str, Any]) -> None:
    """Random differences between classes would have to be unlearned first; a moved table then makes
    a difference.
    """
    torch.manual_seed(0)
    model = model_class(name)(replace(spec, classes=3), **arch, conditional=True).eval()
    x = torch.randint(
        0,
        spec.levels,
        (8, 1, spec.height, spec.width),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    labels = [torch.full((8,), label) for label in (0, 2)]
    assert torch.equal(*(model.logits(x, y) for y in labels))
    for key, table in model.named_parameters():
        if "labels" in key:
            table.normal_()
    assert not torch.equal(*(model.logits(x, y) for y in labels))
