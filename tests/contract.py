"""The contract as functions: each ``check_*`` raises AssertionError where a model breaks it.

Models are small enough to enumerate: at most 512 images exist, so sums over all of them are exact
and frequencies of samples can be compared with probabilities. ``test_contract.py`` runs the checks
on every model found, ``test_contract_catches.py`` on models that are broken on purpose.
"""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from genbench import weights as checkpoint
from genbench.base import (
    Conditioning,
    DataSpec,
    Diagnosed,
    Encoder,
    GenerativeModel,
    Inpaintable,
    Latent,
    Likelihood,
    Traceable,
)
from genbench.config.params import Entry
from genbench.families.autoregressive import Autoregressive

CLASSES = 3
DRAWS = 20_000
"""Samples whose frequencies are compared with probabilities."""
EXHAUSTIVE = ("terms", "probes")
"""Keywords of ``log_likelihood`` that thin out a sum by chance; 0 stands for the whole sum."""


@dataclass(frozen=True)
class Case:
    """A model class at a tiny shape."""

    model: str
    cls: type[GenerativeModel]
    spec: DataSpec
    arch: dict[str, Any]

    def __str__(self) -> str:
        options = "-".join(f"{key}={value}" for key, value in self.arch.items())
        return f"{self.model}-{self.spec.height}x{self.spec.width}x{self.spec.levels}-{options or 'default'}"

    def build(self, seed: int = 0) -> GenerativeModel:
        """The untrained model."""
        torch.manual_seed(seed)
        return self.cls(self.spec, **self.arch)


def cases(model: str, cls: type[GenerativeModel]) -> Iterator[Case]:
    """The tiny shapes of a class; without labels and with them, as far as it takes them."""
    for spec, arch in cls.tiny_specs:
        assert spec.levels**spec.dims <= 512, (
            f"tiny_specs of {model}: {spec} has more than 512 images"
        )
        if cls.conditioning is not Conditioning.REQUIRED:
            yield Case(model, cls, spec, {k: v for k, v in arch.items() if k != "conditional"})
        if cls.conditioning is Conditioning.OPTIONAL:
            yield Case(model, cls, replace(spec, classes=CLASSES), {**arch, "conditional": True})
        if cls.conditioning is Conditioning.REQUIRED:
            yield Case(model, cls, replace(spec, classes=CLASSES), arch)


# ---------------------------------------------------------------------- images, data, training


def rng(seed: int = 0) -> Generator:
    """A seeded generator."""
    return Generator().manual_seed(seed)


@functools.cache
def every_image(spec: DataSpec) -> Tensor:
    """All images of a shape, uint8 (S, 1, H, W), in the order of :func:`index`."""
    pixels = list(itertools.product(range(spec.levels), repeat=spec.dims))
    return torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, spec.height, spec.width)


def index(x: Tensor, spec: DataSpec) -> Tensor:
    """Position (B,) of each image in :func:`every_image`."""
    return x.flatten(1).long() @ spec.levels ** torch.arange(spec.dims - 1, -1, -1)


def frequencies(x: Tensor, spec: DataSpec) -> np.ndarray:
    """Share of each possible image among ``x``, float64 (S,)."""
    return np.bincount(index(x, spec).numpy(), minlength=len(every_image(spec))) / len(x)


@functools.cache
def toy_data(spec: DataSpec, n: int = 1536) -> tuple[Tensor, Tensor | None]:
    """Images near one of four patterns, which differ from class to class: pixels depend on each
    other, and latents are of use.
    """
    g, values, classes = rng(123), every_image(spec).flatten(1), max(spec.classes, 1)
    patterns = torch.randint(0, spec.levels, (classes, 2, spec.dims), generator=g)
    patterns = torch.cat(
        [patterns, spec.levels - 1 - patterns], dim=1
    )  # (classes, 4, D), two and their negatives
    same = (values == patterns[:, :, None]).sum(-1)  # (classes, 4, S)
    p = 0.9**same * (0.1 / (spec.levels - 1)) ** (spec.dims - same)
    p = torch.einsum(
        "ckS,k->cS", p.double(), torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    )
    chosen = torch.multinomial(
        p, n // classes, replacement=True, generator=g
    )  # (classes, n / classes)
    x = every_image(spec)[chosen.T.flatten()]
    return x, torch.arange(len(x)) % classes if spec.classes else None


