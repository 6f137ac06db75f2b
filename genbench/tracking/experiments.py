"""The experiment of MLflow that holds the runs of a data set: made with a view of its own, or
found.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from genbench.tracking.ui import VIEW_PATH  # before mlflow, whose environment its store sets

# isort: split
from mlflow import MlflowClient
from mlflow.entities import Experiment

from genbench.config.params import Params
from genbench.errors import UserError

__all__ = ["experiment_id", "experiment_name"]

_SCORES = (
    "bits_per_dim",
    "nats",
    "fid_mnist",
    "is_mnist",
    "cost/parameters",
    "cost/train_seconds",
)
_TAGS = ("family", "likelihood", "matches_likelihood")
# Without it, MLflow's table of runs shows no score before the reader has chosen columns.
_VIEW = {
    "selectedColumns": [
        *(f"metrics.`{name}`" for name in _SCORES),
        *(f"tags.`{name}`" for name in _TAGS),
    ],
    "orderByKey": "metrics.`bits_per_dim`",
    "orderByAsc": True,
    "searchFilter": "",
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "modelVersionFilter": "All Runs",
    "datasetsFilter": [],
}


def experiment_name(profile: str, dataset: str) -> str:
    """The experiment that holds the runs of a data set: scores of different data sets don't
    compare.
    """
    return f"genbench-{profile}-{dataset}"


def experiment_id(client: MlflowClient, database: Path | None, params: Params, dataset: str) -> str:
    """The id of the experiment of a data set, made or restored if need be.

    Arguments:
        client: of the store.
        database: the file of a sqlite store, else None.
        params: the profile.
        dataset: name of the data set.

    Raises:
        UserError: the database belongs to another folder.
    """
    name = experiment_name(params.profile, dataset)
    # An address, since MLflow decodes even what is a plain path.
    location = (database.parent / "mlruns" / name).as_uri() if database else None
    found = client.get_experiment_by_name(name)
    if found is None:
        made = str(client.create_experiment(name, artifact_location=location))
        for key, value in _tags(params.profile, dataset, made).items():
            client.set_experiment_tag(made, key, value)
        return made
    _check_location(found, location)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _tags(profile: str, dataset: str, experiment: str) -> dict[str, str]:
    note = (
        f"The profile `{profile}` on `{dataset}`. [Table of scores]({VIEW_PATH.format(experiment)})"
        "; curves and sample pictures side by side: the chart button; the comparison report: the "
        "run `report`, Artifacts, index.html."
    )
    return {
        "mlflow.note.content": note,
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.sharedViewState.scores": json.dumps(_VIEW),
    }


def _folder(location: str) -> Path:
    """The folder that MLflow takes a local place for: an address, or a path as former versions gave
    it.
    """
    return Path(url2pathname(urlsplit(location).path if location.startswith("file:") else location))


def _check_location(found: Experiment, location: str | None) -> None:
    if location is None:
        return
    before, now = _folder(found.artifact_location), _folder(location)
    if before != now:
        raise UserError(
            f"the MLflow database was made for {before}, but that place is now {now}: its links to "
            "pictures would break. Delete mlflow.db and mlruns/ and run `genbench track`: "
            "everything is mirrored again"
        )
