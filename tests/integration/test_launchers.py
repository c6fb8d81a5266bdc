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

from decoderlab.records.run_folder import RunFolder
from tests.conftest import composed
from tests.integration.cli import forked, in_process, wait_for
from tests.integration.disturbed import check_same, ended, in_training, runs, sweep

pytestmark = pytest.mark.usefixtures("undrawn")

PLUGINS = {"ray": "ray", "joblib": "joblib", "submitit_local": "submitit"}
PLUGINS["submitit_slurm"] = "submitit"


@pytest.fixture
def cluster(monkeypatch) -> Iterator[tuple[str, Callable[[str], None]]]:
    """A Ray cluster of two nodes: its address, and what takes a node or the head away."""
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

    def remove(what: str) -> None:
        process.stdin.write(f"{what}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "removed\n"

    try:
        yield process.stdout.readline().strip(), remove
    finally:
        process.communicate(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_ray_does_the_runs_of_a_lost_node_elsewhere(begin_anew, cluster, whole, tmp_path):
    address, remove = cluster
    given = f"hydra.launcher.ray.init.address={address}"
    process = begin_anew(*sweep(tmp_path, "ray", given))
    with in_training(tmp_path, process, 2) as held:
        before = {folder.path: folder.status()["pid"] for folder in held}
        remove("node")
    ended(process)
    assert sorted(check_same(tmp_path, whole)) == [0, 0, 0, 1]
    (moved,) = [folder for folder in runs(tmp_path) if folder.result().restarts]
    assert moved.status()["pid"] != before[moved.path]


@pytest.mark.slow
def test_without_rays_head_the_command_ends_and_another_goes_on(
    monkeypatch, begin_anew, cluster, whole, tmp_path
):
    address, remove = cluster
    process = begin_anew(
        *sweep(tmp_path, "ray", f"hydra.launcher.ray.init.address={address}", seeds=2)
    )
    with in_training(tmp_path, process, 2):
        remove("head")
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 1, output
    assert in_process(monkeypatch, *sweep(tmp_path, "basic", seeds=2)) == 0
    check_same(tmp_path, whole)


ENDINGS = [("joblib", signal.SIGINT, 130), ("submitit_local", signal.SIGKILL, -9)]


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "signum", "code"), ENDINGS)
def test_a_command_that_is_ended_goes_on_when_given_again(
    begin_anew, whole, tmp_path, launcher, signum, code
):
    pytest.importorskip(f"hydra_plugins.hydra_{PLUGINS[launcher]}_launcher")
    process = begin_anew(*sweep(tmp_path, launcher, seeds=2))
    with in_training(tmp_path, process, 2):
        os.killpg(process.pid, signum)
    process.communicate(timeout=300)
    assert process.returncode == code
    ended(begin_anew(*sweep(tmp_path, launcher, seeds=2)))
    assert all(restarts <= 1 for restarts in check_same(tmp_path, whole))


@pytest.mark.slow
def test_a_job_of_submitit_that_dies_costs_only_itself(begin_anew, whole, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    process = begin_anew(*sweep(tmp_path, "submitit_local", seeds=2))
    with in_training(tmp_path, process, 2) as (dead, _):
        os.kill(dead.status()["pid"], signal.SIGKILL)
    said = ended(process)
    assert said.count("a run did not finish: Job ") == 1, said
    assert sorted(check_same(tmp_path, whole)) == [0, 1]
    assert dead.result().restarts == 1


@pytest.mark.slow
def test_a_job_that_slurm_preempts_is_queued_again_and_goes_on(begin_anew, whole, tmp_path):
    pytest.importorskip("submitit")
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    process = begin_anew(*sweep(tmp_path, "submitit_local", seeds=1))
    with in_training(tmp_path, process, 1) as (folder,):
        job, step = folder.status()["pid"], folder.last_metrics()["step"]
        os.kill(job, signal.SIGTERM)  # what SLURM does; the run goes on until it is told more
    wait_for(lambda: folder.last_metrics()["step"] > step + 20, process)
    os.kill(job, signal.SIGUSR2)
    ended(process)
    assert check_same(tmp_path, whole) == [1]
    assert folder.status()["pid"] != job


@pytest.mark.slow
def test_a_worker_of_joblib_that_dies_costs_nothing(begin_anew, whole, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    process = begin_anew(*sweep(tmp_path, "joblib", "hydra.launcher.n_jobs=2", seeds=2))
    with in_training(tmp_path, process, 2) as (dead, _):
        os.kill(dead.status()["pid"], signal.SIGKILL)
    assert "the launcher stopped: TerminatedWorkerError" in ended(process)
    assert check_same(tmp_path, whole) == [1, 1]  # joblib ends all of them


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
    planned = forked("plan", *given)
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
