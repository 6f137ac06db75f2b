"""Where everything lies: the folders and file names of a project, of a profile and of an entry.

Paths are made here and nothing is read. No stage of an entry imports this file: the stage runner
(pipeline/stage_runner.py) hands each the paths that the stage table names, so that a further file
name moves no fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genbench.config.stages import STAGES

if TYPE_CHECKING:
    from genbench.config.params import Params

__all__ = ["BEAT", "SHARED_FOLDERS", "Layout", "ReportDir", "RunDir"]

SHARED_FOLDERS = ("data", "features", "fingerprints", "external")
"""Folders of runs/<profile>/ that are no entry's, so that no entry may have such a name."""


BEAT = "run.js"
"""The script beside the page of a run that lasts, by which it tells that it does."""


@dataclass(frozen=True, slots=True)
class RunDir:
    """An entry's results, ``runs/<profile>/<entry>/``; the stage table says which stage writes
    which file.
    """

    path: Path

    @property
    def weights(self) -> Path:
        """Trained weights, with what is needed to rebuild their model."""
        return self.path / "weights.safetensors"

    @property
    def history(self) -> Path:
        """Losses and learning rates during training."""
        return self.path / "history.csv"

    @property
    def cost(self) -> Path:
        """Size of the model, time and memory of its training."""
        return self.path / "cost.json"

    @property
    def provenance(self) -> Path:
        """By which commit, versions and hardware it was trained."""
        return self.path / "provenance.json"

    @property
    def samples(self) -> Path:
        """Images drawn, with their labels."""
        return self.path / "samples.npz"

    @property
    def sampling(self) -> Path:
        """How they were drawn, and how fast."""
        return self.path / "sampling.json"

    @property
    def pictures(self) -> Path:
        """Folder of pictures for people; one of its files lists the others."""
        return self.path / "pictures"

    @property
    def likelihood(self) -> Path:
        """Record of the likelihood scores."""
        return self.path / "likelihood.json"

    @property
    def nats(self) -> Path:
        """Likelihoods of the single test images."""
        return self.path / "nats.npz"

    @property
    def quality(self) -> Path:
        """Record of the sample scores."""
        return self.path / "quality.json"

    @property
    def probe(self) -> Path:
        """Record of what its scores do not ask: memorisation, odd inputs."""
        return self.path / "probe.json"

    @property
    def neighbours(self) -> Path:
        """Training images that are nearest to some samples."""
        return self.path / "neighbours.npz"


