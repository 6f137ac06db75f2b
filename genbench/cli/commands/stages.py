"""Commands that run one stage: of a data set, or of an entry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genbench.cli.decorator import command, renamed, set_isa_of
from genbench.cli.options import DatasetName, Device, EntryName, Labels, Profile, Threads
from genbench.config.stages import STAGES

__all__ = ["app"]

app = typer.Typer()


def _run_stage(profile: str, stage: str, key: str | None = None) -> None:
    from genbench.pipeline.stage_runner import run_stage

    run_stage(profile, stage, key)


# ---------------------------------------------------------------------- one data set


@command(app, "genbench prepare mnist")
def prepare(dataset: DatasetName, profile: Profile = "quick") -> None:
    """Download a data set, check it and write its splits."""
    _run_stage(profile, "prepare", dataset)


@command(app, "genbench features mnist", "genbench features --retrain --threads 4")
def features(
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATASET]", help="Name in `datasets` of params.yaml; default: mnist."
        ),
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
    if not retrain:
        _run_stage(profile, "features", dataset or "mnist")
        return
    if dataset is not None:
        raise typer.BadParameter(
            "takes no data set; the net is trained on mnist", param_hint="--retrain"
        )
    from genbench.pipeline.stage_runner import retrain_features

    retrain_features(profile)


# ---------------------------------------------------------------------- one entry


@command(
    app,
    "genbench train made",
    "genbench train vae --profile full --device cuda",
    resumes=STAGES["train"].resumes,
)
def train(
    entry: EntryName, profile: Profile = "quick", device: Device = None, threads: Threads = None
) -> None:
    """Train one entry; resumes where it was interrupted."""
    _run_stage(profile, "train", entry)


@command(
    app,
    "genbench sample made",
    "genbench sample made --png digits.png --n 100 --seed 1",
    "genbench sample vae_cond --png sevens.png --labels 7",
    resumes=STAGES["sample"].resumes,
    except_with="png",
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
        set_isa_of(profile)
        from genbench.pictures.commands import sample as draw

        draw(profile, entry, png, n=n or 64, labels=labels, seed=seed or 0)
        return
    for name, value in (("--n", n), ("--labels", labels), ("--seed", seed)):
        if value is not None:
            raise typer.BadParameter(
                "goes with --png; how the scored samples are drawn stands in params.yaml",
                param_hint=name,
            )
    _run_stage(profile, "sample", entry)


@command(
    app,
    "genbench score made",
    "genbench score made --memorisation",
    "genbench score made --inception --inception-weights weights.pth",
    "dvc commit -f score_samples@made    (keeps the Inception scores through the next "
    "`genbench run`)",
    "dvc commit -f probe@made            (keeps what was found of memorisation through it)",
    resumes=STAGES["score_likelihood"].resumes,
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
    memorisation: Annotated[
        bool,
        typer.Option(
            "--memorisation",
            help="Also look for copies of training images and for a likelihood that knows them.",
        ),
    ] = False,
    profile: Profile = "quick",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Score the likelihood and the samples of one entry."""
    if inception_weights is not None and not inception:
        raise typer.BadParameter("goes with --inception", param_hint="--inception-weights")
    from genbench.pipeline.stage_runner import score as run_all

    run_all(
        profile,
        entry,
        inception=inception,
        inception_weights=inception_weights,
        memorisation=memorisation,
    )


# ------------------------------------------------------------------ stages that users need not call


@command(app, hidden=True)
def fingerprints(profile: Profile = "quick") -> None:
    """Write what each stage depends on besides files."""
    _run_stage(profile, "fingerprints")


@command(app, hidden=True)
def pictures(
    entry: EntryName, profile: Profile = "quick", device: Device = None, threads: Threads = None
) -> None:
    """Draw what the model of an entry is capable of."""
    _run_stage(profile, "pictures", entry)


@command(app, name="score-likelihood", hidden=True, resumes=STAGES["score_likelihood"].resumes)
def score_likelihood(
    entry: EntryName, profile: Profile = "quick", device: Device = None, threads: Threads = None
) -> None:
    """Score the likelihood of test images."""
    _run_stage(profile, "score_likelihood", entry)


@command(app, name="score-samples", hidden=True)
def score_samples(
    entry: EntryName, profile: Profile = "quick", device: Device = None, threads: Threads = None
) -> None:
    """Score the samples against the test images."""
    _run_stage(profile, "score_samples", entry)


@command(app, hidden=True)
def probe(
    entry: EntryName, profile: Profile = "quick", device: Device = None, threads: Threads = None
) -> None:
    """Look at what the scores do not ask: memorisation, and odd inputs."""
    _run_stage(profile, "probe", entry)


renamed(app, "code", "fingerprints")
renamed(app, "visuals", "pictures")
