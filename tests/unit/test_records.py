from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
from multiprocessing import get_context

import pytest
import torch

from decoderlab.common.errors import Invalid
from decoderlab.config.study_settings import Budget
from decoderlab.metrics.metric_score import MetricScore
from decoderlab.records.checkpoints import AtomicCheckpointIO, hash_file, recorded_sha256, verify
from decoderlab.records.run_folder import (
    RunFolder,
    sealed,
    write_json,
    write_text,
)
from decoderlab.records.run_result import SCHEMA, RunResult
from decoderlab.training import recorder
from tests.unit.studies import result


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
@pytest.mark.fault(36, 42, 43)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call, fault):
    path = tmp_path / "record.json"
    write_json(path, {"old": 1})

    def fail(*_):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=os.strerror(fault)):
        write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.fault(44)
def test_the_temporary_file_lies_in_the_same_folder(tmp_path, monkeypatch):
    seen = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append((a, b)), real(a, b)))
    write_text(tmp_path / "deep" / "file", "x")
    ((temporary, final),) = seen
    assert temporary.parent == final.parent


@pytest.mark.fault(54)
def test_a_result_knows_whether_it_was_changed(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.result() is None
    write_json(folder.result_file, sealed(result(0.5)))
    assert folder.result().metrics.test["exact_match"] == 0.5
    folder.result_file.write_text(folder.result_file.read_text().replace("0.5", "0.6"))
    with pytest.raises(Invalid, match="own sha256"):
        folder.result()
    folder.result_file.write_text("{")
    with pytest.raises(Invalid, match="no JSON"):
        folder.result()


def test_a_result_is_read_as_it_was_written(tmp_path):
    folder = RunFolder(tmp_path)
    made = RunResult.from_dict(result(0.5, restarts=2))
    folder.write_result(made)
    assert folder.result() == made
    written = json.loads(folder.result_file.read_text())
    assert written["schema"] == SCHEMA
    assert {key: value for key, value in written.items() if key != "sha256"} == made.to_dict()


def test_a_field_of_several_types_is_read_as_it_was_written():
    for width in ("decoder.hidden_size", ["encoder.hidden_size", "decoder.hidden_size"]):
        budget = {"match": "parameters", "width": width, "tolerance": 0.02}
        assert RunResult.from_dict(result(0.5) | {"budget": budget}).budget == Budget(**budget)


def test_a_result_without_a_version_is_of_the_first_one(tmp_path):
    record = {key: value for key, value in result(0.5).items() if key != "schema"}
    write_json(RunFolder(tmp_path).result_file, sealed(record))
    assert RunFolder(tmp_path).result() == RunResult.from_dict(result(0.5))


WRONG = {
    "schema is 99": {"schema": 99},
    "steps is '10', which is no int": {"steps": "10"},
    "steps is True, which is no int": {"steps": True},
    "train_seconds is None, which is no float": {"train_seconds": None},
    "metrics.validation is missing": {"metrics": {"test": {}}},
    "metrics.test.loss is 'low', which is no float": {
        "metrics": {"test": {"loss": "low"}, "validation": {}, "validation_last": {}}
    },
    "parameters is [], which is no dict": {"parameters": []},
    "colour is not a field of a result": {"colour": "blue"},
    "budget.width is missing": {"budget": {"match": "updates"}},
    "budget.width is 3, which is no str": {"budget": {"match": "updates", "width": 3}},
    "budget.width is 4, which is no str": {"budget": {"match": "updates", "width": ["a", 4]}},
}


@pytest.mark.parametrize("message", WRONG)
@pytest.mark.fault(54)
def test_a_wrong_result_is_named_with_its_file_and_field(tmp_path, message):
    path = RunFolder(tmp_path).result_file
    write_json(path, sealed(result(0.5) | WRONG[message]))
    with pytest.raises(Invalid, match=re.escape(message)):
        RunFolder(tmp_path).result()


@pytest.mark.fault(54)
def test_a_missing_field_of_a_result_is_named(tmp_path):
    record = result(0.5)
    assert RunResult.from_dict(record).scores == {}  # of results before there were descriptions
    for field in dataclasses.fields(RunResult):
        if field.name in ("scores", "met_limit", "trained_by"):
            continue
        with pytest.raises(ValueError, match=f"^{field.name} is missing$"):
            RunResult.from_dict({key: one for key, one in record.items() if key != field.name})


@pytest.mark.fault(50)
def test_every_flipped_bit_of_a_checkpoint_is_found(tmp_path):
    path = tmp_path / "step-000000001.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weight": torch.arange(6.0)}, path)
    verify(path, recorded_sha256(path), 10**6)
    original = path.read_bytes()
    for place in range(0, len(original), 97):
        damaged = bytearray(original)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(Invalid, match="damaged"):
            AtomicCheckpointIO().load_checkpoint(path)
    path.write_bytes(original)
    hash_file(path).unlink()
    with pytest.raises(Invalid, match="sha256 is missing"):
        AtomicCheckpointIO().load_checkpoint(path)


class Canary:
    """Unpickling it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.fault(52)
def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    path, canary = tmp_path / "step-000000001.ckpt", tmp_path / "canary"
    AtomicCheckpointIO().save_checkpoint({"weight": Canary(canary)}, path)
    with pytest.raises(Invalid, match="names io.open, which no checkpoint of tensors needs"):
        AtomicCheckpointIO().load_checkpoint(path)
    assert not canary.exists()


def hold(path, held, release):
    with RunFolder(path).lock():
        RunFolder(path).set_status("RUNNING")
        held.set()
        release.wait(30)


@pytest.mark.slow
@pytest.mark.fault(48)
def test_running_means_that_somebody_holds_the_lock(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.status() == {"status": "PLANNED"}
    context = get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, held, release))
    process.start()
    assert held.wait(60)
    assert folder.status()["status"] == "RUNNING"
    process.kill()
    process.join()
    status = folder.status()
    assert (status["status"], status["reason"]) == ("INTERRUPTED", "the process was killed")


def test_an_unknown_status_is_refused_and_a_torn_one_is_said(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(ValueError, match="must be one of PLANNED"):
        folder.set_status("DONE")
    folder.status_file.write_text("{")
    assert "damaged" in folder.status()["reason"]


@pytest.mark.parametrize(
    ("score", "loss", "ahead"),
    [(0.2, 9.0, True), (0.0, 9.0, False), (0.1, 1.9, True), (0.1, 2.0, True), (0.1, 2.1, False)],
)
def test_of_equal_scores_the_lower_loss_is_ahead_then_the_later_step(score, loss, ahead):
    selected = MetricScore(name="exact_match", better="max")
    best = {"step": 5, "score": 0.1, "metrics": {"exact_match": 0.1, "loss": 2.0}}
    assert recorder.is_ahead(selected, {"exact_match": score, "loss": loss}, best) is ahead


def test_where_the_loss_is_selected_of_equals_the_later_step_is_ahead():
    best = {"step": 5, "score": 2.0, "metrics": {"loss": 2.0}}
    for loss, ahead in ((1.9, True), (2.0, True), (2.1, False)):
        selected = MetricScore(name="loss", better="min")
        assert recorder.is_ahead(selected, {"loss": loss}, best) is ahead
