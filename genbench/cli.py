"""The command line. It holds no logic, and imports nothing heavy before a command runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from genbench.call import call
from genbench.forkserver import delegate

__all__ = ["app", "main"]

app = typer.Typer(
    name="genbench",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A reproducible benchmark of generative models on MNIST: train, score and compare.",
    epilog="Start with `genbench run --profile smoke` (minutes), then `genbench run`; `genbench COMMAND --help` has examples.",
)

Profile = Annotated[str, typer.Option("--profile", "-p", help="smoke, quick or full: how much is trained and scored.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or cuda:N instead of compute.device in params.yaml.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads instead of compute.threads in params.yaml.")]
EntryName = Annotated[str, typer.Argument(metavar="ENTRY", help="Name under `entries` in params.yaml.")]
DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help="mnist or binary_mnist.")]
Labels = Annotated[str | None, typer.Option("--labels", help="Labels of a conditional entry, e.g. 0,1,2; repeated as often as needed.")]
Seed = Annotated[int, typer.Option("--seed", help="Another seed draws other images.")]


def _stage(stage: str, key: str | None, profile: str, device: str | None = None, threads: int | None = None, **options: object) -> None:
    resumes = stage in ("train", "sample", "score_likelihood")
    call("genbench.stage:run_stage", profile, stage, key, device=device, threads=threads, resumes=resumes, **options)


def _examples(*lines: str) -> Mapping[str, Any]:
    # Typer wraps the epilog as one paragraph unless a \b line stands before it.
    return {"epilog": "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)}


# ---------------------------------------------------------------------- the whole benchmark


@app.command(**_examples("genbench run", "genbench run --profile smoke", "genbench run --entries 'vae,pixel*' --threads 4"))
def run(
    profile: Profile = "quick",
    entries: Annotated[
        str | None, typer.Option("--entries", "-e", help="Names or wildcards of the entries to run, e.g. 'vae,pixel*'.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Run stages again that are up to date, from their beginning.")] = False,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Bring training, scores, report and tracking up to date."""
    call("genbench.run:run_pipeline", profile, entries, force=force, device=device, threads=threads, resumes=True)


@app.command(**_examples("genbench report --open"))
def report(profile: Profile = "quick", open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False) -> None:
    """Write the comparison report of what is finished."""
    _stage("report", None, profile)
    if open_:
        call("genbench.about:open_report", profile)


@app.command(**_examples("genbench track", "genbench track --uri http://localhost:5000"))
def track(
    profile: Profile = "quick",
    uri: Annotated[
        str | None, typer.Option("--uri", help="MLflow tracking address; default: MLFLOW_TRACKING_URI, else mlflow.db here.")
    ] = None,
) -> None:
    """Mirror the finished entries into MLflow."""
    options: dict[str, Any] = {} if uri is None else {"tracking_uri": uri}
    _stage("track", None, profile, **options)


@app.command(**_examples("genbench ui", "genbench ui --port 5001"))
def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the web page.")] = 5000,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open the tracked runs in the MLflow web page."""
    call("genbench.about:open_ui", port, host)


# ---------------------------------------------------------------------- one data set


@app.command(**_examples("genbench prepare mnist"))
def prepare(dataset: DatasetName, profile: Profile = "quick") -> None:
    """Download a data set, check it and write its splits."""
    _stage("prepare", dataset, profile)


