"""What a job asks of a Slurm cluster, and the file that says so."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genbench.config import yaml12
from genbench.errors import UserError, bind_options

__all__ = ["SlurmOptions", "read_options"]


@dataclass(frozen=True, slots=True)
class SlurmOptions:
    """What a job asks of the cluster.

    Attributes:
        partition, account, qos: where it is queued; empty takes the cluster's default.
        time: minutes.
        memory_gb: of a node.
        cpus: of a task; no fewer than the threads of an entry.
        gpus: of a node.
        array_parallelism: how many of an array run at once.
        setup: lines of shell before it, e.g. ``module load cuda``.
        sbatch: any other option of sbatch, by its long name.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    time: int = 120
    memory_gb: float = 8
    cpus: int = 1
    gpus: int = 0
    array_parallelism: int = 256
    setup: tuple[str, ...] = ()
    sbatch: Mapping[str, Any] = field(default_factory=dict)

    def parameters(self) -> dict[str, Any]:
        """In submitit's names."""
        given = {"partition": self.partition, "account": self.account, "qos": self.qos}
        return {
            **{name: value for name, value in given.items() if value},
            "time": self.time,
            "mem": f"{round(1024 * self.memory_gb)}MB",
            "cpus_per_task": self.cpus,
            **({"gpus_per_node": self.gpus} if self.gpus else {}),
            "array_parallelism": self.array_parallelism,
            "setup": list(self.setup),
            "additional_parameters": {"requeue": True, **self.sbatch},
            "signal_delay_s": 60,
            "stderr_to_stdout": True,
        }


def read_options(path: Path, *, threads: int, gpus: int = 0) -> Callable[[str], SlurmOptions]:
    """The options of each task, by its key, from a YAML file: the attributes above, and under
    ``overrides`` some of them for the keys that match a wildcard, the last one that does first.

    Arguments:
        path: the file.
        threads: of a task, and so the cores that it asks for unless the file says otherwise.
        gpus: as many devices as it asks for unless the file says otherwise.

    Raises:
        UserError: no such file, no YAML, an unknown option or a value of another type.
    """
    try:
        raw = yaml12.parse(path.read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path}: must hold a mapping of options, e.g. `partition: gpu`")
    overrides, raw = raw.pop("overrides", {}) or {}, {"cpus": threads, "gpus": gpus, **raw}
    whole = _options(raw, str(path))
    special = {
        pattern: {**raw, **_mapping(values, f"{path}: overrides.{pattern}")}
        for pattern, values in _mapping(overrides, f"{path}: overrides").items()
    }
    of_pattern = {
        pattern: _options(values, f"{path}: overrides.{pattern}")
        for pattern, values in special.items()
    }

    def of(key: str) -> SlurmOptions:
        matching = [options for p, options in of_pattern.items() if fnmatch.fnmatchcase(key, p)]
        return matching[-1] if matching else whole

    return of


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: must be a mapping, got {value!r}")
    return value


def _options(raw: Mapping[str, Any], where: str) -> SlurmOptions:
    raw = dict(raw)
    if "time" in raw:
        raw["time"] = _minutes(raw["time"], f"{where}.time")
    if isinstance(raw.get("setup"), str | list):
        lines = raw["setup"]
        raw["setup"] = tuple([lines] if isinstance(lines, str) else map(str, lines))
    return SlurmOptions(**bind_options(SlurmOptions, raw, where=where))


_TIMES = (
    (r"(\d+):(\d\d)", (60, 1)),
    (r"(\d+):(\d\d):(\d\d)", (3600, 60, 1)),
    (r"(\d+)-(\d+)(?::(\d\d))?(?::(\d\d))?", (86400, 3600, 60, 1)),
)
"""How Slurm writes times, and the seconds of each part: MM:SS, H:MM:SS, D-H[:MM[:SS]]."""


def _minutes(value: Any, where: str) -> int:
    """Minutes, rounded up, of a number of them or of a time as Slurm writes it."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    for pattern, units in _TIMES:
        found = re.fullmatch(pattern, value) if isinstance(value, str) else None
        if found is not None:
            pairs = zip(found.groups(default="0"), units, strict=True)
            seconds = sum(int(part) * unit for part, unit in pairs)
            if seconds > 0:
                return -(-seconds // 60)
    raise UserError(f"{where}: must be minutes, MM:SS, H:MM:SS or D-HH:MM:SS, got {value!r}")
