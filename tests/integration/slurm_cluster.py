"""A SLURM cluster of this machine: munge, a controller and two nodes of one core each.

Needs Debian's `slurm-wlm` and `munge`, and no rights: everything runs as whoever asks for it, below
one temporary folder. Every daemon is the child of a keeper (this file as a script), which kills the
daemon and whatever came of it when its standard input ends: when it is told to, and when the tests
are killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import getpass
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "srun")
NODES = ("one", "two")
SBIN = f"{os.environ['PATH']}:/usr/sbin:/sbin"
PR_SET_CHILD_SUBREAPER = 36

CONFIG = """\
ClusterName=decoderlab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PreemptParameters=send_user_signal
JobRequeue=1
ReturnToService=2
KillWait=2
SlurmdTimeout=10
SlurmdParameters=config_overrides
MessageTimeout=5
InactiveLimit=0
PartitionName=ordinary Nodes=ALL Default=YES PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=8000\n"


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=SBIN) is None]


class SlurmCluster:
    """The daemons, as a context manager."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm"))  # the path of a socket has to be short
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> SlurmCluster:
        try:
            self._configure()
            self._start_munge()
            self._start("slurmctld", "slurmctld", "-D", "-i")
            for name in NODES:
                self.start_node(name)
            self._wait(lambda: self.states() == dict.fromkeys(NODES, "IDLE"), "idle nodes")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self._daemons)):
            self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *command: str) -> str:
        """Run one of SLURM's commands; return what it printed."""
        environment = os.environ | self.environment
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def states(self) -> dict[str, str]:
        """Return what each node is doing."""
        with contextlib.suppress(RuntimeError):  # the controller does not listen yet
            lines = self.call("sinfo", "-N", "-h", "-p", "urgent", "-o", "%N %T").splitlines()
            return {name: state.upper() for name, state in map(str.split, lines)}
        return {}

    def start_node(self, name: str) -> None:
        """Switch a node on."""
        (self.folder / f"spool.{name}").mkdir(exist_ok=True)
        self._start(name, "slurmd", "-D", "-N", name)

    def kill(self, name: str) -> None:
        """Kill a daemon and all that came of it, as when its machine is switched off."""
        self._daemons.pop(name).communicate()

    def wait_until_idle(self) -> None:
        """Wait until no job is left and both nodes are there."""
        self._wait(
            lambda: not self.call("squeue", "-h") and set(self.states().values()) == {"IDLE"},
            "an empty queue",
        )

    def _configure(self) -> None:
        host, sockets = socket.gethostname().partition(".")[0], []
        for _ in range(1 + len(NODES)):
            sockets.append(socket.socket())
            sockets[-1].bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
        for each in sockets:
            each.close()
        text = CONFIG.format(host=host, port=ports[0], user=getpass.getuser(), folder=self.folder)
        for name, port in zip(NODES, ports[1:], strict=True):
            text += NODE.format(name=name, host=host, port=port)
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "state").mkdir()

    def _start_munge(self) -> None:
        key, path = self.folder / "munge.key", {"PATH": SBIN}
        subprocess.run(["mungekey", "-c", "-k", str(key)], check=True, env=os.environ | path)
        files = [
            f"--{kind}={self.folder / f'munge.{ending}'}"
            for kind, ending in (
                ("key-file", "key"),
                ("socket", "socket"),
                ("pid-file", "pid"),
                ("log-file", "log"),
                ("seed-file", "seed"),
            )
        ]
        # --force: the temporary folder's owner is not root's.
        self._start("munged", "munged", "--foreground", "--force", *files)
        self._wait((self.folder / "munge.socket").exists, "munge")

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as output:
            self._daemons[name] = subprocess.Popen(
                [sys.executable, __file__, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=os.environ | self.environment | {"PATH": SBIN},
                start_new_session=True,
            )

    def _wait(self, condition: Callable[[], object], what: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            ended = [name for name, one in self._daemons.items() if one.poll() is not None]
            if ended or time.monotonic() > end:
                logs = [*self.folder.glob("*.out"), *self.folder.glob("*.log")]
                tails = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in logs)
                raise RuntimeError(f"no {what}; {ended} ended\n{tails}")
            time.sleep(0.2)


def keep(command: list[str]) -> None:
    """Run a daemon until standard input ends; then kill it and all that came of it."""
    # Whatever loses its parent below becomes a child of this process, daemons of daemons too.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while daemon.poll() is None and not select.select([sys.stdin], [], [], 0.5)[0]:
        pass
    while children := descendants(os.getpid()):
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def descendants(ancestor: int) -> set[int]:
    """Return the processes that came of a process, as far as their parents are known."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found, more = set(), {ancestor}
    while more:
        more = {pid for pid, parent in parents.items() if parent in more}
        found |= more
    return found


if __name__ == "__main__":
    keep(sys.argv[1:])
