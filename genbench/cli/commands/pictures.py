"""Commands that draw pictures of one trained entry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genbench.cli.decorator import command, set_isa_of
from genbench.cli.options import Device, EntryName, Labels, Profile, Seed, Threads

__all__ = ["app"]

app = typer.Typer()


@command(
    app,
    "genbench interpolate vae --out between.png",
    "genbench interpolate vae --real --rows 8",
    "genbench interpolate cvae --classes",
)
def interpolate(
    entry: EntryName,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture.")] = Path(
        "interpolation.png"
    ),
    real: Annotated[
        bool, typer.Option("--real", help="Between test images instead of random latents.")
    ] = False,
    classes: Annotated[
        bool,
        typer.Option(
            "--classes", help="The same random numbers under every label of a conditional model."
        ),
    ] = False,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Pairs of images.")] = 6,
    steps: Annotated[
        int | None, typer.Option("--steps", min=2, help="Images per row; 11 if not given.")
    ] = None,
    seed: Seed = 0,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Draw ways between images through the latent space."""
    set_isa_of(profile)
    from genbench.pictures.commands import interpolate as draw

    draw(profile, entry, out, real=real, classes=classes, rows=rows, steps=steps, seed=seed)


@command(app, "genbench traverse vae", "genbench traverse hinge_gan_cond --rows 10 --seed 3")
def traverse(
    entry: EntryName,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture.")] = Path("traversal.png"),
    rows: Annotated[
        int,
        typer.Option("--rows", min=1, help="Latent coordinates, those that change the image most."),
    ] = 6,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Images per row.")] = 11,
    seed: Seed = 0,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Draw one latent coordinate after another from low to high."""
    set_isa_of(profile)
    from genbench.pictures.commands import traverse as draw

    draw(profile, entry, out, rows=rows, steps=steps, seed=seed)


@command(app, "genbench reconstruct vae --out pairs.png --n 50")
def reconstruct(
    entry: EntryName,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture.")] = Path(
        "reconstruction.png"
    ),
    n: Annotated[int, typer.Option("--n", min=1, help="Test images.")] = 30,
    seed: Seed = 0,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Draw test images above their reconstructions."""
    set_isa_of(profile)
    from genbench.pictures.commands import reconstruct as draw

    draw(profile, entry, out, n=n, seed=seed)


@command(app, "genbench animate pixel_cnn --out drawing.gif")
def animate(
    entry: EntryName,
    out: Annotated[Path, typer.Option("--out", "-o", help="The animation, a GIF.")] = Path(
        "process.gif"
    ),
    n: Annotated[int, typer.Option("--n", min=1, help="Images that are drawn at once.")] = 20,
    labels: Labels = None,
    seed: Seed = 0,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Animate how an entry draws its samples."""
    set_isa_of(profile)
    from genbench.pictures.commands import animate as draw

    draw(profile, entry, out, n=n, labels=labels, seed=seed)


@command(
    app,
    "genbench inpaint pixel_cnn",
    "genbench inpaint made --digits 3,8 --rows 10 --draws 12",
    "genbench inpaint made --mask known.png",
)
def inpaint(
    entry: EntryName,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture.")] = Path("completion.png"),
    rows: Annotated[
        int | None,
        typer.Option(
            "--rows", min=0, help="Upper rows that are known; default: half of the image."
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask", help="A PNG of the images' size instead, white where they are known."
        ),
    ] = None,
    digits: Annotated[
        str | None,
        typer.Option("--digits", help="Labels of the test images to complete, e.g. 3,8."),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Test images.")] = 10,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Completions of each.")] = 6,
    seed: Seed = 0,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Draw completions of test images of which a part is hidden."""
    if rows is not None and mask is not None:
        raise typer.BadParameter("does not go with --mask", param_hint="--rows")
    set_isa_of(profile)
    from genbench.pictures.commands import inpaint as draw

    draw(profile, entry, out, rows=rows, mask=mask, digits=digits, n=n, draws=draws, seed=seed)
