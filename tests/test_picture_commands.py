"""`genbench inpaint`: which images and which of their pixels are kept, and what it refuses;
`genbench interpolate` from label to label.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from genbench import weights
from genbench.cli.main import app
from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.data.datasets import spec_of
from genbench.data.splits import load_split
from genbench.files import write_bytes
from genbench.pictures import grids
from genbench.registry import build


@pytest.fixture
def trained(params: Params, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project with untrained weights of two entries, as the working folder."""
    for name in ("made", "binary-made", "dcgan", "hinge_gan_cond"):
        entry = params.entry(name)
        torch.manual_seed(0)
        path = Layout.of(params).run_dir(name).weights
        weights.save(build(entry, spec_of(entry.dataset)), path, entry=entry)
    monkeypatch.chdir(params.root)
    return params


def call(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["inpaint", *arguments])
    return done.exit_code, done.stderr


def shown(path: str, columns: int) -> np.ndarray:
    """The pictures (rows, columns, 28, 28) of a grid: each pixel is two wide, with a line of one
    between pictures.
    """
    grid = np.asarray(Image.open(path))
    rows, pitch = (grid.shape[0] + 1) // 57, 57
    return np.stack(
        [
            [grid[r * pitch :, c * pitch :][:56:2, :56:2] for c in range(columns)]
            for r in range(rows)
        ]
    )


def _upper(rows: int) -> Tensor:
    return (torch.arange(28) < rows)[:, None].expand(-1, 28)


@pytest.mark.parametrize(("options", "rows"), [((), 14), (("--rows", "20"), 20)])
def test_upper_rows_are_kept_and_the_rest_is_drawn(
    trained: Params, options: tuple[str, ...], rows: int
) -> None:
    assert call(
        "made", "--out", "a.png", "--n", "3", "--draws", "2", "--digits", "4,7", *options
    ) == (0, "")
    tiles = shown("a.png", 4)
    x, y = load_split(Layout.of(trained).data("mnist"), "mnist", "test")
    assert y is not None
    real = {label: x[y == label][:, 0].numpy() for label in (4, 7)}
    for number, label in enumerate((4, 7, 4)):
        assert any(np.array_equal(tiles[number, 0], one) for one in real[label])
        for draw in (2, 3):
            np.testing.assert_array_equal(tiles[number, draw, :rows], tiles[number, 0, :rows])
        assert (tiles[number, 1, rows:] == grids.GAP_GREY).all()
        assert (tiles[number, 2, rows:] != tiles[number, 3, rows:]).any()


