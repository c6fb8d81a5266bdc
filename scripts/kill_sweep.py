"""Show that runs, sweeps, tuning and reports survive being killed: kill them, go on, compare.

Commands are started, disturbed at random moments with SIGKILL, SIGTERM, SIGINT or SIGSTOP and
SIGCONT, and given again until they end. At the end every run must be there exactly once, with the
metrics, records, predictions and weights of an undisturbed one, bit for bit; the same tuning must
have chosen the same, and reports must be the same bytes. Kinds of commands:

    runs     decoderlab-train, one run
    sweeps   decoderlab-train -m, all runs in one process
    tuning   decoderlab-train -m with study.tuning
    reports  decoderlab-report of a finished study; no file of it may ever be half written
    pool     decoderlab-train -m in the pool: the command is disturbed, or one of its workers

All but the pool are forked from a process that has imported everything, so that kills meet what the
commands do, not their imports; the pool's are started as a person starts them.

    python scripts/kill_sweep.py --kills 1000
    python scripts/kill_sweep.py --kinds pool --runs 500 --kills 100    # a soak
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # no threads: forks are safe

import argparse
import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna  # noqa: F401  what commands import late
import torch

import decoderlab.cli.report
import decoderlab.cli.train
import decoderlab.studies.execution.launchers
import decoderlab.studies.execution.sweep
import decoderlab.studies.reporting.build
import decoderlab.training.run_lifecycle  # noqa: F401
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.design.plan_file import read_plan
from measuring.arguments import own_folder, positive, script_parser

SHARES = {"runs": 0.35, "sweeps": 0.25, "tuning": 0.15, "reports": 0.15, "pool": 0.1}
SIGNALS = {signal.SIGKILL: 0.6, signal.SIGTERM: 0.15, signal.SIGINT: 0.15, signal.SIGSTOP: 0.1}
STOPS = (signal.SIGINT, signal.SIGTERM)
ENDS = {0, -signal.SIGKILL, *(-one for one in STOPS), *(128 + one for one in STOPS)}
PYTHON_INTERRUPTED = "Could not import runpy module\n"
MAIN = os.getpid()
VARIANTS = ("repeat_vector", "initial_state", "luong", "scheduled_sampling")
TRAINING = "training or testing"
SEEDS = 2  # of single runs, which are done again and again
TUNING = "{space: {training.learning_rate: [0.001, 0.01, 0.1]}, trials: 2, seeds: [100]}"


def settings(folder: Path, steps: int) -> list[str]:
    """Return what all runs have alike."""
    return [
        *("task=echo", "task.num_train=200", "task.num_validation=20", "task.num_test=20"),
        *("encoder.hidden_size=16", "decoder.hidden_size=16", "encoder.dropout=0.2"),
        *(f"training.max_steps={steps}", f"evaluation.every_steps={max(steps // 4, 1)}"),
        *("run.checkpoint_every_seconds=0.2", "logger=none", f"run.output_dir={folder}"),
    ]


def arguments(kind: str, folder: Path, options: argparse.Namespace, number: int = 0) -> list[str]:
    """Return the arguments of a command.

    Args:
        kind: of command.
        folder: where it works.
        options: of this script.
        number: of a single run.
    """
    alike = settings(folder, options.steps)
    if kind == "runs":
        decoder = VARIANTS[number % len(VARIANTS)]
        return [*alike, f"decoder={decoder}", f"seed={number // len(VARIANTS)}"]
    if kind == "reports":
        return ["s", f"--output-dir={folder}"]
    study = ["-m", "study.name=s", "study.retry=failed", *alike]
    if kind == "pool":
        seeds = -(-options.runs // len(VARIANTS))
        return [*study, f"decoder={','.join(VARIANTS)}", f"seed=range(0,{seeds})"]
    study += ["hydra/launcher=basic", "decoder=repeat_vector,luong", "seed=0,1"]
    return [*study, f"study.tuning={TUNING}"] if kind == "tuning" else study


def forked(main: Callable[[], object], words: list[str], log: Path) -> int:
    """Start an entry point in a process group of its own; return its process id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["decoderlab", *words]
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def started(kind: str, folder: Path, options: argparse.Namespace, number: int = 0) -> int:
    """Start a command; return its process id."""
    words, log = arguments(kind, folder, options, number), folder.with_suffix(".log")
    if kind == "pool":
        command = [sys.executable, "-m", "decoderlab.cli.train", *words]
        with log.open("ab") as output:
            streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            return subprocess.Popen(command, start_new_session=True, **streams).pid
    report = kind == "reports"
    return forked(decoderlab.cli.report.main if report else decoderlab.cli.train.main, words, log)


