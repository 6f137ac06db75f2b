"""Finished runs of a profile, mirrored into MLflow: the only file that imports it. Mirroring twice changes nothing.

Each entry becomes one run of the experiment ``genbench-<profile>-<dataset>``. Its tag ``genbench.key`` is a hash of its parameters,
weights, scores and pictures, never of timings: the same key is left alone, another one makes a new run and retires the old.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before mlflow is imported, which sends at once
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # its own default waits four minutes for a server that is not there

from mlflow import MlflowClient
from mlflow.entities import Experiment, Metric, Param, Run, ViewType
from mlflow.exceptions import MlflowException

from genbench.data import SPECS
from genbench.errors import UserError
from genbench.files import read_npz, sha256, write_bytes, write_json
from genbench.finished import RECORDS, Finished, legal, missing, read
from genbench.images import grid, png, read_picture
from genbench.params import Params

__all__ = ["Summary", "default_uri", "experiment_name", "sync", "ui"]

_KEY, _IDENTITY, _SOURCE, _SUPERSEDED = "genbench.key", "genbench.run", "genbench.source", "genbench.superseded_by"
_COLUMNS = (
    *(f"metrics.`{name}`" for name in ("bits_per_dim", "nats", "fid_mnist", "is_mnist", "cost/parameters", "cost/train_seconds")),
    *(f"tags.`{name}`" for name in ("family", "likelihood", "matches_likelihood")),
)
# Without it, MLflow's table of runs shows no score before the reader has chosen columns.
_VIEW = {
    "selectedColumns": _COLUMNS,
    "orderByKey": "metrics.`bits_per_dim`",
    "orderByAsc": True,
    "searchFilter": "",
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "modelVersionFilter": "All Runs",
    "datasetsFilter": [],
}
_VIEW_PATH = "#/experiments/{}/runs?viewStateShareKey=scores&workflowType=machine_learning"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a mirroring did.

    Attributes:
        tracked: key of every entry that MLflow now holds.
        new: entries whose run was created.
        superseded: number of older runs that were retired.
        skipped: entries that are not finished, and why.
    """

    tracked: Mapping[str, str]
    new: tuple[str, ...]
    superseded: int
    skipped: Mapping[str, str]


# ---------------------------------------------------------------------- writing to MLflow


def default_uri(root: Path) -> str:
    """Where runs are tracked: MLFLOW_TRACKING_URI, else the database ``mlflow.db`` in the project.

    Raises:
        UserError: an address cannot hold the project's path.
    """
    given, path = os.environ.get("MLFLOW_TRACKING_URI"), str(root / "mlflow.db")
    if given:
        return given
    # MLflow makes folders by the address as it stands, and opens the database by what it decodes from it: the two must be the same.
    if "?" in path or unquote(path) != path or not _is_unicode(path):
        raise UserError(
            f"MLflow cannot keep its database in {path!r}: an address cannot hold '?', '%' before two hexadecimal digits, or letters that the "
            "locale cannot (LC_ALL, PYTHONUTF8); rename the folder, or set MLFLOW_TRACKING_URI to another place"
        )
    return f"sqlite:///{path}"


def _is_unicode(text: str) -> bool:
    """Whether the locale could decode it: a path that it could not holds lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def experiment_name(profile: str, dataset: str) -> str:
    """The experiment that holds the runs of a data set: scores of different data sets don't compare."""
    return f"genbench-{profile}-{dataset}"


