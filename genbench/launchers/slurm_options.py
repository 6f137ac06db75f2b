"""What a job asks of a Slurm cluster, and the file that says so."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genbench.config import yaml12
from genbench.errors import UserError, bind_options, near

__all__ = ["SlurmOptions", "read_options"]


@dataclass(frozen=True, slots=True)
class SlurmOptions:
    """What a job asks of the cluster.

    Attributes:
        partition, account, qos: where it is queued; empty takes the cluster's default.
        time: minutes.
        memory_gb: of a node.
        cpus: of a task; :func:`read_options` refuses fewer than the threads of an entry.
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


def read_options(
    path: Path, *, threads: int, gpus: int = 0, entries: Collection[str]
) -> Callable[[str], SlurmOptions]:
    """The options of each task, by its key, from a YAML file: the attributes above, and under
    ``overrides`` some of them for the keys that match a wildcard, the last one that does first.

    Arguments:
        path: the file.
        threads: of a task, and so the cores that it asks for unless the file says otherwise.
        gpus: as many devices as it asks for unless the file says otherwise.
        entries: keys that tasks may have.

    Raises:
        UserError: no such file, no YAML, an unknown option, a value of another type, fewer cores
            than threads, or a wildcard that matches nothing.
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
    whole, of_pattern = _options(raw, str(path), threads), dict[str, SlurmOptions]()
    for pattern, values in _mapping(overrides, f"{path}: overrides").items():
        where = f"{path}: overrides.{pattern}"
        of_pattern[pattern] = _options({**raw, **_mapping(values, where)}, where, threads)
        _check_pattern(pattern, entries, where)

    def of(key: str) -> SlurmOptions:
        matching = [options for p, options in of_pattern.items() if fnmatch.fnmatchcase(key, p)]
        return matching[-1] if matching else whole

    return of


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: must be a mapping, got {value!r}")
    return value


_FURTHER_SEED = re.compile(r"-s[\d*?]+$")
"""What ends the key of a further seed of an entry, or a wildcard of such keys."""


def _check_pattern(pattern: str, entries: Collection[str], where: str) -> None:
    """Raise UserError if a wildcard matches neither an entry nor further seeds of one."""
    whose = _FURTHER_SEED.sub("", pattern)
    if not fnmatch.filter(entries, pattern) and not fnmatch.filter(entries, whose):
        raise UserError(f"{where}: matches no entry{near(pattern.strip('*?'), entries)}")


def _options(raw: Mapping[str, Any], where: str, threads: int) -> SlurmOptions:
    raw = dict(raw)
    if "time" in raw:
        raw["time"] = _minutes(raw["time"], f"{where}.time")
    if isinstance(raw.get("setup"), str | list):
        lines = raw["setup"]
        raw["setup"] = tuple([lines] if isinstance(lines, str) else map(str, lines))
    options = SlurmOptions(**bind_options(SlurmOptions, raw, where=where))
    if options.cpus < threads:
        raise UserError(
            f"{where}.cpus: must be no fewer than compute.threads, {threads}, got {options.cpus}; "
            "threads would wait for one another"
        )
    return options


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