def data_for(model: GenerativeModel) -> tuple[Tensor, Tensor | None]:
    """The toy images, and their labels if the model takes them: what ``genbench.training.fit``
    would pass.
    """
    x, y = toy_data(model.spec)
    return x, y if model.conditional else None


def start(model: GenerativeModel, *, data: bool = True) -> GenerativeModel:
    """Initialise from data, and move parameters that start as constants (zero-initialised outputs
    would hide what is wrong behind them).
    """
    if data:
        model.init_from_data(*data_for(model), rng=rng(1))
    torch.manual_seed(2)
    with torch.no_grad():
        for p in model.parameters():
            if p.numel() > 1 and float(p.max() - p.min()) == 0:
                p.add_(0.1 * torch.randn_like(p))
    return model


def train(model: GenerativeModel, steps: int = 200, lr: float = 0.02) -> GenerativeModel:
    """A bare loop over the phases, independent of ``genbench.training.fit``; returns the model in
    eval mode.
    """
    x, y = data_for(model)
    phases = model.train().phases()
    optimizers = [torch.optim.Adam(phase.params, lr=lr) for phase in phases]
    for step, (phase, optimizer) in itertools.product(
        range(steps), zip(phases, optimizers, strict=True)
    ):
        begin, end = phase.span
        if not begin <= step / steps < end:
            continue
        progress = (step / steps - begin) / (end - begin)
        for repeat in range(phase.repeats):
            g = rng(10_000 + 100 * step + repeat)
            batch = torch.randint(len(x), (64,), generator=g)
            out = phase.loss(x[batch], None if y is None else y[batch], rng=g, progress=progress)
            model.zero_grad(set_to_none=True)
            out.loss.backward()
            optimizer.step()
            model.after_step(phase.name, out.aux, rng=g, progress=progress)
    return model.eval()


def labels_of(model: GenerativeModel, n: int) -> Tensor | None:
    """Every class in turn for a conditional model, else None."""
    return torch.arange(n) % model.spec.classes if model.conditional else None


def each_label(model: GenerativeModel, n: int) -> list[Tensor | None]:
    """For each class the labels of ``n`` images of it; [None] for an unconditional model."""
    return [torch.full((n,), c) for c in range(model.spec.classes)] if model.conditional else [None]


# ---------------------------------------------------------------------- phases


def check_phases(model: GenerativeModel, *, settled: bool = False) -> None:
    """The phases partition the parameters, each loss is one finite number and reaches every
    parameter of its phase.

    With ``settled`` its gradient may be zero: a hinge that is satisfied has none.
    """
    phases = model.phases()
    owned = [id(p) for phase in phases for p in phase.params]
    names = {id(p): name for name, p in model.named_parameters()}
    assert len(owned) == len(set(owned)), "a parameter belongs to two phases"
    assert set(owned) == set(names), f"in no phase: {[names[i] for i in set(names) - set(owned)]}"
    assert len({phase.name for phase in phases}) == len(phases), "two phases have one name"
    x, y = data_for(model)
    for phase in phases:
        assert phase.repeats >= 1 and 0 <= phase.span[0] < phase.span[1] <= 1, (
            f"{phase.name}: repeats {phase.repeats}, span {phase.span}"
        )
        model.train().zero_grad(set_to_none=True)
        loss = phase.loss(x[:64], None if y is None else y[:64], rng=rng(3), progress=0.5).loss
        assert loss.shape == () and bool(loss.isfinite()), (
            f"{phase.name}: the loss must be one finite number, got {loss}"
        )
        loss.backward()
        unreached = [names[id(p)] for p in phase.params if p.grad is None]
        assert not unreached, f"{phase.name}: no gradient reaches {unreached}"
        assert settled or any(bool((p.grad != 0).any()) for p in phase.params), (
            f"{phase.name}: all gradients are zero"
        )
    model.eval()


def check_training_improves_score(case: Case, trained: GenerativeModel) -> None:
    """Steps on the losses raise the score of the training images."""
    if trained.likelihood is Likelihood.NONE or not trained.phases():
        return
    x, y = data_for(trained)
    means = []
    for model in (start(case.build()).eval(), trained):
        model.prepare_likelihood(rng=rng(4))
        with torch.no_grad():
            means.append(
                float(
                    torch.stack([model.log_likelihood(x, y, rng=rng(s)) for s in range(4)]).mean()
                )
            )
    assert means[1] > means[0], (
        f"mean score {means[0]:.3f} nats before training, {means[1]:.3f} after"
    )


