"""Commands that compare: entries with each other, what others made with them, two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genbench.cli.decorator import command, set_isa_of
from genbench.cli.options import Device, Profile, Threads

__all__ = ["app"]

app = typer.Typer()


@command(
    app,
    "genbench evaluate samples.npz",
    "genbench evaluate pictures/ --dataset mnist --labels",
    "genbench evaluate samples.npz --dataset binary_mnist --nats nats.npz --as their_model",
)
def evaluate(
    samples: Annotated[
        Path,
        typer.Argument(
            metavar="SAMPLES",
            help="An npz file with `images`, uint8 (N, 28, 28); or a folder of PNG pictures.",
        ),
    ],
    dataset: Annotated[
        str,
        typer.Option("--dataset", help="Whose images they are like: a name in `datasets`."),
    ] = "mnist",
    nats: Annotated[
        Path | None,
        typer.Option(
            "--nats",
            metavar="FILE",
            help="An npz file with `nats`: -log P of each test image, in their order.",
        ),
    ] = None,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels",
            help="Images were sampled with `labels` of the file, or their folders' names.",
        ),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Keep them as a row of the report."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All scores, as JSON.")] = False,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Score images that were made elsewhere, by the same protocol."""
    set_isa_of(profile)
    from genbench.cli.evaluate import print_evaluation

    print_evaluation(
        profile, samples, dataset, nats=nats, labelled=labels, name=name, as_json=as_json
    )


@command(
    app,
    "genbench compare made vae",
    "genbench compare vae full/vae --json",
    "genbench compare made vae --picture difference.png",
)
def compare(
    entries: Annotated[
        list[str],
        typer.Argument(
            metavar="ENTRY ENTRY...",
            help="At least two entries; PROFILE/ENTRY for those of another profile.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="All numbers, as JSON.")] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE",
            help="Draw the differences of the first two, and the images that differ most, as PNG.",
        ),
    ] = None,
    profile: Profile = "quick",
) -> None:
    """Say whether one entry is better than another."""
    from genbench.cli.compare import print_comparison

    print_comparison(entries, profile, as_json=as_json, picture=picture)


@command(
    app,
    "genbench diff ../before .",
    "genbench diff runs/quick /elsewhere/runs/quick",
    "genbench diff ../before . -p smoke --json",
)
def diff(
    first: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A folder runs/<profile>, or a project that has it."),
    ],
    second: Annotated[str, typer.Argument(metavar="RUN", help="Another one.")],
    profile: Profile = "quick",
    as_json: Annotated[bool, typer.Option("--json", help="All differences, as JSON.")] = False,
) -> int:
    """Compare the results of two runs, bit by bit."""
    from genbench.results.run_diff import print_diff

    return print_diff(first, second, profile, as_json=as_json)