def ended(pid: int, seconds: float) -> int | None:
    """Wait for a process; return its exit code, None if it goes on."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        if os.getppid() != MAIN:  # this script was killed itself
            os.killpg(pid, signal.SIGKILL)
            sys.exit(1)
        time.sleep(0.005)


class Lane:
    """Commands of one kind, disturbed until there were enough kills, and compared.

    Args:
        kind: of command.
        root: where to work.
        options: of this script.
    """

    def __init__(self, kind: str, root: Path, options: argparse.Namespace) -> None:
        self.kind, self.root, self.options = kind, root / kind, options
        self.kills = max(round(options.kills * SHARES[kind] / options.shares), 1)
        self.chance = random.Random(f"{options.seed} {kind}")
        self.signals, self.met = Counter(), Counter()
        self.wrong: list[str] = []
        self.restarts = self.commands = 0
        self.hit_worker = False  # by the command that is going on
        self.root.mkdir(parents=True)

    def work(self) -> dict:
        """Return the figures."""
        start = time.monotonic()
        whole, seconds = self._undisturbed()
        while self.signals.total() < self.kills:
            self.commands += 1
            folder = self.root / f"killed{self.commands}"
            if self._disturb(folder, whole, seconds):
                self.wrong += self._differences(whole, folder)
            shutil.rmtree(folder)
        return {
            "kind": self.kind,
            "kills": self.signals.total(),
            "signals": {signal.Signals(one).name: n for one, n in self.signals.items()},
            "met": dict(self.met),
            "commands": self.commands,
            "restarts": self.restarts,
            "seconds": round(time.monotonic() - start),
            "wrong": self.wrong,
        }

    def _undisturbed(self) -> tuple[Path, float]:
        """Do what is compared with; return where, and how long a command took."""
        whole = self.root / "whole"
        kind = "sweeps" if self.kind == "reports" else self.kind
        numbers = range(SEEDS * len(VARIANTS)) if kind == "runs" else [0]
        start = time.monotonic()
        for number in numbers:
            code = ended(started(kind, whole, self.options, number), 3600)
            if code != 0:
                raise RuntimeError(f"an undisturbed command ended with {code}: {self._log(whole)}")
        seconds = (time.monotonic() - start) / len(numbers)
        if self.kind == "reports":
            start = time.monotonic()
            ended(started("reports", whole, self.options), 600)
            seconds = time.monotonic() - start
        return whole, seconds

    def _disturb(self, folder: Path, whole: Path, seconds: float) -> bool:
        """Give one command again and again until it ends by itself; return whether it did well."""
        number = self.chance.randrange(SEEDS * len(VARIANTS))
        if self.kind == "reports":
            shutil.copytree(whole, folder)
            for path in report_files(folder):
                path.unlink()
        while True:
            pid = started(self.kind, folder, self.options, number)
            code, self.hit_worker = None, False
            while code is None:
                code = self._wait(pid, folder, seconds)
                if code is None:
                    code = self._signal(pid, folder)
            if code == 1 and self.hit_worker:  # its run has failed, and is tried again
                continue
            if code == 1 and PYTHON_INTERRUPTED in self._log(folder):
                continue  # before a line of ours: Python's own answer to SIGINT while it starts
            if code not in ENDS:
                self.wrong.append(f"a command ended with {code}: {self._log(folder)}")
                return False
            if self.kind == "reports":
                self.wrong += torn(folder, whole)
            if code == 0:
                return True

    def _wait(self, pid: int, folder: Path, seconds: float) -> int | None:
        """Wait for a moment to disturb a command; return its exit code if it ended before."""
        if self.signals.total() >= self.kills:
            return ended(pid, 3600)
        if self.kind != "pool":
            # They go on from where they were, so that they are met everywhere all the same.
            return ended(pid, self.chance.uniform(0, seconds / 2))
        code = None
        if self.chance.random() < 0.8:  # the start of a pool takes long, and is met often enough
            while code is None and standing(folder) != TRAINING:
                code = ended(pid, 0.1)
        return ended(pid, self.chance.uniform(0, 4)) if code is None else code

    def _signal(self, pid: int, folder: Path) -> int | None:
        """Disturb a command once; return its exit code, None if it goes on."""
        (signum,) = self.chance.choices(list(SIGNALS), weights=list(SIGNALS.values()))
        self.signals[signum] += 1
        self.met[standing(folder)] += 1
        target = workers(pid) if self.kind == "pool" and self.chance.random() < 0.7 else []
        if target:
            victim, self.hit_worker = self.chance.choice(target), True
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL if signum != signal.SIGSTOP else signum)
                if signum == signal.SIGSTOP:
                    time.sleep(0.3)
                    os.kill(victim, signal.SIGCONT)
            return ended(pid, 0)
        group = os.kill if signum in (signal.SIGTERM, signal.SIGINT) else os.killpg
        with contextlib.suppress(ProcessLookupError):
            group(pid, signum)
            if signum == signal.SIGSTOP:
                time.sleep(self.chance.uniform(0, 0.3))
                group(pid, signal.SIGCONT)
                return ended(pid, 0)
        code = ended(pid, 120)
        if code is None:
            self.wrong.append(f"a command went on after {signum.name}: {self._log(folder)}")
            os.killpg(pid, signal.SIGKILL)
            code = ended(pid, 120)
        return code

    def _differences(self, whole: Path, folder: Path) -> list[str]:
        """Return what differs between undisturbed runs and others; nothing if they are equal."""
        if self.kind == "reports":
            names = [
                {path.relative_to(one) for path in report_files(one)} for one in (whole, folder)
            ]
            return [] if names[0] == names[1] else [f"{folder}: {names[0] ^ names[1]}"]
        names = [{path.name for path in (one / "runs").iterdir()} for one in (whole, folder)]
        found = []
        if names[0] != names[1] and (self.kind != "runs" or len(names[1]) != 1):
            found.append(f"{folder}: other runs, {sorted(names[0] ^ names[1])}")
        for name in sorted(names[0] & names[1]):
            run = RunFolder(folder / "runs" / name)
            found += differences(RunFolder(whole / "runs" / name), run)
            self.restarts += getattr(run.result(), "restarts", 0)
        if self.kind != "runs":
            plans = [read_plan(one, "s") for one in (whole, folder)]
            cells = [
                [(cell.run_id, cell.title, cell.parameters) for cell in p.cells] for p in plans
            ]
            if plans[0].tuning != plans[1].tuning or cells[0] != cells[1]:
                found.append(f"{folder}: another plan, or other settings chosen")
        return found

    def _log(self, folder: Path) -> str:
        return folder.with_suffix(".log").read_text()[-2000:]


def standing(folder: Path) -> str:
    """Return what a command is at."""
    statuses = [RunFolder(path).recorded_status()["status"] for path in folder.glob("runs/*")]
    if "RUNNING" in statuses:
        return TRAINING
    return "between runs, or a report" if statuses else "before the first run"


def workers(pid: int) -> list[int]:
    """Return the worker processes of a pool."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            child = int(stat.parent.name)
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                if b"LokyProcess" in (stat.parent / "cmdline").read_bytes():
                    found.append(child)
    return found


