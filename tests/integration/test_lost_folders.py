"""Folders that go away while they are written to, and permissions that do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from decoderlab.records.run_folder import RunFolder
from decoderlab.training.recorder import Recorder
from tests.integration.cli import forked, in_process, wait_for
from tests.integration.disturbed import LONG, in_training, runs
from tests.integration.long_runs import has_checkpoint, long, settings
from tests.permissions import bind_by_permissions, bound_by_permissions

pytestmark = pytest.mark.usefixtures("undrawn")

# Folders that go away


@pytest.mark.parametrize("what", ["deleted", "moved", "made anew", "metrics"])
@pytest.mark.fault(55)
def test_a_folder_that_goes_away_is_noticed_and_not_made_anew(monkeypatch, capfd, tmp_path, what):
    real = Recorder.on_train_batch_end

    def meddle(self, trainer, *args):
        if trainer.global_step == 7 and not at:
            at.append(path := self.folder.path)
            if what == "metrics":
                self.folder.metrics.unlink()
            elif what == "moved":
                path.rename(tmp_path / "elsewhere")
            else:
                shutil.rmtree(path)
            if what == "made anew":  # by another process
                path.mkdir()
                (path / ".lock").touch()
        real(self, trainer, *args)

    at: list[Path] = []
    monkeypatch.setattr(Recorder, "on_train_batch_end", meddle)
    assert in_process(monkeypatch, *settings(tmp_path / "o")) == 1
    error = capfd.readouterr().err
    assert "while the run was training" in error
    assert "Traceback" not in error
    left = [path for one in runs(tmp_path / "o") for path in one.path.iterdir()]
    if what != "metrics":
        assert [path.name for path in left] == ([".lock"] if what == "made anew" else [])
    if what == "moved":  # moved back, it goes on
        (tmp_path / "elsewhere").rename(at[0])
        assert RunFolder(at[0]).status()["status"] == "INTERRUPTED"
    assert in_process(monkeypatch, *settings(tmp_path / "o")) == 0
    (folder,) = runs(tmp_path / "o")
    assert folder.result().restarts == int(what == "moved")


@pytest.mark.slow
@pytest.mark.fault(55)
def test_a_sweep_trains_a_deleted_run_anew_and_writes_its_plan_again(begin, tmp_path):
    given = ["-m", *settings(tmp_path, *LONG), "seed=0,1"]
    process = begin(*given, "hydra.launcher.jobs=1")
    with in_training(tmp_path, process, 1) as (folder,):
        shutil.rmtree(folder.path)
        shutil.rmtree(tmp_path / "studies")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert "while the run was training" in output  # whichever of its files is missed first
    assert "its plan is written again" in output
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 2
    assert forked("status", "s", "--output-dir", str(tmp_path)).returncode == 0


@pytest.mark.slow
def test_a_sweep_whose_outputs_are_moved_stops_and_goes_on_where_they_are(
    begin, monkeypatch, tmp_path
):
    here, there = tmp_path / "o", tmp_path / "moved"

    def given(folder: Path) -> list[str]:
        return ["-m", *settings(folder, *LONG), "seed=0,1,2", "hydra.launcher.jobs=1"]

    process = begin(*given(here))
    with in_training(here, process, 1):
        here.rename(there)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1, output
    assert "was deleted or moved while the sweep was running" in output
    assert "Traceback" not in output
    assert not here.exists()
    assert in_process(monkeypatch, *given(there)) == 0
    assert sum(one.result().restarts for one in runs(there)) == 1


# Permissions


@pytest.mark.parametrize("sweep", [False, True])
@pytest.mark.parametrize("where", ["", "runs", "studies", "studies/s"])
@pytest.mark.fault(45)
def test_a_folder_that_may_not_be_written_is_said_at_once(
    monkeypatch, capfd, tmp_path, where, sweep
):
    closed = tmp_path / "o" / where
    closed.mkdir(parents=True)
    closed.chmod(0o555)
    before = [*tmp_path.rglob("*")]
    more = ["-m", "study.name=s", "hydra/launcher=basic"] if sweep else []
    with bound_by_permissions():
        code = in_process(monkeypatch, *more, *settings(tmp_path / "o"))
    error = capfd.readouterr().err
    if where.startswith("studies") and not sweep:  # of which a single run writes nothing
        assert code == 0
        return
    assert code == 2
    (said,) = error.splitlines()
    what = f"but nothing can be written to {closed} (Permission denied); give another folder"
    assert f"error: run.output_dir is '{tmp_path / 'o'}', {what}" in said
    assert [*tmp_path.rglob("*")] == before


@pytest.mark.slow
@pytest.mark.fault(45)
def test_a_permission_that_is_taken_away_ends_the_run_with_a_message(begin, tmp_path):
    (tmp_path / "o").mkdir()
    process = begin(*long(tmp_path / "o"), preexec_fn=bind_by_permissions)
    wait_for(lambda: has_checkpoint(tmp_path / "o"), process)
    (folder,) = runs(tmp_path / "o")
    for path in (folder.checkpoints, folder.path):
        path.chmod(0o555)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert "ermission denied" in output
    assert folder.status()["status"] == "INTERRUPTED"
    for path in (folder.checkpoints, folder.path):
        path.chmod(0o777)
    again = begin(*long(tmp_path / "o"), preexec_fn=bind_by_permissions)
    wait_for(lambda: "resuming from update" in again.stdout.readline(), again)
    again.kill()
    again.communicate()
