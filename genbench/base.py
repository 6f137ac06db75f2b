"""The contract between a generative model and everything else: likelihood kinds, phases, the model
class. No I/O. Plug-ins import all of it from here, also what stands in :mod:`genbench.spec` and
:mod:`genbench.capabilities`.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from genbench.capabilities import Diagnosed, Encoder, Inpaintable, Latent, Termed, Traceable
from genbench.errors import UserError, check_positive
from genbench.hardware.precision import resolved
from genbench.spec import DataSpec

__all__ = [
    "Conditioning",
    "DataSpec",
    "Diagnosed",
    "Encoder",
    "GenerativeModel",
    "Inpaintable",
    "Latent",
    "Likelihood",
    "Phase",
    "Step",
    "Termed",
    "Traceable",
]


class Likelihood(StrEnum):
    """What ``log_likelihood`` returns, as a statement about log P of the discrete image."""

    EXACT = "exact"
    LOWER_BOUND = "lower_bound"
    ESTIMATE = "estimate"
    NONE = "none"


class Conditioning(StrEnum):
    """Whether a class takes labels: never, by ``conditional=True``, or always."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Step:
    """One evaluation of a loss.

    Attributes:
        loss: a scalar, in nats per image, or an adversarial loss.
        logs: name → scalar, for the history.
        aux: what ``after_step`` gets beside the phase's name.
    """

    loss: Tensor
    logs: dict[str, Tensor] = field(default_factory=dict)
    aux: object = None

    def __new__(cls, *_: object, **given: object) -> Step:
        """Refuses the former name of a field."""
        if "carry" in given:
            raise TypeError("Step: carry is now called 'aux'")
        return object.__new__(cls)


@dataclass(frozen=True, slots=True)
class Phase:
    """One optimiser: its parameters, its loss, and when it is active.

    The phases of a model partition its parameters.

    Attributes:
        name: key of ``train.optim.<name>`` in params.yaml and prefix of the logged values.
        params: the parameters that this phase updates.
        loss: ``(x, y, *, rng, progress) -> Step``; ``progress`` runs from 0 to 1 within the span.
        repeats: inner steps per outer step, each on a fresh batch.
        span: share of the step budget in which the phase is active. At its end its parameters take
            their scored values.
    """

    name: str
    params: Sequence[nn.Parameter]
    loss: Callable[..., Step]
    repeats: int = 1
    span: tuple[float, float] = (0.0, 1.0)