# ---------------------------------------------------------------------- randomness and state


def check_seeded(model: GenerativeModel) -> None:
    """The same rng gives the same bits whatever the global generator holds, which stays as it
    was.
    """
    x, y = data_for(model)
    x, y = x[:64], None if y is None else y[:64]
    for name, call in _random_calls(model, x, y):
        results = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            results.append(call(rng(7)))
            assert torch.equal(before, torch.get_rng_state()), (
                f"{name} draws from the global generator"
            )
        assert torch.equal(*results), f"{name}: the same rng gave other bits"


def check_depends_on_rng(model: GenerativeModel) -> None:
    """Another rng gives another sample. For an untrained model: an adversarial one that trained
    badly may know one image only.
    """
    samples = [model.eval().sample(64, labels_of(model, 64), rng=rng(seed)) for seed in (7, 8)]
    assert not torch.equal(*samples), "sample does not depend on rng"


def _random_calls(
    model: GenerativeModel, x: Tensor, y: Tensor | None
) -> list[tuple[str, Callable[[Generator], Tensor]]]:
    calls: list[tuple[str, Callable[[Generator], Tensor]]] = [
        ("sample", lambda g: model.sample(64, labels_of(model, 64), rng=g))
    ]
    for phase in model.phases():
        calls.append(
            (
                f"loss of {phase.name}",
                lambda g, phase=phase: phase.loss(x, y, rng=g, progress=0.5).loss.detach(),
            )
        )
    if model.likelihood is not Likelihood.NONE:
        calls.append(
            (
                "prepare_likelihood",
                lambda g: torch.tensor(list(model.prepare_likelihood(rng=g).values())),
            )
        )
        calls.append(("log_likelihood", lambda g: model.log_likelihood(x, y, rng=g).detach()))
    return calls


def check_no_hidden_state(model: GenerativeModel) -> None:
    """Sampling and scoring leave parameters, buffers, attributes, mode and arguments as they
    were.
    """
    model.prepare_likelihood(rng=rng(4))
    x = every_image(model.spec)[:50].clone()
    y = labels_of(model, len(x))
    x_before, y_before = x.clone(), None if y is None else y.clone()
    tensors = {name: t.clone() for name, t in model.state_dict().items()}
    attributes = [set(vars(module)) for module in model.modules()]
    with torch.no_grad():
        model.sample(len(x), y, rng=rng(5))
        if model.likelihood is not Likelihood.NONE:
            model.log_likelihood(x, y, rng=rng(5))
    moved = [
        name
        for name, t in model.state_dict().items()
        if not torch.equal(t.nan_to_num(), tensors[name].nan_to_num())
    ]
    assert not moved, f"changed by sampling or scoring: {moved}"
    assert attributes == [set(vars(module)) for module in model.modules()], (
        "sampling or scoring left new attributes on the module"
    )
    assert not model.training, "sampling or scoring switched the model to train mode"
    assert torch.equal(x, x_before) and (y is None or torch.equal(y, y_before)), (
        "sampling or scoring overwrote an argument"
    )


def check_batch_mates(model: GenerativeModel) -> None:
    """In eval mode the score of an image does not depend on the images beside it: same rng, same
    batch size, other company.
    """
    if model.likelihood is Likelihood.NONE:
        return
    model.prepare_likelihood(rng=rng(4))
    x, order = (
        every_image(model.spec),
        torch.randperm(len(every_image(model.spec)), generator=rng(6)),
    )
    company, others = x[order[:16]].clone(), x[order[16:32]].clone()
    others[:4] = company[:4]
    y, other_y = labels_of(model, 16), None
    if y is not None:
        other_y = (y + 1) % model.spec.classes
        other_y[:4] = y[:4]
    with torch.no_grad():
        a, b = (
            model.log_likelihood(xs, ys, rng=rng(5))[:4]
            for xs, ys in ((company, y), (others, other_y))
        )
    torch.testing.assert_close(
        a, b, atol=1e-5, rtol=1e-5, msg=lambda m: f"batch mates change the score: {m}"
    )


