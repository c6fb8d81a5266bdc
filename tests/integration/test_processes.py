"""What happens to processes: suspension, divergence, exits and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from decoderlab.common import process
from decoderlab.common.stopwatch import Stopwatch
from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.training import recorder
from decoderlab.training.recorder import Recorder
from tests.conftest import run, same
from tests.integration.cli import (
    OWN_DECODER,
    call,
    command,
    forked,
    in_process,
    wait_for,
)
from tests.integration.disturbed import runs, weights
from tests.integration.long_runs import has_checkpoint, long, settings, started

pytestmark = pytest.mark.usefixtures("undrawn")

# Suspension, divergence, exits


@pytest.mark.fault(41)
def test_a_stopwatch_does_not_count_time_in_which_the_process_was_stopped():
    script = (
        "import os, sys, time\n"
        "from decoderlab.common.stopwatch import Stopwatch\n"
        "watch, end = Stopwatch(), time.process_time() + 1.0\n"
        "print('ready', flush=True)\n"
        "while time.process_time() < end:\n"
        "    sum(range(20000)); seconds = watch.lap()\n"
        "print(seconds)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    started = time.perf_counter()
    for _ in range(2):
        time.sleep(0.2)
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(child.pid, signal.SIGCONT)
    seconds = float(child.communicate(timeout=60)[0])
    assert 0.9 < seconds < time.perf_counter() - started - 2.5


def test_a_stopwatch_counts_slow_laps_that_are_usual_or_busy():
    watch = Stopwatch()
    for _ in range(3):
        time.sleep(0.05)
        watch.lap()
    assert watch.seconds >= 0.15
    before, end = watch.seconds, time.process_time() + 0.7
    while time.process_time() < end:  # a lap of computing
        pass
    assert watch.lap() - before >= 0.65
    slow = Stopwatch(seconds=30.0, laps=10)  # every lap waits, as for another machine
    time.sleep(0.3)
    assert slow.lap() >= 30.3


@pytest.mark.fault(28)
def test_an_absurd_loss_is_a_divergence(tiny, monkeypatch):
    prepared, real = tiny(), recorder.Recorder.on_validation_end

    def blown_up(self, trainer, module):
        if trainer.global_step == 10:
            module.scores["loss"] = 2.4e30
        real(self, trainer, module)

    monkeypatch.setattr(Recorder, "on_validation_end", blown_up)
    assert run(prepared) == "DIVERGED"
    record = prepared.folder.status()
    assert (record["step"], record["reason"]) == (
        10,
        "the loss was 2.4e+30 on validation by update 10",
    )
    assert prepared.folder.result() is None


def test_a_loss_that_a_poor_model_can_have_is_no_divergence():
    # Ten thousand to one against every right token of eight: still far from it.
    assert recorder.worst_loss(TokenSpace(8)) > 100 * -torch.tensor(1e-4).log()
    # A Gaussian a hundred thousand times too narrow is a bad model of values, no divergence.
    assert recorder.worst_loss(ValueSpace(1)) > (1e5) ** 2 / 2


EXITING = (
    OWN_DECODER
    + """
WAYS = {
    "os": lambda: os._exit(0),
    "exec": lambda: os.execv(sys.executable, [sys.executable, "-c", ""]),
    "exit": lambda: sys.exit(0),
}


class Exiting(Own):
    def __init__(self, *, target_space, encoder_shape, way: str, when: str):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        self.way, self.when = way, when
        if when == "built":
            self.leave()

    def leave(self):
        while (signal_file := os.environ.get("LEAVE_WHEN")) and not os.path.exists(signal_file):
            time.sleep(0.05)
        if self.way == "memory":
            import resource, torch
            with open("/proc/self/statm") as file:
                size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (size + 200_000_000,) * 2)
            torch.zeros(400_000_000)
        WAYS[self.way]()

    def forward(self, encoded, target):
        self.calls += self.training
        if self.calls > 4 and self.when == "training":
            self.leave()
        return super().forward(encoded, target)
