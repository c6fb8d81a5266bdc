"""One run of two processes, started by torchrun: it ends as one process ends, and together."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from decoderlab.records.run_folder import RunFolder
from tests.conftest import run, same
from tests.integration.cli import command, tiny_arguments, wait_for

SECONDS = 120
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
MORE = ("encoder.dropout=0.3", "encoder.num_layers=2", "training.max_steps=200")


def only(output_dir: Path) -> RunFolder:
    (folder,) = (output_dir / "runs").iterdir()
    return RunFolder(folder)


def last_weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return torch.load(folder.resume_checkpoints()[0], weights_only=True)["state_dict"]


def of_two(*arguments: str) -> list[str]:
    """Return the command line of a run of two processes."""
    return [*TORCHRUN, "-m", "decoderlab.cli.train", *arguments, "trainer.devices=2"]


def ranks_of(process: subprocess.Popen) -> list[int]:
    """Return the ids of the processes that torchrun started, by rank."""
    ranks = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            variables = (path / "environ").read_bytes().split(b"\0")
            command_line = (path / "cmdline").read_bytes()
            group = os.getpgid(int(path.name))
        except OSError:
            continue
        rank = [one[5:] for one in variables if one.startswith(b"RANK=")]
        ours = group == process.pid or _parent(path) == process.pid
        if rank and ours and b"decoderlab.cli.train" in command_line:
            ranks[int(rank[0])] = int(path.name)
    return [ranks[rank] for rank in sorted(ranks)]


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def called(arguments: list[str], cwd: Path) -> str:
    """Run a command to its end and return what it printed."""
    done = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


@pytest.mark.slow
def test_two_processes_end_as_one_does(tiny, tmp_path):
    # Small batches, some of one example: one rank then has none.
    settings = ("training.batch_size=3", "run.evaluation_batch_size=3", "logger=tensorboard")
    alone = tiny(*settings, output_dir=tmp_path / "one")
    assert run(alone) == "FINISHED"
    arguments = tiny_arguments(tmp_path / "two", *settings)
    (tmp_path / "cwd").mkdir()
    printed = called(of_two(*arguments), tmp_path / "cwd")
    assert list((tmp_path / "cwd").iterdir()) == []
    assert printed.count(": starting\n") == printed.count(": finished test: ") == 1
    assert printed.count("data: train 200") == 1
    # The other rank says nothing; how far a run is, is said where it takes long.
    assert len([line for line in printed.splitlines() if ": update " not in line]) == 3, printed

    one, two = alone.folder, only(tmp_path / "two")
    before, after = last_weights(one), last_weights(two)
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in before)
    results = [folder.result() for folder in (one, two)]
    assert [result.environment.world_size for result in results] == [1, 2]
    assert results[0].run_id != results[1].run_id
    for key in ("best_step", "steps", "examples_seen", "tokens_seen", "signature"):
        assert getattr(results[0], key) == getattr(results[1], key)
    for split, scores in vars(results[0].metrics).items():
        assert getattr(results[1].metrics, split) == pytest.approx(scores, rel=1e-5)
    assert one.predictions.read_text() == two.predictions.read_text()
    lines = [
        [json.loads(line) for line in folder.metrics.read_text().splitlines()]
        for folder in (one, two)
    ]
    for mine, theirs in zip(*lines, strict=True):
        assert mine | {"seconds": 0} == pytest.approx(theirs | {"seconds": 0}, rel=1e-4)
    names = [
        {re.sub(r"events\..*", "events", path.name) for path in folder.path.rglob("*")}
        for folder in (one, two)
    ]
    assert names[0] == names[1]
    assert len(list(two.events.glob("events*"))) == len(list(one.events.glob("events*")))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds ranks in /proc")
def test_a_run_of_two_interrupted_at_any_rank_ends_with_the_same_bits(launch, tmp_path):
    def arguments(folder: Path) -> list[str]:
        return of_two(*tiny_arguments(folder, *MORE))

    def sealed() -> set[Path]:
        return set(tmp_path.rglob("step-*.ckpt.sha256"))

    for rank in (0, 1):
        before = sealed()
        process = launch(arguments(tmp_path / "broken"), cwd=tmp_path)
        wait_for(lambda before=before: sealed() - before, process, SECONDS)
        os.kill(ranks_of(process)[rank], signal.SIGTERM)
        output = process.communicate(timeout=SECONDS)[0]
        assert process.returncode != 0, output
        assert output.count("give the same command again to resume") == 1
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)  # nobody is left
        broken = only(tmp_path / "broken")
        assert broken.status()["status"] == "INTERRUPTED"
        assert broken.result() is None

    printed = called(arguments(tmp_path / "broken"), tmp_path)
    assert "resuming from update" in printed
    called(arguments(tmp_path / "whole"), tmp_path)
    whole = only(tmp_path / "whole")
    assert same(last_weights(whole), last_weights(broken))
    results = [folder.result() for folder in (whole, broken)]
    assert results[0].metrics == results[1].metrics
    assert [result.restarts for result in results] == [0, 2]
    assert "before, nothing to do" in called(arguments(tmp_path / "whole"), tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds ranks in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_lost_process_ends_the_run_which_can_go_on(launch, tmp_path, rank):
    arguments = [*tiny_arguments(tmp_path), "training.max_steps=100000"]
    process = launch(of_two(*arguments), cwd=tmp_path)
    wait_for(lambda: list(tmp_path.rglob("step-*.ckpt.sha256")), process, SECONDS)
    began = time.monotonic()
    os.kill(ranks_of(process)[rank], signal.SIGKILL)
    output = process.communicate(timeout=SECONDS)[0]
    assert process.returncode != 0, output
    assert time.monotonic() - began < 60
    # A rank 0 that was killed says nothing: its record stays, and its lock is free.
    folder = only(tmp_path)
    assert folder.status()["status"] in ("FAILED", "INTERRUPTED")

    again = launch(of_two(*arguments), cwd=tmp_path)
    lines = []
    while "resuming from update" not in "".join(lines):
        line = again.stdout.readline()
        assert line, "".join(lines)
        lines.append(line)
    os.kill(ranks_of(again)[0], signal.SIGTERM)
    again.communicate(timeout=SECONDS)
    assert folder.status()["status"] == "INTERRUPTED"


@pytest.mark.slow
def test_a_process_alone_says_how_to_start_several(tmp_path):
    arguments = tiny_arguments(tmp_path, "trainer.devices=2")
    done = subprocess.run(command("train", *arguments), capture_output=True, text=True)
    assert done.returncode == 2
    given = re.search(r"start it with (torchrun --nproc-per-node=2 -m .*)", done.stderr)[1]
    assert given.endswith("trainer.devices=2")
    program, *rest = shlex.split(given)
    assert program == "torchrun"
    (tmp_path / "cwd").mkdir()
    called([sys.executable, "-m", "torch.distributed.run", *rest], tmp_path / "cwd")
    assert only(tmp_path).status()["status"] == "FINISHED"