def check_checkpoint(case: Case, model: GenerativeModel, path: Path) -> None:
    """Saved and loaded, it is the same model: tensors, samples and scores."""
    checkpoint.save(model, path, entry=Entry("toy", case.model, "mnist", 0, case.arch, {}, {}, {}))
    loaded = checkpoint.load(path)
    assert (
        not loaded.training
        and type(loaded) is type(model)
        and loaded.spec == model.spec
        and loaded.conditional == model.conditional
    )
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(
        ours[k].dtype == theirs[k].dtype
        and torch.equal(ours[k].nan_to_num(), theirs[k].nan_to_num())
        for k in ours
    )
    y = labels_of(model, 50)
    assert torch.equal(*(m.sample(50, y, rng=rng(7)) for m in (model, loaded))), (
        "samples differ after loading"
    )
    if model.likelihood is not Likelihood.NONE:
        x = every_image(model.spec)[:50]
        assert model.prepare_likelihood(rng=rng(4)) == loaded.prepare_likelihood(rng=rng(4))
        assert torch.equal(*(m.log_likelihood(x, y, rng=rng(5)) for m in (model, loaded))), (
            "scores differ after loading"
        )


# ---------------------------------------------------------------------- scores and samples


@dataclass(frozen=True)
class Scores:
    """Probabilities that the score gives all images of a shape, for one label.

    Attributes:
        p: float64 (S,); for a bound, a lower bound of them.
        mass: their sum.
        mass_stderr: standard error of ``mass`` over repeated draws.
        p_error: sum of the standard errors of ``p``; half of it bounds what they add to a total
            variation, on average.
        two_sided: whether ``p`` is P itself (up to noise) and no mere bound.
    """

    p: np.ndarray
    mass: float
    mass_stderr: float
    p_error: float
    two_sided: bool


@torch.no_grad()
def scores(model: GenerativeModel, y: Tensor | None) -> Scores:
    """Score every image. Bounds are averaged over repeated draws: as weights where these are
    unbiased, else as logs.
    """
    x = every_image(model.spec)
    if model.likelihood in (Likelihood.EXACT, Likelihood.ESTIMATE):
        p = _log_likelihood(model, x, y, 5).exp().numpy()
        return Scores(p, float(p.sum()), 0.0, 0.0, two_sided=True)
    keywords = inspect.signature(model.log_likelihood).parameters
    draws = {"draws": 32} if model.sums_classes and "draws" in keywords else {}
    exhaustive = {name: 0 for name in EXHAUSTIVE if name in keywords}
    repeats = (
        16 if draws else 8
    )  # a bound without draws is dear, and only its excess over 1 is tested
    many, labels = x.repeat(repeats, 1, 1, 1), None if y is None else y.repeat(repeats)
    logs = (
        _log_likelihood(model, many, labels, 5, **draws, **exhaustive).view(repeats, len(x)).numpy()
    )
    weights = (
        np.exp(logs) if model.sums_classes else np.exp(logs.mean(0)) * (1 + logs - logs.mean(0))
    )
    stderr = weights.std(0, ddof=1) / repeats**0.5
    mass_stderr = weights.sum(1).std(ddof=1) / repeats**0.5
    unbiased = bool(draws)  # a bound without draws is no estimate of P, however often it is taken
    return Scores(
        weights.mean(0),
        float(weights.sum(1).mean()),
        float(mass_stderr),
        float(stderr.sum()),
        two_sided=unbiased,
    )


def _log_likelihood(
    model: GenerativeModel, x: Tensor, y: Tensor | None, seed: int, **options: int
) -> Tensor:
    log_p = model.log_likelihood(x, y, rng=rng(seed), **options)
    form = f"{log_p.dtype} {tuple(log_p.shape)}"
    assert log_p.shape == (len(x),) and log_p.dtype == torch.float64, (
        f"log_likelihood must be torch.float64 (B,), got {form}"
    )
    assert bool(log_p.isfinite().all()), "log_likelihood is not finite"
    return log_p


