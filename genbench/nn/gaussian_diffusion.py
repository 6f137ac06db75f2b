r"""Gaussian diffusion as mathematics: the noising process q, the reverse step p and the terms of
the variational bound, as pure functions of a :class:`genbench.nn.noise_schedule.Schedule`.

    q_sample          q(x_t | x_0)             x_t of an image and noise eps
    predict_x0                                 the x_0 that x_t and eps say
    posterior         q(x_{t-1} | x_t, x_0)    mean and log-variance
    reverse_mean      p(x_{t-1} | x_t)         its mean, of an estimate of eps
    reverse_log_var                            its log-variance, fixed or learned
    ddim_step                                  the deterministic step between any two times
    prior_kl          L_T                      KL(q(x_T | x_0) || N(0, I))
    vlb_term          L_{t-1}, and L_0         KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))
    vlb_strata                                 times for an unbiased estimate of the terms' sum

Images and noise are (B, 1, H, W), pixels in [-1, 1]; a time t is int64 (B,) in 1..T, one for each
image. Notation and formulas are those of Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic
Models", 2020, https://arxiv.org/abs/2006.11239, sections 2 and 3, unless said otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genbench.base import DataSpec
from genbench.errors import UserError, near
from genbench.nn.gaussian import discretised_normal, normal_kl
from genbench.nn.noise_schedule import Schedule
from genbench.nn.roots import square_root

__all__ = [
    "VARIANCES",
    "check_variance",
    "ddim_step",
    "posterior",
    "posterior_log_var",
    "posterior_mean",
    "predict_x0",
    "prior_kl",
    "q_sample",
    "reverse_log_var",
    "reverse_mean",
    "vlb_strata",
    "vlb_term",
]

VARIANCES = ("beta", "posterior", "learned")
"""Kinds of the reverse step's variance."""

# ---------------------------------------------------------------------- the noising process q