def report_files(folder: Path) -> list[Path]:
    """Return the files that a report consists of."""
    study = folder / "studies" / "s"
    endings = (".md", ".html", ".tex", ".csv", ".png")
    return sorted(path for path in study.rglob("*") if path.suffix in endings)


def torn(folder: Path, whole: Path) -> Iterator[str]:
    """Return the files of a report that are neither missing nor as in an undisturbed one."""
    for path in report_files(folder):
        if path.read_bytes() != (whole / path.relative_to(folder)).read_bytes():
            yield f"{path} differs from the undisturbed report's"


def differences(one: RunFolder, other: RunFolder) -> list[str]:
    """Return what differs between two finished runs; nothing if they are equal."""
    found = []
    ours, theirs = results = one.result(), other.result()
    status = other.status()["status"]
    if ours is None or theirs is None or status != "FINISHED":
        return [f"{other.path.name} is not finished ({status})"]
    for key in ("metrics", "steps", "best_step", "examples_seen", "tokens_seen", "signature"):
        first, second = (getattr(result, key) for result in results)
        if first != second:
            found.append(f"{key}: {first} and {second}")
    if records(one) != records(other):
        found.append("metrics.jsonl")
    if one.predictions.read_bytes() != other.predictions.read_bytes():
        found.append("predictions.jsonl")
    for name in (ours.best_checkpoint, f"checkpoints/{one.resume_checkpoints()[0].name}"):
        states = [torch.load(run.path / name, weights_only=True) for run in (one, other)]
        weights = [state["state_dict"] for state in states]
        if not all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0]):
            found.append(f"weights in {name}")
    return [f"{other.path.name}: {what}" for what in found]


