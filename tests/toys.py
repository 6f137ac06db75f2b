"""Small models of every kind, for tests of what surrounds the models: each is right, trains in a
moment and fits on a page.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import safetensors.torch
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from genbench.base import Conditioning, DataSpec, GenerativeModel, Likelihood, Phase, Step
from genbench.config.params import Entry
from genbench.families.autoregressive import Autoregressive
from genbench.nn.heads import make_head

__all__ = ["ToyFVBN", "ToyGAN", "ToyRBM", "ToyVAE", "ToyVQ", "weights_of"]

TINY: Sequence[tuple[DataSpec, dict[str, Any]]] = [(DataSpec(3, 3, 2), {})]


class ToyFVBN(Autoregressive):
    """Fully visible belief net: each pixel is a logistic regression on those before it. EXACT;
    labels move its biases.
    """

    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    tiny_specs = TINY

    def __init__(self, spec: DataSpec, *, conditional: bool = False) -> None:
        super().__init__(spec, head=make_head("bernoulli", spec.levels), conditional=conditional)
        self.weight = nn.Parameter(0.5 * torch.randn(spec.dims, spec.dims))
        self.bias = nn.Parameter(
            0.5 * torch.randn(spec.classes if self.conditional else 1, spec.dims)
        )

    def biases(self, n: int, y: Tensor | None) -> Tensor:
        return self.bias.expand(n, -1) if y is None else self.bias[y]

    def logits(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return (x.flatten(1).to(self.bias) @ self.weight.tril(-1).T + self.biases(len(x), y))[
            ..., None
        ]

    def init_cache(self, n: int, y: Tensor | None = None) -> Tensor:
        return self.biases(n, y)

    def step(self, x: Tensor, i: int, cache: Tensor) -> tuple[Tensor, Tensor]:
        if i > 0:
            cache = cache + x.flatten(1)[:, i - 1 : i].to(cache) * self.weight.tril(-1)[:, i - 1]
        return cache[:, i, None], cache


class ToyVAE(GenerativeModel):
    """A linear variational autoencoder. LOWER_BOUND by importance weights, Latent, Encoder."""

    likelihood: ClassVar[Likelihood] = Likelihood.LOWER_BOUND
    conditioning: ClassVar[Conditioning] = Conditioning.OPTIONAL
    family: ClassVar[str] = "variational"
    tiny_specs = TINY

    def __init__(self, spec: DataSpec, *, latent: int = 2, conditional: bool = False) -> None:
        super().__init__(spec, conditional=conditional)
        self.latent, self.head = latent, make_head("bernoulli", spec.levels)
        width = spec.classes if self.conditional else 0
        self.enc, self.dec = (
            nn.Linear(spec.dims + width, 2 * latent),
            nn.Linear(latent + width, spec.dims),
        )

    def _join(self, v: Tensor, y: Tensor | None) -> Tensor:
        return v if y is None else torch.cat([v, F.one_hot(y, self.spec.classes).to(v)], -1)

    def params(self, z: Tensor, y: Tensor | None) -> Tensor:
        return self.dec(self._join(z, y))[..., None]

    def posterior(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        mean, log_std = self.enc(self._join(self.spec.unit(x).flatten(1), y)).chunk(2, -1)
        return mean, log_std

    def log_weight(self, x: Tensor, y: Tensor | None, rng: Generator) -> Tensor:
        mean, log_std = self.posterior(x, y)
        noise = torch.randn(mean.shape, generator=rng)
        z = mean + log_std.exp() * noise
        log_px = self.head.log_prob(self.params(z, y), x.flatten(1)).sum(1)
        return log_px + (log_std + 0.5 * (noise.square() - z.square())).sum(1)

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        return Step(-self.log_weight(x, y, rng).mean())

    def log_likelihood(
        self, x: Tensor, y: Tensor | None = None, *, rng: Generator, draws: int = 1
    ) -> Tensor:
        self.check_images(x)
        self.check_labels(len(x), y)
        return torch.stack([self.log_weight(x, y, rng).double() for _ in range(draws)]).logsumexp(
            0
        ) - math.log(draws)

    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        self.check_count(n)
        self.check_labels(n, y)
        return torch.randn(n, self.latent, generator=rng)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return self.head.sample(self.params(z, y), rng=rng).view(
            len(z), 1, self.spec.height, self.spec.width
        )

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        self.check_images(x)
        self.check_labels(len(x), y)
        return self.posterior(x, y)[0]

    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return self.decode(self.prior(n, y, rng=rng), y, rng=rng)


class ToyVQ(GenerativeModel):
    """A code per image and a table of their frequencies. LOWER_BOUND P(k*) P(x|k*), two phases in
    turn, latents that are codes.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.LOWER_BOUND
    sums_classes: ClassVar[bool] = False
    family: ClassVar[str] = "variational"
    tiny_specs = TINY

    def __init__(self, spec: DataSpec, *, codes: int = 8, width: int = 3) -> None:
        super().__init__(spec)
        self.head = make_head("bernoulli", spec.levels)
        self.enc, self.dec = nn.Linear(spec.dims, width), nn.Linear(width, spec.dims)
        self.book, self.table = (
            nn.Parameter(torch.randn(codes, width)),
            nn.Parameter(torch.zeros(codes)),
        )

    def phases(self) -> Sequence[Phase]:
        autoencoder = [*self.enc.parameters(), *self.dec.parameters(), self.book]
        return [
            Phase("autoencoder", autoencoder, self.autoencoder_loss, span=(0.0, 0.7)),
            Phase("prior", [self.table], self.prior_loss, span=(0.7, 1.0)),
        ]

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.enc(self.spec.unit(x).flatten(1))
        return z, torch.cdist(z, self.book).argmin(-1)

    def autoencoder_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        z, k = self.codes(x)
        q = self.book[k]
        rec_nats = (
            -self.head.log_prob(self.dec(z + (q - z).detach())[..., None], x.flatten(1))
            .sum(1)
            .mean()
        )
        return Step(
            rec_nats
            + (q - z.detach()).square().sum(1).mean()
            + 0.25 * (z - q.detach()).square().sum(1).mean()
        )

    def prior_loss(self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float) -> Step:
        return Step(F.cross_entropy(self.table.expand(len(x), -1), self.codes(x)[1]))

    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        self.check_images(x)
        self.check_labels(len(x), y)
        k = self.codes(x)[1]
        log_px = self.head.log_prob(self.dec(self.book[k])[..., None].double(), x.flatten(1)).sum(1)
        return self.table.double().log_softmax(-1)[k] + log_px

    @torch.no_grad()
    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        self.check_count(n)
        self.check_labels(n, y)
        return torch.multinomial(self.table.softmax(-1), n, replacement=True, generator=rng)[
            :, None
        ]

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        levels = self.head.sample(self.dec(self.book[z[:, 0]])[..., None], rng=rng)
        return levels.view(len(z), 1, self.spec.height, self.spec.width)

    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return self.decode(self.prior(n, y, rng=rng), y, rng=rng)