def q_sample(schedule: Schedule, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    r"""A state of the noising process, float32:
    :math:`x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon`.
    """
    signal = square_root(_at(schedule.alpha_bar, t)).float()
    noise = square_root(_at(schedule.one_minus_alpha_bar, t)).float()
    return signal * x_0 + noise * eps


def predict_x0(schedule: Schedule, x_t: Tensor, t: Tensor | int, eps: Tensor) -> Tensor:
    r"""The image that x_t comes from if its noise is eps:
    :math:`x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon) / \sqrt{\bar\alpha_t}`.
    """
    noise = square_root(_at(schedule.one_minus_alpha_bar, t))
    return (x_t - noise * eps) / square_root(_at(schedule.alpha_bar, t))


def posterior(schedule: Schedule, x_0: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, 1, H, W) and log-variance (B, 1, 1, 1) of q(x_{t-1} | x_t, x_0), float64."""
    return posterior_mean(schedule, x_0, x_t, t), posterior_log_var(schedule, t)


def posterior_mean(schedule: Schedule, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    r"""Mean of q(x_{t-1} | x_t, x_0), eq. 7, float64 (B, 1, H, W):
    :math:`(\sqrt{\bar\alpha_{t-1}} \beta_t x_0 + \sqrt{1 - \beta_t} (1 - \bar\alpha_{t-1}) x_t)
    / (1 - \bar\alpha_t)`.
    """
    beta = _at(schedule.beta, t)
    weight_of_x_0 = square_root(_at(schedule.alpha_bar, t - 1)) * beta
    weight_of_x_t = square_root(1 - beta) * _at(schedule.one_minus_alpha_bar, t - 1)
    weighted = weight_of_x_0 * x_0 + weight_of_x_t * x_t
    return weighted / _at(schedule.one_minus_alpha_bar, t)


def posterior_log_var(schedule: Schedule, t: Tensor) -> Tensor:
    """Log-variance of q(x_{t-1} | x_t, x_0), float64 (B, 1, 1, 1).

    The posterior's variance is 0 at step 1; that of step 2 stands for it, as in the papers' code.
    """
    return _at(schedule.posterior_var, t.clamp(min=2)).log()


# ---------------------------------------------------------------------- the reverse step p


def reverse_mean(schedule: Schedule, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    r"""Mean of p(x_{t-1} | x_t) for an estimate of the noise, eq. 11, float64 (B, 1, H, W):
    :math:`(x_t - \beta_t / \sqrt{1 - \bar\alpha_t}\, \epsilon) / \sqrt{1 - \beta_t}`.

    It is :func:`posterior_mean` with the x_0 of :func:`predict_x0`.
    """
    beta = _at(schedule.beta, t)
    weight_of_eps = beta / square_root(_at(schedule.one_minus_alpha_bar, t))
    return (x_t - weight_of_eps * eps) / square_root(1 - beta)


def reverse_log_var(
    schedule: Schedule, t: Tensor, variance: str, v: Tensor | None = None
) -> Tensor:
    r"""Log-variance of p(x_{t-1} | x_t), float64, (B, 1, 1, 1), or of v's shape if it is learned.

    Arguments:
        schedule: of the noise.
        t: times (B,).
        variance: ``beta``, that of the forward step; ``posterior``, that of q(x_{t-1}|x_t, x_0);
            or ``learned``, between their logarithms (Nichol, Dhariwal, 2021,
            https://arxiv.org/abs/2102.09672, eq. 15).
        v: what a network says of a learned one, (B, 1, H, W): -1 stands for the posterior's, 1 for
            the forward step's.
    """
    if variance == "posterior":
        return posterior_log_var(schedule, t)
    upper = _at(schedule.beta, t).log()
    if variance == "beta":
        return upper
    assert v is not None
    share = (v.double() + 1) / 2
    return share * upper + (1 - share) * posterior_log_var(schedule, t)


def check_variance(variance: str) -> None:
    """UserError unless ``variance`` is one of ``VARIANCES``."""
    if variance not in VARIANCES:
        raise UserError(f"variance: unknown {variance!r}{near(variance, VARIANCES)}")


def ddim_step(
    schedule: Schedule, x_t: Tensor, t: int, s: int, eps: Tensor, *, clip: bool = False
) -> Tensor:
    r"""The deterministic step from time t to time s, which may also lie later, float32:
    :math:`x_s = \sqrt{\bar\alpha_s}\, x_0 + \sqrt{1 - \bar\alpha_s}\, \epsilon` with the x_0 that
    eps says.

    Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2021,
    https://arxiv.org/abs/2010.02502, eq. 12 with sigma = 0.

    Arguments:
        schedule: of the noise.
        x_t: state (B, 1, H, W) of all images at time ``t``.
        t: from 0 to T.
        s: from 0 to T.
        eps: estimate of the noise in ``x_t``.
        clip: keep the estimate of the image within [-1, 1].
    """
    x_t, eps = x_t.double(), eps.double()
    x_0 = predict_x0(schedule, x_t, t, eps)
    if clip:
        x_0 = x_0.clamp(-1, 1)
    signal = square_root(_at(schedule.alpha_bar, s))
    noise = square_root(_at(schedule.one_minus_alpha_bar, s))
    return (signal * x_0 + noise * eps).float()


# ---------------------------------------------------------------------- the variational bound


def prior_kl(schedule: Schedule, x_0: Tensor) -> Tensor:
    """L_T = KL(q(x_T | x_0) || N(0, I)) in nats, float64 (B,)."""
    mean = square_root(schedule.alpha_bar[-1]) * x_0.double()
    log_var = schedule.one_minus_alpha_bar[-1].log()
    zero = torch.zeros((), dtype=torch.float64, device=x_0.device)
    return normal_kl(mean, log_var, zero, zero).flatten(1).sum(1)


def vlb_term(
    schedule: Schedule,
    x: Tensor,
    x_t: Tensor,
    t: Tensor,
    eps: Tensor,
    log_var: Tensor,
    *,
    spec: DataSpec,
) -> Tensor:
    """The bound's term of step t, in nats, float64 (B,): the divergence of the reverse step from
    the posterior; at step 1 minus the log-probability of the levels, that of each being the mass
    of its bin.

    Arguments:
        schedule: of the noise.
        x: levels of the images, uint8.
        x_t: state at time ``t``.
        t: times (B,).
        eps: estimate of the noise in ``x_t``.
        log_var: log-variance of the reverse step.
        spec: of the images; level l lies at 2 l / (levels - 1) - 1.
    """
    x_0, x_t = spec.signed(x).double(), x_t.double()
    mean = reverse_mean(schedule, x_t, t, eps.double())
    log_var = log_var.double().expand_as(mean)
    true_mean, true_log_var = posterior(schedule, x_0, x_t, t)
    divergence = normal_kl(true_mean, true_log_var, mean, log_var).flatten(1).sum(1)
    first = (t == 1).nonzero()[:, 0]
    log_p = discretised_normal(x[first], mean[first], 0.5 * log_var[first], spec.levels)
    return divergence.index_copy(0, first, -log_p.flatten(1).sum(1))


def vlb_strata(timesteps: int, terms: int) -> list[int]:
    """Edges of strata of the steps 1..T: a stratum goes from an edge to the next one, without it.

    For each stratum its length times the term of a random step in it: their sum estimates that of
    all T terms without bias. Edges are quadratic in their number, so that strata widen with the
    step, as the terms fall: where they are large and change fast, nearly every step is taken.

    Arguments:
        timesteps: T.
        terms: number of strata; 0 for T, each step its own.

    Raises:
        UserError: it is not in 0..T.
    """
    if not 0 <= terms <= timesteps:
        raise UserError(f"terms: must be 0 (all) to {timesteps}, got {terms}")
    if terms in (0, timesteps):
        return list(range(1, timesteps + 2))
    edges = [1]
    for i in range(1, terms + 1):
        quadratic = 1 + round(timesteps * (i / terms) ** 2)
        room = timesteps + 1 - (terms - i)  # for the strata after this one, of a step each
        edges.append(min(max(edges[-1] + 1, quadratic), room))
    return edges


def _at(values: Tensor, t: Tensor | int) -> Tensor:
    """Values (T + 1,) at times (B,), as (B, 1, 1, 1); at one time for all images, as a scalar."""
    return values[t] if isinstance(t, int) else values[t][:, None, None, None]