@dataclass(frozen=True, slots=True)
class ReportDir:
    """The report of a profile, ``reports/<profile>/``."""

    path: Path

    @property
    def page(self) -> Path:
        """Everything in one HTML file."""
        return self.path / "index.html"

    @property
    def leaderboard(self) -> Path:
        """All numbers, by a schema of their own."""
        return self.path / "leaderboard.json"

    @property
    def csv(self) -> Path:
        """The rows as a table."""
        return self.path / "leaderboard.csv"

    @property
    def markdown(self) -> Path:
        """The main columns as text."""
        return self.path / "leaderboard.md"

    @property
    def figures(self) -> Path:
        """Folder of the page's pictures as files."""
        return self.path / "figures"

    def metrics(self, name: str) -> Path:
        """The main scores of an entry, for `dvc metrics show`."""
        return self.path / "metrics" / f"{name}.json"


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of a profile in a project.

    Attributes:
        root: the project.
        profile: name of the profile.
    """

    root: Path
    profile: str = "quick"

    @classmethod
    def of(cls, params: Params) -> Layout:
        """The places of a loaded profile."""
        return cls(params.root, params.profile)

    def place(self, part: str, *, entry: str | None = None, dataset: str | None = None) -> Path:
        """What the stage table calls ``part``, of this entry or data set.

        Raises:
            ValueError: an entry's or a data set's part, and none is named.
        """
        if hasattr(RunDir, part):
            if entry is None:
                raise ValueError(f"{part} is part of an entry, and none is named")
            path: Path = getattr(self.run_dir(entry), part)
        elif part in ("data", "features"):
            if dataset is None:
                raise ValueError(f"{part} is part of a data set, and none is named")
            path = getattr(self, part)(dataset)
        elif part == "report":
            path = self.report.path
        else:
            path = getattr(self, part)
        return path

    # ------------------------------------------------------------------ sources

    @property
    def package(self) -> Path:
        """The package genbench of the project."""
        return self.root / "genbench"

    @property
    def stage_functions(self) -> Path:
        """The package of the stages, a file each."""
        return self.root / "pipelines"

    @property
    def docs(self) -> Path:
        """The pages that explain families and protocol."""
        return self.root / "docs"

    # ------------------------------------------------------------------ results

    @property
    def raw(self) -> Path:
        """Downloaded files, which all profiles share."""
        return self.root / "data" / "raw"

    @property
    def runs(self) -> Path:
        """All outputs of the profile's stages but the report."""
        return self.root / "runs" / self.profile

    def run_dir(self, entry: str) -> RunDir:
        """The results of an entry."""
        return RunDir(self.runs / entry)

    def data(self, dataset: str) -> Path:
        """The prepared arrays of a data set."""
        return self.runs / "data" / f"{dataset}.npz"

    def features(self, dataset: str) -> Path:
        """The reference features of a data set's test split."""
        return self.features_folder / f"{dataset}.npz"

    @property
    def features_folder(self) -> Path:
        """Of the features of all data sets."""
        return self.runs / "features"

    @property
    def external_folder(self) -> Path:
        """Of what others made: a folder for each data set, and in it one for each row."""
        return self.runs / "external"

    def external(self, dataset: str, name: str) -> RunDir:
        """Images and likelihoods that others made, and their scores."""
        return RunDir(self.external_folder / dataset / name)

    @property
    def fingerprints(self) -> Path:
        """What each stage depends on besides files."""
        return self.runs / "fingerprints"

    def fingerprint(self, key: str, stage: str) -> Path:
        """The same of one stage: of an entry's for the entry ``key``, of others for all keys."""
        folder = key if STAGES[stage].per == "entry" else "_stages"
        return self.fingerprints / folder / f"{stage}.json"

    @property
    def report(self) -> ReportDir:
        """The report."""
        return ReportDir(self.root / "reports" / self.profile)

    # ------------------------------------------------------------------ DVC and MLflow

    @property
    def dvc_file(self) -> Path:
        """The pipeline, in a copy of the profile's own."""
        return self._beside_params / "dvc.yaml"

    @property
    def dvc_lock(self) -> Path:
        """What DVC has run, and from which inputs."""
        return self._beside_params / "dvc.lock"

    @property
    def _beside_params(self) -> Path:
        return self.root if self.profile == "quick" else self.root / "profiles" / self.profile

    @property
    def dvc_lock_copy(self) -> Path:
        """The last readable state of that."""
        return self.status_folder / "dvc.lock.copy"

    @property
    def database(self) -> Path:
        """MLflow's database, unless another tracking address is given."""
        return self.root / "mlflow.db"

    @property
    def receipt(self) -> Path:
        """What MLflow has of the profile."""
        return self.root / ".track" / f"{self.profile}.json"

    @property
    def tracking_lock(self) -> Path:
        """Held while runs are sent to a server."""
        return self.root / ".track" / "lock"

    # ------------------------------------------------------------------ what stages leave behind

    @property
    def status_folder(self) -> Path:
        """What is known of the profile's stages on this machine."""
        return self.root / ".status" / self.profile

    def status(self, key: str, stage: str) -> Path:
        """Where a running stage of an entry or data set says so, and a failing one leaves why."""
        return self.status_folder / f"{key}-{stage}.json"

    def done(self, key: str, stage: str) -> Path:
        """The receipt of a stage that was run: from what, and what it gave."""
        return self.status_folder / "receipts" / key / f"{stage}.json"

    def progress(self, key: str) -> Path:
        """How far the running stage of an entry is."""
        return self.status_folder / "progress" / f"{key}.json"

    def log(self, key: str) -> Path:
        """What the last run of an entry's stages has said."""
        return self.status_folder / "logs" / f"{key}.txt"

    @property
    def run_plan(self) -> Path:
        """What the present run, or the last one, is to do."""
        return self.status_folder / "run" / "plan.json"

    @property
    def live(self) -> Path:
        """The report of the present run, renewed while it lasts."""
        return self.status_folder / "live"

    @property
    def stage_costs(self) -> Path:
        """What stages have cost here, a line each."""
        return self.status_folder / "costs.jsonl"

    @property
    def run_lock(self) -> Path:
        """Held by the one `genbench run` of the project."""
        return self.root / ".status" / "run.lock"

    @property
    def unfinished(self) -> Path:
        """Unfinished work, which a killed run resumes from."""
        return self.root / ".ckpt"

    def apart(self, key: str, stage: str, process: str) -> Path:
        """Where a process writes the outputs of a stage before they are published."""
        return self.unfinished / f"{self.profile}-{key}-{stage}-by-{process}"

    @property
    def slurm(self) -> Path:
        """What belongs to jobs of Slurm: which there are, their scripts, results and output."""
        return self.status_folder / "slurm"

    def work(self, key: str, stage: str) -> Path:
        """The unfinished work of a stage, without the hash that ends its folder's name."""
        return self.unfinished / f"{self.profile}-{key}-{stage}"
