"""Finished entries of a profile, mirrored into MLflow. Mirroring twice changes nothing.

Each entry becomes one run of the experiment ``genbench-<profile>-<dataset>``. Its tag
``genbench.key`` is a hash of its parameters, weights, scores and pictures, never of timings: the
same key is left alone, another one makes a new run and retires the old.
"""

from __future__ import annotations

import hashlib
import io
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from genbench.tracking.store import Store, default_uri  # before mlflow, whose environment it sets

# isort: split
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, ViewType

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.data.datasets import spec_of
from genbench.files import sha256, write_bytes, write_json
from genbench.pictures.grids import decode, grid, png
from genbench.pictures.picture import LIST
from genbench.tracking.experiments import experiment_id
from genbench.tracking.runs import RECORDS, TrackedRun, legal, tracked_runs

__all__ = ["Summary", "sync"]

_KEY, _IDENTITY = "genbench.key", "genbench.run"
_SOURCE, _SUPERSEDED = "genbench.source", "genbench.superseded_by"


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
    runs, skipped = tracked_runs(params)
    with store.opened() as client:
        new, superseded = _sync(client, store.database, params, runs)
    summary = Summary({run.entry.name: run.key for run in runs}, new, superseded, skipped)
    counts = {"tracked": len(runs), "skipped": len(skipped)}
    receipt = {
        "profile": params.profile,
        "tracked": summary.tracked,
        "skipped": skipped,
        "counts": counts,
    }
    write_json(Layout.of(params).receipt, receipt)
    return summary


def _sync(
    client: MlflowClient, database: Path | None, params: Params, runs: Sequence[TrackedRun]
) -> tuple[tuple[str, ...], int]:
    """The names of the new runs, and how many older ones were retired."""
    source, new, superseded = _source(params.root), [], 0
    for dataset in sorted({run.entry.dataset for run in runs}):
        experiment = experiment_id(client, database, params, dataset)
        _mirror_report(client, experiment, params, source)
        for run in runs:
            if run.entry.dataset == dataset:
                identity = f"{params.profile}/{dataset}/{run.entry.name}"
                is_new, replaced = _mirror(client, experiment, identity, run, source)
                new += [run.entry.name] if is_new else []
                superseded += replaced
    return tuple(new), superseded


def _source(root: Path) -> str:
    """Name of this copy of the project: on a shared server a run is retired only by the copy that
    logged it.
    """
    place = f"{platform.node()}:{root.resolve()}"
    return hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:12]


# ---------------------------------------------------------------------- one run


def _runs(client: MlflowClient, experiment: str, identity: str) -> list[Run]:
    query = f"tags.`{_IDENTITY}` = '{identity}'"
    return list(client.search_runs([experiment], query, ViewType.ALL, max_results=1000))


def _retire(client: MlflowClient, run: Run, reason: str) -> None:
    client.set_tag(run.info.run_id, _SUPERSEDED, reason)
    client.delete_run(run.info.run_id)


def _mirror(
    client: MlflowClient, experiment: str, identity: str, tracked: TrackedRun, source: str
) -> tuple[bool, int]:
    """Make sure that one run with this key is there. Returns whether it is new, and how many runs
    it replaced.
    """
    runs = _runs(client, experiment, identity)
    active = [run for run in runs if run.info.lifecycle_stage == "active"]
    same = [run for run in active if run.data.tags.get(_KEY) == tracked.key]
    wanted = {_KEY: tracked.key, _SOURCE: source}
    back = [run for run in runs if run not in active and wanted.items() <= run.data.tags.items()]
    if not same and back:
        client.restore_run(back[0].info.run_id)
        if _SUPERSEDED in back[0].data.tags:
            client.delete_tag(back[0].info.run_id, _SUPERSEDED)
    elif not same:
        _log(client, experiment, identity, tracked, source)
    old = [run for run in active if run not in same and run.data.tags.get(_SOURCE) == source]
    for run in old:
        _retire(client, run, tracked.key)
    return not same and not back, len(old)


def _log(
    client: MlflowClient, experiment: str, identity: str, tracked: TrackedRun, source: str
) -> None:
    """One new run. Its key comes last, so that a run whose logging was killed has none and is
    retired by the next mirroring.
    """
    made = client.create_run(
        experiment,
        start_time=tracked.start,
        tags={_IDENTITY: identity, _SOURCE: source, **tracked.tags},
        run_name=tracked.entry.name,
    )
    run = made.info.run_id
    points = [
        Metric(point.key, point.value, point.timestamp, point.step) for point in tracked.metrics
    ]
    client.log_batch(run, metrics=points, params=[Param(*item) for item in tracked.params.items()])
    for part in RECORDS:
        client.log_artifact(run, str(getattr(tracked.run_dir, part)), "records")
    _log_pictures(client, run, tracked)
    client.set_tag(run, _KEY, tracked.key)
    client.set_terminated(run, "FINISHED", end_time=tracked.end)


def _log_pictures(client: MlflowClient, run: str, tracked: TrackedRun) -> None:
    """Sample grid and pictures as files, and as logged images, which MLflow shows side by side for
    several runs.
    """
    samples = grid(tracked.samples, levels=spec_of(tracked.entry.dataset).levels)
    with tempfile.TemporaryDirectory() as temporary:
        write_bytes(Path(temporary) / "samples.png", png(samples))
        client.log_artifact(run, str(Path(temporary) / "samples.png"))
    client.log_image(run, samples, key="samples", step=0, timestamp=tracked.end)
    folder = tracked.run_dir.pictures
    files = [picture.file for picture in tracked.pictures]
    for name in [LIST, *files] if files else []:
        client.log_artifact(run, str(folder / name), folder.name)
    for picture in tracked.pictures:
        if picture.file.endswith(".png"):
            image = decode(io.BytesIO(picture.data), folder / picture.file, "RGB")
            key = legal(Path(picture.file).stem)
            client.log_image(run, image, key=key, step=0, timestamp=tracked.end)


# ---------------------------------------------------------------------- the report


def _mirror_report(client: MlflowClient, experiment: str, params: Params, source: str) -> None:
    """The run ``report`` of an experiment: the comparison of the whole profile, replaced in
    place.
    """
    report = Layout.of(params).report
    if not report.page.is_file():
        return
    identity, digest = f"{params.profile}/report", sha256(report.page)
    runs = _runs(client, experiment, identity)
    active = [run for run in runs if run.info.lifecycle_stage == "active"]
    found = [run for run in active if run.data.tags.get(_SOURCE) == source]
    if found and found[0].data.tags.get("genbench.report") == digest:
        return
    if found:
        run = found[0].info.run_id
    else:
        now = round(1000 * report.page.stat().st_mtime)
        tags = {
            _IDENTITY: identity,
            _SOURCE: source,
            "mlflow.source.name": "genbench",
            "mlflow.note.content": "The comparison of all entries: Artifacts, index.html",
        }
        made = client.create_run(experiment, start_time=now, tags=tags, run_name="report")
        run = made.info.run_id
        client.set_terminated(run, "FINISHED", end_time=now)
    for path in (report.page, report.leaderboard, report.csv, report.markdown):
        if path.is_file():
            client.log_artifact(run, str(path))
    client.set_tag(run, "genbench.report", digest)
