"""Sweeps as a person starts, stops and repeats them: exit codes, messages, reports."""

from __future__ import annotations

import csv
import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.design.plan_file import read_plan
from decoderlab.studies.execution.sweep import _once
from tests.integration.cli import (
    call,
    files,
    forked,
    in_process,
    sweep,
    tiny_arguments,
)
from tests.integration.disturbed import LONG, in_training

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.fault(7)
@pytest.mark.slow
def test_a_sweep_reports_and_a_second_one_trains_nothing(monkeypatch, capfd, tmp_path, drawn):
    assert sweep(monkeypatch, tmp_path) == 0
    printed = capfd.readouterr()
    assert "4 runs planned, 0 finished before" in printed.err
    few = r"(about|more than) \d+ s|(more than )?a few seconds"
    assert re.search(rf"\[3 of 4 done, 0 failed, ({few}) left\]", printed.err)
    assert "repeat_vector" in printed.out
    assert "2/2" in printed.out
    before = files(tmp_path)
    assert {"studies/s/report.md", "studies/s/results.csv", "studies/s/figures/exact_match.png"} < (
        set(before)
    )
    assert sweep(monkeypatch, tmp_path) == 0
    assert "4 finished before" in capfd.readouterr().err
    assert files(tmp_path) == before

    # A wider sweep only runs what is new, and the report grows.
    assert sweep(monkeypatch, tmp_path, seeds="0,1,2") == 0
    after = files(tmp_path)
    changed = {name for name in before if after.get(name) != before[name]}
    written = {name for name in before if name.startswith("studies/")} - {"studies/s/.lock"}
    # Pictures of the first seed, and of means that stay at 0, remain what they are.
    same = {
        f"studies/s/figures/{one}.{ending}"
        for ending in ("png", "pdf")
        for one in ("attention", "cost", "learning", "lengths", "summaries")
    }
    assert written - same <= changed <= written
    new = set(after) - set(before)
    assert after["studies/s/plan-001.json"] == before["studies/s/plan.json"]
    assert [name for name in after if re.search(r"[^\w./-]", name)] == []  # none needs quotes
    folders = {Path(name).parts[1] for name in new if name.startswith("runs/")}
    assert len(folders) == 2
    assert all("-s2-" in name for name in folders)
    assert len(after["studies/s/results.csv"].splitlines()) == 1 + 6

    # decoderlab-report rebuilds the same bytes from the runs alone.
    (tmp_path / "studies/s/report.md").unlink()
    finished = forked("report", "s", "--output-dir", str(tmp_path))
    assert finished.returncode == 0
    assert files(tmp_path) == after


@pytest.mark.slow
@pytest.mark.fault(31, 58)
def test_failures_are_counted_and_shown(monkeypatch, capfd, tmp_path):
    from decoderlab.decoders.recurrent_decoder import RecurrentDecoder

    real = RecurrentDecoder.start

    def fail_with_attention(self, encoded):
        if self.attention is not None and self.training:
            raise RuntimeError("no | attention")
        return real(self, encoded)

    with monkeypatch.context() as patch:
        patch.setattr(RecurrentDecoder, "start", fail_with_attention)
        assert sweep(monkeypatch, tmp_path) == 1
    printed = capfd.readouterr()
    assert "4 of 4 done, 2 failed" in printed.err
    report = (tmp_path / "studies/s/report.md").read_text()
    assert "| luong | 0.000 [n/a] | 0/2, 2 failed |" in report
    assert "2 of 4 runs failed or diverged. They count with the worst score." in report
    assert r"luong, echo, seed 0: FAILED RuntimeError: no \| attention" in report
    # The same command leaves them as they are; study.retry=failed tries again.
    assert sweep(monkeypatch, tmp_path) == 1
    assert "2 finished before, 2 failed before (study.retry=failed" in capfd.readouterr().err
    assert sweep(monkeypatch, tmp_path, "study.retry=failed") == 0
    report = (tmp_path / "studies/s/report.md").read_text()
    assert "failed" not in report
    assert "not finished" not in report


@pytest.mark.slow
def test_a_sweep_with_failures_exits_1_in_a_process_of_its_own(tmp_path):
    broken = ["training.learning_rate=1e38", "training.gradient_clip_norm=null"]
    sweep = ("seed=0,1", "hydra.launcher.jobs=1")
    finished = call("train", "-m", *tiny_arguments(tmp_path, *broken), *sweep)
    assert finished.returncode == 1
    assert "2 failed" in finished.stderr
    assert forked("train", *tiny_arguments(tmp_path, *broken)).returncode == 1


@pytest.mark.slow
@pytest.mark.fault(9)
def test_the_same_run_twice_in_a_grid_is_planned_once(monkeypatch, capfd, tmp_path):
    arguments = tiny_arguments(tmp_path, "training.learning_rate=1e-3,0.001", "study.name=s")
    assert in_process(monkeypatch, "-m", *arguments, "hydra/launcher=basic") == 0
    error = capfd.readouterr().err
    assert "1 runs planned" in error
    assert "is given more than once: planned once (seed 0)" in error