"""
)


@pytest.fixture
def exiting(tmp_path: Path) -> list[str]:
    """Return the arguments of a run whose decoder wants to end the process."""
    conf = tmp_path / "conf"
    (conf / "decoder").mkdir(parents=True)
    (conf / "exiting.py").write_text(EXITING)
    (conf / "decoder" / "exiting.yaml").write_text(
        "_target_: exiting.Exiting\nway: os\nwhen: training\n"
    )
    shape = [one for one in settings(tmp_path / "o") if not one.startswith("decoder.")]
    shape = [one for one in shape if one != "decoder=repeat_vector"]
    return ["--config-dir", str(conf), *shape, "decoder=exiting"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "when", "code", "reason"),
    [
        ("os", "training", 1, "os._exit(0) was called"),
        ("exec", "training", 1, "os.execv("),
        ("exit", "training", 1, "SystemExit: 0"),
        ("os", "built", 2, "os._exit(0) was called"),
        ("exit", "built", 1, "called exit(0)"),
    ],
)
@pytest.mark.fault(32)
def test_a_run_that_ends_its_process_has_not_succeeded(tmp_path, exiting, way, when, code, reason):
    done = forked("train", *exiting, f"decoder.way={way}", f"decoder.when={when}")
    assert done.returncode == code, done.stderr
    assert reason in done.stderr
    assert not list(tmp_path.glob("o/runs/*/result.json"))
    if when == "training":
        assert runs(tmp_path / "o")[0].status()["status"] == "FAILED"


def test_exits_of_child_processes_and_afterwards_are_let_through():
    with process.without_exits():
        with pytest.raises(process.ProcessExit, match=r"os._exit\(0\)"):
            os._exit(0)
        kept = os._exit
        if not (child := os.fork()):
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert os._exit is not kept
    if not (child := os.fork()):
        kept(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 8


# Sweeps


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["pool", "basic"])
def test_a_sweep_can_stop_at_its_first_failure(tmp_path, exiting, launcher):
    ways = "seed=0 decoder.way=exit,os study.name=s study.on_failure=stop".split()
    jobs = ["hydra.launcher.jobs=1"] if launcher == "pool" else []
    given = ["-m", *exiting, *ways, f"hydra/launcher={launcher}", *jobs]
    run = call if launcher == "pool" else forked
    done = run("train", *given)
    assert done.returncode == 1, done.stderr
    # At once, with the reason; and again at the end.
    assert done.stderr.count("failed SystemExit: 0") == 1, done.stderr
    assert "stopped at the first failure (study.on_failure=stop)" in done.stderr
    assert "failed: SystemExit: 0" in done.stderr.partition("1 runs failed")[2]
    assert len(runs(tmp_path / "o")) == 1
    # The same command does the rest.
    again = run("train", *given, "study.on_failure=continue")
    assert again.returncode == 1
    assert len(runs(tmp_path / "o")) == 2


@pytest.mark.slow
def test_running_runs_save_what_they_have_when_a_sweep_stops_at_a_failure(
    begin, monkeypatch, tmp_path, exiting
):
    # The one run fails when the other has saved something.
    monkeypatch.setenv("LEAVE_WHEN", str(tmp_path / "leave"))
    steps = ("training.max_steps=1000000", "evaluation.every_steps=20", "study.on_failure=stop")
    decoders = "decoder.when=never,training"
    given = ["-m", *exiting, *steps, decoders, "decoder.way=exit", "study.name=s"]
    process_ = begin(*given, "hydra.launcher.jobs=2")
    wait_for(lambda: has_checkpoint(tmp_path / "o"), process_)
    (tmp_path / "leave").touch()
    output, _ = process_.communicate(timeout=120)
    assert process_.returncode == 1, output
    assert sorted(one.status()["status"] for one in runs(tmp_path / "o")) == [
        "FAILED",
        "INTERRUPTED",
    ]
    assert has_checkpoint(tmp_path / "o")


@pytest.mark.slow
@pytest.mark.fault(30)
def test_no_memory_left_in_a_worker_costs_one_run_and_says_what_helps(tmp_path, exiting):
    given = ["-m", *exiting, "decoder.way=memory", "decoder.when=never,training", "study.name=s"]
    done = call("train", *given)
    assert done.returncode == 1, done.stderr
    assert "out of memory: take a smaller training.batch_size" in done.stderr
    statuses = sorted(one.status()["status"] for one in runs(tmp_path / "o"))
    assert statuses == ["FAILED", "FINISHED"]


# Signals that are ignored


@pytest.mark.slow
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.fault(33)
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(begin, tmp_path, many):
    more = ["-m", "seed=0,1", "study.name=s", "hydra.launcher.jobs=2"] if many else []
    process_ = begin(
        *more,
        *long(tmp_path),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as nohup and & do
    )
    number = 2 if many else 1
    wait_for(lambda: len(started(tmp_path)) == number, process_)
    for _ in range(2):
        os.killpg(process_.pid, signal.SIGINT)
    steps = [one.last_metrics()["step"] for one in runs(tmp_path)]
    wait_for(
        lambda: all(
            one.last_metrics()["step"] > before + 60
            for one, before in zip(runs(tmp_path), steps, strict=True)
        ),
        process_,
    )
    os.killpg(process_.pid, signal.SIGTERM)
    output = process_.communicate(timeout=60)[0]
    assert process_.returncode == 143, output
    assert all(one.status()["reason"] == "interrupted by SIGTERM" for one in runs(tmp_path))


@pytest.mark.fault(34)
def test_sigterm_that_was_ignored_stays_ignored(tiny):
    prepared = tiny()
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    real = Recorder.on_train_batch_end
    try:
        with pytest.MonkeyPatch.context() as patch:

            def terminated(self, trainer, *args):
                signal.raise_signal(signal.SIGTERM)
                assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
                real(self, trainer, *args)

            patch.setattr(Recorder, "on_train_batch_end", terminated)
            assert run(prepared) == "FINISHED"
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_without_any_standard_stream_a_sweep_ends_as_ever(tmp_path):
    given = ["-m", *settings(tmp_path), "seed=0,1", "study.name=s", "hydra.launcher.jobs=1"]
    line = " ".join(f"'{word}'" for word in command("train", *given))
    closed = subprocess.run(["bash", "-c", f"exec {line} <&- >&- 2>&-"], timeout=300)
    assert closed.returncode == 0
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 2


@pytest.mark.slow
def test_umask_locale_and_time_zone_change_no_result(monkeypatch, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    assert in_process(monkeypatch, *settings(here)) == 0
    for name, value in (("LC_ALL", "C"), ("TZ", "Pacific/Kiritimati")):
        monkeypatch.setenv(name, value)
    before = os.umask(0o077)
    try:
        done = call("train", *settings(there))
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    (one,), (other,) = runs(here), runs(there)
    assert one.path.name == other.path.name
    assert one.result().metrics == other.result().metrics
    assert one.predictions.read_bytes() == other.predictions.read_bytes()
    assert same(weights(one), weights(other))


def test_a_worker_leaves_the_libraries_out_of_its_search_for_garbage():
    script = """
import gc
from decoderlab.studies.execution import worker_pool

def demand_room(job):
    print(gc.get_freeze_count())
    kept.extend([] for _ in range(left.pop()))
    gc.collect()  # as between runs
    raise EOFError  # nothing is trained

kept, left, worker_pool.demand_room = [], [0, 1_000, 60_000], demand_room
for _ in range(3):
    try:
        worker_pool.work(None)
    except EOFError:
        pass
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    first, second, third = map(int, done.stdout.split())
    assert first > 100_000
    assert 60_000 <= second - first < 61_000  # those that its first run had imported
    assert third == second
