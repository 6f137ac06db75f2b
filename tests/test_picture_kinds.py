"""Pictures of capabilities, on models whose right pictures can be worked out; and the stage that
writes them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

import genbench.pictures
from genbench import weights
from genbench.base import DataSpec, GenerativeModel, Likelihood
from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.errors import UserError
from genbench.files import read_json
from genbench.models.ddpm import DDPM
from genbench.models.ebm import EBM
from genbench.pictures import (
    classes,
    completion,
    grids,
    interpolation,
    kinds,
    reconstruction,
    sampling_process,
    subject,
    traversal,
)
from genbench.pipeline.stage_runner import call_stage
from genbench.registry import build, model_class
from genbench.seeding import generator_for
from tests.toys import ToyFVBN, ToyGAN, ToyRBM, ToyVAE, ToyVQ

SPEC = DataSpec(4, 4, 2, 2)


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


class Sheet(GenerativeModel):
    """The latent is the image: level = [z > 0], z = +-1. It samples row by row, and completes with
    ones.
    """

    likelihood = Likelihood.NONE
    family = "toy"
    tiny_specs = ()

    def __init__(self, spec: DataSpec = SPEC) -> None:
        super().__init__(spec)
        self.register_buffer("place", torch.zeros(1))

    def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return torch.randn(n, 1, 4, 4, generator=rng)

    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return (z > 0).to(torch.uint8)

    def encode(self, x: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return 2 * x.float() - 1

    def sample(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        return self.decode(self.prior(n, rng=rng), rng=rng)

    def frames(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Iterator[Tensor]:
        x, shown = self.sample(n, rng=rng), torch.zeros(n, 1, 4, 4, dtype=torch.uint8)
        for row in range(4):
            shown[:, :, row] = x[:, :, row]
            yield shown  # the same memory each time: a reader must copy

    def complete(
        self, x: Tensor, mask: Tensor, y: Tensor | None = None, *, rng: Generator
    ) -> Tensor:
        return torch.where(mask, x, torch.ones_like(x))


class OnePixel(Sheet):
    """Only latent coordinate 5 of 16 matters, and switches the last row."""

    def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
        x = torch.zeros(len(z), 1, 4, 4, dtype=torch.uint8)
        x[:, :, 3] = (z.flatten(1)[:, 5] > 0).to(torch.uint8)[:, None, None]
        return x


def digits(n: int = 40) -> tuple[Tensor, Tensor]:
    """Random images; those of class 0 have a dark first row, those of class 1 a light one."""
    x = torch.randint(0, 2, (n, 1, 4, 4), dtype=torch.uint8, generator=rng(9))
    y = torch.arange(n) % 2
    x[:, 0, 0] = y[:, None].to(torch.uint8)
    return x, y


def tiles(
    picture: np.ndarray, columns: int, size: int = 4, scale: int = 2, gap: int = 1
) -> np.ndarray:
    """The images of a grid, (rows, columns, size, size) of greys."""
    step = size * scale + gap
    rows = (picture.shape[0] + gap) // step
    assert picture.shape == (rows * step - gap, columns * step - gap)
    side = size * scale
    starts = [[(r * step, c * step) for c in range(columns)] for r in range(rows)]
    return np.array(
        [
            [picture[top : top + side : scale, left : left + side : scale] for top, left in row]
            for row in starts
        ]
    )


def greys(x: Tensor) -> np.ndarray:
    return (x[:, 0] * 255).numpy()


# ---------------------------------------------------------------------- latent space


def test_interpolation_starts_and_ends_at_the_random_latents() -> None:
    model = Sheet()
    shown = tiles(interpolation.interpolation(model, rng=rng(3), rows=2, steps=5), columns=5)
    again = rng(3)
    a, b = (model.prior(2, rng=again) for _ in range(2))
    np.testing.assert_array_equal(shown[:, 0], greys((a > 0).byte()))
    np.testing.assert_array_equal(shown[:, -1], greys((b > 0).byte()))


def test_interpolation_of_images_has_the_real_ones_outside() -> None:
    x, y = digits()
    shown = tiles(
        interpolation.interpolation(Sheet(), x, y, rng=rng(), rows=3, steps=4, mode="images"),
        columns=6,
    )
    # This model's reconstructions are perfect.
    np.testing.assert_array_equal(shown[:, 0], shown[:, 1])
    np.testing.assert_array_equal(shown[:, -1], shown[:, -2])
    np.testing.assert_array_equal(shown[:, 0], greys(x[[0, 2, 4]]))
    np.testing.assert_array_equal(shown[:, -1], greys(x[[1, 3, 5]]))


def test_conditional_models_interpolate_within_a_class() -> None:
    x = torch.randint(0, 2, (40, 1, 3, 3), dtype=torch.uint8, generator=rng(9))
    y = torch.arange(40) % 2
    x[:, 0, 0] = y[:, None].to(torch.uint8)
    model = ToyVAE(DataSpec(3, 3, 2, 2), conditional=True)
    shown = tiles(
        interpolation.interpolation(model, x, y, rng=rng(), rows=4, steps=3, mode="images"),
        columns=5,
        size=3,
    )
    np.testing.assert_array_equal(shown[:, 0, 0], shown[:, -1, 0])  # the first row is the class
    assert (shown[:, 0] != shown[:, -1]).any(axis=(1, 2)).all()


def test_classes_decode_one_latent_under_each_label() -> None:
    torch.manual_seed(0)
    model = ToyVAE(DataSpec(3, 3, 2, 3), conditional=True)
    with torch.no_grad():
        model.dec.weight.zero_()
        model.dec.bias.fill_(-50)
        for label in range(3):
            model.dec.weight[3 * label : 3 * label + 3, 2 + label] = (
                100  # row `label` is light under that label
            )
    shown = tiles(classes.classes(model, rng=rng(), rows=2), columns=3, size=3)
    for label in range(3):
        expected = np.zeros((3, 3))
        expected[label] = 255
        np.testing.assert_array_equal(shown[:, label], [expected, expected])


def test_classes_draw_from_the_prior_of_each_label_by_the_same_random_numbers() -> None:
    class Shifted(ToyVAE):
        """Its prior is shifted by ten times the label; its decoder, which reads no label, shows the
        shift and the sign of the noise.
        """

        def prior(self, n: int, y: Tensor | None = None, *, rng: Generator) -> Tensor:
            assert y is not None
            return torch.randn(n, 1, generator=rng) + 10 * y[:, None]

        def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
            label = (z / 10).round()
            shown = torch.zeros(len(z), 1, 3, 3, dtype=torch.uint8)
            shown[:, 0, 0] = (label == torch.arange(3)).to(torch.uint8)
            shown[:, 0, 1, 0] = (z - 10 * label > 0)[:, 0].to(torch.uint8)
            return shown

    shown = tiles(
        classes.classes(Shifted(DataSpec(3, 3, 2, 3), conditional=True), rng=rng(), rows=8),
        columns=3,
        size=3,
    )
    for label in range(3):
        np.testing.assert_array_equal(shown[:, label, 0], np.tile(255 * np.eye(3)[label], (8, 1)))
    np.testing.assert_array_equal(shown[:, :, 1, 0], np.repeat(shown[:, :1, 1, 0], 3, axis=1))
    assert len(set(shown[:, 0, 1, 0].tolist())) == 2


def test_traversal_begins_with_the_coordinate_that_matters() -> None:
    shown = tiles(traversal.traversal(OnePixel(), rng=rng(), rows=3, steps=6), columns=6)
    last_rows = shown[0, :, 3, 0]
    assert last_rows.tolist() == [0, 0, 0, 255, 255, 255]
    assert (shown[1:] == shown[1:, :1]).all()  # no other coordinate changes anything


def test_a_coordinate_that_darkens_matters_as_much_as_one_that_brightens() -> None:
    class Sinking(OnePixel):
        """The same picture, brighter for low values of its coordinate."""

        def decode(self, z: Tensor, y: Tensor | None = None, *, rng: Generator) -> Tensor:
            return super().decode(-z, y, rng=rng)

    rising, sinking = (
        tiles(traversal.traversal(model, rng=rng(), rows=3, steps=6), columns=6)
        for model in (OnePixel(), Sinking())
    )
    assert not (sinking[0] == sinking[0, :1]).all()
    assert rising[0, :, 3, 0].tolist() == sinking[0, ::-1, 3, 0].tolist()


def test_reconstructions_stand_below_their_originals() -> None:
    x, y = digits()
    shown = tiles(
        reconstruction.reconstructions(Sheet(), x, y, rng=rng(), n=8, columns=4), columns=4
    )
    np.testing.assert_array_equal(shown[[0, 2]], shown[[1, 3]])
    np.testing.assert_array_equal(shown[[0, 2]].reshape(8, 4, 4), greys(x[:8]))


# ---------------------------------------------------------------------- sampling


def test_process_ends_with_the_samples_and_starts_with_the_first_state() -> None:
    model = Sheet()
    frames = sampling_process.process(model, 6, rng=rng(4), columns=3)
    sample = model.sample(6, rng=rng(4))
    assert len(frames) == 4
    np.testing.assert_array_equal(frames[-1], grids.grid(sample, levels=2, columns=3))
    first = tiles(frames[0], columns=3).reshape(6, 4, 4)
    np.testing.assert_array_equal(first[:, 0], greys(sample)[:, 0])
    assert not first[:, 1:].any()


def test_strip_shows_one_image_a_row_and_time_from_left_to_right() -> None:
    model = Sheet()
    shown = tiles(sampling_process.strip(model, 2, rng=rng(4), columns=3), columns=3)
    sample = greys(model.sample(2, rng=rng(4)))
    np.testing.assert_array_equal(shown[:, -1], sample)
    np.testing.assert_array_equal(shown[:, 0, 0], sample[:, 0])
    assert not shown[:, 0, 1:].any()


def test_long_processes_are_thinned() -> None:
    torch.manual_seed(0)
    model = ToyRBM(DataSpec(3, 3, 2))
    assert len(sampling_process.trace(model, 2, rng=rng())) == 200
    assert len(sampling_process.process(model, 2, rng=rng())) == sampling_process.FRAMES


def test_a_sampler_that_goes_on_from_other_chains_is_shown_from_its_beginning() -> None:
    torch.manual_seed(0)
    model = EBM(DataSpec(4, 4, 2), widths=[8], hidden=8, buffer_size=8, burn_in=30).eval()
    model.chain.fill_(1.0)
    shown = sampling_process.trace(
        model, 2, rng=rng(), sampler={"sampler": "langevin", "start": "buffer", "burn_in": 3}
    )
    assert len(shown) == 30
    assert torch.equal(
        shown, sampling_process.trace(model, 2, rng=rng(), sampler={"sampler": "langevin"})
    )
    assert 0 < shown[0].float().mean() < 1  # the chains of training are white


def test_completions_show_the_image_its_known_part_and_the_draws() -> None:
    x, y = digits()
    shown = tiles(completion.completions(Sheet(), x, y, rng=rng(), rows=3, draws=2), columns=4)
    np.testing.assert_array_equal(shown[:, 0], greys(x[:3]))
    for column in (1, 2, 3):
        np.testing.assert_array_equal(shown[:, column, :2], shown[:, 0, :2])
    assert (shown[:, 1, 2:] == grids.GAP_GREY).all()
    assert (shown[:, 2:, 2:] == 255).all()


def test_completions_take_any_mask() -> None:
    x, y = digits()
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:, 0] = True
    shown = tiles(
        completion.completions(Sheet(), x, y, mask, rng=rng(), rows=2, draws=1), columns=3
    )
    np.testing.assert_array_equal(shown[:, 2, :, 0], shown[:, 0, :, 0])
    assert (shown[:, 2, :, 1:] == 255).all()
    with pytest.raises(UserError, match=r"mask: must be bool \(4, 4\), got torch.uint8 \(4, 4\)"):
        completion.completions(Sheet(), x, y, mask.byte(), rng=rng(), rows=2)


def test_the_known_half_of_a_model_with_an_order_is_what_it_draws_first() -> None:
    class Backwards(ToyFVBN):
        def pixel_order(self) -> Tensor:
            return torch.arange(8, -1, -1)

    mask = completion._first_half(Backwards(DataSpec(3, 3, 2)))
    assert mask.flatten().tolist() == [False] * 5 + [True] * 4


# ---------------------------------------------------------------------- choices and errors


def test_exemplars_take_every_class_in_turn() -> None:
    x, y = torch.zeros(9, 1, 4, 4, dtype=torch.uint8), torch.tensor([2, 2, 0, 2, 1, 0, 2, 2, 2])
    assert y[subject.exemplars(x, y, 7)].tolist() == [0, 1, 2, 0, 2, 2, 2]
    assert subject.exemplars(x, None, 4).tolist() == [0, 2, 4, 6]
    with pytest.raises(UserError, match="10 images are needed, got 9"):
        subject.exemplars(x, y, 10)


def test_a_model_without_the_capability_is_refused_with_those_that_have_it() -> None:
    model = model_class("train_copy")(SPEC, size=2)
    x, y = digits()
    for call, able in (
        (lambda: interpolation.interpolation(model, rng=rng()), "vae"),
        (lambda: interpolation.interpolation(model, x, y, rng=rng(), mode="images"), "vae"),
        (lambda: reconstruction.reconstructions(model, x, y, rng=rng()), "vae"),
        (lambda: traversal.traversal(model, rng=rng()), "dcgan"),
        (lambda: sampling_process.process(model, rng=rng()), "pixel_cnn"),
        (lambda: completion.completions(model, x, y, rng=rng()), "made"),
    ):
        with pytest.raises(
            UserError, match=rf"TrainCopy cannot .*Models that can: .*{able}"
        ) as error:
            call()
        assert "train_copy" not in str(error.value).split("Models that can")[1]


def test_bad_options_are_named() -> None:
    with pytest.raises(UserError, match="mode: must be 'prior' or 'images', got 'both'"):
        interpolation.interpolation(Sheet(), rng=rng(), mode="both")
    with pytest.raises(UserError, match="steps must be at least 2"):
        interpolation.interpolation(Sheet(), rng=rng(), steps=1)
    with pytest.raises(UserError, match="needs images"):
        interpolation.interpolation(Sheet(), rng=rng(), mode="images")
    with pytest.raises(UserError, match="unconditional"):
        classes.classes(Sheet(), rng=rng())
    with pytest.raises(UserError, match="codes"):
        traversal.traversal(ToyVQ(DataSpec(3, 3, 2)), rng=rng())


# ---------------------------------------------------------------------- all of them


def seeded(kind: str) -> Generator:
    return generator_for("pictures", "toy", 0, kind)


@pytest.mark.parametrize(
    ("model", "files"),
    [
        (ToyVQ(DataSpec(3, 3, 2)), {"interpolation.png"}),
        (ToyGAN(DataSpec(3, 3, 2, 2)), {"interpolation.png", "classes.png", "traversal.png"}),
        (ToyRBM(DataSpec(3, 3, 2)), {"process.gif", "process.png"}),
        (
            ToyFVBN(DataSpec(3, 3, 2, 2), conditional=True),
            {"process.gif", "process.png", "completion.png"},
        ),
        (
            ToyVAE(DataSpec(3, 3, 2)),
            {
                "interpolation.png",
                "interpolation-images.png",
                "reconstruction.png",
                "traversal.png",
            },
        ),
        (
            DDPM(
                DataSpec(3, 3, 2),
                timesteps=6,
                beta_start=0.1,
                beta_end=0.7,
                widths=(16,),
                blocks=1,
                patch=1,
            ),  # its latents are as large as its images
            {
                "interpolation.png",
                "interpolation-images.png",
                "reconstruction.png",
                "process.gif",
                "process.png",
                "terms.png",
            },
        ),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_everything_shows_what_a_model_can(model: GenerativeModel, files: set[str]) -> None:
    x = torch.randint(0, 2, (60, 1, 3, 3), dtype=torch.uint8, generator=rng(9))
    y = torch.arange(60) % 2
    made = list(kinds.everything(model.eval(), x, y, rng_for=seeded))
    assert {picture.file for picture in made} == files
    assert made == list(kinds.everything(model, x, y, rng_for=seeded))  # same bytes again


def _save_untrained(params: Params, entry: str) -> None:
    block = params.entry(entry)
    torch.manual_seed(0)
    model = build(
        block, DataSpec(28, 28, 2) if block.dataset == "binary_mnist" else DataSpec(28, 28, 256, 10)
    )
    weights.save(model, Layout.of(params).run_dir(entry).weights, entry=block)


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("entry", ["vae", "binary-made", "train_copy"])
def test_stage_writes_and_lists_its_pictures(params: Params, entry: str) -> None:
    _save_untrained(params, entry)
    folder = Layout.of(params).run_dir(entry).pictures
    folder.mkdir()
    (folder / "old.png").write_bytes(b"from an earlier version of the model")
    call_stage("pictures", params, entry)
    first = _content(folder)
    listed = read_json(folder / "pictures.json")
    assert {item["file"] for item in listed} | {"pictures.json"} == set(first)
    assert all(len(data) <= grids.MAX_BYTES for data in first.values())
    kinds = {
        "vae": {"interpolation", "reconstruction", "traversal"},
        "binary-made": {"process", "completion"},
        "train_copy": set(),
    }
    assert {item["kind"] for item in listed} == kinds[entry]
    assert all(set(item) == {"file", "kind", "title", "caption"} for item in listed)
    call_stage("pictures", params, entry)
    assert _content(folder) == first


def test_a_failing_stage_leaves_the_old_pictures(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    _save_untrained(params, "vae")
    call_stage("pictures", params, "vae")
    folder = Layout.of(params).run_dir("vae").pictures
    before = _content(folder)

    def broken(*args: object, **kwargs: object) -> bytes:
        raise FloatingPointError("no picture")

    monkeypatch.setattr(reconstruction, "reconstructions", broken)
    with pytest.raises(FloatingPointError):
        call_stage("pictures", params, "vae")
    assert _content(folder) == before
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_every_kind_of_picture_is_in_the_gallery() -> None:
    modules = (module.name for module in pkgutil.iter_modules(genbench.pictures.__path__))
    found = [importlib.import_module(f"genbench.pictures.{name}") for name in modules]
    assert {module for module in found if hasattr(module, "pictures")} == set(kinds.KINDS)
