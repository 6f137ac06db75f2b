"""The samplers of diffusion models: ancestral and deterministic, and their latents."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Generator, Tensor

from genbench.errors import UserError
from genbench.families.noise_latents import NoiseLatents
from genbench.hardware.precision import autocast, check_precision
from genbench.nn.gaussian_diffusion import ddim_step, posterior_mean, predict_x0, reverse_mean
from genbench.nn.noise_schedule import Schedule

__all__ = ["DiffusionSampling"]

FRAMES = 50
"""Most states that ``frames`` shows: enough for an animation of a few seconds."""
LATENT_STEPS = 50
"""Steps of the deterministic sampler between images and latents, unless told otherwise: with as
many, Song, Meng, Ermon, 2021, table 2, reconstruct CIFAR-10 to a squared error of 0.0023 per pixel.
"""


class DiffusionSampling(NoiseLatents):
    """What a diffusion model does with its estimate of the noise when it has been trained: sampling
    through all T steps or by DDIM, and, by DDIM, latents for images and back.

    A subclass gives the two estimates and the schedule of the noise.
    """

    timesteps: int
    """T."""
    label_dropout: float
    """Share of the images whose label was hidden in training."""

    @property
    @abstractmethod
    def schedule(self) -> Schedule:
        """The schedule of the noise, on the model's device."""

    @abstractmethod
    def predict_eps(
        self, x_t: Tensor, t: Tensor, y: Tensor | None, guidance: float = 0.0
    ) -> Tensor:
        """eps_theta (B, 1, H, W): the estimate of the noise in states x_t.

        Arguments:
            x_t: states (B, 1, H, W).
            t: times, int64 (B,) in 1..T.
            y: labels (B,), or None.
            guidance: weight w of classifier-free guidance.
        """

    @abstractmethod
    def predict_reverse(
        self, x_t: Tensor, t: Tensor, y: Tensor | None, guidance: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """eps_theta, and the log-variance of the reverse step (float64), (B, 1, H, W) each."""

    # ------------------------------------------------------------------ sampling

    @torch.no_grad()
    def frames(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        rng: Generator,
        ddim_steps: int = 0,
        guidance: float = 0.0,
        clip: bool = False,
        precision: str = "float32",
    ) -> Iterator[Tensor]:
        """Some of the states of sampling, and at last the images."""
        self.check_count(n)
        self.check_labels(n, y)
        self._check_sampler(ddim_steps, guidance)
        check_precision(precision, where="precision")
        x_t = self.as_maps(self.prior(n, y, rng=rng))
        times = self._times(ddim_steps)
        steps = len(times) - 1
        shown = set(torch.linspace(0, steps - 1, min(FRAMES, steps)).long().tolist())
        for number, (time, following) in enumerate(itertools.pairwise(times)):
            t = torch.full((n,), time, device=x_t.device)
            if ddim_steps:
                with autocast(precision, x_t.device):
                    eps = self.predict_eps(x_t, t, y, guidance)
                x_t = ddim_step(self.schedule, x_t, time, following, eps, clip=clip)
            else:
                with autocast(precision, x_t.device):
                    eps, log_var = self.predict_reverse(x_t, t, y, guidance)
                x_t = self.ancestral_step(x_t, t, eps, log_var, clip=clip, rng=rng)
            if number in shown and following:
                yield self.spec.from_signed(x_t)
        yield self.spec.from_signed(x_t)

    def sample(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        rng: Generator,
        ddim_steps: int = 0,
        guidance: float = 0.0,
        clip: bool = False,
        precision: str = "float32",
    ) -> Tensor:
        """Ancestral sampling through all T steps; the last one draws from the discretised decoder.

        Arguments:
            n: images.
            y: labels.
            rng: source of randomness.
            ddim_steps: steps of the deterministic sampler (DDIM) in place of it; 0 for ancestral
                sampling.
            guidance: weight of the difference that the label makes; needs a conditional model
                trained with ``label_dropout``.
            clip: clip the estimate of the image at every step.
            precision: of the network: ``float32``, ``bfloat16``, which is cheaper and not quite the
                scored one, or ``auto``, bfloat16 where it is native.
        """
        states = self.frames(
            n,
            y,
            rng=rng,
            ddim_steps=ddim_steps,
            guidance=guidance,
            clip=clip,
            precision=precision,
        )
        return deque(states, maxlen=1)[0]

    def ancestral_step(
        self,
        x_t: Tensor,
        t: Tensor,
        eps: Tensor,
        log_var: Tensor,
        *,
        clip: bool = False,
        rng: Generator,
    ) -> Tensor:
        """A draw of x_{t-1} from p(x_{t-1} | x_t), float32; also at step 1, where rounding makes it
        one from the discretised decoder.

        Arguments:
            x_t: states (B, 1, H, W).
            t: times (B,).
            eps: estimate of the noise.
            log_var: log-variance of the step, float64.
            clip: keep the estimate of the image within [-1, 1].
            rng: source of randomness.
        """
        z = torch.randn(x_t.shape, generator=rng, device=x_t.device)
        schedule, x_t, eps = self.schedule, x_t.double(), eps.double()
        if clip:
            x_0 = predict_x0(schedule, x_t, t, eps).clamp(-1, 1)
            mean = posterior_mean(schedule, x_0, x_t, t)
        else:
            mean = reverse_mean(schedule, x_t, t, eps)
        return (mean + (0.5 * log_var).exp() * z).float()

    def describe_sampler(self, **options: object) -> tuple[str, bool]:
        """``ancestral``, or ``ddim-20`` with what else is changed."""
        steps = options.pop("ddim_steps", 0)
        name, scored = super().describe_sampler(**options)
        if not steps:
            return name, scored
        return f"ddim-{steps}{name.removeprefix(self.sampler_name)}", False

    def _check_sampler(self, ddim_steps: int, guidance: float) -> None:
        if not 0 <= ddim_steps <= self.timesteps:
            raise UserError(f"ddim_steps: must be 0 (none) to {self.timesteps}, got {ddim_steps}")
        if not 0 <= guidance < math.inf:
            raise UserError(f"guidance: must be a number of at least 0, got {guidance}")
        if guidance and not self.conditional:
            raise UserError(
                "guidance: this entry is unconditional; guidance needs conditional: true and "
                "label_dropout above 0"
            )
        if guidance and not self.label_dropout:
            raise UserError(
                "guidance: this entry never saw hidden labels; train it with label_dropout above 0"
            )

    def _times(self, ddim_steps: int) -> list[int]:
        """Times from T down to 0, evenly spaced; all of them for 0."""
        count = ddim_steps or self.timesteps
        return [round(self.timesteps * i / count) for i in range(count, -1, -1)]

    # ------------------------------------------------------------------ latents, by DDIM

    @torch.no_grad()
    def decode(
        self, z: Tensor, y: Tensor | None = None, *, rng: Generator, ddim_steps: int | None = None
    ) -> Tensor:
        """Images uint8 (n, 1, H, W) of latents (n, D) by the deterministic sampler, in 50 steps, or
        T if there are fewer, unless told.
        """
        self.check_latents(z, y)
        return self.spec.from_signed(self.ddim(self.as_maps(z), self._latent_times(ddim_steps), y))

    @torch.no_grad()
    def encode(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator, ddim_steps: int | None = None
    ) -> Tensor:
        """Latents (B, D) from which the deterministic sampler comes back close to these images, in
        as many steps.
        """
        self.check_images(x)
        self.check_labels(len(x), y)
        return self.ddim(self.spec.signed(x), self._latent_times(ddim_steps)[::-1], y).flatten(1)

    def _latent_times(self, ddim_steps: int | None) -> list[int]:
        if ddim_steps is None:
            return self._times(min(LATENT_STEPS, self.timesteps))
        if not 1 <= ddim_steps <= self.timesteps:
            raise UserError(f"ddim_steps: must be 1 to {self.timesteps}, got {ddim_steps}")
        return self._times(ddim_steps)

    def ddim(self, x_t: Tensor, times: Sequence[int], y: Tensor | None) -> Tensor:
        """States (n, 1, H, W) at the first of ``times``, in 0..T, led to the last of them."""
        for time, following in itertools.pairwise(times):
            # the network knows no time 0
            t = torch.full((len(x_t),), max(time, 1), device=x_t.device)
            x_t = ddim_step(self.schedule, x_t, time, following, self.predict_eps(x_t, t, y))
        return x_t
