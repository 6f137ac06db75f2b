"""Options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Address",
    "DatasetName",
    "Device",
    "EntryName",
    "Labels",
    "Launcher",
    "LauncherOptions",
    "Profile",
    "Seed",
    "Threads",
]

Profile = Annotated[
    str,
    typer.Option("--profile", "-p", help="smoke, quick or full: how much is trained and scored."),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda or cuda:N instead of compute.device in params.yaml."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, max=1024, help="CPU threads instead of compute.threads in params.yaml."
    ),
]
Launcher = Annotated[
    str, typer.Option("--launcher", help="What runs the entries: local, slurm or ray.")
]
LauncherOptions = Annotated[
    Path | None,
    typer.Option(
        "--launcher-options",
        metavar="FILE",
        help="Of slurm: a YAML file with partition, account, time, memory_gb, setup, ….",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="Of ray: the address of a cluster; default: RAY_ADDRESS, else here."
    ),
]
EntryName = Annotated[
    str, typer.Argument(metavar="ENTRY", help="Name under `entries` in params.yaml.")
]
DatasetName = Annotated[
    str, typer.Argument(metavar="DATASET", help="Name in `datasets` of params.yaml, e.g. mnist.")
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", help="Labels of a conditional entry, e.g. 0,1,2; repeated as often as needed."
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Another seed draws other images.")]
