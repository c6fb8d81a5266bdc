"""Numbers of a run that contradict each other, though somebody has sealed them again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoderlab.cli import status
from decoderlab.cli.app import guarded
from decoderlab.cli.report import write_report
from decoderlab.common.errors import Invalid
from decoderlab.data.packed_outcomes import pack
from decoderlab.metrics.shipped import recorded_scores
from decoderlab.records.agreement import out_of_range
from decoderlab.records.findings import run_findings
from decoderlab.records.opened_run import open_run
from decoderlab.records.run_folder import RunFolder, sealed, write_json
from decoderlab.records.run_result import RunResult
from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.design.examination import examine
from decoderlab.studies.design.plan_file import read_plan
from tests.forging import reseal
from tests.unit.studies import EXAMPLES, bits, result, scored, study, write, write_predictions

pytestmark = pytest.mark.fault(54)

SCORE = 0.5
ALL = EXAMPLES * [True]
VALIDATIONS = "metrics.validation", "metrics.validation_last"


def edited(record: dict[str, Any], path: str, value: Any) -> None:
    """Replace a field of a record, named by dots; a function is given what was there."""
    *parents, last = path.split(".")
    for name in parents:
        record = record[name]
    record[last] = value(record.get(last)) if callable(value) else value


def of_result(**values: Any) -> Callable[[RunFolder], None]:
    """Return what edits `result.json`: fields by name, with `__` for a dot."""

    def edit(folder: RunFolder) -> None:
        record = json.loads(folder.result_file.read_text())
        for name, value in values.items():
            edited(record, name.replace("__", "."), value)
        write_json(folder.result_file, sealed(record))

    return edit


def of_lines(name: str, change: Callable[[list[dict]], object]) -> Callable[[RunFolder], None]:
    """Return what edits the lines of a file, of which they are a list."""

    def edit(folder: RunFolder) -> None:
        path = folder.path / name
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        change(lines)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    return edit


def validations(change: Callable[[list[dict]], object]) -> Callable[[RunFolder], None]:
    return of_lines("metrics.jsonl", change)


def predictions(change: Callable[[list[dict]], object]) -> Callable[[RunFolder], None]:
    return of_lines("predictions.jsonl", change)


def scores_of(**scores: float) -> Callable[[dict], dict]:
    return lambda before: before | scores


def flipped(packed: str) -> str:
    """Return outcomes of which another example is right, and as many as before."""
    return pack(~bits(SCORE, 0))


# What is edited, and what is said of it. Every number that a table or a figure shows is here.
EDITS: dict[str, tuple[Callable[[RunFolder], object], str]] = {
    "all right": (of_result(probes__correct=pack(bits(1.0, 0))), "100 of 100 test examples right"),
    "others right": (of_result(probes__correct=flipped), "other predictions are right"),
    "more outcomes": (of_result(probes__correct=lambda old: old + "00"), "another number"),
    "a bit too many": (of_result(probes__correct=lambda old: old[:-1] + "1"), "another number"),
    "outcomes of no score": (of_result(probes__outcomes={"x": "00" * 13}), "is not a score"),
    "outcomes of another score": (
        of_result(probes__outcomes={"token_accuracy": pack(bits(0.9, 0))}),
        "90 of 100 test examples right, but token_accuracy is 0.5",
    ),
    "score": (of_result(metrics__test=scored(0.75)), "but exact_match is 0.75"),
    "score and outcomes": (
        of_result(
            metrics__test=scored(0.75), probes__correct=pack(bits(0.75, 0)), probes__by_length={}
        ),
        "other predictions are right",
    ),
    "score without outcomes": (
        of_result(metrics__test=scored(0.75), probes__correct=None),
        "",
    ),
    "score of two": (of_result(metrics__test=scores_of(exact_match=2)), "from 0 to 1"),
    "negative share": (of_result(metrics__test=scores_of(token_accuracy=-0.1)), "from 0 to 1"),
    "negative errors": (of_result(metrics__test=scores_of(symbol_error_rate=-1)), "from 0 to inf"),
    "another score": (of_result(metrics__test=scores_of(x=1)), "different scores"),
    "a score less": (of_result(metrics__validation={"loss": 0.5}), "different scores"),
    "perplexity": (
        of_result(
            **{
                f"metrics__{split}": scores_of(perplexity=1.5)
                for split in ("test", "validation", "validation_last")
            }
        ),
        "perplexity is 1.5, but the loss is 0.5",
    ),
    "rule": (of_result(data__baselines={"a": {"exact_match": 1.5}}), "from 0 to 1"),
    "described": (of_result(scores={"x": {}}), "not described as scores are"),
    "validation": (of_result(metrics__validation=scored(0.75)), "the last, but their metrics"),
    "both validations": (
        of_result(metrics__validation=scored(0.75), metrics__validation_last=scored(0.75)),
        "not what result.json says",
    ),
    "last validation": (
        of_result(best_step=5, best_checkpoint="checkpoints/best-000000005.ckpt"),
        "which no manifest has",
    ),
    "chosen by": (of_result(selected_by="loss"), "selected_by is 'loss'"),
    "chosen step": (of_result(best_step=11), "best_step is 11, of 10 steps"),
    "chosen step before": (of_result(best_step=5), "where checkpoints/best-000000005.ckpt"),
    "chosen step of none": (of_result(best_step=-1), "best_step is -1"),
    "steps": (of_result(steps=20), "not what result.json says"),
    "parameters": (of_result(parameters__total=99), "do not sum up"),
    "no parameters": (of_result(parameters={"total": 0}), "do not sum up"),
    "parameters below 0": (
        of_result(parameters={"encoder": -1, "decoder": 101, "total": 100}),
        "do not sum up",
    ),
    "seconds": (of_result(train_seconds=0.5), "it ends after 2.0 s"),
    "seconds below 0": (of_result(train_seconds=-2.0), "train_seconds is -2.0"),
    "evaluation seconds": (of_result(evaluation_seconds=-1.0), "evaluation_seconds is -1.0"),
    "operations": (of_result(flops_per_example=-1.0), "flops_per_example is -1.0"),
    "memory": (of_result(peak_memory_bytes=-1), "peak_memory_bytes is -1"),
    "restarts": (of_result(restarts=-1), "restarts is -1"),
    "examples seen": (of_result(examples_seen=-1), "examples_seen is -1"),
    "tokens seen": (of_result(tokens_seen=-1), "tokens_seen is -1"),
    "passes": (of_result(batches_per_epoch=0), "batches_per_epoch is 0"),
    "threads": (of_result(environment__threads=0), "environment.threads is 0"),
    "processes": (of_result(environment__world_size=0), "environment.world_size is 0"),
    "cut": (of_result(met_limit=0.105), "not a share of 100 examples"),
    "cut above all": (of_result(met_limit=1.5), "not a share of 100 examples"),
    "cut, but not the predictions": (of_result(met_limit=0.5), "met the limit"),
    "split": (
        of_result(signature=lambda old: old.replace("split:test", "split:validation")),
        "signature has split:validation; expected test",
    ),
    "number": (
        of_result(signature=lambda old: old.replace("n:100", "n:200")),
        "signature has 200 test examples, but data.counts.test is 100",
    ),
    "data": (
        of_result(signature=lambda old: old.replace("data:d0", "data:d1")),
        "signature has data:d1; expected d0",
    ),
    "libraries": (of_result(signatures={"bleu": "x"}), "signature has scores:None"),
    "counts": (of_result(data__counts__test=99), "data.counts.test is 99"),
    "counts below 0": (of_result(data__counts__train=-5), "data.counts.train is -5"),
    "lengths": (of_result(probes__by_length={"1": [60, 50]}), "not sum up to 100"),
    "hits of a length": (
        of_result(probes__by_length={"1": [60, 61], "2": [40, -11]}),
        "not sum up to 100",
    ),
    "right by length": (
        of_result(probes__by_length={"1": [60, 60], "2": [40, 0]}),
        "60 of 100 examples right",
    ),
    "positions": (of_result(probes__by_position__number=[40, 100]), "end one by one"),
    "more positions": (of_result(probes__by_position__number=[101, 40]), "end one by one"),
    "hits at a position": (of_result(probes__by_position__free=[101, 20]), "more hits"),
    "forced hits": (of_result(probes__by_position__forced=[80, -1]), "more hits"),
    "influence": (of_result(probes__summary_influence=[1.5, 0.25]), "not a distance"),
    "influence of more": (of_result(probes__summary_influence=[0.5] * 3), "summary_influence"),
    "validation line": (
        validations(lambda lines: lines[-1].update({"validation/exact_match": 0.25})),
        "not what result.json says",
    ),
    "a better one": (
        validations(lambda lines: lines[0].update({"validation/exact_match": 0.75})),
        "step 5 is better than step 10",
    ),
    "validation of two": (
        validations(lambda lines: lines[0].update({"validation/token_accuracy": 2})),
        "from 0 to 1",
    ),
    "a line less": (validations(lambda lines: lines.pop(0)), "has 1 validations"),
    "no line": (validations(list.clear), "not what result.json says"),
    "a line twice": (validations(lambda lines: lines.append(lines[-1])), "after step 10"),
    "a line of another step": (validations(lambda lines: lines[0].update(step=4)), "5 steps apart"),
    "a line of other scores": (
        validations(lambda lines: lines[0].update({"validation/x": 1})),
        "is of other scores",
    ),
    "a line without numbers": (
        validations(lambda lines: lines[0].update({"validation/loss": "low"})),
        "has no numbers",
    ),
    "seconds of a line": (validations(lambda lines: lines[-1].update(seconds=9)), "after 9 s"),
    "a prediction less": (predictions(lambda lines: lines.pop()), "99 predictions of 100"),
    "a prediction more": (predictions(lambda lines: lines.append(lines[0])), "101 predictions"),
    "predictions exchanged": (predictions(list.reverse), "other predictions are right"),
    "a right one": (
        predictions(lambda lines: lines[-1].update(correct=True)),
        "other predictions are right",
    ),
    "a wrong one": (
        predictions(lambda lines: lines[0].update(correct=False)),
        "other predictions are right",
    ),
    "all predictions": (lambda run: write_predictions(run, ALL), "other predictions are right"),
}
# Of these the reason is another: the manifest or the plan knows better.
EDITS["score without outcomes"] = (EDITS["score without outcomes"][0], "probes.correct is not what")
EDITS["last validation"] = (EDITS["last validation"][0], "best_checkpoint is")


@pytest.fixture
def made(tmp_path) -> tuple[Path, RunFolder]:
    """Return the outputs of a study of two runs, and the folder of the first."""
    plan = study(tmp_path, {"a": [SCORE], "b": [0.75]})
    write(plan, tmp_path)
    return tmp_path, RunFolder(tmp_path / plan.cells[0].folder)


@pytest.mark.thinned
@pytest.mark.parametrize("name", EDITS)
def test_what_was_edited_and_sealed_again_is_a_row_that_is_invalid(made, name):
    outputs, folder = made
    edit, reason = EDITS[name]
    plan = read_plan(outputs, "s")
    assert [row.status for row in read_rows(plan, outputs)] == ["FINISHED"] * 2
    edit(folder)
    try:
        reseal(folder)
    except (Invalid, OSError):  # not even its result can be read, or its weights are not there
        pass
    first, second = read_rows(plan, outputs)
    assert (first.status, second.status) == ("INVALID", "FINISHED")
    assert reason in first.reason
    (finding,) = run_findings(folder)
    assert finding.path.name in (
        "result.json",
        "metrics.jsonl",
        "predictions.jsonl",
        "best-000000005.ckpt",
    )
    assert status.study(outputs, "s")[1] == 1
    with pytest.raises(Invalid, match="give the command of the run, or of its sweep, again"):
        raise open_error(folder)


def open_error(folder: RunFolder) -> Exception:
    with pytest.raises(Invalid) as caught:
        open_run(folder)
    return caught.value


TEXTS: dict[str, Callable[[list[dict]], object]] = {
    "text": lambda lines: lines[-1].update(prediction="1"),
    "reference": lambda lines: lines[0].update(references=["2"]),
    "tokens": lambda lines: lines[0].update(tokens=["1"], reference_tokens=[["2"]]),
    "exchanged": lambda lines: lines[0].update(prediction=lines[-1]["prediction"]),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_predictions_that_say_otherwise_are_named(made, name):
    outputs, folder = made
    assert [finding.path.name for finding in run_findings(folder)] == ["tensorboard"]
    predictions(TEXTS[name])(folder)
    reseal(folder)
    (finding,) = run_findings(folder)
    assert re.search("line (1|100) says correct: (True|False), but its texts say", finding.what)
    assert finding in examine(outputs).findings


LENGTHS = [
    ([1] * 60 + [2] * 40, ""),
    ([2, 1, 2], ""),  # the first examples alone
    ([1] * 61, "61 examples of length 1, where result.json counts 60"),
    ([1, 3], "1 examples of length 3, where result.json counts 0"),
]


@pytest.mark.parametrize(("lengths", "said"), LENGTHS, ids=range(len(LENGTHS)))
def test_lengths_of_pictures_are_those_that_the_result_counts(made, lengths, said):
    outputs, folder = made
    np.savez(folder.probes, lengths=np.array(lengths))
    reseal(folder)
    findings = [one for one in run_findings(folder) if one.path == folder.probes]
    assert [said in one.what for one in findings] == [True] * bool(said)
    assert all(one in examine(outputs).findings for one in findings)


def test_a_text_that_looks_like_a_field_is_none(made):
    outputs, folder = made
    looks = '"correct": true, "met_limit": true'
    predictions(lambda lines: lines[-1].update(source=looks, prediction=looks))(folder)
    reseal(folder)
    assert [row.status for row in read_rows(read_plan(outputs, "s"), outputs)] == ["FINISHED"] * 2


@pytest.mark.usefixtures("undrawn")
def test_the_report_stands_without_the_row_and_says_why(made, capsys):
    outputs, folder = made
    EDITS["all right"][0](folder)
    reseal(folder)
    assert guarded(lambda: write_report("s", outputs, tensorboard=False)) == 1
    said = capsys.readouterr().err
    assert "INVALID: " in said
    assert "100 of 100 test examples right, but exact_match is 0.5" in said
    text = (outputs / "studies/s/report.md").read_text()
    assert "a, echo, seed 0: INVALID" in text
    assert "0.750" in text


def test_a_score_that_its_metric_says_cannot_be_is_named():
    own = {"name": "mine", "better": "max", "low": 0, "high": 1}
    made = result(SCORE)
    for scores in made["metrics"].values():
        scores["mine"] = 1.5
    record = RunResult.from_dict(made | {"scores": {"mine": own}})
    assert "metrics.test.mine is 1.5, but mine is from 0 to 1" in next(
        out_of_range(record, recorded_scores(record.scores))
    )
