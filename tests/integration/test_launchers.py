"""Sweeps through Hydra's launchers, with what goes wrong on a cluster, end as they would without.

Every sweep here is of the same runs as `whole`, which nothing has disturbed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from decoderlab.records.run_folder import RunFolder
from tests.conftest import composed, same
from tests.integration.cli import call, in_process, start, tiny_arguments, wait_for

LONG = ("training.max_steps=900", "evaluation.every_steps=100", "study.name=s")
SEEDS = 4


def sweep(output_dir: Path, launcher: str, *more: str, seeds: int = SEEDS) -> list[str]:
    seed = ",".join(map(str, range(seeds)))
    return [
        "-m",
        *tiny_arguments(output_dir, *LONG, f"seed={seed}", f"hydra/launcher={launcher}", *more),
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    output_dir = tmp_path_factory.mktemp("whole")
    done = call("train", *sweep(output_dir, "basic"))
    assert done.returncode == 0, done.stderr
    return output_dir


def runs(output_dir: Path) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(output_dir.glob("runs/*"))]


def records(folder: RunFolder) -> list[dict]:
    """Return what was logged, without the time it took."""
    lines = map(json.loads, folder.metrics.read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return torch.load(folder.resume_checkpoints()[0], weights_only=True)["state_dict"]


def check_same(output_dir: Path, whole: Path) -> list[int]:
    """Demand that every run was finished once, as in `whole`; return how often each went on."""
    restarts = []
    for folder in runs(output_dir):
        reference = RunFolder(whole / "runs" / folder.path.name)
        assert folder.finished()
        assert folder.result().metrics == reference.result().metrics
        assert records(folder) == records(reference)
        assert same(weights(folder), weights(reference))
        restarts.append(folder.result().restarts)
    return restarts


def in_training(output_dir: Path, process: subprocess.Popen, number: int) -> list[RunFolder]:
    """Wait until so many runs are in the midst of training, and return them.

    A run that has come so far is held until the others have, however late they start.
    """
    held: dict[Path, int] = {}

    def enough() -> bool:
        for folder in runs(output_dir):
            status = folder.recorded_status()
            running = folder.path not in held and status["status"] == "RUNNING"
            if running and 150 <= folder.last_metrics().get("step", 0) <= 500:
                os.kill(status["pid"], signal.SIGSTOP)
                held[folder.path] = status["pid"]
        return len(held) >= number

    try:
        wait_for(enough, process)
    finally:
        for pid in held.values():
            os.kill(pid, signal.SIGCONT)
    return [RunFolder(path) for path in held]


@pytest.fixture
def begin() -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a sweep; whatever comes of it, nothing is left running."""
    processes = []

    def make(*arguments: str) -> subprocess.Popen:
        processes.append(start("train", *arguments))
        return processes[-1]

    yield make
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended(process: subprocess.Popen) -> str:
    """Demand that a sweep ends well; return what it printed."""
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    return output