def check_mass(model: GenerativeModel) -> None:
    """Probabilities of all images sum to 1 for EXACT (in float64), to at most 1 for a bound (to 1
    if its weights are unbiased), to about 1
    for an estimate; for each label.
    """
    if model.likelihood is Likelihood.NONE:
        return
    if model.likelihood is Likelihood.EXACT:
        model = copy.deepcopy(model).double()
    info = model.prepare_likelihood(rng=rng(4))
    for y in each_label(model, len(every_image(model.spec))):
        found = scores(model, y)
        if model.likelihood is Likelihood.EXACT:
            tolerance = 1e-9
        elif model.likelihood is Likelihood.ESTIMATE:
            assert info["log_z_stderr"] < 0.2, f"log Z is too uncertain to test: {info}"
            tolerance = 0.01 + 5 * info["log_z_stderr"]
        else:
            assert found.mass_stderr < 0.1, (
                f"the sum of the bound is too uncertain to test: {found.mass:.3f} +- "
                f"{found.mass_stderr:.3f}"
            )
            tolerance = 1e-3 + 5 * found.mass_stderr
        excess = abs(found.mass - 1) if found.two_sided else found.mass - 1
        assert excess <= tolerance, (
            f"the probabilities of all images sum to {found.mass:.12f} (tolerance {tolerance:.1e})"
        )


def check_samples(model: GenerativeModel, draws: int = DRAWS) -> None:
    """Samples have the right form and follow the score, for each label, drawn with all labels
    mixed.

    The distance is the total variation for probabilities and Σ max(0, bound − frequency) for
    bounds: a right bound exceeds no frequency by more than sampling noise. Its limit is what
    samples of the scored distribution itself reach, plus the uncertainty of the scores.
    """
    y = labels_of(model, draws)
    x = model.sample(draws, y, rng=rng(11))
    shape = (draws, 1, model.spec.height, model.spec.width)
    assert x.dtype == torch.uint8 and tuple(x.shape) == shape, (
        f"samples must be uint8 {shape}, got {x.dtype} {tuple(x.shape)}"
    )
    assert int(x.max()) < model.spec.levels, (
        f"samples must be below {model.spec.levels}, got {int(x.max())}"
    )
    if model.likelihood is Likelihood.NONE:
        return
    info = model.prepare_likelihood(rng=rng(4))
    slack = 0.01 if info else 1e-3  # a Markov chain has not quite forgotten its start
    for label, constant in enumerate(each_label(model, len(every_image(model.spec)))):
        found = scores(model, constant)
        drawn = x if y is None else x[y == label]
        frequency = frequencies(drawn, model.spec)
        p = found.p / found.mass if found.two_sided else found.p
        distance = (
            0.5 * np.abs(p - frequency).sum()
            if found.two_sided
            else np.maximum(p - frequency, 0).sum()
        )
        limit = (
            sampling_noise(p / p.sum() if found.two_sided else frequency, len(drawn))
            + 0.5 * found.p_error
            + slack
        )
        which = "" if y is None else f", label {label}"
        assert distance <= limit, (
            f"samples do not follow the score: distance {distance:.3f}, limit {limit:.3f}{which}"
        )


def sampling_noise(p: np.ndarray, n: int) -> float:
    """Total variation between ``p`` and the frequencies of ``n`` draws from it: mean plus six
    standard deviations over 100 simulations.
    """
    p = np.clip(p, 0, None)
    counts = np.random.default_rng(0).multinomial(n, p / p.sum(), size=100)
    distances = 0.5 * np.abs(counts / n - p / p.sum()).sum(1)
    return float(distances.mean() + 6 * distances.std())


def check_labels_matter(model: GenerativeModel) -> None:
    """A trained conditional model tells its classes apart, in its score or, without one, in its
    samples.
    """
    if not model.conditional:
        return
    n = len(every_image(model.spec))
    if model.likelihood is Likelihood.NONE:
        shares = [
            frequencies(model.sample(4000, y, rng=rng(9)), model.spec)
            for y in each_label(model, 4000)
        ]
        limit = 2 * sampling_noise(shares[0], 4000)
    else:
        model.prepare_likelihood(rng=rng(4))
        shares, limit = (
            [p / p.sum() for p in (scores(model, y).p for y in each_label(model, n))],
            0.05,
        )  # a loose bound sums to far below 1
    distances = [0.5 * np.abs(a - b).sum() for a, b in itertools.combinations(shares, 2)]
    assert min(distances) > limit, (
        f"two labels give the same distribution: distances {distances}, limit {limit:.3f}"
    )


