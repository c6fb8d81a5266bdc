"""Sweeps in the pool, through the real commands: what happens to one run costs only itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decoderlab.common.process import is_alive
from decoderlab.records.checkpoints import recorded_sha256, verify
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.execution import sweep as execution
from tests.integration.cli import (
    OWN_DECODER,
    call,
    forked,
    in_process,
    tiny_arguments,
    wait_for,
)
from tests.integration.disturbed import runs
from tests.integration.long_runs import started

pytestmark = pytest.mark.usefixtures("undrawn")

ROOT = Path(__file__).parents[2]

# A decoder that does what its setting says once training has begun.
MISBEHAVING = (
    OWN_DECODER
    + """

class Misbehaving(Own):
    def __init__(self, *, target_space, encoder_shape, what: str):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        self.what = what

    def forward(self, encoded, target):
        # Planning trains three updates for its estimate.
        self.calls += self.training
        if self.calls > 4:
            if self.what == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.what == "exits":
                exit(0)
            if self.what == "exits hard":
                os._exit(3)
            if self.what == "raises":
                raise RuntimeError("of its own")
            if self.what == "memory":
                raise MemoryError
            if self.what == "crashes":
                os.kill(os.getpid(), signal.SIGSEGV)
            if self.what == "hangs":
                time.sleep(3600)
        return super().forward(encoded, target)
"""
)
WHATS = ("killed", "exits", "exits hard", "raises", "memory", "crashes", "hangs", "nothing")


@pytest.fixture
def misbehaving(tmp_path: Path) -> list[str]:
    """Return the arguments that sweep over decoders which misbehave."""
    conf = tmp_path / "conf"
    (conf / "decoder").mkdir(parents=True)
    (conf / "misbehaving.py").write_text(MISBEHAVING)
    yaml = "_target_: misbehaving.Misbehaving\nwhat: nothing\n"
    (conf / "decoder" / "misbehaving.yaml").write_text(yaml)
    names = ",".join(f"'{what}'" for what in WHATS)
    shape = [one for one in tiny_arguments(tmp_path / "o") if not one.startswith("decoder.")]
    sweep = ["-m", *shape, "decoder=misbehaving", f"decoder.what={names}", "study.name=s"]
    return ["--config-dir", str(conf), *sweep, "training.max_steps=40", "evaluation.every_steps=20"]


def statuses(folder: Path, what: str = "decoder.what=") -> dict[str, tuple[str, str]]:
    """Return status and reason of each run of the study, by row of the table."""
    cells = json.loads((folder / "studies" / "s" / "plan.json").read_text())["cells"]
    records = {cell["variant"]: RunFolder(folder / cell["folder"]).status() for cell in cells}
    return {
        name.removeprefix(what).strip("'"): (record["status"], record.get("reason", ""))
        for name, record in records.items()
    }


@pytest.mark.slow
@pytest.mark.fault(30, 31, 32, 37)
def test_whatever_happens_to_a_run_costs_only_itself(tmp_path, misbehaving):
    done = call("train", *misbehaving, "hydra.launcher.time_limit_seconds=20")
    assert done.returncode == 1, done.stderr
    seen = statuses(tmp_path / "o")
    assert {what: status for what, (status, _) in seen.items()} == dict.fromkeys(
        WHATS, "FAILED"
    ) | {"nothing": "FINISHED"}
    for what, reason in (
        ("killed", "(SIGKILL), as the system does when memory is short; then take a smaller"),
        ("exits", "SystemExit: 0"),
        ("exits hard", "its process ended with EXIT(3)"),
        ("raises", "RuntimeError: of its own"),
        ("memory", "smaller training.batch_size"),
        ("crashes", "its process ended with SIGSEGV"),
        ("hangs", "took longer than hydra.launcher.time_limit_seconds=20"),
    ):
        assert reason in seen[what][1]
    assert "8 of 8 done, 7 failed" in done.stderr
    ended = done.stderr.partition("7 runs failed")[2]
    for what, (_, reason) in seen.items():  # each at once, and all at the end
        assert bool(reason) == (what != "nothing")
        assert not reason or (done.stderr.count(reason), reason in ended) == (2, True), what
    # What failed stays as it is; decoderlab-status says why.
    again = call("train", *misbehaving)
    assert again.returncode == 1
    assert "1 finished before, 7 failed before (study.retry=failed" in again.stderr
    told = forked("status", "s", "--output-dir", str(tmp_path / "o"))
    assert told.returncode == 1
    assert "8 runs: 7 failed, 1 finished" in told.stdout
    assert "killed' · seed 0: failed: its process was killed" in told.stdout
    assert "study.retry=failed" in told.stdout


def sweep(folder: Path, *more: str) -> list[str]:
    sizes = ("training.max_steps=600", "evaluation.every_steps=60")
    return ["-m", *tiny_arguments(folder, *sizes), "seed=range(0,6)", "study.name=s", *more]


COUNTING = """
import os
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.feedback import NoFeedback
from decoderlab.layers import LSTM