@pytest.fixture
def cluster(monkeypatch) -> Iterator[tuple[str, Callable[[], None]]]:
    """A Ray cluster of two nodes: its address, and what takes a node away."""
    pytest.importorskip("ray")
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    folder = tempfile.mkdtemp(prefix="ray")  # the path of a socket in it has to be short
    monkeypatch.setenv("RAY_TMPDIR", folder)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("ray_cluster.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def remove_node() -> None:
        process.stdin.write("remove\n")
        process.stdin.flush()
        assert process.stdout.readline() == "removed\n"

    try:
        yield process.stdout.readline().strip(), remove_node
    finally:
        process.communicate(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_ray_does_the_runs_of_a_lost_node_elsewhere(begin, cluster, whole, tmp_path):
    address, remove_node = cluster
    given = f"hydra.launcher.ray.init.address={address}"
    process = begin(*sweep(tmp_path, "ray", given))
    before = {folder.path: folder.status()["pid"] for folder in in_training(tmp_path, process, 2)}
    remove_node()
    ended(process)
    assert sorted(check_same(tmp_path, whole)) == [0, 0, 0, 1]
    (moved,) = [folder for folder in runs(tmp_path) if folder.result().restarts]
    assert moved.status()["pid"] != before[moved.path]


@pytest.mark.slow
def test_a_job_that_slurm_preempts_is_queued_again_and_goes_on(begin, whole, tmp_path):
    pytest.importorskip("submitit")
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    process = begin(*sweep(tmp_path, "submitit_local", seeds=1))
    (folder,) = in_training(tmp_path, process, 1)
    job = folder.status()["pid"]
    os.kill(job, signal.SIGTERM)  # what SLURM does; the run goes on until it is told more
    step = folder.last_metrics()["step"]
    wait_for(lambda: folder.last_metrics()["step"] > step + 20, process)
    os.kill(job, signal.SIGUSR2)
    ended(process)
    assert check_same(tmp_path, whole) == [1]
    assert folder.status()["pid"] != job


@pytest.mark.slow
def test_a_worker_of_joblib_that_dies_costs_nothing(begin, whole, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    process = begin(*sweep(tmp_path, "joblib", "hydra.launcher.n_jobs=2", seeds=2))
    os.kill(in_training(tmp_path, process, 2)[0].status()["pid"], signal.SIGKILL)
    assert "the launcher stopped: TerminatedWorkerError" in ended(process)
    assert check_same(tmp_path, whole) == [1, 1]  # joblib ends all of them


PLUGINS = {"ray": "ray", "joblib": "joblib", "submitit_local": "submitit"}
PLUGINS["submitit_slurm"] = "submitit"
# It is: ours fill in and replace what the launchers' own say.
checked = pytest.mark.filterwarnings(r"ignore:\s*'hydra/launcher/\w+' is validated against")


@checked
@pytest.mark.parametrize("launcher", PLUGINS)
def test_our_settings_of_a_launcher_win(launcher):
    pytest.importorskip(f"hydra_plugins.hydra_{PLUGINS[launcher]}_launcher")
    config = composed(f"hydra/launcher={launcher}", "run.output_dir=there").hydra.launcher
    if launcher == "ray":
        assert config.ray.init.object_store_memory is None
    elif launcher == "joblib":
        assert config.batch_size == "1"
    else:
        assert config.submitit_folder == "there/.submitit/%j"
        assert config.timeout_min > 12


@checked
@pytest.mark.parametrize("launcher", PLUGINS)
def test_a_launcher_that_is_not_installed_is_one_message(monkeypatch, capfd, tmp_path, launcher):
    from hydra.core.plugins import Plugins

    target = composed(f"hydra/launcher={launcher}").hydra.launcher._target_
    monkeypatch.delitem(Plugins.instance().class_name_to_class, target, raising=False)
    assert in_process(monkeypatch, *sweep(tmp_path, launcher)) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"error: hydra/launcher is {launcher}, whose package is not installed")
    assert f"pip install 'decoderlab[{PLUGINS[launcher]}]'" in error
    assert error.count("\n") == 1


@checked
def test_slurm_is_planned_for_without_slurm(monkeypatch, capfd, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    given = sweep(tmp_path, "submitit_slurm", "hydra.launcher.partition=gpu")
    planned = call("plan", *given)
    assert planned.returncode == 0, planned.stderr
    assert "4 of 4 runs to do" in planned.stderr
    monkeypatch.setenv("PATH", str(tmp_path))
    assert in_process(monkeypatch, *given) == 1
    assert "srun" in capfd.readouterr().err


def test_a_launcher_that_cannot_start_anything_is_not_asked_for_ever(monkeypatch, capfd, tmp_path):
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    calls = []

    def die_once(self, job_overrides, initial_job_idx):
        calls.append(len(job_overrides))
        if len(calls) == 1:  # a run begins, and its process dies
            folder = RunFolder(tmp_path / "runs" / _planned(tmp_path)[0]["folder"].split("/")[-1])
            folder.path.mkdir(parents=True)
            folder.set_status("RUNNING", started=1.0)
        raise ConnectionError("the cluster is gone")

    monkeypatch.setattr(BasicLauncher, "launch", die_once)
    assert in_process(monkeypatch, *sweep(tmp_path, "basic")) == 1
    assert calls == [4, 4]
    assert "the launcher stopped: ConnectionError: the cluster is gone" in capfd.readouterr().err


def _planned(output_dir: Path) -> list[dict]:
    return json.loads((output_dir / "studies" / "s" / "plan.json").read_text())["cells"]
