"""The command line: its groups of commands, in the order of the help. Nothing heavy is imported
before a command runs.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

import genbench
from genbench.cli.commands import comparing, pictures, pipeline, project, stages
from genbench.pipeline.stage_process import wait_for_stage

__all__ = ["app", "main"]

app = typer.Typer(
    name="genbench",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A reproducible benchmark of generative models on MNIST: train, score and compare.",
    epilog=(
        "Start with `genbench run --profile smoke` (minutes), then `genbench run`; `genbench "
        "COMMAND --help` has examples."
    ),
)
for _group in (pipeline, comparing, stages, project, pictures):
    app.add_typer(_group.app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"genbench {genbench.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """What goes before the commands."""


def main() -> None:
    """Run the command line; as a stage of DVC, in a process that another one waits for."""
    code = wait_for_stage()
    if code is not None:
        sys.exit(code)
    # What the locale cannot print is no reason to fail.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    app(prog_name="genbench")
