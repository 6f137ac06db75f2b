"""Models that break the contract in one place each. What notices it is in
test_contract_catches.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from genbench.base import Phase, Step
from tests.contract import rng as seeded
from tests.toys import ToyFVBN, ToyGAN, ToyRBM, ToyVAE, ToyVQ

# ---------------------------------------------------------------------- scores and samples


class LeakyMask(ToyFVBN):
    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return (x.flatten(1).to(self.bias) @ self.weight.tril(0).T + self.biases(len(x), y))[
            ..., None
        ]


class UnnormalisedByAThousandth(ToyFVBN):
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return super().log_likelihood(x, y, rng=rng) + 1e-3


class ScoreInFloat32(ToyFVBN):
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return super().log_likelihood(x, y, rng=rng).float()


class Thresholded(ToyFVBN):
    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        x = torch.bernoulli(torch.full((n, 1, 3, 3), 0.5), generator=rng).byte()
        for i in range(9):
            x.view(n, -1)[:, i] = self.logits(x, y)[:, i, 0] > 0
        return x


class Sharpened(ToyFVBN):
    """Sampling at temperature 0.8, by default."""

    def step(self, x: Tensor, i: int, cache: Tensor) -> tuple[Tensor, Tensor]:
        params, cache = super().step(x, i, cache)
        return params / 0.8, cache


class SampleOfOneLabel(ToyFVBN):
    """All images of a batch get the label of the first."""

    def init_cache(self, n: int, y: Tensor | None = None) -> Tensor:
        return super().init_cache(n, None if y is None else y[:1].expand(n))


class LabelsIgnored(ToyFVBN):
    def biases(self, n: int, y: Tensor | None) -> Tensor:
        return self.bias.mean(0).expand(n, -1)


class SampledFromANarrowPrior(ToyVAE):
    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return 0.7 * super().prior(n, y, rng=rng)


class ReconstructionAsScore(ToyVAE):
    def log_weight(self, x: Tensor, y: Tensor | None, rng: Generator) -> Tensor:
        return self.head.log_prob(self.params(self.posterior(x, y)[0], y), x.flatten(1)).sum(1)


class HalfTheKL(ToyVAE):
    """A bound that still sums to less than 1 may be wrong: its weights must be unbiased."""

    def log_likelihood(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator, draws: int = 1
    ) -> Tensor:
        return super().log_likelihood(x, y, rng=rng, draws=draws) - 0.2


class LooserWithDraws(ToyVAE):
    def log_likelihood(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator, draws: int = 1
    ) -> Tensor:
        return torch.stack([self.log_weight(x, y, rng).double() for _ in range(draws)]).amin(0)


class PriorForgotten(ToyVQ):
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        k = self.codes(x)[1]
        return self.head.log_prob(self.dec(self.book[k])[..., None].double(), x.flatten(1)).sum(1)


class MissingCodes(ToyVQ):
    """Scores by the frequencies of all codes, samples the first two only."""

    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return torch.randint(2, (n, 1), generator=rng)


class WrongLogZ(ToyRBM):
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return super().log_likelihood(x, y, rng=rng) + 0.2


class ShortChain(ToyRBM):
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return next(self.frames(n, y, rng=rng))


# ---------------------------------------------------------------------- randomness, state, batches


class GlobalNoise(ToyVAE):
    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return torch.randn(n, self.latent)


class FixedSeed(ToyFVBN):
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return super().sample(n, y, rng=seeded(0))


class Reseeds(ToyFVBN):
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        torch.manual_seed(0)
        return super().sample(n, y, rng=rng)


class CacheOnTheModule(ToyFVBN):
    def step(self, x: Tensor, i: int, cache: Tensor) -> tuple[Tensor, Tensor]:
        self.cache = cache
        return super().step(x, i, cache)


class WritesIntoLabels(ToyFVBN):
    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        x = super().sample(n, y, rng=rng)
        if y is not None:
            y.zero_()
        return x


class BatchMean(ToyFVBN):
    """Normalises over the batch, in eval mode too."""

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        logits = super().logits(x, y)
        return logits - 0.1 * logits.mean(0)


class ForgetsOnSaving(ToyFVBN):
    """Part of what it learned is in a plain attribute."""

    def init_from_data(self, x: Tensor, y: Tensor | None, *, rng: Generator) -> None:
        self.offset = x.float().mean((0, 1)).flatten()

    def biases(self, n: int, y: Tensor | None) -> Tensor:
        return super().biases(n, y) + getattr(self, "offset", torch.zeros(self.spec.dims))


class UncheckedInput(ToyFVBN):
    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return self.head.log_prob(self.logits(x, y).double(), self._pixels(x)).sum(1)


# ---------------------------------------------------------------------- phases and training


class ForgottenParameter(ToyFVBN):
    def phases(self) -> Sequence[Phase]:
        return [Phase("loss", [self.weight], self.training_loss)]


class SharedParameter(ToyGAN):
    def phases(self) -> Sequence[Phase]:
        disc, gen = super().phases()
        return [disc, Phase("gen", [*gen.params, *disc.params], self.gen_loss)]


class UnreachedParameter(ToyFVBN):
    def __init__(self, spec: Any, *, conditional: bool = False) -> None:
        super().__init__(spec, conditional=conditional)
        self.unused = nn.Parameter(torch.zeros(3))


class WrongSign(ToyFVBN):
    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        return Step(-super().training_loss(x, y, rng=rng, progress=progress).loss)


class LossPerImage(ToyFVBN):
    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        return Step(-self.log_likelihood(x, y, rng=rng))


# ---------------------------------------------------------------------- cache and capabilities


class LateCache(ToyFVBN):
    """Forgets the first pixel."""

    def step(self, x: Tensor, i: int, cache: Tensor) -> tuple[Tensor, Tensor]:
        return super().step(x, i, cache) if i != 1 else (cache[:, i, None], cache)


class LooksAhead(ToyFVBN):
    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().logits(x, y) + 0.01 * x.flatten(1)[:, -1, None, None]


class DecodesGlobally(ToyVAE):
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return super().decode(z, y, rng=Generator().manual_seed(int(torch.randint(99, ()))))


class EncodesAnotherShape(ToyVAE):
    def encode(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return super().encode(x, y, rng=rng)[:, :1]


class DiagnosesByChance(ToyVAE):
    def diagnostics(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> dict[str, float]:
        return {"active_units": float(torch.rand(()))}


class DiagnosesNothing(ToyVAE):
    def diagnostics(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> dict[str, float]:
        return {"active_units": float("nan")}


class StopsEarly(ToyRBM):
    def frames(
        self, n: int, y: Tensor | None = None, *, rng: Generator, burn_in: int = 20
    ) -> Iterator[Tensor]:
        yield from super().frames(n, y, rng=rng, burn_in=burn_in)

    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        *_, last = super().frames(n, y, rng=rng, burn_in=200)
        return last


class RedrawsTheKnown(ToyFVBN):
    def complete(
        self, x: Tensor, mask: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> Tensor:
        return self.sample(len(x), y, rng=rng)


class PastesOverASample(ToyFVBN):
    """Keeps the known part, but draws the rest as if nothing were known."""

    def complete(
        self, x: Tensor, mask: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> Tensor:
        return torch.where(mask, x, self.sample(len(x), y, rng=rng))