@app.command(**_examples("genbench features mnist", "genbench features --retrain --threads 4"))
def features(
    dataset: Annotated[str | None, typer.Argument(metavar="[DATASET]", help="mnist (default) or binary_mnist.")] = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train the feature net anew, as the pinned one was made, and compare the two.")
    ] = False,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Compute the reference features of the test images."""
    if retrain and dataset is not None:
        raise typer.BadParameter("takes no data set; the net is trained on mnist", param_hint="--retrain")
    if retrain:
        call("genbench.stage:retrain_features", profile, device=device, threads=threads)
    else:
        _stage("features", dataset or "mnist", profile, device, threads)


# ---------------------------------------------------------------------- one entry


@app.command(**_examples("genbench train made", "genbench train vae --profile full --device cuda"))
def train(entry: EntryName, profile: Profile = "quick", device: Device = None, threads: Threads = None) -> None:
    """Train one entry; resumes where it was interrupted."""
    _stage("train", entry, profile, device, threads)


@app.command(
    **_examples(
        "genbench sample made",
        "genbench sample made --png digits.png --n 100 --seed 1",
        "genbench sample vae_cond --png sevens.png --labels 7",
    )
)
def sample(
    entry: EntryName,
    png: Annotated[Path | None, typer.Option("--png", help="Draw a picture with some samples instead of the samples to be scored.")] = None,
    n: Annotated[int | None, typer.Option("--n", min=1, help="Samples in the picture; default: 64.")] = None,
    labels: Labels = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Another seed draws other images; default: 0.")] = None,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Draw the samples that are scored, or a picture of some."""
    if png is not None:
        drawn: dict[str, Any] = {"n": n or 64, "labels": labels, "seed": seed or 0}
        call("genbench.pictures:sample", profile, entry, png, **drawn, device=device, threads=threads)
        return
    for name, value in (("--n", n), ("--labels", labels), ("--seed", seed)):
        if value is not None:
            raise typer.BadParameter("goes with --png; how the scored samples are drawn stands in params.yaml", param_hint=name)
    _stage("sample", entry, profile, device, threads)


