"""The command line. It holds no logic, and imports nothing heavy before a command runs."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import genbench
from genbench.cli import pictures as picture_commands
from genbench.cli.call import call
from genbench.cli.options import DatasetName, Device, EntryName, Labels, Profile, Threads, examples
from genbench.config.stages import STAGES
from genbench.pipeline.forkserver import delegate

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


def _stage(
    stage: str,
    key: str | None,
    profile: str,
    device: str | None = None,
    threads: int | None = None,
    **options: Any,
) -> None:
    call(
        "genbench.pipeline.stage_runner:run_stage",
        profile,
        stage,
        key,
        device=device,
        threads=threads,
        resumes=STAGES[stage].resumes,
        **options,
    )


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


# ---------------------------------------------------------------------- the whole benchmark


@app.command(
    **examples(
        "genbench run",
        "genbench run --profile smoke",
        "genbench run --entries 'vae,pixel*' --threads 4",
    )
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
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Bring training, scores, report and tracking up to date."""
    call(
        "genbench.pipeline.run:run_pipeline",
        profile,
        entries,
        force=force,
        device=device,
        threads=threads,
        resumes=True,
    )


@app.command(**examples("genbench report --open"))
def report(
    profile: Profile = "quick",
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Write the comparison report of what is finished."""
    _stage("report", None, profile)
    if open_:
        call("genbench.cli.show:open_report", profile)


@app.command(**examples("genbench track", "genbench track --uri http://localhost:5000"))
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
    options: dict[str, Any] = {} if uri is None else {"tracking_uri": uri}
    _stage("track", None, profile, **options)


@app.command(
    **examples(
        "genbench ui",
        "genbench ui --port 5001",
        "genbench ui --host 0.0.0.0 --allowed-hosts my.host.org",
    )
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
    call("genbench.cli.show:open_ui", port, host, allowed_hosts)


@app.command(
    **examples(
        "genbench diff ../before .",
        "genbench diff runs/quick /elsewhere/runs/quick",
        "genbench diff ../before . -p smoke --json",
    )
)
def diff(
    first: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A folder runs/<profile>, or a project that has it."),
    ],
    second: Annotated[str, typer.Argument(metavar="RUN", help="Another one.")],
    profile: Profile = "quick",
    as_json: Annotated[bool, typer.Option("--json", help="All differences, as JSON.")] = False,
) -> None:
    """Compare the results of two runs, bit by bit."""
    call("genbench.results.run_diff:print_diff", first, second, profile, as_json=as_json)


# ---------------------------------------------------------------------- one data set


@app.command(**examples("genbench prepare mnist"))
def prepare(dataset: DatasetName, profile: Profile = "quick") -> None:
    """Download a data set, check it and write its splits."""
    _stage("prepare", dataset, profile)


@app.command(**examples("genbench features mnist", "genbench features --retrain --threads 4"))
def features(
    dataset: Annotated[
        str | None, typer.Argument(metavar="[DATASET]", help="mnist (default) or binary_mnist.")
    ] = None,
    retrain: Annotated[
        bool,
        typer.Option(
            "--retrain",
            help="Train the feature net anew, as the pinned one was made, and compare the two.",
        ),
    ] = False,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Compute the reference features of the test images."""
    if retrain and dataset is not None:
        raise typer.BadParameter(
            "takes no data set; the net is trained on mnist", param_hint="--retrain"
        )
    if retrain:
        call(
            "genbench.pipeline.stage_runner:retrain_features",
            profile,
            device=device,
            threads=threads,
        )
    else:
        _stage("features", dataset or "mnist", profile, device, threads)


# ---------------------------------------------------------------------- one entry


@app.command(**examples("genbench train made", "genbench train vae --profile full --device cuda"))
def train(
    entry: EntryName, profile: Profile = "quick", device: Device = None, threads: Threads = None
) -> None:
    """Train one entry; resumes where it was interrupted."""
    _stage("train", entry, profile, device, threads)


@app.command(
    **examples(
        "genbench sample made",
        "genbench sample made --png digits.png --n 100 --seed 1",
        "genbench sample vae_cond --png sevens.png --labels 7",
    )
)
def sample(
    entry: EntryName,
    png: Annotated[
        Path | None,
        typer.Option(
            "--png", help="Draw a picture with some samples instead of the samples to be scored."
        ),
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="Samples in the picture; default: 64.")
    ] = None,
    labels: Labels = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Another seed draws other images; default: 0.")
    ] = None,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Draw the samples that are scored, or a picture of some."""
    if png is not None:
        drawn: dict[str, Any] = {"n": n or 64, "labels": labels, "seed": seed or 0}
        call(
            "genbench.pictures.commands:sample",
            profile,
            entry,
            png,
            **drawn,
            device=device,
            threads=threads,
            isa_of=profile,
        )
        return
    for name, value in (("--n", n), ("--labels", labels), ("--seed", seed)):
        if value is not None:
            raise typer.BadParameter(
                "goes with --png; how the scored samples are drawn stands in params.yaml",
                param_hint=name,
            )
    _stage("sample", entry, profile, device, threads)


@app.command(
    **examples(
        "genbench score made",
        "genbench score made --inception --inception-weights weights.pth",
        (
            "dvc commit -f score_samples@made    (keeps the Inception scores through the next "
            "`genbench run`)"
        ),
    )
)
def score(
    entry: EntryName,
    inception: Annotated[
        bool,
        typer.Option(
            "--inception", help="Also fid_inception and is_inception (slow; downloads 91 MB)."
        ),
    ] = False,
    inception_weights: Annotated[
        Path | None, typer.Option("--inception-weights", help="Local file of these weights.")
    ] = None,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Score the likelihood and the samples of one entry."""
    if inception_weights is not None and not inception:
        raise typer.BadParameter("goes with --inception", param_hint="--inception-weights")
    weights: dict[str, Any] = {"inception": inception, "inception_weights": inception_weights}
    call(
        "genbench.pipeline.stage_runner:score",
        profile,
        entry,
        **weights,
        device=device,
        threads=threads,
        resumes=True,
    )