class GenerativeModel(nn.Module, ABC):
    """A distribution over the images of a :class:`DataSpec`.

    Subclasses take explicit keyword hyperparameters after ``spec``. A class with
    ``Conditioning.OPTIONAL`` takes ``conditional: bool = False`` and passes it here.
    """

    likelihood: ClassVar[Likelihood]
    conditioning: ClassVar[Conditioning] = Conditioning.NONE
    family: ClassVar[str]
    """Name of the family's page in docs/."""
    control: ClassVar[bool] = False
    """True for reference rows that are no contenders."""
    sampler_name: ClassVar[str] = "ancestral"
    independent_draws: ClassVar[bool] = True
    """Whether images may be drawn in separate calls of ``sample``; False where a draw depends on
    the others, as without replacement.
    """
    sums_classes: ClassVar[bool] = True
    """Whether exp(log_likelihood) may be summed over classes: it is P, an unbiased estimate of P,
    or below P whatever is drawn.
    """
    tiny_specs: ClassVar[Sequence[tuple[DataSpec, dict[str, Any]]]]
    """Shapes with at most 512 states and constructor keywords for the contract tests."""

    def __init__(self, spec: DataSpec, *, conditional: bool = False) -> None:
        super().__init__()
        name = type(self).__name__
        if conditional and self.conditioning is Conditioning.NONE:
            raise UserError(f"conditional: {name} takes no labels")
        conditional = conditional or self.conditioning is Conditioning.REQUIRED
        if conditional and spec.classes == 0:
            raise UserError(
                f"conditional: the data set has no labels, so {name} cannot be conditional on it; "
                "set conditional: false or use mnist"
            )
        self.spec = spec
        self.conditional = conditional

    # ------------------------------------------------------------------ training

    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        """Called once, before step 0, with the training split: ``x`` uint8 (N, 1, H, W), ``y``
        int64 (N,) or None.
        """

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        """Loss of one batch, for models of one phase."""
        raise NotImplementedError(f"{type(self).__name__} defines neither training_loss nor phases")

    def phases(self) -> Sequence[Phase]:
        """The optimisers of this model; empty for a model that is complete after
        ``init_from_data``.
        """
        return [Phase("loss", list(self.parameters()), self.training_loss)]

    def after_step(self, phase: str, aux: object, *, rng: Generator, progress: float) -> None:
        """Called after each optimiser step, with what its loss gave as ``Step.aux``, for state in
        registered buffers: codebook averages, persistent chains.
        """

    # ------------------------------------------------------------------ use

    @abstractmethod
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Draw ``n`` images, uint8 (n, 1, H, W), from the scored distribution. ``y`` is int64 (n,)
        for conditional models, else None.
        """

    def prepare_likelihood(self, *, rng: Generator) -> dict[str, float]:
        """Work done once for trained weights before scoring, for instance ``log_z`` by AIS with
        ``log_z_stderr``, ``ess`` and ``ess_floor``.
        """
        return {}

    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        """Log P(x) or log P(x|y) of the discrete images in nats, summed over pixels, float64 (B,).
        ``likelihood`` says how it relates to the truth.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no likelihood: {type(self).__name__}.likelihood is "
            f"{self.likelihood.value!r}"
        )

    def likelihood_passes(self, **options: Any) -> int:
        """Network passes per image that ``log_likelihood(**options)`` costs; the protocol scores
        costly likelihoods on fewer images.

        The default is the number of ``draws``, or 1 for a likelihood without that keyword.
        """
        draws = inspect.signature(self.log_likelihood).parameters.get("draws")
        return int(options.get("draws", draws.default if draws else 1))

    def check_likelihood_options(
        self, preparing: Mapping[str, Any], scoring: Mapping[str, Any]
    ) -> None:
        """Raise UserError, whose message begins with the keyword, for a value that the score cannot
        take. Called before any work begins, so that a mistake costs a second and not a training.

        The default refuses counts below 1 among the keywords of ``prepare_likelihood`` and for
        ``draws``, and what ``likelihood_passes`` refuses.

        Arguments:
            preparing: keywords of ``prepare_likelihood``.
            scoring: keywords of ``log_likelihood``.
        """
        counts = {**preparing, "draws": scoring.get("draws", 1)}
        check_positive(**{key: value for key, value in counts.items() if isinstance(value, int)})
        self.likelihood_passes(**scoring)

    def trace_options(self, **options: Any) -> dict[str, Any]:
        """Keywords of ``frames`` with which a :class:`Traceable` model shows the process behind
        ``sample(**options)``.

        The default passes those that ``frames`` takes; others change no state but the last.
        Override it where the process that is worth seeing begins elsewhere than the samples do.
        """
        if not isinstance(self, Traceable):
            return {}
        taken = inspect.signature(self.frames).parameters
        return {key: value for key, value in options.items() if key in taken}

    def describe_sampler(self, **options: object) -> tuple[str, bool]:
        """Name of the sampler that ``sample(**options)`` is, and whether it draws from the scored
        distribution.
        """
        defaults = {k: p.default for k, p in inspect.signature(self.sample).parameters.items()}
        changed = {k: v for k, v in resolved(options, self.device).items() if defaults.get(k) != v}
        if not changed:
            return self.sampler_name, True
        listed = ", ".join(f"{key}={value}" for key, value in sorted(changed.items()))
        return f"{self.sampler_name} ({listed})", False

    # ------------------------------------------------------------------ checks at the public edge

    @property
    def device(self) -> torch.device:
        """Where the parameters and buffers live."""
        return next(iter([*self.parameters(), *self.buffers()]), torch.empty(0)).device

    def check_images(self, x: Tensor) -> None:
        """Raise ValueError unless ``x`` is uint8 (B, 1, H, W) with levels of this model's data
        set.
        """
        shape = (1, self.spec.height, self.spec.width)
        if x.dtype != torch.uint8:
            raise ValueError(
                f"x: dtype must be torch.uint8 (integer levels 0..{self.spec.levels - 1}), got "
                f"{x.dtype}"
            )
        if x.ndim != 4 or tuple(x.shape[1:]) != shape:
            raise ValueError(
                f"x: shape must be (B, {', '.join(map(str, shape))}), got {tuple(x.shape)}"
            )
        if self.spec.levels < 256 and x.numel() and int(x.max()) >= self.spec.levels:
            raise ValueError(f"x: levels must be 0..{self.spec.levels - 1}, got {int(x.max())}")

    def check_labels(self, n: int, y: Tensor | None) -> None:
        """Raise ValueError unless ``y`` is what this model needs for ``n`` images: int64 (n,) in
        0..classes-1, or None.
        """
        name = type(self).__name__
        if not self.conditional:
            if y is not None:
                raise ValueError(
                    f"y: this {name} is unconditional and takes no labels, got labels of shape "
                    f"{tuple(y.shape)}"
                )
            return
        if y is None:
            raise ValueError(
                f"y: this {name} is conditional and needs int64 labels of shape ({n},), got None"
            )
        if y.dtype != torch.int64:
            raise ValueError(f"y: dtype must be torch.int64, got {y.dtype}")
        if tuple(y.shape) != (n,):
            raise ValueError(f"y: shape must be ({n},), got {tuple(y.shape)}")
        if n and not (0 <= int(y.min()) and int(y.max()) < self.spec.classes):
            raise ValueError(
                f"y: labels must be 0..{self.spec.classes - 1}, got {int(y.min())}..{int(y.max())}"
            )

    def check_count(self, n: int) -> None:
        """Raise ValueError unless ``n`` is a number of images."""
        if n < 1:
            raise ValueError(f"n: must be at least 1, got {n}")
