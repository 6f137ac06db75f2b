"""How a model is trained, as typed values: what an entry has under `train`, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from genbench.base import GenerativeModel
from genbench.errors import UserError, bind_options, near
from genbench.training.arithmetic import Arithmetic

__all__ = ["DECAYS", "OPTIMIZERS", "OptimOptions", "TrainOptions"]

OPTIMIZERS = ("adamw", "muon")
DECAYS = ("cosine", "linear")


@dataclass(frozen=True, slots=True)
class OptimOptions:
    """AdamW (Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019) of all parameters,
    or Muon (:mod:`genbench.training.muon`) of the hidden matrices and AdamW of the others, with a
    schedule of the rate (:mod:`genbench.training.schedule`).

    Attributes:
        lr: peak learning rate.
        name: ``adamw``, or ``muon`` for the hidden matrices.
        betas: decay rates of the moments.
        momentum: decay rate of Muon's momentum.
        weight_decay: decoupled weight decay.
        warmup: share of the phase's steps with a rising rate.
        decay: ``cosine`` from the end of the warm-up on, or ``linear`` in the last 40 % of the
            phase's steps, after a constant rate.
        final_lr: rate at the end as a share of ``lr``.
        clip: largest norm of the gradient over the phase's parameters; None leaves it alone.
    """

    lr: float
    name: str = "adamw"
    betas: Sequence[float] = (0.9, 0.999)
    momentum: float = 0.95
    weight_decay: float = 0.0
    warmup: float = 0.02
    decay: str = "cosine"
    final_lr: float = 0.0
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise UserError(f"lr: must be positive, got {self.lr}")
        for name, known in (("name", OPTIMIZERS), ("decay", DECAYS)):
            value = getattr(self, name)
            if value not in known:
                raise UserError(f"{name}: {value!r} is not known{near(str(value), known)}")
        if not 0 <= self.momentum < 1:
            raise UserError(f"momentum: must be in [0, 1), got {self.momentum}")
        if len(self.betas) != 2 or not all(0 <= b < 1 for b in self.betas):
            raise UserError(f"betas: must be two numbers in [0, 1), got {self.betas}")
        if self.clip is not None and not self.clip > 0:
            raise UserError(f"clip: must be positive, or null for none, got {self.clip}")
        if not self.weight_decay >= 0:
            raise UserError(f"weight_decay: must not be negative, got {self.weight_decay}")
        for name in ("warmup", "final_lr"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name}: must be a share in [0, 1], got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """The options of a training. :meth:`of` makes them from an entry's ``train``, and is the one
    place that checks them against the model.

    Attributes:
        steps: optimiser steps (of the outer loop); 0 for a model without phases.
        batch_size: images per inner step.
        optim: phase name -> how its parameters are optimised.
        ema: decay of the weight average.
        validations: how often the validation loss is taken; models with an exact likelihood or a
            bound keep the best weights.
        validate_images: images of the validation split that it is taken on, evenly spaced.
        arithmetic: precision, layout and compilation on the device.
    """

    steps: int = 0
    batch_size: int = 128
    optim: Mapping[str, OptimOptions] = field(default_factory=dict)
    ema: float = 0.999
    validations: int = 20
    validate_images: int = 10_000
    arithmetic: Arithmetic = field(default_factory=Arithmetic)

    def __post_init__(self) -> None:
        least = {
            "steps": 1 if self.optim else 0,
            "batch_size": 1,
            "validations": 1,
            "validate_images": 1,
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UserError(f"{name}: must be at least {bound}, got {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise UserError(f"ema: must be in [0, 1), got {self.ema}")

    @classmethod
    def of(
        cls,
        model: GenerativeModel,
        given: Mapping[str, Any],
        device: torch.device | str,
        *,
        where: str,
    ) -> TrainOptions:
        """The options under ``train`` of an entry of ``model``.

        Arguments:
            model: what is to be trained.
            given: the keys above; of ``optim`` the fields of :class:`OptimOptions` by phase, of
                ``arithmetic`` those of :class:`Arithmetic` by type of device.
            device: where it is to be trained.
            where: its place in params.yaml, for messages, e.g. ``entries.made.train``.

        Raises:
            UserError: an unknown option, a bad value, a phase without options, options without a
                phase, or an operation of the model that the device lacks in this precision.
        """
        options = bind_options(cls, given, where=where)
        options["optim"] = _optim_of(model, options.get("optim", {}), where=f"{where}.optim")
        place = f"{where}.arithmetic"
        arithmetic = Arithmetic.of(options.get("arithmetic", {}), torch.device(device), where=place)
        arithmetic.check(model, where=place)
        try:
            return cls(**{**options, "arithmetic": arithmetic})
        except UserError as error:
            raise UserError(f"{where}.{error}") from error


def _optim_of(
    model: GenerativeModel, given: Mapping[str, Any], *, where: str
) -> dict[str, OptimOptions]:
    """The optimiser options of each phase of a model."""
    phases = [phase.name for phase in model.phases()]
    for name in given:
        if name not in phases:
            raise UserError(
                f"{where}.{name}: {type(model).__name__} has no such phase{near(name, phases)}"
            )
    for name in phases:
        if name not in given:
            raise UserError(f"{where}: missing the phase {name!r} of {type(model).__name__}")
    result = {}
    for name, values in given.items():
        options = bind_options(OptimOptions, values, where=f"{where}.{name}")
        try:
            result[name] = OptimOptions(**options)
        except UserError as error:
            raise UserError(f"{where}.{name}.{error}") from error
    return result
