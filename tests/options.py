"""All options of this package's models, and what each is for: the tables behind
test_options_reach_results.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genbench.base import DataSpec
from genbench.nn.splines import BINS

__all__ = ["BY_VALUE", "CALLS", "EFFECTS", "SHAPES", "SMALL", "Arch", "Shapes"]

Arch = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]

BINARY, CELLS, GREY = DataSpec(3, 3, 2, 3), DataSpec(2, 4, 2, 3), DataSpec(4, 4, 256, 3)
SMALL: dict[str, tuple[DataSpec, Arch]] = {
    "made": (BINARY, {"hidden": [24]}),
    "pixel_cnn": (BINARY, {"channels": 8, "blocks": 2, "hidden": 16}),
    "gated_pixel_cnn": (BINARY, {"channels": 8, "layers": 2, "hidden": 16}),
    "lstm": (BINARY, {"width": 8, "hidden": 16, "layers": 1}),
    "row_lstm": (BINARY, {"hidden": 8, "layers": 1, "last": 16}),
    "wavenet": (BINARY, {"channels": 8, "skip": 16}),
    "pixel_transformer": (BINARY, {"width": 16, "layers": 1, "heads": 2}),
    "vae": (CELLS, {"latent": 2, "widths": [8], "hidden": 16}),
    "cvae": (CELLS, {"latent": 2, "widths": [8], "hidden": 16}),
    "vq_vae": (CELLS, {"codes": 3, "size": 4, "widths": [8], "prior_width": 8, "prior_layers": 1}),
    "ddpm": (
        GREY,
        {
            "timesteps": 6,
            "beta_start": 0.1,
            "beta_end": 0.7,
            "widths": [16],
            "blocks": 1,
            "patch": 1,
        },
    ),
    "ddpm_vlb": (
        GREY,
        {
            "timesteps": 6,
            "log_snr_max": 4.0,
            "log_snr_min": -4.0,
            "widths": [16],
            "blocks": 1,
            "patch": 1,
        },
    ),
    "flow_matching": (GREY, {"widths": [16], "blocks": 1, "patch": 1, "ode_steps": 4}),
    "real_nvp": (GREY, {"scales": 1, "couplings": 2, "width": 8, "blocks": 1}),
    "glow": (GREY, {"scales": 1, "flow_steps": 3, "width": 8, "blocks": 1}),
    "dcgan": (GREY, {"latent": 4, "widths": [8], "hidden": 16}),
    "hinge_gan": (GREY, {"latent": 4, "widths": [8], "hidden": 16}),
    "ebm": (
        DataSpec(2, 4, 4),
        {
            "widths": [8],
            "hidden": 8,
            "buffer_size": 64,
            "mcmc_steps": 3,
            "burn_in": 6,
            "reach": 1.0,
            "step_size": 0.3,
        },
    ),
    "rbm": (BINARY, {"hidden": 6, "persistent_chains": 16, "burn_in": 6}),
    "pixel_marginals": (BINARY, {}),
    "train_copy": (BINARY, {"size": 8}),
    "partial_copy": (DataSpec(12, 12, 2), {"size": 8}),
}
"""The models of this package. One that a user adds has its own tests, and no list to stand in."""

LABELLED: Arch = {"conditional": True, "label_dropout": 0.5}
GRID: Arch = {"sampler": "grid"}
MIXTURE: Arch = {"head": "logistic_mixture"}

# ------------------------------------------------------------ options that give tensors their shape


def _heads(model: str, out: str, pixels: int, *rest: int) -> list[tuple[str, Arch, Arch, Shapes]]:
    """The distribution of a pixel, by the layer that puts out its parameters for so many pixels."""
    return [
        (model, {}, {"head": "categorical"}, {out: (2 * pixels, *rest)}),
        (model, MIXTURE, {"mixtures": 3}, {out: (9 * pixels, *rest)}),
    ]


def _unet(model: str, inputs: int) -> list[tuple[str, Arch, Arch, Shapes]]:
    return [
        (model, {}, {"widths": [32]}, {"network.first.weight": (32, inputs, 3, 3)}),
        (model, {}, {"blocks": 2}, {"network.down.1.first.weight": (16, 16, 3, 3)}),
        (model, {}, {"patch": 2}, {"network.first.weight": (16, 4 * inputs, 3, 3)}),
        (model, {}, {"norm": "batch"}, {"network.norm.norm.weight": (16,)}),
        (model, {}, {"conditional": True}, {"network.labels.weight": (3, 64)}),
    ]


def _autoencoder(model: str) -> list[tuple[str, Arch, Arch, Shapes]]:
    return [
        (
            model,
            {},
            {"latent": 3},
            {"encoder.out.weight": (6, 16), "decoder.first.weight": (16, 3)},
        ),
        (
            model,
            {},
            {"widths": [12]},
            {"encoder.down.1.weight": (12, 4, 3, 3), "decoder.up.layers.2.weight": (4, 12, 1, 1)},
        ),
        (
            model,
            {},
            {"hidden": 20},
            {"encoder.out.weight": (4, 20), "decoder.first.weight": (20, 2)},
        ),
        (
            model,
            {},
            {"blocks": 2},
            {
                "encoder.down.4.first.weight": (8, 8, 3, 3),
                "decoder.up.layers.1.first.weight": (8, 8, 3, 3),
            },
        ),
        *_heads(model, "decoder.up.layers.2.weight", 4, 8, 1, 1),
    ]


def _flow(model: str, coupling: str) -> list[tuple[str, Arch, Arch, Shapes]]:
    first = f"flow.stages.0.parts.{coupling}.network"
    return [
        (
            model,
            {},
            {"scales": 2},
            {f"flow.stages.1.parts.{coupling}.network.first.weight": (8, 4, 3, 3)},
        ),
        (model, {}, {"width": 12}, {f"{first}.first.weight": (12, 2, 3, 3)}),
        (model, {}, {"blocks": 2}, {f"{first}.blocks.1.1.weight": (8, 8, 3, 3)}),
        (
            model,
            {},
            {"coupling": "spline"},
            {f"{first}.last.weight": (2 * (3 * BINS - 1), 8, 3, 3)},
        ),
        (
            model,
            {},
            {"dequantize": "variational"},
            {"dequantizer.couplings.0.network.first.weight": (32, 6, 3, 3)},
        ),
    ]


SHAPES: list[tuple[str, Arch, Arch, Shapes]] = [
    (
        "made",
        {},
        {"hidden": [20, 12]},
        {"layers.0.weight": (20, 9), "layers.1.weight": (12, 20), "out.weight": (9, 12)},
    ),
    ("made", {}, {"conditional": True}, {"labels.0.weight": (3, 24)}),
    *_heads("made", "out.weight", 9, 24),
    ("pixel_cnn", {}, {"channels": 6}, {"blocks.0.causal.weight": (6, 6, 3, 3)}),
    ("pixel_cnn", {}, {"blocks": 3}, {"blocks.2.causal.weight": (8, 8, 3, 3)}),
    (
        "pixel_cnn",
        {},
        {"kernel": 5},
        {"blocks.0.causal.weight": (8, 8, 5, 5), "blocks.1.causal.weight": (8, 8, 5, 5)},
    ),
    ("pixel_cnn", {}, {"positions": True}, {"positions": (16, 3, 3)}),
    ("pixel_cnn", {}, {"hidden": 12}, {"last.weight": (12, 16, 1, 1)}),
    (
        "pixel_cnn",
        {},
        {"conditional": True},
        {"blocks.0.labels.weight": (3, 8), "blocks.1.labels.weight": (3, 8)},
    ),
    *_heads("pixel_cnn", "out.weight", 1, 16, 1, 1),
    ("gated_pixel_cnn", {}, {"channels": 6}, {"layers.0.outer.weight": (6, 6, 1, 1)}),
    ("gated_pixel_cnn", {}, {"layers": 3}, {"layers.2.outer.weight": (8, 8, 1, 1)}),
    (
        "gated_pixel_cnn",
        {},
        {"kernel": 5},
        {"layers.0.vertical.weight": (16, 8, 3, 5), "layers.1.horizontal.weight": (16, 40, 1, 1)},
    ),
    ("gated_pixel_cnn", {}, {"positions": True}, {"positions": (2, 8, 3, 3)}),
    (
        "gated_pixel_cnn",
        {"conditional": True},
        {"label_maps": True},
        {"label_maps.table.weight": (3, 2 * 8 * 9)},
    ),
    ("gated_pixel_cnn", {}, {"hidden": 12}, {"last.weight": (12, 8, 1, 1)}),
    (
        "gated_pixel_cnn",
        {},
        {"conditional": True},
        {"layers.0.labels.weight": (3, 32), "layers.1.labels.weight": (3, 16)},
    ),
    *_heads("gated_pixel_cnn", "out.weight", 1, 16, 1, 1),
    ("lstm", {}, {"width": 6}, {"sequence.levels.weight": (2, 6), "lstm.weight_ih_l0": (64, 6)}),
    ("lstm", {}, {"hidden": 12}, {"lstm.weight_hh_l0": (48, 12)}),
    ("lstm", {}, {"layers": 2}, {"lstm.weight_hh_l1": (64, 16)}),
    ("lstm", {}, {"window": 1}, {"sequence.around.weight": (8, 4)}),
    ("lstm", {}, {"conditional": True}, {"sequence.labels.weight": (3, 8)}),
    *_heads("lstm", "out.weight", 1, 16),
    ("row_lstm", {}, {"hidden": 6}, {"layers.0.outer.weight": (12, 6)}),
    ("row_lstm", {}, {"layers": 2}, {"layers.1.outer.weight": (16, 8)}),
    (
        "row_lstm",
        {},
        {"kernel": 5},
        {"layers.0.states.weight": (32, 40), "layers.0.inputs.weight": (32, 48)},
    ),
    ("row_lstm", {}, {"positions": True}, {"positions": (16, 3, 3)}),
    ("row_lstm", {}, {"last": 12}, {"last.weight": (12, 16)}),
    ("row_lstm", {}, {"conditional": True}, {"layers.0.labels.weight": (3, 32)}),
    *_heads("row_lstm", "out.weight", 1, 16),
    ("wavenet", {}, {"channels": 6}, {"layers.0.inner.weight": (12, 12)}),
    ("wavenet", {}, {"skip": 12}, {"last.weight": (12, 12)}),
    ("wavenet", {}, {"dilations": [1, 2, 4, 8, 1]}, {"layers.4.inner.weight": (16, 16)}),
    ("wavenet", {}, {"window": 1}, {"sequence.around.weight": (8, 4)}),
    (
        "wavenet",
        {},
        {"conditional": True},
        {"layers.0.labels.weight": (3, 16), "layers.3.labels.weight": (3, 16)},
    ),
    *_heads("wavenet", "out.weight", 1, 16),
    ("pixel_transformer", {}, {"width": 12}, {"transformer.blocks.0.merge.weight": (12, 12)}),
    ("pixel_transformer", {}, {"layers": 2}, {"transformer.blocks.1.merge.weight": (16, 16)}),
    ("pixel_transformer", {}, {"heads": 4}, {"transformer.blocks.0.project.weight": (24, 16)}),
    (
        "pixel_transformer",
        {},
        {"multi_query": False},
        {"transformer.blocks.0.project.weight": (48, 16)},
    ),
    ("pixel_transformer", {}, {"expansion": 3}, {"transformer.blocks.0.up.weight": (48, 16)}),
    (
        "pixel_transformer",
        {},
        {"qk_norm": True},
        {
            "transformer.blocks.0.norm_query.weight": (8,),
            "transformer.blocks.0.norm_key.weight": (8,),
        },
    ),
    ("pixel_transformer", {}, {"window": 1}, {"sequence.around.weight": (16, 4)}),
    (
        "pixel_transformer",
        {"conditional": True},
        {"label_maps": True},
        {"sequence.label_maps.table.weight": (3, 9 * 16)},
    ),
    ("pixel_transformer", {}, {"conditional": True}, {"sequence.labels.weight": (3, 16)}),
    *_heads("pixel_transformer", "out.weight", 1, 16),
    *_autoencoder("vae"),
    *_autoencoder("cvae"),
    (
        "cvae",
        {},
        {"latent": 3, "hidden": 20},
        {"prior_net.0.weight": (3, 20), "prior_net.2.weight": (6, 20)},
    ),
    ("vq_vae", {}, {"codes": 5}, {"codebook.vectors": (5, 4), "code_prior.out.weight": (5, 8)}),
    ("vq_vae", {}, {"size": 6}, {"codebook.vectors": (3, 6), "encoder.1.weight": (6, 8, 1, 1)}),
    (
        "vq_vae",
        {},
        {"widths": [12]},
        {"encoder.0.1.weight": (12, 4, 3, 3), "decoder.0.weight": (12, 4, 1, 1)},
    ),
    (
        "vq_vae",
        {},
        {"blocks": 2},
        {"encoder.0.4.first.weight": (8, 8, 3, 3), "decoder.1.layers.1.first.weight": (8, 8, 3, 3)},
    ),
    ("vq_vae", {}, {"prior_width": 12}, {"code_prior.out.weight": (3, 12)}),
    ("vq_vae", {}, {"prior_layers": 2}, {"code_prior.transformer.blocks.1.merge.weight": (8, 8)}),
    ("vq_vae", {}, {"prior_heads": 1}, {"code_prior.transformer.blocks.0.project.weight": (24, 8)}),
    ("vq_vae", {}, {"conditional": True}, {"code_prior.sequence.labels.weight": (3, 8)}),
    *_heads("vq_vae", "decoder.1.layers.2.weight", 4, 8, 1, 1),
    *_unet("ddpm", 1),
    ("ddpm", {}, {"variance": "learned"}, {"network.out.weight": (2, 16, 3, 3)}),
    *_unet("ddpm_vlb", 5),
    ("ddpm_vlb", {}, {"denoiser": "levels"}, {"network.out.weight": (11, 16, 3, 3)}),
    (
        "ddpm_vlb",
        {"denoiser": "levels"},
        {"mixtures": 2},
        {"network.out.weight": (8, 16, 3, 3)},
    ),
    *((model, {}, LABELLED, {"network.labels.weight": (4, 64)}) for model in ("ddpm", "ddpm_vlb")),
    *_unet("flow_matching", 1),
    *_flow("real_nvp", "2"),
    (
        "real_nvp",
        {},
        {"couplings": 3},
        {"flow.stages.0.parts.12.network.first.weight": (8, 2, 3, 3)},
    ),
    *_flow("glow", "3"),
    ("glow", {}, {"flow_steps": 4}, {"flow.stages.0.parts.12.network.first.weight": (8, 2, 3, 3)}),
    ("dcgan", {}, {"latent": 6}, {"generator.layers.0.weight": (16, 6)}),
    (
        "dcgan",
        {},
        {"widths": [12]},
        {"discriminator.layers.0.weight": (12, 1, 4, 4), "generator.layers.3.weight": (48, 16)},
    ),
    (
        "dcgan",
        {},
        {"hidden": 20},
        {"discriminator.layers.3.weight": (20, 32), "generator.layers.0.weight": (20, 4)},
    ),
    ("hinge_gan", {}, {"latent": 6}, {"generator.first.weight": (16, 6)}),
    (
        "hinge_gan",
        {},
        {"widths": [12]},
        {
            "generator.dense.weight": (48, 16),
            "discriminator.dense.parametrizations.weight.original1": (16, 60),
        },
    ),
    (
        "hinge_gan",
        {},
        {"hidden": 20},
        {
            "generator.first.weight": (20, 4),
            "discriminator.dense.parametrizations.weight.original1": (20, 40),
        },
    ),
    (
        "hinge_gan",
        {},
        {"conditional": True},
        {"generator.norm_first.labels.weight": (3, 32), "discriminator.labels.weight": (3, 16)},
    ),
    ("ebm", {}, {"widths": [12]}, {"network.1.parametrizations.weight.original": (12, 4, 3, 3)}),
    ("ebm", {}, {"hidden": 12}, {"network.4.parametrizations.weight.original": (12, 16)}),
    ("ebm", {}, {"buffer_size": 80}, {"chain": (80, 1, 2, 4)}),
    (
        "ebm",
        {},
        {"spectral": False},
        {"network.1.weight": (8, 4, 3, 3), "network.4.weight": (8, 16), "network.6.weight": (1, 8)},
    ),
    ("rbm", {}, {"hidden": 7}, {"weight": (7, 9)}),
    ("rbm", {}, {"persistent_chains": 32}, {"chain": (32, 9)}),
    ("train_copy", {}, {"size": 9}, {"images": (9, 1, 3, 3)}),
    ("partial_copy", {}, {"size": 9}, {"images": (9, 1, 12, 12)}),
]

# ----------------------------------------------------- options that change what the same weights do

SCHEDULE, SAMPLING = {"loss", "score", "sample", "latents"}, {"score", "sample"}
EFFECTS: list[tuple[str, Arch, Arch, set[str]]] = [
    ("gated_pixel_cnn", {}, {"dilations": [3]}, {"loss", "score", "sample"}),
    (
        "pixel_transformer",
        {},
        {"activation": "relu_squared"},
        {"loss", "score", "sample"},
    ),
    ("partial_copy", {}, {"share": 0.5}, {"sample"}),
    ("made", {}, {"masks": 3}, {"loss", "score", "sample"}),
    ("made", {"masks": 2}, {"masks": 3}, {"loss", "score", "sample"}),
    ("wavenet", {}, {"dilations": [8, 4, 2, 1]}, {"loss", "score", "sample"}),
    ("pixel_transformer", {"multi_query": False}, {"heads": 4}, {"loss", "score", "sample"}),
    *((model, {}, {"beta": 3.0}, {"loss"}) for model in ("vae", "cvae")),
    *((model, {}, {"free_bits": 1.0}, {"loss"}) for model in ("vae", "cvae")),
    *((model, {}, {"kl_warmup": 0.5}, {"loss"}) for model in ("vae", "cvae")),
    ("vq_vae", {}, {"commitment": 0.7}, {"loss"}),
    ("vq_vae", {}, {"codebook": "loss"}, {"loss", "phases"}),
    ("vq_vae", {}, {"joint": True}, {"loss", "phases"}),
    ("vq_vae", {}, {"share": 0.7}, {"phases"}),
    *(
        ("ddpm", {}, change, SCHEDULE)
        for change in ({"timesteps": 7}, {"beta_start": 0.2}, {"beta_end": 0.8}, {"heads": 1})
    ),
    *(
        ("ddpm_vlb", {}, change, SCHEDULE)
        for change in ({"timesteps": 7}, {"log_snr_max": 5.0}, {"log_snr_min": -3.0}, {"heads": 1})
    ),
    ("ddpm", {}, {"variance": "posterior"}, SAMPLING),
    *(
        (model, {**LABELLED, "label_dropout": 0.1}, {"label_dropout": 0.5}, {"loss"})
        for model in ("ddpm", "ddpm_vlb")
    ),
    ("flow_matching", {}, {"heads": 1}, SCHEDULE),
    ("flow_matching", {}, {"times": "logit_normal"}, {"loss"}),
    ("flow_matching", {}, {"ode_steps": 2}, {"score", "sample", "latents"}),
    ("hinge_gan", {}, {"disc_steps": 2}, {"phases"}),
    *(
        ("ebm", {}, change, {"loss"})
        for change in (
            {"reinit_probability": 0.9},
            {"mcmc_steps": 4},
            {"sampler": "grid"},
            {"step_size": 0.2},
        )
    ),
    # With a penalty the last layer has a bias.
    ("ebm", {}, {"penalty": 0.5}, {"loss", "phases"}),
    ("ebm", {}, {"reach": 0.3}, SAMPLING),
    ("ebm", {}, {"block_size": 3}, SAMPLING),
    ("ebm", {}, {"burn_in": 7}, {"sample"}),
    ("ebm", GRID, {"step_size": 0.2}, set()),
    *(
        ("ebm", GRID, change, {"loss", "score", "sample"})
        for change in ({"reach": 0.3}, {"block_size": 3}, {"reference": True})
    ),
    ("rbm", {}, {"mcmc_steps": 3}, {"loss"}),
    ("rbm", {}, {"burn_in": 7}, {"sample"}),
]
"""Names of what changes; all that is not named stays as it is, to the bit."""
BY_VALUE = {("ebm", "energy_scale")}
"""Options that set the first value of a parameter, which has a test of its own."""

# ---------------------------------------------------------------------- keywords of methods

CALLS: list[tuple[str, Arch, str, Arch, Arch]] = [
    *(
        (model, {}, "log_likelihood", {}, {"draws": 3})
        for model in ("vae", "cvae", "real_nvp", "glow")
    ),
    *((model, {}, "log_likelihood", {}, {"terms": 2}) for model in ("ddpm", "ddpm_vlb")),
    *((model, {}, "sample", {}, {"ddim_steps": 3}) for model in ("ddpm", "ddpm_vlb")),
    *((model, LABELLED, "sample", {}, {"guidance": 1.5}) for model in ("ddpm", "ddpm_vlb")),
    *((model, {}, "sample", {}, {"clip": True}) for model in ("ddpm", "ddpm_vlb")),
    *(
        (model, {}, "sample", {}, {"precision": "bfloat16"})
        for model in ("ddpm", "ddpm_vlb", "flow_matching")
    ),
    ("flow_matching", {}, "log_likelihood", {}, {"probes": 3}),
    ("flow_matching", {}, "sample", {}, {"solver": "euler"}),
    ("flow_matching", {}, "sample", {}, {"ode_steps": 1}),
    ("flow_matching", {}, "sample", {"solver": "dopri5"}, {"tolerance": 0.5}),
    *((model, {}, "sample", {}, {"burn_in": 9}) for model in ("ebm", "rbm")),
    ("ebm", {}, "sample", {}, {"sampler": "langevin"}),
    ("ebm", {}, "sample", {}, {"start": "buffer"}),
    *((model, {}, "prepare_likelihood", {}, {"chains": 30}) for model in ("ebm", "rbm")),
    *(
        (model, {}, "prepare_likelihood", {"chains": 30}, {"temperatures": 40})
        for model in ("ebm", "rbm")
    ),
    *(
        (model, {}, "prepare_likelihood", {"chains": 30}, {"ess_floor": 12.0})
        for model in ("ebm", "rbm")
    ),
]