def check_more_draws_tighten(model: GenerativeModel) -> None:
    """A bound with the keyword ``draws`` grows with it, on average over all images."""
    if "draws" not in inspect.signature(model.log_likelihood).parameters:
        return
    x = every_image(model.spec)
    y = labels_of(model, len(x))
    with torch.no_grad():
        means = torch.tensor(
            [
                [float(_log_likelihood(model, x, y, s, draws=k).mean()) for k in (1, 16)]
                for s in range(12)
            ]
        )
    gain, stderr = (
        float((means[:, 1] - means[:, 0]).mean()),
        float((means[:, 1] - means[:, 0]).std()) / 12**0.5,
    )
    assert gain > -4 * stderr - 1e-6, (
        f"16 draws give a bound {-gain:.4f} +- {stderr:.4f} nats below that of 1"
    )


# ---------------------------------------------------------------------- autoregressive models


@torch.no_grad()
def check_cached(model: Autoregressive, x: Tensor, y: Tensor | None, *, tolerance: float) -> None:
    """Step by step with the cache, the logits are those of the full pass; pixels that are not drawn
    yet play no part.
    """
    full, order = model.logits(x, y), model.pixel_order()
    assert full.shape[:2] == (len(x), model.spec.dims), (
        f"logits must be (B, {model.spec.dims}, K), got {tuple(full.shape)}"
    )
    drawn, cache = torch.zeros_like(x), model.init_cache(len(x), y)
    for i, pixel in enumerate(order.tolist()):
        got, cache = model.step(drawn, i, cache)
        bound = tolerance * (1 + float(full[:, i].abs().max()))
        error = float((got - full[:, i]).abs().max())
        assert error <= bound, (
            f"step {i} differs from the full pass by {error:.1e}, more than {bound:.1e}"
        )
        drawn.view(len(x), -1)[:, pixel] = x.view(len(x), -1)[:, pixel]


