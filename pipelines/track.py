"""Stage ``track``: mirror what is finished into MLflow."""

from __future__ import annotations

from genbench.config.params import Params
from genbench.tracking.mirror import sync

__all__ = ["run"]


def run(params: Params, *, tracking_uri: str | None = None) -> None:
    """Mirror the finished entries of a profile; reads runs/<profile>/ and reports/<profile>/,
    writes .track/<profile>.json at the end.

    Arguments:
        params: the profile.
        tracking_uri: any MLflow tracking URI; None means MLFLOW_TRACKING_URI, else ``mlflow.db`` in
            the project.
    """
    summary = sync(params, tracking_uri=tracking_uri)
    print(
        f"MLflow: {len(summary.tracked)} entries tracked ({len(summary.new)} new, "
        f"{summary.superseded} older runs retired)"
    )
    for entry, reason in summary.skipped.items():
        print(f"MLflow: skipped {entry}, which is not finished ({reason})")