def records(folder: RunFolder) -> list[dict]:
    """Return the lines of a run's metrics without the time they took."""
    lines = map(json.loads, folder.metrics.read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def main() -> None:
    """Disturb commands of all kinds and compare; exit code 0 if nothing differs."""
    parser = script_parser(__doc__)
    parser.add_argument("--kills", type=positive, default=100, help="in all (%(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--runs", type=positive, default=24, help="of its sweep (%(default)s)")
    parser.add_argument("--steps", type=positive, default=200, help="updates a run (%(default)s)")
    parser.add_argument("--jobs", type=positive, default=2, help="kinds at a time (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    parser.add_argument(
        "--folder", type=own_folder, help="where to work (default: a temporary folder)"
    )
    options = parser.parse_args()
    options.shares = sum(SHARES[kind] for kind in options.kinds)
    torch.set_num_threads(1)
    # In the background it is ignored, and commands would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    memory = Path("/dev/shm")  # a killed process does not lose what it wrote: no disk is needed
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as temporary:
        sys.exit(compare(options, (options.folder or Path(temporary)).absolute()))


def compare(options: argparse.Namespace, root: Path) -> int:
    """Do what `main` says below a folder; return the exit code."""
    waiting, busy, figures, failed = list(options.kinds), {}, [], False
    start = time.monotonic()
    while waiting or busy:
        while waiting and len(busy) < options.jobs:
            kind = waiting.pop(0)
            busy[in_a_process(Lane(kind, root, options), root / f"{kind}.json")] = kind
        pid, status = os.wait()
        kind = busy.pop(pid)
        if os.waitstatus_to_exitcode(status):
            print(f"{kind} could not be done: {(root / f'{kind}.lane.log').read_text()[-3000:]}")
            failed = True
            continue
        figures.append(json.loads((root / f"{kind}.json").read_text()))
        print(line(figures[-1]), flush=True)
    wrong = [what for one in figures for what in one["wrong"]]
    print("\n".join(wrong), end="\n" if wrong else "")
    kills, restarts = (sum(one[key] for one in figures) for key in ("kills", "restarts"))
    minutes = (time.monotonic() - start) / 60
    print(
        f"{kills} kills in {minutes:.0f} minutes; a run went on from a checkpoint {restarts} times"
    )
    if not wrong and not failed:
        print("metrics, records, predictions, weights and reports are equal, bit for bit")
    return int(bool(wrong) or failed)


def in_a_process(lane: Lane, out: Path) -> int:
    """Do a lane in a process of its own, which can fork its commands; return its process id."""

    def work() -> None:
        out.write_text(json.dumps(lane.work()))
        sys.exit(0)

    return forked(work, [], out.with_suffix(".lane.log"))


def line(figures: dict) -> str:
    """Return the figures of a kind, as a line."""
    counts = [
        ", ".join(f"{number} {name}" for name, number in sorted(figures[key].items()))
        for key in ("signals", "met")
    ]
    return (
        f"{figures['kind']}: {figures['kills']} kills of {figures['commands']} commands in "
        f"{figures['seconds']} s ({counts[0]}; met: {counts[1]}); "
        f"{len(figures['wrong'])} differences"
    )


if __name__ == "__main__":
    main()