@torch.no_grad()
def check_causality(
    model: Autoregressive, x: Tensor, y: Tensor | None, *, positions: list[int], tolerance: float
) -> None:
    """Changing the pixel at place j leaves the logits of places 0..j alone; all together, such
    changes reach what comes after them.
    """
    full, order, reached = model.logits(x, y), model.pixel_order(), 0
    for j in positions:
        other, pixel = x.clone(), int(order[j])
        flat = other.view(len(x), -1)
        flat[:, pixel] = (
            (flat[:, pixel].long() + model.spec.levels // 2)
            .remainder(model.spec.levels)
            .to(torch.uint8)
        )
        moved = (model.logits(other, y) - full).abs().amax((0, 2)) > tolerance
        early = torch.nonzero(moved[: j + 1])[:, 0].tolist()
        assert not early, (
            f"pixel {j} changes the logits of {early}, which are drawn before it is known"
        )
        reached += int(moved[j + 1 :].any())
    needed = sum(j + 1 < model.spec.dims for j in positions)
    dependent = bool(list(model.parameters()))  # independent pixels are counted, not learned
    assert reached == needed or not dependent, (
        f"only {reached} of {needed} pixels change what is drawn after them"
    )


# ---------------------------------------------------------------------- bad input


def check_bad_input(case: Case, model: GenerativeModel) -> None:
    """Wrong images, labels and numbers raise ValueError naming the argument, what it got and what
    is legal.
    """
    spec, n = model.spec, 4
    x, y = every_image(spec)[:n], labels_of(model, n)
    for name, call in _image_calls(model, y):
        _refuses(name, "x", lambda call=call: call(x.float()), "float32", "uint8")
        _refuses(
            name,
            "x",
            lambda call=call: call(x[:, 0]),
            str(tuple(x[:, 0].shape)),
            f"{spec.height}, {spec.width}",
        )
        taller = torch.zeros(n, 1, spec.height + 1, spec.width, dtype=torch.uint8)
        _refuses(
            name,
            "x",
            lambda call=call, taller=taller: call(taller),
            str(tuple(taller.shape)),
            f"{spec.height}, {spec.width}",
        )
        if spec.levels < 256:
            _refuses(
                name,
                "x",
                lambda call=call: call(torch.full_like(x, spec.levels)),
                str(spec.levels),
                str(spec.levels - 1),
            )
    for name, call in _label_calls(model, x):
        if y is None:
            _refuses(name, "y", lambda call=call: call(torch.zeros(n, dtype=torch.int64)), "label")
            continue
        _refuses(name, "y", lambda call=call: call(None), "None")
        _refuses(name, "y", lambda call=call: call(y.int()), "int32", "int64")
        _refuses(name, "y", lambda call=call: call(y[:2]), "(2,)", f"({n},)")
        for wrong in (-1, spec.classes):
            _refuses(
                name,
                "y",
                lambda call=call, wrong=wrong: call(torch.full((n,), wrong)),
                str(wrong),
                str(spec.classes - 1),
            )
    _refuses(
        "sample", "n", lambda: model.sample(0, None if y is None else y[:0], rng=rng()), "0", "1"
    )
    if case.cls.conditioning is Conditioning.OPTIONAL:
        unlabelled, arch = replace(spec, classes=0), {**case.arch, "conditional": True}
        _refuses(
            "the constructor", "conditional", lambda: case.cls(unlabelled, **arch), "no labels"
        )


def _image_calls(
    model: GenerativeModel, y: Tensor | None
) -> list[tuple[str, Callable[[Tensor], Any]]]:
    calls: list[tuple[str, Callable[[Tensor], Any]]] = []
    if model.likelihood is not Likelihood.NONE:
        model.prepare_likelihood(rng=rng(4))
        calls.append(("log_likelihood", lambda x: model.log_likelihood(x, y, rng=rng())))
    if isinstance(model, Encoder):
        calls.append(("encode", lambda x: model.encode(x, y, rng=rng())))
    if isinstance(model, Inpaintable):
        mask = torch.ones(model.spec.height, model.spec.width, dtype=torch.bool)
        calls.append(("complete", lambda x: model.complete(x, mask, y, rng=rng())))
    return calls


def _label_calls(
    model: GenerativeModel, x: Tensor
) -> list[tuple[str, Callable[[Tensor | None], Any]]]:
    calls: list[tuple[str, Callable[[Tensor | None], Any]]] = [
        ("sample", lambda y: model.sample(len(x), y, rng=rng()))
    ]
    if model.likelihood is not Likelihood.NONE:
        calls.append(("log_likelihood", lambda y: model.log_likelihood(x, y, rng=rng())))
    if isinstance(model, Latent):
        calls.append(("prior", lambda y: model.prior(len(x), y, rng=rng())))
    if isinstance(model, Traceable):
        calls.append(("frames", lambda y: list(model.frames(len(x), y, rng=rng()))))
    return calls


def _refuses(name: str, argument: str, call: Callable[[], Any], *parts: str) -> None:
    try:
        call()
    except ValueError as error:
        message = str(error)
        assert re.match(rf"{argument}\b", message), (
            f"{name}: the message must begin with the argument {argument!r}: {message}"
        )
        assert all(part in message for part in parts), (
            f"{name}: the message must name {parts}: {message}"
        )
        return
    raise AssertionError(f"{name} accepts a wrong {argument}; it must say {parts}")


# ---------------------------------------------------------------------- capabilities


def _are_images(model: GenerativeModel, x: Tensor, n: int, what: str) -> None:
    shape = (n, 1, model.spec.height, model.spec.width)
    assert x.dtype == torch.uint8 and tuple(x.shape) == shape, (
        f"{what} must be uint8 {shape}, got {x.dtype} {tuple(x.shape)}"
    )
    assert int(x.max()) < model.spec.levels, (
        f"{what} must be below {model.spec.levels}, got {int(x.max())}"
    )


@torch.no_grad()
def check_latent(model: GenerativeModel) -> None:
    """prior gives seeded latents (n, ...), decode turns them into images by rng alone."""
    if not isinstance(model, Latent):
        return
    y = labels_of(model, 6)
    z, again, other = (model.prior(6, y, rng=rng(seed)) for seed in (1, 1, 2))
    assert len(z) == 6 and torch.equal(z, again) and not torch.equal(z, other), (
        "prior must give (n, ...) latents that depend on rng alone"
    )
    x = model.decode(z, y, rng=rng(3))
    _are_images(model, x, 6, "decoded latents")
    assert torch.equal(x, model.decode(z.clone(), y, rng=rng(3))), (
        "decode: the same rng gave other bits"
    )


@torch.no_grad()
def check_encoder(model: GenerativeModel) -> None:
    """encode gives latents of the form of prior's, by rng alone, each from its own image."""
    if not isinstance(model, Encoder):
        return
    x, y = toy_data(model.spec)[0][:6], labels_of(model, 6)
    z = model.encode(x, y, rng=rng(1))
    assert torch.equal(z, model.encode(x, y, rng=rng(1))), "encode: the same rng gave other bits"
    company = model.encode(torch.cat([x[:3], toy_data(model.spec)[0][6:9]]), y, rng=rng(1))
    torch.testing.assert_close(
        z[:3], company[:3], atol=1e-5, rtol=1e-5, msg=lambda m: f"encode: batch mates matter: {m}"
    )
    if isinstance(model, Latent):
        assert z.shape == model.prior(6, y, rng=rng(1)).shape, (
            "encode and prior give latents of other shapes"
        )
        _are_images(model, model.decode(z, y, rng=rng(2)), 6, "reconstructions")


def check_diagnosed(model: GenerativeModel) -> None:
    """diagnostics gives finite numbers by rng alone, of any number of images."""
    if not isinstance(model, Diagnosed):
        return
    x, y = data_for(model)
    found, again = (model.diagnostics(x, y, rng=rng(1)) for _ in range(2))
    assert found and found == again, f"diagnostics: {found}, then {again}"
    assert all(math.isfinite(value) for value in found.values()), (
        f"diagnostics must be finite, got {found}"
    )
    assert set(model.diagnostics(x[:1], None if y is None else y[:1], rng=rng(1))) == set(found)


@torch.no_grad()
def check_traceable(model: GenerativeModel) -> None:
    """frames are images, the last of them the sample of the same rng."""
    if not isinstance(model, Traceable):
        return
    y = labels_of(model, 6)
    frames = [frame.clone() for frame in model.frames(6, y, rng=rng(1))]
    assert len(frames) >= 2, "frames must show at least two states"
    for frame in frames:
        _are_images(model, frame, 6, "frames")
    assert torch.equal(frames[-1], model.sample(6, y, rng=rng(1))), (
        "the last frame is not the sample of the same rng"
    )


@torch.no_grad()
def check_inpaintable(model: GenerativeModel) -> None:
    """complete keeps what is known, draws the rest by rng; an autoregressive model draws it from
    the conditional distribution.
    """
    if not isinstance(model, Inpaintable):
        return
    spec, y = model.spec, labels_of(model, 200)
    x = toy_data(spec)[0][:200]
    nothing = torch.zeros(spec.height, spec.width, dtype=torch.bool)
    for mask in (nothing, _first_half(model), ~nothing):
        done, again, other = (model.complete(x, mask, y, rng=rng(seed)) for seed in (1, 1, 2))
        _are_images(model, done, 200, "completions")
        assert torch.equal(done[:, :, mask], x[:, :, mask]), "a completion changes what is known"
        assert torch.equal(done, again), "complete: the same rng gave other bits"
        assert mask.all() or not torch.equal(done, other), "complete does not depend on rng"
    if isinstance(model, Autoregressive):
        _completions_follow(model)


def _first_half(model: GenerativeModel) -> Tensor:
    """Mask (H, W) of the pixels that an autoregressive model draws first; for others the upper
    half.
    """
    order = (
        model.pixel_order() if isinstance(model, Autoregressive) else torch.arange(model.spec.dims)
    )
    mask = torch.zeros(model.spec.dims, dtype=torch.bool)
    mask[order[: model.spec.dims // 2]] = True
    return mask.view(model.spec.height, model.spec.width)


def _completions_follow(model: Autoregressive, draws: int = 5000) -> None:
    spec, mask = model.spec, _first_half(model)
    known = toy_data(spec)[0][:1]
    y = torch.zeros(draws, dtype=torch.int64) if model.conditional else None
    done = model.complete(known.expand(draws, -1, -1, -1).clone(), mask, y, rng=rng(3))
    p = scores(model, each_label(model, len(every_image(spec)))[0]).p
    p = np.where((every_image(spec)[:, :, mask] == known[:, :, mask]).all(2)[:, 0].numpy(), p, 0)
    distance, limit = (
        0.5 * np.abs(frequencies(done, spec) - p / p.sum()).sum(),
        sampling_noise(p, draws) + 1e-3,
    )
    assert distance <= limit, (
        f"completions do not follow P(rest | known): distance {distance:.3f}, limit {limit:.3f}"
    )
