"""Sweeps through a real SLURM, which takes jobs and machines away, end as they would without.

The cluster runs on this machine, see `slurm_cluster`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from decoderlab.records.run_folder import RunFolder
from tests.integration.disturbed import (
    check_same,
    ended,
    in_training,
    sweep,
    wait_until_killed,
    wait_until_woken,
)
from tests.integration.slurm_cluster import SBIN, SlurmCluster, missing

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(missing()), reason="apt-get install slurm-wlm munge"),
]
LAUNCHER = "submitit_slurm"


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    with SlurmCluster() as cluster:
        yield cluster


@pytest.fixture
def slurm(cluster, monkeypatch) -> SlurmCluster:
    """The cluster with nothing to do, and the environment of a shell on its login node."""
    cluster.call("scancel", "--me", "--signal=KILL")
    cluster.call("scancel", "--me")
    cluster.wait_until_idle()
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", SBIN)
    return cluster


def jobs(slurm: SlurmCluster) -> dict[str, str]:
    """Return the ids of the jobs that run, by node."""
    listed = slurm.call("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%N %i").splitlines()
    return dict(map(str.split, listed))


def job_of(folder: RunFolder) -> str:
    """Return the id of the job whose process does a run."""
    environment = Path(f"/proc/{folder.status()['pid']}/environ").read_bytes().split(b"\0")
    values = dict(line.decode().split("=", 1) for line in environment if b"=" in line)
    return f"{values['SLURM_ARRAY_JOB_ID']}_{values['SLURM_ARRAY_TASK_ID']}"


def test_a_preempted_job_saves_its_run_and_goes_on(begin_anew, slurm, whole, tmp_path):
    process = begin_anew(*sweep(tmp_path, LAUNCHER, seeds=2))
    with in_training(tmp_path, process, 2) as held:
        node = next(node for node, job in jobs(slurm).items() if job == job_of(held[0]))
        slurm.call("sbatch", "-p", "urgent", "-w", node, "--output=/dev/null", "--wrap", "sleep 1")
        wait_until_woken(held[0], process)
    ended(process)
    assert sorted(check_same(tmp_path, whole)) == [0, 1]
    assert held[0].result().restarts == 1
    saved = [path.read_text() for path in tmp_path.glob(".submitit/**/*.out")]
    assert any("Caught signal SIGUSR2" in text and "Requeued job" in text for text in saved)


def test_a_requeued_job_and_a_lost_node_cost_nothing(begin_anew, slurm, whole, tmp_path):
    process = begin_anew(*sweep(tmp_path, LAUNCHER, seeds=2))
    try:
        with in_training(tmp_path, process, 2) as held:
            before = {folder.path: folder.status()["started"] for folder in held}
            on = jobs(slurm)
            slurm.kill("one")
            slurm.call("scontrol", "requeue", on["two"])
            for folder in held:
                wait_until_killed(folder, process)
        ended(process)
    finally:
        slurm.start_node("one")
    assert check_same(tmp_path, whole) == [1, 1]
    for folder in held:
        assert folder.status().get("started", 0) != before[folder.path]


def test_cancelled_and_killed_jobs_are_handed_in_again(begin_anew, slurm, whole, tmp_path):
    process = begin_anew(*sweep(tmp_path, LAUNCHER, seeds=3))
    with in_training(tmp_path, process, 2) as (cancelled, killed):
        os.kill(killed.status()["pid"], signal.SIGKILL)
        slurm.call("scancel", job_of(cancelled))
        wait_until_killed(cancelled, process)
    said = ended(process)
    assert said.count("a run did not finish: Job ") == 2, said
    assert sorted(check_same(tmp_path, whole)) == [0, 1, 1]
    handed_in = {path.name.split("_")[0] for path in tmp_path.glob(".submitit/*/*")}
    assert len(handed_in - {""}) >= 2  # the first array, and the two that died


def test_a_job_whose_time_is_up_goes_on_in_a_second(begin_anew, slurm, whole, tmp_path):
    limits = ("hydra.launcher.timeout_min=10", "hydra.launcher.signal_delay_s=90")
    process = begin_anew(*sweep(tmp_path, LAUNCHER, *limits, seeds=1))
    with in_training(tmp_path, process, 1) as (folder,):
        (job,) = jobs(slurm).values()
        slurm.call("scontrol", "update", f"JobId={job}", "EndTime=now+120seconds")
        wait_until_woken(folder, process)  # a run that takes long
    ended(process)
    assert check_same(tmp_path, whole) == [1]
    (log,) = tmp_path.glob(".submitit/**/*.out")
    assert "this job is timed-out" in log.read_text()
    assert "(9 remaining timeouts)" in log.read_text()


def test_ctrl_c_leaves_the_jobs_which_the_same_command_waits_for(
    begin_anew, slurm, whole, tmp_path
):
    process = begin_anew(*sweep(tmp_path, LAUNCHER, seeds=2))
    with in_training(tmp_path, process, 2):
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
        assert len(jobs(slurm)) == 2
    ended(begin_anew(*sweep(tmp_path, LAUNCHER, seeds=2)))
    assert check_same(tmp_path, whole) == [0, 0]
