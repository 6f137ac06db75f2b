"""Commands about the whole benchmark: run it, report on it, track it."""

from __future__ import annotations

from typing import Annotated

import typer

from genbench.cli.decorator import command
from genbench.cli.options import Address, Device, Launcher, LauncherOptions, Profile, Threads

__all__ = ["app"]

app = typer.Typer()


@command(
    app,
    "genbench run",
    "genbench run --profile smoke",
    "genbench run --entries 'vae,pixel*' --threads 4",
    "genbench run --jobs 2",
    "genbench run --seeds 3 --entries vae,made",
    "genbench run --launcher slurm --launcher-options slurm.yaml",
    resumes=True,
)
def run(
    profile: Profile = "quick",
    entries: Annotated[
        str | None,
        typer.Option(
            "--entries", "-e", help="Names or wildcards of the entries to run, e.g. 'vae,pixel*'."
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            "-f",
            help=(
                "Run stages again that are up to date, from their beginning; if killed, go on "
                "without --force."
            ),
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            min=2,
            max=1000,
            help=(
                "Train the entries so many times, each with a seed of its own; a run without "
                "--seeds leaves the further ones alone."
            ),
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            max=1024,
            help="Entries at once; default: as many as cores and memory allow.",
        ),
    ] = None,
    launcher: Launcher = "local",
    launcher_options: LauncherOptions = None,
    address: Address = None,
    clones: Annotated[
        str | None,
        typer.Option(
            "--clones",
            metavar="FOLDER",
            help=(
                "Of ray: where each node has its own clone of the project, which exchanges results "
                "over DVC's remote; default: all share this folder."
            ),
        ),
    ] = None,
    device: Device = None,
    threads: Threads = None,
) -> int:
    """Bring training, scores, report and tracking up to date."""
    from genbench.pipeline.launching import make_launcher
    from genbench.pipeline.run import run_pipeline

    return run_pipeline(
        profile,
        entries,
        launcher=lambda params: make_launcher(
            params,
            launcher,
            jobs=jobs,
            options=launcher_options,
            address=address,
            clones=clones,
        ),
        clones=clones,
        force=force,
        seeds=seeds,
    )


@command(app, "genbench status", "genbench status --watch")
def status(
    profile: Profile = "quick",
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on until the run has ended.")
    ] = False,
) -> None:
    """Show how far a run is, the present one or the last."""
    from genbench.config.load import load_params
    from genbench.pipeline.board import show_status

    show_status(load_params(profile), watch=watch)


@command(app, "genbench report --open")
def report(
    profile: Profile = "quick",
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="The page of the run that lasts, or was interrupted."),
    ] = False,
) -> None:
    """Write the comparison report of what is finished."""
    import webbrowser

    from genbench.config.layout import Layout
    from genbench.config.load import load_params
    from genbench.pipeline.stage_runner import run_stage

    params = load_params(profile)
    page = Layout.of(params).report.page
    if live:
        from genbench.errors import UserError
        from genbench.pipeline.live_page import write_live_page

        page = Layout.of(params).live / page.name
        if not write_live_page(params):
            raise UserError(f"{profile} has not been run here; genbench run --profile {profile}")
    else:
        run_stage(profile, "report")
    if open_:
        print(page)
        webbrowser.open(page.as_uri())


@command(app, "genbench track", "genbench track --uri http://localhost:5000")
def track(
    profile: Profile = "quick",
    uri: Annotated[
        str | None,
        typer.Option(
            "--uri",
            help="MLflow tracking address; default: MLFLOW_TRACKING_URI, else mlflow.db here.",
        ),
    ] = None,
) -> None:
    """Mirror the finished entries into MLflow."""
    from genbench.pipeline.stage_runner import run_stage

    run_stage(profile, "track", **({} if uri is None else {"tracking_uri": uri}))


@command(
    app,
    "genbench ui",
    "genbench ui --port 5001",
    "genbench ui --host 0.0.0.0 --allowed-hosts my.host.org",
)
def ui(
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="Port of the web page.")
    ] = 5000,
    host: Annotated[
        str,
        typer.Option(
            "--host", help="Address to listen on; 0.0.0.0 for other machines to reach it."
        ),
    ] = "127.0.0.1",
    allowed_hosts: Annotated[
        str | None,
        typer.Option(
            "--allowed-hosts",
            help="How other machines call this one: names or addresses, with commas between.",
        ),
    ] = None,
) -> None:
    """Open the tracked runs in the MLflow web page."""
    from genbench.config.load import find_root

    root = find_root()
    from genbench.tracking.ui import ui as serve  # imports mlflow

    serve(root, port=port, host=host, allowed_hosts=allowed_hosts)
