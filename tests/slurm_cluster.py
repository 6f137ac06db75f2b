"""A real Slurm on this machine: its controller and two nodes on the loopback address, with all of
their files in one folder. Needs root and the distribution's packages (see `why_not`).
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["PACKAGES", "SlurmCluster", "cluster", "why_not"]

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "munge", "libhwloc15")
"""Of Debian and Ubuntu."""

CONF = """
ClusterName=genbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
ReturnToService=2
KillWait=2
SchedulerParameters=bf_interval=1,sched_interval=1
MaxArraySize={max_array}
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=4000
PartitionName=work Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10
PartitionName=urgent Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def why_not() -> str:
    """Why there can be no Slurm here; empty if there can be one."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if not _program(name)]
    if missing:
        return f"not installed: {', '.join(missing)} (apt-get install {' '.join(PACKAGES)})"
    return ""


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class SlurmCluster:
    """Slurm's daemons.

    Arguments:
        folder: new, for all of their files; its path must be short, for there is a socket in it.
        max_array: MaxArraySize.
    """

    def __init__(self, folder: Path, max_array: int = 1001) -> None:
        self.folder = folder
        folder.mkdir(mode=0o755)
        (folder / "state").mkdir()
        conf = folder / "slurm.conf"
        ports = _free_ports(3)
        host = platform.node()
        conf.write_text(CONF.format(host=host, folder=folder, ports=ports, max_array=max_array))
        self.env = os.environ | {"SLURM_CONF": str(conf)}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start everything; returns when both nodes are idle."""
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        files = [
            f"--{name}={self.folder}/munge.{name}" for name in ("socket", "pid-file", "seed-file")
        ]
        log = f"--log-file={self.folder}/munged.log"
        self._start("munged", "--foreground", "--force", f"--key-file={key}", *files, log)
        self.wait(lambda: (self.folder / "munge.socket").exists(), "munged")
        self._start("slurmctld", "-D", "-i")
        for name in ("n1", "n2"):
            self.start_node(name)
        self.wait(lambda: self.nodes() == {"n1": "idle", "n2": "idle"}, "the nodes")

    def start_node(self, name: str) -> None:
        """Start a node's daemon, once or again."""
        (self.folder / f"spool.{name}").mkdir(exist_ok=True)
        self._start("slurmd", "-D", "-N", name, key=name)

    def kill_node(self, name: str) -> None:
        """Kill a node's daemon, and declare the node dead; what it was running goes on."""
        self._daemons.pop(name).kill()
        self.say("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=killed")

    def stop(self) -> None:
        """Stop everything, jobs too."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.say("scancel", "--user", "root")
        for daemon in reversed(self._daemons.values()):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def say(self, *command: str) -> str:
        """What one of Slurm's programs says."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=True)
        return done.stdout

    def nodes(self) -> dict[str, str]:
        """The state of each node."""
        try:
            said = self.say("sinfo", "--noheader", "--Node", "--partition=work", "--format=%N %t")
        except subprocess.CalledProcessError:
            return {}
        return {name: state.rstrip("*") for name, state in map(str.split, said.splitlines())}

    def jobs(self) -> dict[str, tuple[str, str]]:
        """State and node of each job that is not over, an element of an array each, by number."""
        said = self.say("squeue", "--noheader", "--array", "--format=%i|%T|%N")
        rows = (line.split("|") for line in said.splitlines())
        return {job: (state, node) for job, state, node in rows if state != "COMPLETING"}

    def clear(self) -> None:
        """Cancel what is queued or running, and wait until it is gone."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.say("scancel", "--user", "root")
        self.wait(lambda: not self.say("squeue", "--noheader").strip(), "empty queue")

    def hurry(self) -> None:
        """End the two minutes for which a job that is queued again is held."""
        for job, (state, _) in self.jobs().items():
            if state == "PENDING":
                with contextlib.suppress(subprocess.CalledProcessError):
                    self.say("scontrol", "update", f"JobId={job}", "StartTime=now")

    def wait(self, what: Callable[[], bool], name: str, seconds: float = 60) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + seconds
        while not what():
            logs = "\n".join(
                f"{path.name}: {path.read_text()[-1500:]}" for path in self.folder.glob("*.log")
            )
            assert time.monotonic() < deadline, f"no {name} in {seconds} s\n{logs}"
            time.sleep(0.2)

    def _start(self, name: str, *arguments: str, key: str = "") -> None:
        program = _program(name)
        assert program is not None
        self._daemons[key or name] = subprocess.Popen(
            [program, *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / f"{key or name}.err").open("wb"),
            start_new_session=True,
        )


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def cluster(folder: Path, max_array: int = 1001) -> Iterator[SlurmCluster]:
    """A cluster that runs."""
    made = SlurmCluster(folder, max_array)
    try:
        made.start()
        yield made
    finally:
        made.stop()
