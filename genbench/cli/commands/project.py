"""Commands about the models, the entries and the project itself."""

from __future__ import annotations

from typing import Annotated

import typer

from genbench.cli.decorator import command
from genbench.cli.options import (
    Address,
    Device,
    EntryName,
    Launcher,
    LauncherOptions,
    Profile,
    Threads,
)

__all__ = ["app"]

app = typer.Typer()


@command(app)
def models() -> None:
    """List the models: family, likelihood, labels, idea."""
    from genbench.cli.models import print_models

    print_models()


@command(app, "genbench info vae")
def info(entry: EntryName, profile: Profile = "quick") -> None:
    """Explain an entry: its idea, its parameters, its scores."""
    from genbench.cli.info import print_info

    print_info(profile, entry)


@command(app, "genbench seeds 3", "genbench seeds 5 made vae --profile full")
def seeds(
    n: Annotated[
        int,
        typer.Argument(
            metavar="N", help="Seeds that each entry has afterwards, with its own; at most 1000."
        ),
    ],
    entries: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ENTRY]...", help="Entries to repeat; default: all but the controls."
        ),
    ] = None,
    profile: Profile = "quick",
) -> None:
    """Add entries that repeat others with further seeds."""
    from genbench.cli.scaffold import add_seeds

    new = add_seeds(profile, n, entries or [])
    if new:
        print(f"new entries: {', '.join(new)}\nnext: genbench run --profile {profile}")
    else:
        print(f"all of them have {n} seeds already")


@command(app, "genbench new-model my_model", "genbench run --entries my_model", name="new-model")
def new_model(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="File and entry name, e.g. my_model.")
    ],
) -> None:
    """Write a first version of a new model, and its entries."""
    from genbench.cli.scaffold import new_model as write
    from genbench.config.load import find_root

    root = find_root()
    for path in write(name):
        print(f"wrote {path.relative_to(root)}")
    print(f"next: edit genbench/models/{name}.py, then")
    print(f"      pytest tests/test_contract.py -k {name}")
    print(f"      genbench run --profile smoke --entries {name}")


@command(app, "genbench clean", "genbench clean --all")
def clean(
    everything: Annotated[
        bool, typer.Option("--all", help="Also what unfinished entries would resume from.")
    ] = False,
) -> None:
    """Remove checkpoints that no entry needs any more."""
    from genbench.pipeline.clean import clean as remove

    remove(everything=everything)


@command(
    app,
    "genbench doctor",
    "genbench doctor --profile full --device cuda",
    "genbench doctor --launcher slurm --launcher-options slurm.yaml",
)
def doctor(
    profile: Profile = "quick",
    launcher: Launcher = "local",
    launcher_options: LauncherOptions = None,
    address: Address = None,
    device: Device = None,
    threads: Threads = None,
) -> int:
    """Check what a run needs, from disk to GPU, and to the cluster."""
    from genbench.cli.doctor import print_checks

    return print_checks(profile, launcher, options=launcher_options, address=address)
