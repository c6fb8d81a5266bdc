"""Variables of the shell: none changes what is trained or measured, or ends in our error."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from decoderlab.cli.app import guarded
from decoderlab.common.errors import LaunchError
from decoderlab.common.process import PRECISION_VARIABLES, TRAINER_VARIABLES
from decoderlab.training import run_lifecycle
from decoderlab.training.loading import load_run
from decoderlab.training.model_evaluation import evaluate
from tests.conftest import run

# Arguments of Lightning's that would change a run, or how it is measured.
ARGUMENTS = {
    "ACCUMULATE_GRAD_BATCHES": "2",
    "FAST_DEV_RUN": "1",
    "LIMIT_TEST_BATCHES": "1",
    "LIMIT_TRAIN_BATCHES": "2",
    "LIMIT_VAL_BATCHES": "1",
    "MAX_TIME": "00:00:00:01",
    "OVERFIT_BATCHES": "1",
}


def test_the_variables_are_those_of_lightning(monkeypatch):
    """It takes them under this name, or the tests below would show nothing."""
    monkeypatch.setenv(f"{TRAINER_VARIABLES}MAX_STEPS", "3")
    alone = [LightningEnvironment()]
    made = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", plugins=alone)
    assert made.max_steps == 3
    known = {name.upper() for name in inspect.signature(pl.Trainer).parameters}
    assert known >= ARGUMENTS.keys()


def test_no_variable_is_an_argument_of_a_runs_trainer(tiny, tmp_path, monkeypatch):
    plain = tiny(output_dir=tmp_path / "plain")
    assert run(plain) == "FINISHED"
    for name, value in ARGUMENTS.items():
        monkeypatch.setenv(f"{TRAINER_VARIABLES}{name}", value)
    said: list[str] = []
    monkeypatch.setattr(run_lifecycle, "say", said.append)
    given = tiny(output_dir=tmp_path / "given")
    assert run(given) == "FINISHED"
    assert any("PL_TRAINER_FAST_DEV_RUN" in line and "is not used" in line for line in said)
    wanted, made = plain.folder.result(), given.folder.result()
    assert made.metrics == wanted.metrics
    assert (made.steps, made.probes) == (wanted.steps, wanted.probes)
    loaded = load_run(given.folder.path)
    assert evaluate(loaded.module, loaded.task, "test", loaded.config) == wanted.metrics.test
    assert os.environ["PL_TRAINER_FAST_DEV_RUN"] == "1"  # as whoever called has set it


@pytest.mark.parametrize("name", PRECISION_VARIABLES)
def test_no_command_takes_its_precision_from_the_environment(monkeypatch, capfd, name):
    monkeypatch.setenv(name, "1")
    monkeypatch.setenv("OF_SOMEBODY", "1")
    seen = []
    assert guarded(lambda: seen.append(dict(os.environ)) or 0) == 0
    assert name not in seen[0]
    assert seen[0]["OF_SOMEBODY"] == "1"
    assert f"note: {name} of the environment is not used" in capfd.readouterr().err


CONVOLVED = """
import sys
from decoderlab.cli import check, evaluate, export, plan, predict, report, train
from decoderlab.cli.app import guarded
def show():
    import torch
    torch.manual_seed(0)
    print(torch.nn.Conv1d(64, 128, 3)(torch.randn(16, 64, 50)).double().sum().item())
    return 0
assert "torch" not in sys.modules
guarded(show)
"""


@pytest.mark.slow
def test_a_convolution_is_what_it_is_without_the_variables():
    made = {}
    for mode in ("", "BF16"):
        environment = os.environ | {"ONEDNN_DEFAULT_FPMATH_MODE": mode}
        command = [sys.executable, "-c", CONVOLVED]
        made[mode] = subprocess.check_output(command, env=environment, text=True)
    assert made["BF16"] == made[""] != ""


@pytest.mark.parametrize("name", PRECISION_VARIABLES)
def test_where_it_is_too_late_to_drop_it_nothing_is_trained_or_measured(
    whole, tiny, tmp_path, monkeypatch, name
):
    monkeypatch.setenv(name, "1")
    prepared = tiny(output_dir=tmp_path)
    with pytest.raises(LaunchError, match=f"{name} is set in the environment"):
        run(prepared)
    assert not prepared.folder.has_work()
    assert prepared.folder.status()["status"] == "PLANNED"
    (folder,) = (whole / "runs").iterdir()
    loaded = load_run(folder)
    with pytest.raises(LaunchError, match=f"{name} is set in the environment"):
        evaluate(loaded.module, loaded.task, "test", loaded.config)
    for harmless in PRECISION_VARIABLES[name]:
        monkeypatch.setenv(name, harmless)
        assert evaluate(loaded.module, loaded.task, "test", loaded.config)


@pytest.mark.parametrize(
    "given",
    [
        {"SLURM_NTASKS": "4"},
        {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2"},
        {"SLURM_NTASKS": "1", "SLURM_NNODES": "2"},
    ],
)
def test_an_evaluation_is_one_process_in_a_job_of_many(whole, monkeypatch, given):
    (folder,) = (whole / "runs").iterdir()
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "run", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    for name, value in (job | given).items():
        monkeypatch.setenv(name, value)
    loaded = load_run(folder)
    scores = evaluate(loaded.module, loaded.task, "test", loaded.config)
    assert scores == loaded.result.metrics.test
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.slow)])
def test_a_terminal_without_our_letters_shows_their_codes(encoding):
    code = (
        "import sys; from decoderlab.cli.app import guarded; "
        "from decoderlab.common.progress import output; "
        "sys.exit(guarded(lambda: output().print('a → b · 漢') or 0))"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    dot = b"\\xb7" if encoding == "ascii" else b"\xb7"
    assert ended.stdout.strip() == b"a \\u2192 b " + dot + b" \\u6f22"


def test_a_prediction_that_cannot_be_printed_is_one_message():
    code = (
        "import sys; from decoderlab.cli.app import guarded; "
        "sys.exit(guarded(lambda: sys.stdout.write('漢') and 0))"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "standard output is ascii, which does not have" in ended.stderr
    assert "PYTHONIOENCODING=utf-8" in ended.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA out of memory. Tried to allocate 9 GiB"),
    ],
)
def test_no_memory_is_no_mistake_of_ours(capsys, error):
    def command():
        raise error

    assert guarded(command) == 1
    said = capsys.readouterr().err
    assert "no memory is left" in said
    assert "internal error" not in said
