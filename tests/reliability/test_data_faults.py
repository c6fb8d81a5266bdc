"""Faults in data: what is missing, empty, shared, changed, or served by a worker that dies."""

from __future__ import annotations

import json
import os
import re
import time

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from decoderlab.data.example import Example
from decoderlab.data.task import Task
from decoderlab.records.run_folder import RunFolder
from decoderlab.tasks import EchoTask
from decoderlab.tasks.tsv import TSVTask
from decoderlab.training.assembly import build_model
from decoderlab.training.code_changes import changed_code
from tests.conftest import run
from tests.integration.cli import in_process, tiny_arguments
from tests.reliability.test_analysis_faults import report_of
from tests.unit.studies import study

SLOW = pytest.mark.slow


class Pairs(Task):
    """A task of given pairs of texts, a character each token."""

    def __init__(self, append_eos: bool = True, **splits: list[tuple[str, str]]) -> None:
        super().__init__(append_eos=append_eos)
        self.given = {
            "train": [("ab", "x"), ("cd", "y")],
            "validation": [("ef", "x")],
            "test": [("gh", "y")],
        } | splits

    def examples(self):
        return {
            name: [Example(list(source), list(target)) for source, target in rows]
            for name, rows in self.given.items()
        }, {"read": 4}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        pytest.param(
            {"train": [("", "x")]},
            "example 0 of the train split has an empty source",
            marks=pytest.mark.fault(20),
        ),
        pytest.param(
            {name: [(name, "")] for name in ("train", "validation", "test")},
            "all targets are empty",
            marks=pytest.mark.fault(20, 25),
        ),
        pytest.param(
            {"test": [("gh", "a\udc80")]},
            r"example 0 of the test split holds '\\udc80', half of a character",
            marks=pytest.mark.fault(21),
        ),
        pytest.param(
            {"test": [("cd", "y"), ("ab", "x")]},
            r"\('a', 'b'\).* is both in the test and the train split, and so with 2 in all",
            marks=pytest.mark.fault(22),
        ),
        *(
            pytest.param(
                {name: []},
                rf"the {name} split is empty \({{'read': 4}}\)",
                marks=pytest.mark.fault(24),
            )
            for name in ("train", "validation", "test")
        ),
    ],
)
def test_data_that_cannot_be_learnt_from_are_refused(splits, message):
    with pytest.raises(ValueError, match=message):
        _ = Pairs(**splits).data


@pytest.mark.fault(20, 25)
def test_targets_without_a_token_are_counted():
    task = Pairs(train=[("ab", ""), ("cd", "y")])
    assert task.data.counts["empty_targets"] == 1
    assert "empty_targets" not in Pairs().data.counts


@pytest.mark.fault(20)
def test_counts_of_what_is_dropped_are_printed_and_stand_in_result_and_report(
    tiny, tmp_path, capsys
):
    path = tmp_path / "pairs.tsv"
    pairs = [f"a{n}\tb{n}" for n in range(40)] + ["too long a source\tx"] * 3 + ["\tx", "y\t"]
    path.write_text("source\ttarget\n" + "\n".join(pairs) + "\n")
    given = (f"task.path={path}", "task.max_source_length=3", "training.max_steps=1")
    prepared = tiny(*given, task="tsv")
    assert run(prepared) == "FINISHED"
    counts = prepared.folder.result().data.counts
    assert (counts["dropped_too_long"], counts["dropped_empty"]) == (3, 2)
    assert (counts["pairs"], counts["train"]) == (45, 32)
    said = "dropped empty 2, dropped too long 3"
    assert said in " ".join(capsys.readouterr().err.split())
    data = {"fingerprint": "d0", "counts": counts | {"test": 100}, "baselines": {}}
    plan = study(tmp_path, {"a": [0.5]}, baseline=None, result_changes={"data": data})
    assert said in report_of(plan, tmp_path)


@pytest.mark.fault(24)
def test_a_batch_larger_than_the_split_leaves_nothing_out(tiny):
    prepared = tiny("run.evaluation_batch_size=1000", "training.batch_size=1000")
    for batches, number in (
        (prepared.task.val_dataloader(), 20),
        (prepared.task.test_dataloader(), 20),
    ):
        assert sum(len(batch.index) for batch in batches) == number


@pytest.mark.fault(25)
@pytest.mark.parametrize("decoder", ["repeat_vector", "luong", "transformer"])
def test_a_batch_without_a_target_token_costs_nothing(tiny, decoder):
    prepared = tiny(f"decoder={decoder}")
    model = build_model(prepared.config, prepared.task)
    batch = next(iter(prepared.task.train_dataloader()))
    nothing = batch._replace(target=torch.full_like(batch.target, model.target_space.pad_id))
    loss = model.training_step(nothing, 0)
    loss.backward()
    assert float(loss.detach()) == 0
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    assert gradients
    assert all(bool((one == 0).all()) for one in gradients)  # not NaN either
    # Beside real examples such a target changes nothing.
    for kept in (batch, batch._replace(target=torch.cat([batch.target, nothing.target]))):
        if len(kept.target) > len(batch.target):
            kept = kept._replace(
                source=torch.cat([batch.source, batch.source]),
                source_lengths=torch.cat([batch.source_lengths] * 2),
            )
        with torch.no_grad():
            total, number = model.eval().loss(kept)
        if kept is batch:
            expected = (float(total), int(number))
    assert (float(total), int(number)) == (pytest.approx(expected[0]), expected[1])