@app.command(**_examples("genbench interpolate vae --out between.png", "genbench interpolate vae --real --rows 8"))
def interpolate(
    entry: EntryName,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture.")] = Path("interpolation.png"),
    real: Annotated[bool, typer.Option("--real", help="Between test images instead of random latents.")] = False,
    classes: Annotated[bool, typer.Option("--classes", help="The same random numbers under every label of a conditional model.")] = False,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Pairs of images.")] = 6,
    steps: Annotated[int | None, typer.Option("--steps", min=2, help="Images per row; 11 if not given.")] = None,
    seed: Seed = 0,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Draw ways between images through the latent space."""
    call(
        "genbench.pictures:interpolate",
        profile,
        entry,
        out,
        real=real,
        classes=classes,
        rows=rows,
        steps=steps,
        seed=seed,
        device=device,
        threads=threads,
    )


@app.command(**_examples("genbench reconstruct vae --out pairs.png --n 50"))
def reconstruct(
    entry: EntryName,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture.")] = Path("reconstruction.png"),
    n: Annotated[int, typer.Option("--n", min=1, help="Test images.")] = 30,
    seed: Seed = 0,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Draw test images above their reconstructions."""
    call("genbench.pictures:reconstruct", profile, entry, out, n=n, seed=seed, device=device, threads=threads)


@app.command(**_examples("genbench animate pixel_cnn --out drawing.gif"))
def animate(
    entry: EntryName,
    out: Annotated[Path, typer.Option("--out", "-o", help="The animation, a GIF.")] = Path("process.gif"),
    n: Annotated[int, typer.Option("--n", min=1, help="Images that are drawn at once.")] = 20,
    labels: Labels = None,
    seed: Seed = 0,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Animate how an entry draws its samples."""
    call("genbench.pictures:animate", profile, entry, out, n=n, labels=labels, seed=seed, device=device, threads=threads)


@app.command(
    **_examples(
        "genbench inpaint pixel_cnn", "genbench inpaint made --digits 3,8 --rows 10 --draws 12", "genbench inpaint made --mask known.png"
    )
)
def inpaint(
    entry: EntryName,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture.")] = Path("completion.png"),
    rows: Annotated[int | None, typer.Option("--rows", min=0, help="Upper rows that are known; default: half of the image.")] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="A PNG of the images' size instead, white where they are known.")] = None,
    digits: Annotated[str | None, typer.Option("--digits", help="Labels of the test images to complete, e.g. 3,8.")] = None,
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
    asked: dict[str, Any] = {"rows": rows, "mask": mask, "digits": digits, "n": n, "draws": draws, "seed": seed}
    call("genbench.pictures:inpaint", profile, entry, out, **asked, device=device, threads=threads)


@app.command(
    **_examples(
        "genbench score made",
        "genbench score made --inception --inception-weights weights.pth",
        "dvc commit -f score_samples@made    (keeps the Inception scores through the next `genbench run`)",
    )
)
def score(
    entry: EntryName,
    inception: Annotated[bool, typer.Option("--inception", help="Also fid_inception and is_inception (slow; downloads 91 MB).")] = False,
    inception_weights: Annotated[Path | None, typer.Option("--inception-weights", help="Local file of these weights.")] = None,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Score the likelihood and the samples of one entry."""
    if inception_weights is not None and not inception:
        raise typer.BadParameter("goes with --inception", param_hint="--inception-weights")
    weights: dict[str, Any] = {"inception": inception, "inception_weights": inception_weights}
    call("genbench.stage:score", profile, entry, **weights, device=device, threads=threads, resumes=True)


# ---------------------------------------------------------------------- stages that users need not call


@app.command(hidden=True)
def code(profile: Profile = "quick") -> None:
    """Write the fingerprints of the code behind each stage."""
    _stage("code", None, profile)


@app.command(hidden=True)
def visuals(entry: EntryName, profile: Profile = "quick", device: Device = None, threads: Threads = None) -> None:
    """Draw what the model of an entry is capable of."""
    _stage("visuals", entry, profile, device, threads)


@app.command("score-likelihood", hidden=True)
def score_likelihood(entry: EntryName, profile: Profile = "quick", device: Device = None, threads: Threads = None) -> None:
    """Score the likelihood of test images."""
    _stage("score_likelihood", entry, profile, device, threads)


@app.command("score-samples", hidden=True)
def score_samples(entry: EntryName, profile: Profile = "quick", device: Device = None, threads: Threads = None) -> None:
    """Score the samples against the test images."""
    _stage("score_samples", entry, profile, device, threads)


# ---------------------------------------------------------------------- about models and the project


@app.command()
def models() -> None:
    """List the models: family, likelihood, labels, idea."""
    call("genbench.about:print_models")


@app.command(**_examples("genbench info vae"))
def info(entry: EntryName, profile: Profile = "quick") -> None:
    """Explain an entry: its idea, its parameters, its scores."""
    call("genbench.about:print_info", profile, entry)


@app.command(**_examples("genbench seeds 3", "genbench seeds 5 made vae --profile full"))
def seeds(
    n: Annotated[int, typer.Argument(metavar="N", help="Seeds that each entry has afterwards, with its own.")],
    entries: Annotated[
        list[str] | None, typer.Argument(metavar="[ENTRY]...", help="Entries to repeat; default: all but the controls.")
    ] = None,
    profile: Profile = "quick",
) -> None:
    """Add entries that repeat others with further seeds."""
    call("genbench.about:print_seeds", profile, n, entries or [])


@app.command("new-model", **_examples("genbench new-model my_model", "genbench run --entries my_model"))
def new_model(name: Annotated[str, typer.Argument(metavar="NAME", help="File and entry name, e.g. my_model.")]) -> None:
    """Write a first version of a new model, and its entries."""
    call("genbench.about:print_new_model", name)


@app.command(**_examples("genbench clean", "genbench clean --all"))
def clean(everything: Annotated[bool, typer.Option("--all", help="Also what unfinished entries would resume from.")] = False) -> None:
    """Remove checkpoints that no entry needs any more."""
    call("genbench.clean:clean", everything=everything)


@app.command(**_examples("genbench doctor", "genbench doctor --profile full --device cuda"))
def doctor(profile: Profile = "quick", device: Device = None, threads: Threads = None) -> None:
    """Check what a run needs, from disk to GPU."""
    call("genbench.doctor:print_checks", profile, device=device, threads=threads)


def main() -> None:
    """Run the command line."""
    code = delegate()
    if code is not None:
        sys.exit(code)
    app(prog_name="genbench")
