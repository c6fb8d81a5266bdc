"""One run of two processes: it ends as one process ends, and together."""

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
import torch

from decoderlab.records.run_folder import RunFolder
from tests.conftest import run, same
from tests.integration.cli import command, start, tiny_arguments
from tests.integration.test_commands import wait_for

SECONDS = 120
MORE = ("encoder.dropout=0.3", "encoder.num_layers=2", "training.max_steps=100")


def only(output_dir: Path) -> RunFolder:
    (folder,) = (output_dir / "runs").iterdir()
    return RunFolder(folder)


def last_weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return torch.load(folder.resume_checkpoints()[0], weights_only=True)["state_dict"]


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
    assert done.stdout == ""
    return done.stderr


def test_two_processes_end_as_one_does(tiny, tmp_path):
    # Small batches, some of one example: one rank then has none.
    settings = ("training.batch_size=3", "run.evaluation_batch_size=3", "logger=tensorboard")
    alone = tiny(*settings, output_dir=tmp_path / "one")
    assert run(alone) == "FINISHED"
    script = Path(sys.executable).with_name("decoderlab-train")
    begin = [str(script)] if script.exists() else command("train")
    arguments = tiny_arguments(tmp_path / "two", *settings, "run.devices=2")
    (tmp_path / "cwd").mkdir()
    printed = called([*begin, *arguments], tmp_path / "cwd")
    assert list((tmp_path / "cwd").iterdir()) == []
    assert printed.count(": starting\n") == printed.count(": finished test: ") == 1
    assert printed.count("data: train 200") == 1
    assert printed.count("\n") == 3  # the other rank says nothing

    one, two = alone.folder, only(tmp_path / "two")
    before, after = last_weights(one), last_weights(two)
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in before)
    results = [folder.result() for folder in (one, two)]
    assert [result.environment.world_size for result in results] == [1, 2]
    for key in ("run_id", "best_step", "steps", "examples_seen", "tokens_seen", "signature"):
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
def test_an_interrupted_run_of_two_ends_with_the_same_bits_as_one_under_torchrun(tmp_path):
    def arguments(folder: Path) -> list[str]:
        return [*tiny_arguments(folder, *MORE), "run.devices=2"]

    process = start("train", *arguments(tmp_path / "broken"))
    wait_for(lambda: list(tmp_path.rglob("step-*.ckpt.sha256")), process, SECONDS)
    process.terminate()  # rank 0 alone
    output = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 143, output
    assert output.count("the same command goes on from here") == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nobody is left
    broken = only(tmp_path / "broken")
    assert broken.status()["status"] == "INTERRUPTED"
    assert broken.result() is None

    printed = called(command("train", *arguments(tmp_path / "broken")), tmp_path)
    assert "going on from update" in printed
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    arguments_of_whole = [*torchrun, "-m", "decoderlab.cli.train", *arguments(tmp_path / "whole")]
    called(arguments_of_whole, tmp_path)
    whole = only(tmp_path / "whole")
    assert same(last_weights(whole), last_weights(broken))
    results = [folder.result() for folder in (whole, broken)]
    assert results[0].metrics == results[1].metrics
    assert [result.restarts for result in results] == [0, 1]
    assert "before, nothing to do" in called(arguments_of_whole, tmp_path)


def test_a_lost_process_ends_the_run(tmp_path):
    arguments = tiny_arguments(tmp_path, "training.max_steps=100000", "run.devices=2")
    process = start("train", *arguments)
    wait_for(lambda: list(tmp_path.rglob("step-*.ckpt.sha256")), process, SECONDS)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("only Linux tells the children of a process")
    (other,) = children.read_text().split()
    began = time.monotonic()
    os.kill(int(other), signal.SIGKILL)
    output = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 1, output
    assert time.monotonic() - began < 30
    assert only(tmp_path).status()["status"] == "FAILED"
