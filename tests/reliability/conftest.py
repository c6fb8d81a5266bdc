"""An output folder for decoderlab-doctor to look through."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from decoderlab.studies.design.plan_file import Plan, StudyCell
from decoderlab.studies.design.planned_and_run import note_all_planned
from decoderlab.training.prepared_run import prepare
from tests.conftest import TASKS, TINY, composed, run, small
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