app.add_typer(picture_commands.app)


# ------------------------------------------------------------------ stages that users need not call


@app.command(hidden=True)
def fingerprints(profile: Profile = "quick") -> None:
    """Write what each stage depends on besides files."""
    _stage("fingerprints", None, profile)


@app.command(hidden=True)
def pictures(
    entry: EntryName, profile: Profile = "quick", device: Device = None, threads: Threads = None
) -> None:
    """Draw what the model of an entry is capable of."""
    _stage("pictures", entry, profile, device, threads)


@app.command("score-likelihood", hidden=True)
def score_likelihood(
    entry: EntryName, profile: Profile = "quick", device: Device = None, threads: Threads = None
) -> None:
    """Score the likelihood of test images."""
    _stage("score_likelihood", entry, profile, device, threads)


@app.command("score-samples", hidden=True)
def score_samples(
    entry: EntryName, profile: Profile = "quick", device: Device = None, threads: Threads = None
) -> None:
    """Score the samples against the test images."""
    _stage("score_samples", entry, profile, device, threads)


# ------------------------------------------------------------------- commands under former names


_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True}


def _renamed(former: str, name: str) -> None:
    """A hidden command that says what it is called now, whatever arguments it is given."""

    def command() -> None:
        typer.echo(f"error: `genbench {former}` is called `genbench {name}` now", err=True)
        raise typer.Exit(2)

    command.__doc__ = f"Called `genbench {name}` now."
    app.command(former, hidden=True, context_settings=_ANYTHING)(command)


_renamed("code", "fingerprints")
_renamed("visuals", "pictures")


# --------------------------------------------------------------------- about models and the project


@app.command()
def models() -> None:
    """List the models: family, likelihood, labels, idea."""
    call("genbench.cli.show:print_models")


@app.command(**examples("genbench info vae"))
def info(entry: EntryName, profile: Profile = "quick") -> None:
    """Explain an entry: its idea, its parameters, its scores."""
    call("genbench.cli.show:print_info", profile, entry)


@app.command(**examples("genbench seeds 3", "genbench seeds 5 made vae --profile full"))
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
    call("genbench.cli.show:print_seeds", profile, n, entries or [])


@app.command(
    "new-model", **examples("genbench new-model my_model", "genbench run --entries my_model")
)
def new_model(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="File and entry name, e.g. my_model.")
    ],
) -> None:
    """Write a first version of a new model, and its entries."""
    call("genbench.cli.show:print_new_model", name)


@app.command(**examples("genbench clean", "genbench clean --all"))
def clean(
    everything: Annotated[
        bool, typer.Option("--all", help="Also what unfinished entries would resume from.")
    ] = False,
) -> None:
    """Remove checkpoints that no entry needs any more."""
    call("genbench.pipeline.clean:clean", everything=everything)


@app.command(**examples("genbench doctor", "genbench doctor --profile full --device cuda"))
def doctor(profile: Profile = "quick", device: Device = None, threads: Threads = None) -> None:
    """Check what a run needs, from disk to GPU."""
    call("genbench.cli.doctor:print_checks", profile, device=device, threads=threads)


def main() -> None:
    """Run the command line."""
    code = delegate()
    if code is not None:
        sys.exit(code)
    if isinstance(
        sys.stdout, io.TextIOWrapper
    ):  # what the locale cannot print is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    app(prog_name="genbench")