def _database(uri: str) -> Path | None:
    """The file of a sqlite URI."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


@contextlib.contextmanager
def _locked(root: Path, uri: str) -> Iterator[None]:
    """One mirroring at a time: two processes that initialise one new sqlite database destroy it."""
    database = _database(uri)
    path = database.with_name(f"{database.name}.lock") if database else root / ".track" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _experiment(client: MlflowClient, uri: str, params: Params, dataset: str) -> str:
    """The id of the experiment, made or restored if need be."""
    database, name = _database(uri), experiment_name(params.profile, dataset)
    # An address, since MLflow decodes even what is a plain path.
    location = (database.parent / "mlruns" / name).as_uri() if database else None
    found = client.get_experiment_by_name(name)
    if found is None:
        made = str(client.create_experiment(name, artifact_location=location))
        note = (
            f"The profile `{params.profile}` on `{dataset}`. [Table of scores]({_VIEW_PATH.format(made)}); curves and sample pictures "
            "side by side: the chart button; the comparison report: the run `report`, Artifacts, index.html."
        )
        tags = {
            "mlflow.note.content": note,
            "mlflow.experimentKind": "custom_model_development",
            "mlflow.sharedViewState.scores": json.dumps(_VIEW),
        }
        for key, value in tags.items():
            client.set_experiment_tag(made, key, value)
        return made
    _check_location(found, location)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _folder(location: str) -> Path:
    """The folder that MLflow takes a local place for: an address, or a path as former versions gave it."""
    return Path(url2pathname(urlsplit(location).path if location.startswith("file:") else location))


def _check_location(found: Experiment, location: str | None) -> None:
    if location is not None and _folder(found.artifact_location) != _folder(location):
        raise UserError(
            f"the MLflow database was made for {_folder(found.artifact_location)}, but that place is now {_folder(location)}: its links to pictures "
            "would break. Delete mlflow.db and mlruns/ and run `genbench track`: everything is mirrored again"
        )


def _runs(client: MlflowClient, experiment: str, identity: str) -> list[Run]:
    query = f"tags.`{_IDENTITY}` = '{identity}'"
    return list(client.search_runs([experiment], query, ViewType.ALL, max_results=1000))


def _retire(client: MlflowClient, run: Run, reason: str) -> None:
    client.set_tag(run.info.run_id, _SUPERSEDED, reason)
    client.delete_run(run.info.run_id)


def _source(root: Path) -> str:
    """Name of this copy of the project: on a shared server a run is retired only by the copy that logged it."""
    return hashlib.sha256(f"{platform.node()}:{root.resolve()}".encode(errors="surrogateescape")).hexdigest()[:12]


def _mirror(client: MlflowClient, experiment: str, identity: str, finished: Finished, source: str) -> tuple[bool, int]:
    """Make sure that one run with this key is there. Returns whether it is new, and how many runs it replaced."""
    runs = _runs(client, experiment, identity)
    active = [run for run in runs if run.info.lifecycle_stage == "active"]
    same = [run for run in active if run.data.tags.get(_KEY) == finished.key]
    back = [run for run in runs if run not in active and run.data.tags.get(_KEY) == finished.key and run.data.tags.get(_SOURCE) == source]
    if not same and back:
        client.restore_run(back[0].info.run_id)
        if _SUPERSEDED in back[0].data.tags:
            client.delete_tag(back[0].info.run_id, _SUPERSEDED)
    elif not same:
        _log(client, experiment, identity, finished, source)
    old = [run for run in active if run not in same and run.data.tags.get(_SOURCE) == source]
    for run in old:
        _retire(client, run, finished.key)
    return not same and not back, len(old)


def _log(client: MlflowClient, experiment: str, identity: str, finished: Finished, source: str) -> None:
    """One new run. Its key comes last, so that a run whose logging was killed has none and is retired by the next mirroring."""
    tags = {_IDENTITY: identity, _SOURCE: source, **finished.tags}
    run = client.create_run(experiment, start_time=finished.start, tags=tags, run_name=finished.entry.name).info.run_id
    points = [Metric(point.key, point.value, point.timestamp, point.step) for point in finished.metrics]
    client.log_batch(run, metrics=points, params=[Param(*item) for item in finished.params.items()])
    for name in RECORDS:
        client.log_artifact(run, str(finished.folder / name), "records")
    _log_pictures(client, run, finished)
    client.set_tag(run, _KEY, finished.key)
    client.set_terminated(run, "FINISHED", end_time=finished.end)


def _log_pictures(client: MlflowClient, run: str, finished: Finished) -> None:
    """Sample grid and visuals as files, and as logged images, which MLflow shows side by side for several runs."""
    samples = grid(read_npz(finished.folder / "samples.npz")["images"][:100], levels=SPECS[finished.entry.dataset].levels)
    with tempfile.TemporaryDirectory() as folder:
        write_bytes(Path(folder) / "samples.png", png(samples))
        client.log_artifact(run, str(Path(folder) / "samples.png"))
    client.log_image(run, samples, key="samples", step=0, timestamp=finished.end)
    for path in sorted(finished.folder.glob("visuals/*")):
        client.log_artifact(run, str(path), "visuals")
        if path.suffix == ".png":
            client.log_image(run, read_picture(path, "RGB"), key=legal(path.stem), step=0, timestamp=finished.end)


def _mirror_report(client: MlflowClient, experiment: str, params: Params, source: str) -> None:
    """The run ``report`` of an experiment: the comparison of the whole profile, replaced in place."""
    page = params.report / "index.html"
    if not page.is_file():
        return
    identity, digest = f"{params.profile}/report", sha256(page)
    active = [run for run in _runs(client, experiment, identity) if run.info.lifecycle_stage == "active"]
    found = [run for run in active if run.data.tags.get(_SOURCE) == source]
    if found and found[0].data.tags.get("genbench.report") == digest:
        return
    if found:
        run = found[0].info.run_id
    else:
        now = round(1000 * page.stat().st_mtime)
        note = "The comparison of all entries: Artifacts, index.html"
        tags = {_IDENTITY: identity, _SOURCE: source, "mlflow.source.name": "genbench", "mlflow.note.content": note}
        run = client.create_run(experiment, start_time=now, tags=tags, run_name="report").info.run_id
        client.set_terminated(run, "FINISHED", end_time=now)
    for name in ("index.html", "leaderboard.json", "leaderboard.csv", "leaderboard.md"):
        if (params.report / name).is_file():
            client.log_artifact(run, str(params.report / name))
    client.set_tag(run, "genbench.report", digest)


def sync(params: Params, *, tracking_uri: str | None = None) -> Summary:
    """Mirror the finished entries of a profile and its report.

    Arguments:
        params: the profile.
        tracking_uri: any MLflow tracking URI; None means MLFLOW_TRACKING_URI, else ``mlflow.db`` in the project.

    Raises:
        UserError: MLflow refuses, its server cannot be reached, or the database belongs to another folder.
    """
    uri = tracking_uri or default_uri(params.root)
    skipped = {name: reason for name, entry in params.entries.items() if (reason := missing(params, entry)) is not None}
    finished = [read(params, entry) for name, entry in params.entries.items() if name not in skipped]
    try:
        with _locked(params.root, uri):
            new, superseded = _sync(MlflowClient(uri), uri, params, finished)
    except MlflowException as error:
        hint = "check MLFLOW_TRACKING_URI, or unset it to use mlflow.db in the project"
        raise UserError(f"MLflow refused the runs ({error}); {hint}") from error
    summary = Summary({one.entry.name: one.key for one in finished}, new, superseded, skipped)
    counts = {"tracked": len(finished), "skipped": len(skipped)}
    receipt = {"profile": params.profile, "tracked": summary.tracked, "skipped": skipped, "counts": counts}
    write_json(params.root / ".track" / f"{params.profile}.json", receipt)
    return summary


def _sync(client: MlflowClient, uri: str, params: Params, finished: Sequence[Finished]) -> tuple[tuple[str, ...], int]:
    source, new, superseded = _source(params.root), [], 0
    for dataset in sorted({one.entry.dataset for one in finished}):
        experiment = _experiment(client, uri, params, dataset)
        _mirror_report(client, experiment, params, source)
        for one in finished:
            if one.entry.dataset == dataset:
                is_new, replaced = _mirror(client, experiment, f"{params.profile}/{dataset}/{one.entry.name}", one, source)
                new += [one.entry.name] if is_new else []
                superseded += replaced
    return tuple(new), superseded


# ---------------------------------------------------------------------- the browser


def ui(root: Path, port: int = 5000, host: str = "127.0.0.1") -> NoReturn:
    """Become MLflow's web server on the project's database, until Ctrl-C.

    Raises:
        UserError: nothing is tracked yet, the runs are on a server of their own, or the port is taken.
    """
    uri = default_uri(root)
    database = _database(uri)
    if urlsplit(uri).scheme in ("http", "https", "databricks"):
        raise UserError("MLFLOW_TRACKING_URI names a server, which has its own web page: open that, or unset the variable to see mlflow.db")
    if database is not None and not database.is_file():
        raise UserError(
            f"nothing is tracked yet: there is no {database}. `genbench track` mirrors what is finished (`genbench run` ends with it)"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"cannot listen on {host}:{port} ({error.strerror}); choose another port, e.g. --port {port + 1}") from error
    with _locked(root, uri):  # another process may be initialising the database
        found = [one for one in MlflowClient(uri).search_experiments() if one.name.startswith("genbench-")]
    for one in sorted(found, key=lambda one: str(one.name)):
        print(f"{one.name}: http://{host}:{port}/{_VIEW_PATH.format(one.experiment_id)}")
    print("Ready in some seconds; Ctrl-C stops it.", flush=True)
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # a second process of 200 MB that genbench has no use for
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", host, "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, command)
