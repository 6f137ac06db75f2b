"""The columns of the table: the metrics that it shows, their heads and what they measure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genbench.scoring.odd_inputs import ODD_INPUTS as KINDS_OF_ODD_INPUTS

__all__ = [
    "COLUMNS",
    "DIAGNOSTICS",
    "MEMORISATION",
    "ODD_INPUTS",
    "Column",
    "columns",
    "diagnostics",
]


@dataclass(frozen=True, slots=True)
class Column:
    """A metric's column: ``label`` is its head, ``title`` says in one sentence what it measures;
    ``main`` ones stand before the costs.
    """

    key: str
    label: str
    title: str
    higher_is_better: bool | None
    main: bool = False


_MNIST = "features of the pinned MNIST network"


COLUMNS = (
    Column(
        "bits_per_dim",
        "bits/dim",
        "Negative log-likelihood of a test image in bits per pixel",
        False,
        main=True,
    ),
    Column("nats", "nats", "Negative log-likelihood of a test image in nats", False, main=True),
    Column("fid_mnist", "FID", f"Fréchet distance to the test images, {_MNIST}", False, main=True),
    Column(
        "is_mnist",
        "IS",
        "Inception Score formula with the pinned MNIST network; 10 is the most",
        True,
        main=True,
    ),
    Column(
        "precision_mnist",
        "precision",
        f"Share of samples near real images, {_MNIST}",
        True,
        main=True,
    ),
    Column(
        "recall_mnist", "recall", f"Share of real images near samples, {_MNIST}", True, main=True
    ),
    Column("elbo_nats", "ELBO nats", "The same bound with a single draw", False),
    Column(
        "conditional_nats",
        "nats given y",
        "Negative log-likelihood given the label, -log P(x|y)",
        False,
    ),
    Column(
        "bayes_accuracy",
        "Bayes acc.",
        "Share of test images whose label is the y of largest P(x|y)",
        True,
    ),
    Column(
        "fid_unbiased_mnist",
        "FID unb.",
        f"Fréchet distance to the test images without its bias in 1/n, {_MNIST}",
        False,
    ),
    Column("fid_train_mnist", "FID train", f"Fréchet distance to training images, {_MNIST}", False),
    Column("kid_mnist", "KID", f"Kernel distance to the test images, {_MNIST}", False),
    Column(
        "kid_rbf_mnist",
        "KID rbf",
        f"Kernel distance to the test images with a Gaussian kernel, {_MNIST}",
        False,
    ),
    Column(
        "density_mnist", "density", f"How densely real images surround the samples, {_MNIST}", True
    ),
    Column(
        "coverage_mnist",
        "coverage",
        f"Share of real images that have a sample nearby, {_MNIST}",
        True,
    ),
    Column(
        "clipped_density_mnist",
        "clipped dens.",
        f"Share of good samples by how densely real images surround them, {_MNIST}",
        True,
    ),
    Column(
        "clipped_coverage_mnist",
        "clipped cov.",
        f"Share of good samples by how many real images have some nearby, {_MNIST}",
        True,
    ),
    Column(
        "jsd_mnist",
        "JSD",
        f"Bits by which a classifier tells samples from test images, a lower bound, {_MNIST}",
        False,
    ),
    Column(
        "label_fidelity",
        "label fid.",
        "Share of samples that the pinned network reads as the label asked for",
        True,
    ),
    Column(
        "cas",
        "CAS",
        "Share of test images that a classifier reads which saw labelled samples alone",
        True,
    ),
    Column(
        "min_class_share",
        "min class",
        "Share of the rarest digit among the samples; 0.1 where all are equal",
        True,
    ),
    Column(
        "fid_inception",
        "FID Inc.",
        "Fréchet distance to the test images, Inception features",
        False,
    ),
    Column("is_inception", "IS Inc.", "Inception Score, Inception network", True),
)


DIAGNOSTICS = (
    Column(
        "vendi_mnist",
        "Vendi",
        f"Variety of the samples as a ratio to that of test images, {_MNIST}",
        None,
    ),
    Column(
        "vendi_within_mnist",
        "Vendi within",
        f"The same within the classes, their mean, {_MNIST}",
        None,
    ),
    Column(
        "rate_nats",
        "rate nats",
        (
            "What the latents of a test image cost: their KL divergence from the prior, or -log "
            "P(codes)"
        ),
        None,
    ),
    Column(
        "distortion_nats",
        "distortion nats",
        "What the pixels of a test image cost once its latents are known: -log P(x|z)",
        None,
    ),
    Column(
        "active_units",
        "active units",
        "Latent dimensions whose posterior mean varies from image to image",
        None,
    ),
    Column(
        "code_perplexity",
        "code perplexity",
        (
            "How many codes are in use, rare ones counting less; the codebook's size where all are "
            "even"
        ),
        None,
    ),
)
"""Numbers that say how a model works and not how good it is: in tables of their own."""


MEMORISATION = (
    Column(
        "copied_share",
        "copies",
        (
            "Share of samples whose nearest training image is nearer than a third of the distance "
            "to the second"
        ),
        None,
    ),
    Column(
        "copying_z",
        "copying z",
        (
            "Whether samples lie nearer to training images than validation images do, in units of "
            "its spread without copying; far below 0 is copying"
        ),
        None,
    ),
    Column(
        "nats_gap",
        "gap in nats",
        (
            "How many nats test images cost more than images that the run has trained on, beyond "
            "the same of pixel_marginals"
        ),
        None,
    ),
)
"""What tells of memorisation; a section of its own."""


ODD_INPUTS = (
    Column("bits_per_dim_digits", "digits", "Test digits as they are", None),
    *(
        Column(f"bits_per_dim_{kind}", kind, f"Test digits: {what}", None)
        for kind, what in KINDS_OF_ODD_INPUTS.items()
    ),
)
"""Bits/dim of inputs that are no digits; a section of its own."""

_APART = {column.key for column in (*MEMORISATION, *ODD_INPUTS)}


def columns(rows: Collection[Mapping[str, Any]]) -> list[Column]:
    """The columns that these rows need: the known metrics in their order, then others by name."""
    present = _directions(rows)
    withheld = {key: False for row in rows for key in row["withheld"] if key not in _APART}
    scores = {key: way for key, way in {**withheld, **present}.items() if way is not None}
    return _select(COLUMNS, scores)


def diagnostics(rows: Collection[Mapping[str, Any]]) -> list[Column]:
    """The columns of the diagnostics of these rows, in the same order, but for those that have a
    section of their own.
    """
    found = {
        key: way for key, way in _directions(rows).items() if way is None and key not in _APART
    }
    return _select(DIAGNOSTICS, found)


def _directions(rows: Collection[Mapping[str, Any]]) -> dict[str, bool | None]:
    return {
        key: metric["higher_is_better"] for row in rows for key, metric in row["metrics"].items()
    }


def _select(known: Sequence[Column], present: Mapping[str, bool | None]) -> list[Column]:
    own = [column for column in known if column.key in present]
    others = sorted(present.keys() - {column.key for column in known})
    return own + [Column(key, key.replace("_", " "), key, present[key]) for key in others]