@pytest.mark.slow
@pytest.mark.fault(55)
def test_a_deleted_run_is_missing_in_the_report_and_comes_back(here, monkeypatch, capfd, tmp_path):
    import shutil

    assert sweep(monkeypatch, tmp_path) == 0
    before = (tmp_path / "studies/s/results.csv").read_text()
    gone = next((tmp_path / "runs").glob("*luong-s1*"))
    shutil.rmtree(gone)
    assert here("report", "s", "--output-dir", str(tmp_path)).returncode == 1
    text = (tmp_path / "studies/s/report.md").read_text()
    assert "| 1/2 |" in text
    assert "luong, echo, seed 1: PLANNED" in text
    assert "1 of 4 runs are not finished" in text
    assert sweep(monkeypatch, tmp_path) == 0
    after = (tmp_path / "studies/s/results.csv").read_text()

    def without_seconds(text):
        rows = csv.DictReader(text.splitlines())
        return [{key: row[key] for key in row if not key.endswith("_seconds")} for row in rows]

    assert without_seconds(after) == without_seconds(before)


@pytest.mark.slow
@pytest.mark.fault(54)
def test_a_damaged_result_is_no_failure_and_is_made_again(here, monkeypatch, capfd, tmp_path):
    assert sweep(monkeypatch, tmp_path) == 0
    before = (tmp_path / "studies/s/results.csv").read_text()
    damaged = next((tmp_path / "runs").glob("*luong-s1*")) / "result.json"
    damaged.write_text("{}")
    assert here("report", "s", "--output-dir", str(tmp_path)).returncode == 1
    assert "| 1/2 |" in (tmp_path / "studies/s/report.md").read_text()
    assert sweep(monkeypatch, tmp_path) == 0
    assert (tmp_path / "studies/s/results.csv").read_text().count("FINISHED") == 4
    assert before.count("FINISHED") == 4


@pytest.mark.slow
def test_a_report_of_an_unknown_study_names_the_known(here, monkeypatch, tmp_path):
    assert sweep(monkeypatch, tmp_path) == 0
    finished = here("report", "nope", "--output-dir", str(tmp_path))
    assert finished.returncode == 2
    assert "there are: s" in finished.stderr


@pytest.mark.parametrize(
    ("signum", "code"),
    [
        (signal.SIGTERM, 143),
        (signal.SIGINT, 130),
        (signal.SIGKILL, -9),
    ],
)
@pytest.mark.slow
@pytest.mark.fault(33, 34, 35)
def test_a_stopped_sweep_says_so_and_goes_on(begin, monkeypatch, capfd, tmp_path, signum, code):
    def arguments(folder):
        return [
            "-m",
            *tiny_arguments(folder, *LONG, "seed=0,1"),
        ]

    process = begin(*arguments(tmp_path / "stopped"), "hydra.launcher.jobs=1")
    runs = tmp_path / "stopped" / "runs"
    with in_training(tmp_path / "stopped", process, 1):
        os.killpg(process.pid, signum)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == code, output
    cells = read_plan(tmp_path / "stopped", "s").cells
    folders = [cell.run_folder(tmp_path / "stopped") for cell in cells]
    assert [folder.status()["status"] for folder in folders] == ["INTERRUPTED", "PLANNED"]
    assert not list(runs.glob("*/result.json"))
    if signum != signal.SIGKILL:
        assert "give the same command again to resume" in output
    assert in_process(monkeypatch, *arguments(tmp_path / "stopped"), "hydra.launcher.jobs=1") == 0
    if signum == signal.SIGTERM:
        assert in_process(monkeypatch, *arguments(tmp_path / "whole"), "hydra/launcher=basic") == 0
        for one in (tmp_path / "whole" / "runs").iterdir():
            other = RunFolder(runs / one.name).result()
            assert RunFolder(one).result().metrics == other.metrics
        assert [folder.result().restarts for folder in folders] == [1, 0]


@pytest.mark.parametrize(
    ("objective", "steps", "said"),
    [
        ({"start_step": 20}, 12, True),
        ({"start_step": 12}, 12, True),
        ({"start_step": 11}, 12, False),
        ({"start_step": 20}, None, False),  # how many there will be is not known
        ({"label_smoothing": 0.1}, 12, False),
    ],
)
def test_runs_that_end_before_their_objective_begins_are_said(objective, steps, said):
    config = SimpleNamespace(
        evaluation=SimpleNamespace(every_steps=5), training=SimpleNamespace(objective=objective)
    )
    cells = [SimpleNamespace(run_id=name, steps=steps) for name in "ab"]
    planned = SimpleNamespace(pending=cells, configs={"a": config, "b": config})
    note = "2 runs are trained by likelihood alone: training.objective.start_step is"
    assert [line.startswith(note) for line in _once(planned)] == [True] * said


def test_a_run_that_is_validated_once_says_so_in_the_plan_and_at_its_start(here, tmp_path):
    said = "validated once, at update 12, since evaluation.every_steps is 20"
    rare = tiny_arguments(tmp_path, "decoder=repeat_vector", "evaluation.every_steps=20")
    assert f"{said}\n" in here("plan", *rare).stdout
    assert here("train", *rare).stderr.count(said) == 1
    assert said not in here("train", *rare).stderr, "a run that is finished trains no more"
    sweep = here("plan", "-m", *rare, "seed=0,1,2")
    assert f"note: 2 runs are {said}" in sweep.stderr
    often = tiny_arguments(tmp_path, "decoder=repeat_vector", "evaluation.every_steps=12")
    assert "validated once" not in here("plan", *often).stdout
