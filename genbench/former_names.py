"""Modules that are called otherwise than they were: an import by a former name says so."""

from __future__ import annotations

import sys

__all__ = ["FORMER", "refuse_former_names"]

FORMER = {
    "about": "cli.info",
    "ais": "mcmc.ais",
    "aliases": "config.inheritance",
    "alive": "processes.alive",
    "backend": "training.arithmetic",
    "batch_norm": "nn.batch_norm_statistics",
    "batches": "training.batches",
    "call": "cli.decorator",
    "check": "pipeline.validate",
    "checkpoint": "weights",
    "clean": "pipeline.clean",
    "cli_options": "cli.options",
    "cli_pictures": "cli.commands.pictures",
    "code": "pipeline.fingerprints",
    "compare": "results.file_diff",
    "costs": "pipeline.costs",
    "current": "results.staleness",
    "device": "hardware.device",
    "diff": "results.run_diff",
    "doctor": "cli.doctor",
    "dvc_config": "pipeline.dvc_config",
    "dvc_files": "pipeline.dvc_files",
    "dvc_lock": "pipeline.dvc_lock",
    "dvc_quiet": "pipeline.dvc_quiet",
    "estimate": "pipeline.estimate",
    "feature_training": "scoring.feature_training",
    "features": "scoring.features",
    "finished": "tracking.runs",
    "fit": "training.fit",
    "forkserver": "launchers.local",
    "formula": "cli.latex_text",
    "gallery": "pictures.kinds",
    "git": "pipeline.git",
    "heartbeat": "processes.lock",
    "history": "training.history",
    "images": "pictures.grids",
    "inception": "scoring.inception",
    "integrity": "pipeline.integrity",
    "isa": "hardware.isa",
    "latent_paths": "pictures.latent_paths",
    "likelihood": "scoring.likelihood",
    "machine": "hardware.capacity",
    "metrics": "scoring.metrics",
    "mirror": "data.mirror",
    "mlflow_errors": "tracking.errors",
    "mlflow_store": "tracking.store",
    "nn.langevin": "mcmc.langevin",
    "nn.level_proposal": "mcmc.level_proposal",
    "nn.normal": "nn.gaussian",
    "optim": "training.options",
    "outputs": "results.reader",
    "ownership": "training.ownership",
    "params": "config.params",
    "precision": "hardware.precision",
    "processor": "hardware.kind",
    "report.charts": "report.chart",
    "report.collect": "results.entry",
    "resume": "training.checkpoints",
    "run": "pipeline.run",
    "rwlock": "pipeline.dvc_rwlock",
    "scaffold": "cli.scaffold",
    "schema": "results.schema",
    "settings": "config.stage_params",
    "stage": "pipeline.stage_runner",
    "status": "results.status",
    "tensors": "weights_file",
    "term_chart": "pictures.terms",
    "tether": "processes.tether",
    "ui": "tracking.ui",
    "visuals": "pictures.kinds",
    "votes": "scoring.votes",
    "yaml12": "config.yaml12",
}
"""Present names of former modules of genbench. What was moved in parts has the name of the main
one.
"""


class _Finder:
    """A finder of :data:`sys.meta_path`, asked for what nobody else has found."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        package, _, name = fullname.partition(".")
        if package == "genbench" and name in FORMER:
            # No ModuleNotFoundError, which `from genbench import name` would hide.
            raise ImportError(
                f"{fullname} is now genbench.{FORMER[name]} (CHANGELOG.md)", name=fullname
            )


def refuse_former_names() -> None:
    """From now on importing a former module raises ImportError with its present name."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
