"""What several tests damage: an output folder, and a run that was broken off."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.design.plan_file import Plan, StudyCell
from decoderlab.studies.design.planned_and_run import note_all_planned
from decoderlab.training.prepared_run import Prepared, prepare
from tests.conftest import TASKS, TINY, composed, run, small
from tests.interrupting import broken_off_run
from tests.unit.studies import STUDY, UPDATES


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """Return an output folder with a study of one finished run."""
    outputs = tmp_path_factory.mktemp("whole")
    sizes = [*small("encoder", "lstm"), *small("decoder", "repeat_vector")]
    settings = [*TASKS["echo"], *TINY, *sizes, f"run.output_dir={outputs}", "logger=tensorboard"]
    config = composed(*settings)
    prepared = prepare(config, config.hydra.runtime.choices)
    assert run(prepared) == "FINISHED"
    folder = str(prepared.folder.path.relative_to(outputs))
    factors = {"decoder": "repeat_vector", "task": "echo"}
    given = tuple(f"{key}={value}" for key, value in factors.items())
    flops = prepared.folder.result().flops_per_example
    named = ("repeat_vector", "echo", 0, prepared.num_parameters, given, factors, flops, 12)
    cell = StudyCell(prepared.run_id, folder, *named)
    plan = Plan(STUDY, (cell,), UPDATES)
    plan.write(outputs, {prepared.run_id: prepared.config})
    note_all_planned(plan, outputs, {prepared.run_id})
    return outputs


@pytest.fixture
def outputs(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "outputs"))


@pytest.fixture(scope="session")
def dead() -> int:
    """Return the id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory) -> Prepared:
    """A run that stopped before its end, which no test changes."""
    folder = tmp_path_factory.mktemp("broken")
    prepared = broken_off_run(folder, 11, "training/schedule=linear")
    assert [path.name for path in prepared.folder.resume_checkpoints()][1:]
    return prepared


@pytest.fixture
def single(broken_off, tmp_path) -> Prepared:
    """A copy of it that may be changed."""
    path = shutil.copytree(broken_off.folder.path, tmp_path / broken_off.folder.path.name)
    return replace(broken_off, folder=RunFolder(path))