def test_a_mask_that_fits_the_order_and_one_that_does_not(trained: Params) -> None:
    mask = _upper(10).clone()
    mask[10, :5] = True
    write_bytes(Path("mask.png"), grids.png(np.where(mask.numpy(), 255, 0).astype(np.uint8)))
    assert call(
        "binary-made", "--out", "a.png", "--mask", "mask.png", "--n", "2", "--draws", "1"
    ) == (0, "")
    tiles = shown("a.png", 3)
    np.testing.assert_array_equal(tiles[:, 2][:, mask], tiles[:, 0][:, mask])
    write_bytes(Path("mask.png"), grids.png(np.where(mask.numpy(), 0, 255).astype(np.uint8)))
    code, said = call("binary-made", "--mask", "mask.png")
    assert code == 1
    assert (
        "mask.png: mask: known pixels must come before all unknown ones in the model's order, but "
        "step 0 is unknown" in said
    )
    assert not Path("completion.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("made", "--rows", "28"), "--rows: must be 0..27, got 28"),
        (("made", "--digits", "3,12"), "--digits: labels are 0..9, got 12"),
        (("made", "--digits", "x"), "--digits: must be integers"),
        (("binary-made", "--digits", "3"), "--digits: this data set has no labels"),
        (("made", "--mask", "nowhere.png"), "nowhere.png"),
        (("made", "--mask", "params.yaml"), "params.yaml is no picture"),
        (
            ("made", "--mask", "small.png"),
            "small.png must have 28 x 28 pixels like the images, got 3 x 2",
        ),
        (("made", "--out", "a.jpg"), "must end in .png"),
        (("made", "--mask", "white.png"), "white.png is white everywhere"),
        (("made", "--n", "101"), "--n: there are 100 such test images, got 101"),
        (("dcgan", "--mask", "black.png"), "error: DCGAN cannot complete images"),
        (("dcgan",), "it is not Inpaintable. Models that can: "),
    ],
)
def test_bad_input(trained: Params, arguments: tuple[str, ...], said: str) -> None:
    write_bytes(Path("small.png"), grids.png(np.zeros((2, 3), np.uint8)))
    write_bytes(Path("white.png"), grids.png(np.full((28, 28), 255, np.uint8)))
    write_bytes(Path("black.png"), grids.png(np.zeros((28, 28), np.uint8)))
    code, message = call(*arguments)
    assert code == 1
    assert message.startswith("error: ") and said in message
    assert not Path("completion.png").exists()


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of some dozen bytes whose head says that it is large."""
    head = struct.pack(">II5B", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    ("width", "height"), [(5_000, 5_000), (10_000, 10_000), (100_000, 100_000)]
)
def test_a_picture_that_would_fill_the_memory_is_refused(
    trained: Params, width: int, height: int
) -> None:
    """Of 25, 100 and 10,000 million pixels: below, between and above the bounds at which Pillow
    warns and refuses.
    """
    Path("large.png").write_bytes(png_that_claims(width, height))
    code, message = call("made", "--mask", "large.png")
    assert code == 1
    assert message.startswith("error: --mask: large.png has ")
    assert (
        "more than the 16777216 that are read" in message
        or "more pixels than the 16777216 that are read" in message
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("sample", "made", "--png", "c.png", "--n", "1000000000"),
            "--n 1000000000: 1000000000 images are too many",
        ),
        (
            ("interpolate", "dcgan", "--out", "c.png", "--rows", "1000", "--steps", "1000"),
            "--rows 1000 times --steps 1000: 1000000 images",
        ),
        (
            ("interpolate", "hinge_gan_cond", "--classes", "--out", "c.png", "--rows", "100000"),
            "--rows 100000 times --steps 11",
        ),
        (
            ("traverse", "dcgan", "--out", "c.png", "--steps", "1000000"),
            "--rows 6 times --steps 1000000",
        ),
        (
            ("reconstruct", "made", "--out", "c.png", "--n", "10001"),
            "--n 10001: 10001 images are too many",
        ),
        (
            ("animate", "made", "--out", "c.gif", "--n", "401"),
            "--n 401: 401 images are too many for one picture, which holds at most 400",
        ),
        (
            ("inpaint", "made", "--out", "c.png", "--n", "100", "--draws", "101"),
            "--n 100 times --draws 101: 10100 images",
        ),
    ],
)
def test_more_images_than_a_picture_holds_are_refused_before_any_is_drawn(
    trained: Params, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(
        weights, "load", lambda *args, **options: pytest.fail("the model was loaded")
    )
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ") and said in done.stderr
    assert not Path(arguments[3]).exists()


def test_one_latent_under_every_label(trained: Params) -> None:
    invoke = CliRunner().invoke
    done = invoke(
        app, ["interpolate", "hinge_gan_cond", "--classes", "--rows", "3", "--out", "c.png"]
    )
    assert (done.exit_code, done.stderr) == (0, "")
    tiles = shown("c.png", 10)
    assert tiles.shape == (3, 10, 28, 28)
    for arguments, part in (
        (("made",), "MADE cannot interpolate: it is not Latent. Models that can: cvae, dcgan, "),
        (("dcgan", "--classes"), "unconditional and has no labels"),
        (
            ("hinge_gan_cond", "--real"),
            "HingeGAN cannot interpolate between real images: it is not Encoder. Models that "
            "can: cvae, ",
        ),
        (("hinge_gan_cond", "--real", "--classes"), "--real and --classes exclude each other"),
        (
            ("hinge_gan_cond", "--steps", "3", "--classes"),
            "--steps and --classes exclude each other",
        ),
    ):
        done = invoke(app, ["interpolate", *arguments, "--out", "d.png"])
        assert done.exit_code == 1
        assert part in done.stderr
    assert not Path("d.png").exists()


def test_latent_coordinates_from_low_to_high(trained: Params) -> None:
    invoke = CliRunner().invoke
    done = invoke(app, ["traverse", "dcgan", "--rows", "2", "--steps", "5", "--out", "t.png"])
    assert (done.exit_code, done.stderr) == (0, "")
    tiles = shown("t.png", 5)
    assert tiles.shape == (2, 5, 28, 28)
    assert (tiles[:, 0] != tiles[:, -1]).any(axis=(1, 2)).all()
    done = invoke(app, ["traverse", "made", "--out", "d.png"])
    assert done.exit_code == 1
    assert "MADE cannot traverse latents: it is not Latent. Models that can: " in done.stderr
    assert not Path("d.png").exists()
