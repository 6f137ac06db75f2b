"""Finished runs of a profile, mirrored into MLflow. Mirroring twice changes nothing.

Each entry becomes one run of the experiment ``genbench-<profile>-<dataset>``. Its tag
``genbench.key`` is a hash of its parameters, weights, scores and pictures, never of timings: the
same key is left alone, another one makes a new run and retires the old.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from genbench.tracking.store import Store, default_uri  # before mlflow, whose environment it sets

# isort: split
from mlflow import MlflowClient
from mlflow.entities import Experiment, Metric, Param, Run, ViewType

from genbench.config.params import Params
from genbench.data.datasets import spec_of
from genbench.errors import UserError
from genbench.files import sha256, write_bytes, write_json
from genbench.pictures.grids import decode, grid, png
from genbench.tracking.runs import RECORDS, Finished, find, legal
from genbench.tracking.ui import VIEW_PATH

__all__ = ["Summary", "experiment_name", "sync"]

_KEY, _IDENTITY, _SOURCE, _SUPERSEDED = (
    "genbench.key",
    "genbench.run",
    "genbench.source",
    "genbench.superseded_by",
)
_COLUMNS = (
    *(
        f"metrics.`{name}`"
        for name in (
            "bits_per_dim",
            "nats",
            "fid_mnist",
            "is_mnist",
            "cost/parameters",
            "cost/train_seconds",
        )
    ),
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


def experiment_name(profile: str, dataset: str) -> str:
    """The experiment that holds the runs of a data set: scores of different data sets don't
    compare.
    """
    return f"genbench-{profile}-{dataset}"


def _experiment(client: MlflowClient, database: Path | None, params: Params, dataset: str) -> str:
    """The id of the experiment, made or restored if need be; ``database`` is the file of a sqlite
    store.
    """
    name = experiment_name(params.profile, dataset)
    # An address, since MLflow decodes even what is a plain path.
    location = (database.parent / "mlruns" / name).as_uri() if database else None
    found = client.get_experiment_by_name(name)
    if found is None:
        made = str(client.create_experiment(name, artifact_location=location))
        note = (
            f"The profile `{params.profile}` on `{dataset}`. [Table of "
            f"scores]({VIEW_PATH.format(made)}); curves and sample pictures "
            "side by side: the chart button; the comparison report: the run `report`, Artifacts, "
            "index.html."
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
    """The folder that MLflow takes a local place for: an address, or a path as former versions gave
    it.
    """
    return Path(url2pathname(urlsplit(location).path if location.startswith("file:") else location))


def _check_location(found: Experiment, location: str | None) -> None:
    if location is not None and _folder(found.artifact_location) != _folder(location):
        raise UserError(
            f"the MLflow database was made for {_folder(found.artifact_location)}, but that place "
            f"is now {_folder(location)}: its links to pictures "
            "would break. Delete mlflow.db and mlruns/ and run `genbench track`: everything is "
            "mirrored again"
        )


def _runs(client: MlflowClient, experiment: str, identity: str) -> list[Run]:
    query = f"tags.`{_IDENTITY}` = '{identity}'"
    return list(client.search_runs([experiment], query, ViewType.ALL, max_results=1000))


def _retire(client: MlflowClient, run: Run, reason: str) -> None:
    client.set_tag(run.info.run_id, _SUPERSEDED, reason)
    client.delete_run(run.info.run_id)


def _source(root: Path) -> str:
    """Name of this copy of the project: on a shared server a run is retired only by the copy that
    logged it.
    """
    return hashlib.sha256(
        f"{platform.node()}:{root.resolve()}".encode(errors="surrogateescape")
    ).hexdigest()[:12]


def _mirror(
    client: MlflowClient, experiment: str, identity: str, finished: Finished, source: str
) -> tuple[bool, int]:
    """Make sure that one run with this key is there. Returns whether it is new, and how many runs
    it replaced.
    """
    runs = _runs(client, experiment, identity)
    active = [run for run in runs if run.info.lifecycle_stage == "active"]
    same = [run for run in active if run.data.tags.get(_KEY) == finished.key]
    back = [
        run
        for run in runs
        if run not in active
        and run.data.tags.get(_KEY) == finished.key
        and run.data.tags.get(_SOURCE) == source
    ]
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


def _log(
    client: MlflowClient, experiment: str, identity: str, finished: Finished, source: str
) -> None:
    """One new run. Its key comes last, so that a run whose logging was killed has none and is
    retired by the next mirroring.
    """
    tags = {_IDENTITY: identity, _SOURCE: source, **finished.tags}
    run = client.create_run(
        experiment, start_time=finished.start, tags=tags, run_name=finished.entry.name
    ).info.run_id
    points = [
        Metric(point.key, point.value, point.timestamp, point.step) for point in finished.metrics
    ]
    client.log_batch(run, metrics=points, params=[Param(*item) for item in finished.params.items()])
    for name in RECORDS:
        client.log_artifact(run, str(finished.folder / name), "records")
    _log_pictures(client, run, finished)
    client.set_tag(run, _KEY, finished.key)
    client.set_terminated(run, "FINISHED", end_time=finished.end)


def _log_pictures(client: MlflowClient, run: str, finished: Finished) -> None:
    """Sample grid and visuals as files, and as logged images, which MLflow shows side by side for
    several runs.
    """
    samples = grid(finished.samples, levels=spec_of(finished.entry.dataset).levels)
    with tempfile.TemporaryDirectory() as temporary:
        write_bytes(Path(temporary) / "samples.png", png(samples))
        client.log_artifact(run, str(Path(temporary) / "samples.png"))
    client.log_image(run, samples, key="samples", step=0, timestamp=finished.end)
    folder = finished.folder / "visuals"
    for name in (
        ["visuals.json", *(visual.file for visual in finished.visuals)] if finished.visuals else []
    ):
        client.log_artifact(run, str(folder / name), "visuals")
    for visual in finished.visuals:
        if visual.file.endswith(".png"):
            picture = decode(io.BytesIO(visual.data), folder / visual.file, "RGB")
            client.log_image(
                run, picture, key=legal(Path(visual.file).stem), step=0, timestamp=finished.end
            )


def _mirror_report(client: MlflowClient, experiment: str, params: Params, source: str) -> None:
    """The run ``report`` of an experiment: the comparison of the whole profile, replaced in
    place.
    """
    page = params.report / "index.html"
    if not page.is_file():
        return
    identity, digest = f"{params.profile}/report", sha256(page)
    active = [
        run for run in _runs(client, experiment, identity) if run.info.lifecycle_stage == "active"
    ]
    found = [run for run in active if run.data.tags.get(_SOURCE) == source]
    if found and found[0].data.tags.get("genbench.report") == digest:
        return
    if found:
        run = found[0].info.run_id
    else:
        now = round(1000 * page.stat().st_mtime)
        note = "The comparison of all entries: Artifacts, index.html"
        tags = {
            _IDENTITY: identity,
            _SOURCE: source,
            "mlflow.source.name": "genbench",
            "mlflow.note.content": note,
        }
        run = client.create_run(
            experiment, start_time=now, tags=tags, run_name="report"
        ).info.run_id
        client.set_terminated(run, "FINISHED", end_time=now)
    for name in ("index.html", "leaderboard.json", "leaderboard.csv", "leaderboard.md"):
        if (params.report / name).is_file():
            client.log_artifact(run, str(params.report / name))
    client.set_tag(run, "genbench.report", digest)


def sync(params: Params, *, tracking_uri: str | None = None) -> Summary:
    """Mirror the finished entries of a profile and its report.

    Arguments:
        params: the profile.
        tracking_uri: any MLflow tracking URI; None means MLFLOW_TRACKING_URI, else ``mlflow.db`` in
            the project.

    Raises:
        UserError: the store cannot be used, as :meth:`genbench.tracking.store.Store.opened` says,
            or the database belongs to another folder.
        OSError: a full disk, or no permission; names the file.
    """
    store = Store(params.root, tracking_uri or default_uri(params.root))
    finished, skipped = find(params)
    with store.opened() as client:
        new, superseded = _sync(client, store.database, params, finished)
    summary = Summary({one.entry.name: one.key for one in finished}, new, superseded, skipped)
    counts = {"tracked": len(finished), "skipped": len(skipped)}
    receipt = {
        "profile": params.profile,
        "tracked": summary.tracked,
        "skipped": skipped,
        "counts": counts,
    }
    write_json(params.root / ".track" / f"{params.profile}.json", receipt)
    return summary


def _sync(
    client: MlflowClient, database: Path | None, params: Params, finished: Sequence[Finished]
) -> tuple[tuple[str, ...], int]:
    source, new, superseded = _source(params.root), [], 0
    for dataset in sorted({one.entry.dataset for one in finished}):
        experiment = _experiment(client, database, params, dataset)
        _mirror_report(client, experiment, params, source)
        for one in finished:
            if one.entry.dataset == dataset:
                is_new, replaced = _mirror(
                    client, experiment, f"{params.profile}/{dataset}/{one.entry.name}", one, source
                )
                new += [one.entry.name] if is_new else []
                superseded += replaced
    return tuple(new), superseded