class Counting(RecurrentDecoder):
    def __init__(self, *, target_space, encoder_shape):
        self.calls = 0
        super().__init__(
            target_space=target_space,
            encoder_shape=encoder_shape,
            cell=LSTM,
            routes=["every_input"],
            feedback=NoFeedback,
            hidden_size=8,
        )

    def forward(self, encoded, target):
        self.calls += self.training
        if self.training and self.calls == 500:  # one line for each training that gets here
            with open(os.path.join(os.environ["LOGS"], f"{os.getpid()}.log"), "a") as file:
                file.write("trained\\n")
        return super().forward(encoded, target)
"""


@pytest.mark.slow
@pytest.mark.fault(47)
def test_two_launches_of_a_study_share_its_runs(begin, tmp_path, monkeypatch):
    conf, logs = tmp_path / "conf", tmp_path / "logs"
    (conf / "decoder").mkdir(parents=True)
    logs.mkdir()
    (conf / "counting.py").write_text(COUNTING)
    (conf / "decoder" / "counting.yaml").write_text("_target_: counting.Counting\n")
    # Not a setting: a folder that a decoder names counts by its contents, and these change.
    monkeypatch.setenv("LOGS", str(logs))
    shape = [one for one in sweep(tmp_path) if not one.startswith("decoder.")]
    given = ("--config-dir", str(conf), *shape, "decoder=counting", "hydra.launcher.jobs=1")
    both = [begin(*given) for _ in range(2)]
    outputs = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    # Each of the six runs was trained once, by one of the two workers.
    counts = [path.read_text().count("trained") for path in logs.iterdir()]
    assert sum(counts) == 6
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 6
    assert all("6/6" in output for output in outputs)


@pytest.mark.slow
def test_status_shows_what_runs_and_a_killed_launch_ends_its_workers(begin, tmp_path):
    process = begin(*sweep(tmp_path, "training.max_steps=100000", "hydra.launcher.jobs=2"))
    wait_for(lambda: len(started(tmp_path)) == 2, process)
    told = forked("status", "s", "--output-dir", str(tmp_path))
    assert told.returncode == 1
    assert re.search(r"study s: 6 runs: .*2 running", told.stdout)
    pid = re.search(r"of 100,000 +\d\.\d+ +\d+ s +(\d+) ", told.stdout)
    assert pid, told.stdout
    assert int(pid[1]) in [run.status()["pid"] for run in runs(tmp_path)]
    # Only the launching process dies: its workers save what they have, and end.
    process.kill()
    process.communicate(timeout=60)
    end = time.monotonic() + 30
    while any(run.locked() for run in runs(tmp_path)):
        assert time.monotonic() < end
        time.sleep(0.1)
    for run in runs(tmp_path):
        record = run.recorded_status()
        assert (record["status"], record["reason"]) == ("INTERRUPTED", "interrupted by SIGTERM")
    listed = forked("status", "--output-dir", str(tmp_path)).stdout
    assert re.search(r"^ ?s +6 +.*interrupted", listed, flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.fault(13)
def test_an_edited_yaml_does_not_reach_a_running_sweep(begin, tmp_path):
    conf = tmp_path / "conf"
    (conf / "training").mkdir(parents=True)
    ours = (ROOT / "conf" / "training" / "default.yaml").read_text()
    yaml = conf / "training" / "mine.yaml"
    yaml.write_text(ours.replace("warmup_steps: 0", "warmup_steps: 3"))
    given = ("training=mine", "hydra.launcher.jobs=1", "training.max_steps=120")
    process = begin("--config-dir", str(conf), *sweep(tmp_path / "o", *given))
    wait_for(lambda: list((tmp_path / "o").glob("runs/*/config.yaml")), process)
    yaml.write_text("broken: [")
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    configs = [path.read_text() for path in (tmp_path / "o" / "runs").glob("*/config.yaml")]
    assert len(configs) == 6
    assert all("warmup_steps: 3" in text for text in configs)


def pairs(path: Path, letter: str) -> None:
    lines = [f"{letter}{n}\t{n}{letter}\n" for n in range(60)]
    path.write_text("source\ttarget\n" + "".join(lines))


@pytest.mark.slow
@pytest.mark.fault(26)
def test_data_that_change_under_a_sweep_leave_its_runs_to_be_done(begin, tmp_path):
    files = [tmp_path / "a.tsv", tmp_path / "b.tsv"]
    for path, letter in zip(files, "ab", strict=True):
        pairs(path, letter)
    arguments = ["-m", "task=tsv", f"task.path={files[0]},{files[1]}", "study.name=s"]
    sizes = ("training.max_steps=400", "evaluation.every_steps=100", f"run.output_dir={tmp_path}")
    process = begin(*arguments, *sizes, "hydra.launcher.jobs=1")
    wait_for(lambda: list(tmp_path.glob("runs/*/config.yaml")), process)
    pairs(files[1], "c")
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 1, output
    assert "the data, or a class of yours, changed after the study was planned; put it" in output
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 1
    assert "FAILED" not in output
    again = forked("train", *arguments, *sizes)
    assert again.returncode == 2, again.stderr
    assert "since the data, or the source of a class of yours, changed" in again.stderr
    # With the data of before, the run is what was planned.
    pairs(files[1], "b")
    done = call("train", *arguments, *sizes)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_costs_one_run(begin, tmp_path):
    planned = forked("plan", *sweep(tmp_path)[:-1], "study.name=s", "seed=0")
    assert planned.returncode == 0
    process = begin(*sweep(tmp_path, "hydra.launcher.jobs=1"))
    wait_for(lambda: (tmp_path / "studies" / "s" / "plan.json").exists(), process)
    cells = json.loads((tmp_path / "studies" / "s" / "plan.json").read_text())["cells"]
    (tmp_path / "runs").mkdir(exist_ok=True)
    (tmp_path / cells[3]["folder"]).write_text("in the way")
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 1, output
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 5
    assert "File exists" in output


def test_a_module_that_exits_while_it_is_planned_is_refused(tmp_path):
    conf = tmp_path / "conf"
    (conf / "decoder").mkdir(parents=True)
    (conf / "exits.py").write_text(MISBEHAVING.replace("self.calls > 4", "True"))
    (conf / "decoder" / "exits.yaml").write_text("_target_: exits.Misbehaving\nwhat: exits\n")
    shape = [one for one in sweep(tmp_path / "o") if not one.startswith("decoder.")]
    done = forked("train", "--config-dir", str(conf), *shape, "decoder=exits")
    assert done.returncode == 2
    assert "cannot read a batch of its task (SystemExit" in done.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
@pytest.mark.fault(35)
def test_killed_again_and_again_commands_end_as_if_nothing_had_happened(tmp_path, drawn):
    tool = [sys.executable, str(ROOT / "scripts" / "kill_sweep.py"), "--folder", str(tmp_path)]
    done = subprocess.run(
        [*tool, "--runs=3", "--kills=5", "--steps=150"],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ("runs", "sweeps", "tuning", "reports", "pool"):
        assert f"\n{kind}: " in f"\n{done.stdout}"
    assert "predictions, weights and reports are equal, bit for bit" in done.stdout


@pytest.mark.slow
@pytest.mark.fault(33)
def test_a_second_signal_stops_a_sweep_at_once(begin, tmp_path):
    process = begin(*sweep(tmp_path, "training.max_steps=100000", "hydra.launcher.jobs=2"))
    wait_for(lambda: len(started(tmp_path)) == 2, process)
    pids = [run.status()["pid"] for run in runs(tmp_path)]
    os.killpg(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    end = time.monotonic() + 5
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < end, "a worker outlives its sweep"
        time.sleep(0.05)
    for run in runs(tmp_path):  # and nothing is lost
        assert run.status()["status"] == "INTERRUPTED"
        newest = run.resume_checkpoints()[0]
        verify(newest, recorded_sha256(newest), 10**9)


def test_the_report_is_of_the_plan_as_it_is_in_the_end(tmp_path, monkeypatch, capfd):
    given = ("-m", *tiny_arguments(tmp_path), "study.name=s", "hydra/launcher=basic")
    run_pending = execution.run_pending

    def meanwhile(*arguments):
        run_pending(*arguments)
        assert call("train", *given, "seed=0,1").returncode == 0

    with monkeypatch.context() as patch:
        patch.setattr(execution, "run_pending", meanwhile)
        assert in_process(patch, *given, "seed=0") == 0
    assert "with 2 runs in place of 1; the report is of these" in capfd.readouterr().err
    assert len((tmp_path / "studies/s/results.csv").read_text().splitlines()) == 3