def written(path, letter: str) -> str:
    lines = [f"{letter}{n}\t{n}\n" for n in range(40)]
    path.write_text("source\ttarget\n" + "".join(lines))
    return f"task.path={path}"


@pytest.mark.fault(26)
def test_other_data_are_another_run(tiny, tmp_path):
    file = tmp_path / "pairs.tsv"
    given = (written(file, "a"), "training.max_steps=2", "evaluation.every_steps=2")
    before = tiny(*given, task="tsv")
    assert run(before) == "FINISHED"
    written(file, "b")
    after = tiny(*given, task="tsv")
    assert after.run_id != before.run_id
    assert after.folder.path != before.folder.path
    assert after.folder.resume_checkpoints() == []
    assert changed_code(after.folder, after.config) == []
    assert run(after) == "FINISHED"
    one, other = before.folder.result(), after.folder.result()
    assert one.signature != other.signature  # what a report compares by
    written(file, "a")
    assert tiny(*given, task="tsv").folder.result().run_id == before.run_id


class Served(IterableDataset):
    """Batches from a worker process that comes to harm."""

    def __init__(self, batches, harm) -> None:
        self.batches, self.harm = batches, harm

    def __iter__(self):
        for number, batch in enumerate(self.batches):
            if number == 2:
                self.harm()
            yield batch


@pytest.mark.fault(27)
@pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        pytest.param(lambda: os._exit(3), r"DataLoader worker (\(pid|died)", id="dies"),
        pytest.param(
            lambda: time.sleep(30),
            "DataLoader timed out after 1 seconds",
            id="hangs",
            marks=SLOW,
        ),
        pytest.param(lambda: 1 / 0, "ZeroDivisionError", id="raises", marks=SLOW),
    ],
)
def test_a_worker_that_comes_to_harm_fails_its_run(tiny, monkeypatch, harm, said):
    prepared = tiny()
    real = type(prepared.task).train_dataloader

    def served(self):
        batches = real(self)
        loader = DataLoader(
            Served(batches, harm),
            batch_size=None,
            num_workers=1,
            timeout=1 if "timed out" in said else 0,
            multiprocessing_context="fork",
        )
        loader.batches_per_epoch = batches.batches_per_epoch
        return loader

    monkeypatch.setattr(type(prepared.task), "train_dataloader", served)
    assert run(prepared) == "FAILED"
    reason = prepared.folder.status()["reason"]
    assert re.search(said, reason), reason
    # A worker that dies may be noticed by torch, or first by who reads from it.
    trace = prepared.folder.traceback.read_text()
    assert re.search("DataLoader|EOFError|ConnectionResetError|BrokenPipeError", trace), trace
    monkeypatch.undo()
    assert run(prepared) == "FINISHED"  # nothing of it is left behind


@pytest.mark.usefixtures("undrawn")
@pytest.mark.fault(27)
@pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*fork.*:DeprecationWarning")
def test_a_worker_that_dies_costs_its_run_alone(monkeypatch, tmp_path, capfd):
    real = EchoTask.train_dataloader

    def served(self):
        batches = real(self)
        begun = tmp_path.glob("runs/*/status.json")
        if [json.loads(path.read_text())["status"] for path in begun] != ["RUNNING"]:
            return batches  # of the estimate before the first run, or of a later run
        loader = DataLoader(
            Served(batches, lambda: os._exit(3)),
            batch_size=None,
            num_workers=1,
            multiprocessing_context="fork",
        )
        loader.batches_per_epoch = batches.batches_per_epoch
        return loader

    monkeypatch.setattr(EchoTask, "train_dataloader", served)
    sweep = ("study.name=s", "hydra/launcher=basic", "seed=0,1")
    assert in_process(monkeypatch, "-m", *tiny_arguments(tmp_path, *sweep)) == 1
    statuses = [RunFolder(path).status()["status"] for path in sorted(tmp_path.glob("runs/*"))]
    assert statuses == ["FAILED", "FINISHED"]
    assert "2 of 2 done, 1 failed" in capfd.readouterr().err


@pytest.mark.fault(19, 21)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"source\ttarget\na\xed\xa0\x80\tb\n", "not UTF-8 .line 2"),
        (b"source\ttarget\n", "0 different sources are left"),
        (b"\n\n", "is empty; it needs a first line"),
        (b"target\tsource\tsource\na\tb\tc\n", "has 'source' twice"),
    ],
)
def test_a_file_that_says_nothing_is_refused(tmp_path, content, message):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        _ = TSVTask(path=str(path)).data
