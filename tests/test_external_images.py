"""Images that others made: from files, from folders of pictures, and which of them are scored."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genbench.errors import UserError
from genbench.external.images import Images, chosen, read_images
from genbench.spec import DataSpec
from tests import by_hand

GREY, BINARY = DataSpec(28, 28, 256, 10), DataSpec(28, 28, 2)
X = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
B = (X > 127).astype(np.uint8)
Y = np.arange(12) % 10


def save(folder: Path, images: np.ndarray, mode: str = "L") -> Path:
    """A picture for each image, named so that their order is that of their names alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).convert(mode).save(folder / f"{i:03}.png")
    return folder


def mended(path: Path, said: str) -> None:
    """Do what an error says to a picture."""
    line = re.search(r"`(Image\.[^`]*)`", said)
    assert line, said
    eval(line[1], {"Image": Image, "np": np, "path": path})


# ---------------------------------------------------------------------- files


def test_labels_of_a_file_are_read_only_if_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, images=X, labels=Y)
    assert read_images(path, GREY).labels is None
    found = read_images(path, GREY, labelled=True)
    assert found.labels is not None
    assert np.array_equal(found.labels, Y)
    np.savez(path, images=X)
    assert np.array_equal(read_images(path, GREY).images, X)
    with pytest.raises(
        UserError, match=r"--labels asks for the array 'labels', which is not there"
    ):
        read_images(path, GREY, labelled=True)
    np.savez(path, images=X, labels=Y[:3])
    with pytest.raises(UserError, match=r"mine\.npz: labels must be .* of the shape \(12,\)"):
        read_images(path, GREY, labelled=True)


# ---------------------------------------------------------------------- folders


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_are_read_in_the_order_of_their_names(tmp_path: Path, mode: str) -> None:
    save(tmp_path, X, mode)
    (tmp_path / ".hidden.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("of a run")
    assert np.array_equal(read_images(tmp_path, GREY).images, X)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_black_and_white_are_the_two_levels(tmp_path: Path, mode: str) -> None:
    assert np.array_equal(read_images(save(tmp_path, 255 * B, mode), BINARY).images, B)


def test_labels_are_the_names_of_the_folders(tmp_path: Path) -> None:
    for i in range(12):
        folder = tmp_path / str(Y[i])
        folder.mkdir(exist_ok=True)
        Image.fromarray(X[i]).save(folder / f"{i:03}.png")
    found = read_images(tmp_path, GREY, labelled=True)
    order = np.lexsort((np.arange(12), Y))
    assert found.labels is not None
    assert np.array_equal(found.labels, Y[order])
    assert np.array_equal(found.images, X[order])
    (tmp_path / "9").rename(tmp_path / "nine")
    with pytest.raises(UserError, match=r"0\.\.9, and this one is in 'nine'"):
        read_images(tmp_path, GREY, labelled=True)
    (tmp_path / "nine").rename(tmp_path / "10")
    with pytest.raises(UserError, match=r"0\.\.9, and this one is in '10'"):
        read_images(tmp_path, GREY, labelled=True)


BAD: dict[str, tuple[Image.Image, str]] = {
    "colours": (
        Image.fromarray(np.stack([X[0], X[1], X[2]], -1)),
        "must be grey, is in colour",
    ),
    "transparency": (Image.fromarray(X[0]).convert("RGBA"), "must be grey, has the form RGBA"),
    "grey with transparency": (Image.fromarray(X[0]).convert("LA"), "has the form LA"),
    "16 bits": (Image.fromarray(X[0].astype(np.uint16) * 257), "must have 8 bits a pixel"),
    "padded": (Image.fromarray(np.pad(X[0], 2)), "must have 28 x 28 pixels, has 32 x 32"),
}


@pytest.mark.parametrize("what", BAD)
def test_the_line_of_the_error_converts_a_picture(tmp_path: Path, what: str) -> None:
    picture, said = BAD[what]
    picture.save(tmp_path / "000.png")
    with pytest.raises(UserError) as error:
        read_images(tmp_path, GREY)
    assert f"{tmp_path / '000.png'}: " in str(error.value)
    assert said in str(error.value)
    mended(tmp_path / "000.png", str(error.value))
    found = read_images(tmp_path, GREY).images
    if what == "colours":
        by_weight = X[:3].transpose(1, 2, 0) @ [0.299, 0.587, 0.114]
        assert np.abs(found[0] - by_weight).max() <= 1
    else:
        assert np.array_equal(found, X[:1])


def test_pictures_of_another_size_are_refused(tmp_path: Path) -> None:
    save(tmp_path, X)
    Image.fromarray(np.zeros((28, 56), np.uint8)).save(tmp_path / "005.png")
    with pytest.raises(UserError, match=r"005\.png: must have 28 x 28 pixels, has 56 x 28; sample"):
        read_images(tmp_path, GREY)


def test_greys_are_no_binary_pictures(tmp_path: Path) -> None:
    images = 255 * B
    images[4, 2, 2] = 77
    with pytest.raises(
        UserError, match=r"004\.png: must have the greys 0, 255 alone, has 77; .*rand"
    ):
        read_images(save(tmp_path, images), BINARY)


def test_a_folder_without_pictures_and_a_damaged_picture_are_named(tmp_path: Path) -> None:
    Image.fromarray(X[0]).save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"holds no PNG pictures; .*JPEG changes pixels"):
        read_images(tmp_path, GREY)
    path = save(tmp_path, X) / "007.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"007\.png is damaged"):
        read_images(tmp_path, GREY)
    path.write_bytes(b"GIF")
    with pytest.raises(UserError, match=r"007\.png is no picture"):
        read_images(tmp_path, GREY)


def test_pictures_of_values_that_were_cut_are_seen(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which is black"):
        read_images(save(tmp_path, B), GREY)


# ---------------------------------------------------------------------- which are scored


@pytest.mark.parametrize(("total", "n"), [(5, 5), (3, 5), (1, 1)])
def test_no_more_than_asked_for_are_all_scored_in_their_order(total: int, n: int) -> None:
    assert chosen(total, n).tolist() == list(range(total))


def test_of_more_a_fixed_permutation_takes_some() -> None:
    order = torch.randperm(100, generator=by_hand.rng("evaluate", 100)).tolist()
    assert chosen(100, 64).tolist() == sorted(order[:64])


def test_of_images_that_are_sorted_by_class_all_classes_are_scored() -> None:
    counts = np.bincount(np.arange(10_000)[chosen(10_000, 5000)] // 1000)
    # Hypergeometric: 1,000 of a class among 10,000, of which 5,000 are taken.
    spread = np.sqrt(5000 * 0.1 * 0.9 * 5000 / 9999)
    assert np.abs(counts - 500).max() < 4 * spread
    assert counts.std() > 0


def test_parts_and_digests_belong_to_images_and_labels() -> None:
    whole = Images(X, Y)
    part = whole.part(np.array([3, 11]))
    assert np.array_equal(part.images, X[[3, 11]])
    assert part.labels is not None
    assert part.labels.tolist() == [3, 1]
    assert whole.part(np.arange(12)).digest == whole.digest
    changed = X.copy()
    changed[0, 0, 0] ^= 1
    others = (Images(X), Images(X, (Y + 1) % 10), Images(changed, Y), part)
    assert len({one.digest for one in (whole, *others)}) == 5