class ToyRBM(GenerativeModel):
    """Restricted Boltzmann machine by persistent contrastive divergence. ESTIMATE, its log Z by
    annealed importance sampling; Traceable.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.ESTIMATE
    family: ClassVar[str] = "energy"
    sampler_name: ClassVar[str] = "gibbs"
    tiny_specs = TINY

    log_z: Tensor
    chain: Tensor

    def __init__(self, spec: DataSpec, *, hidden: int = 6, chains: int = 64) -> None:
        super().__init__(spec)
        self.w = nn.Parameter(0.3 * torch.randn(spec.dims, hidden))
        self.a, self.b = nn.Parameter(torch.zeros(spec.dims)), nn.Parameter(torch.zeros(hidden))
        self.register_buffer("log_z", torch.tensor(math.nan, dtype=torch.float64))
        self.register_buffer("chain", torch.zeros(chains, spec.dims))

    def neg_free_energy(self, x: Tensor, beta: float = 1.0) -> Tensor:
        return x @ (beta * self.a) + F.softplus(beta * (x @ self.w + self.b)).sum(-1)

    def gibbs(self, x: Tensor, rng: Generator, beta: float = 1.0) -> Tensor:
        h = torch.bernoulli((beta * (x @ self.w + self.b)).sigmoid(), generator=rng)
        return torch.bernoulli((beta * (h @ self.w.T + self.a)).sigmoid(), generator=rng)

    def training_loss(
        self, x: Tensor, y: Tensor | None, *, rng: Generator, progress: float
    ) -> Step:
        negative = self.chain
        with torch.no_grad():
            for _ in range(5):
                negative = self.gibbs(negative, rng)
        return Step(
            self.neg_free_energy(negative).mean()
            - self.neg_free_energy(x.flatten(1).float()).mean(),
            aux=negative,
        )

    def after_step(self, phase: str, aux: object, *, rng: Generator, progress: float) -> None:
        assert isinstance(aux, Tensor)
        self.chain.copy_(aux)

    @torch.no_grad()
    def prepare_likelihood(
        self, *, rng: Generator, chains: int = 500, temperatures: int = 300
    ) -> dict[str, float]:
        x = torch.bernoulli(torch.full((chains, self.spec.dims), 0.5), generator=rng)
        log_w = torch.zeros(chains, dtype=torch.float64)
        for t in range(temperatures):
            log_w += self.neg_free_energy(x, (t + 1) / temperatures) - self.neg_free_energy(
                x, t / temperatures
            )
            x = self.gibbs(x, rng, (t + 1) / temperatures)
        w = (log_w - log_w.max()).exp()
        self.log_z = (
            log_w.logsumexp(0) - math.log(chains) + (self.spec.dims + self.b.numel()) * math.log(2)
        )
        stderr = float(w.std() / w.mean()) / chains**0.5
        return {
            "log_z": float(self.log_z),
            "log_z_stderr": stderr,
            "ess": float(w.sum() ** 2 / w.square().sum()),
            "ess_floor": 50.0,
        }

    def log_likelihood(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        self.check_images(x)
        self.check_labels(len(x), y)
        return self.neg_free_energy(x.flatten(1).float()).double() - self.log_z

    @torch.no_grad()
    def frames(
        self, n: int, y: Tensor | None = None, *, rng: Generator, burn_in: int = 200
    ) -> Iterator[Tensor]:
        self.check_count(n)
        self.check_labels(n, y)
        x = torch.bernoulli(torch.full((n, self.spec.dims), 0.5), generator=rng)
        for _ in range(burn_in):
            x = self.gibbs(x, rng)
            yield x.byte().view(n, 1, self.spec.height, self.spec.width)

    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        *_, last = self.frames(n, y, rng=rng)
        return last


class ToyGAN(GenerativeModel):
    """A generator and a discriminator of one hidden layer. NONE, two phases, Latent; needs
    labels.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.NONE
    conditioning: ClassVar[Conditioning] = Conditioning.REQUIRED
    family: ClassVar[str] = "adversarial"
    tiny_specs = TINY

    def __init__(self, spec: DataSpec, *, noise: int = 8) -> None:
        super().__init__(spec)
        self.noise = noise
        self.gen = nn.Sequential(
            nn.Linear(noise + spec.classes, 32), nn.ReLU(), nn.Linear(32, spec.dims), nn.Sigmoid()
        )
        self.disc = nn.Sequential(
            nn.Linear(spec.dims + spec.classes, 32), nn.ReLU(), nn.Linear(32, 1)
        )

    def phases(self) -> Sequence[Phase]:
        return [
            Phase("disc", list(self.disc.parameters()), self.disc_loss, repeats=2),
            Phase("gen", list(self.gen.parameters()), self.gen_loss),
        ]

    def _join(self, v: Tensor, y: Tensor) -> Tensor:
        return torch.cat([v, F.one_hot(y, self.spec.classes).to(v)], -1)

    def _fake(self, y: Tensor, rng: Generator) -> Tensor:
        return self.gen(self._join(torch.randn(len(y), self.noise, generator=rng), y))

    def disc_loss(self, x: Tensor, y: Tensor, *, rng: Generator, progress: float) -> Step:
        real, fake = self.spec.unit(x).flatten(1), self._fake(y, rng).detach()
        return Step(
            (
                F.softplus(-self.disc(self._join(real, y)))
                + F.softplus(self.disc(self._join(fake, y)))
            ).mean()
        )

    def gen_loss(self, x: Tensor, y: Tensor, *, rng: Generator, progress: float) -> Step:
        return Step(F.softplus(-self.disc(self._join(self._fake(y, rng), y))).mean())

    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        self.check_count(n)
        self.check_labels(n, y)
        return torch.randn(n, self.noise, generator=rng)

    @torch.no_grad()
    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        assert y is not None
        x = self.gen(self._join(z, y)) * (self.spec.levels - 1)
        return x.round().byte().view(len(z), 1, self.spec.height, self.spec.width)

    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return self.decode(self.prior(n, y, rng=rng), y, rng=rng)


def weights_of(entry: Entry, value: float = 0.0) -> bytes:
    """A weights file that says it is the entry's, and holds one number; its checksum is made by
    hand.
    """
    about = {
        "format": "genbench-2",
        "entry": entry.name,
        "model": entry.model,
        "dataset": entry.dataset,
        "seed": entry.seed,
        "arch": entry.arch,
    }
    content = (
        json.dumps(about, sort_keys=True).encode()
        + b"weight torch.float32 (1,)"
        + struct.pack("<f", value)
    )
    about["sha256"] = hashlib.sha256(content).hexdigest()
    return safetensors.torch.save(
        {"weight": torch.tensor([value])}, {"genbench": json.dumps(about)}
    )
