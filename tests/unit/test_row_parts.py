"""Rows that differ from the baseline in several parts: said in the terminal and in the report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from decoderlab.config.run_config import RunConfig
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.cautions import cautions
from decoderlab.studies.reporting.row_parts import joint_differences
from tests.conftest import composed
from tests.unit.studies import UPDATES, analysis

ALL = "in routes, feedback and bridge: the difference is of all of these together"


def lines(tmp_path, rows: dict[str, list[str]], factors=None, budget=UPDATES, **settings):
    """Return what is said of rows with these arguments; the first is the baseline."""
    made = analysis(tmp_path, {name: [0.5] for name in rows}, factors=factors, **settings)
    plan = replace(made.plan, budget=budget)
    configs = {
        row.cell.run_id: replace(
            RunConfig.from_composed(composed("task=echo", *rows[row.cell.variant])), budget=budget
        )
        for row in made.rows
    }
    found = Analysis(plan, made.rows, configs)
    said = joint_differences(found)
    shown = [block.text for block in cautions(found) if block.strong == "Several parts: "]
    assert shown == [f"{line}." for line in said]
    return said


@pytest.mark.parametrize("baseline", ["repeat_vector", None])
def test_a_decoder_that_differs_in_several_parts_is_named(tmp_path, baseline):
    rows = {name: [f"decoder={name}"] for name in ("repeat_vector", "initial_state")}
    said = lines(tmp_path, rows, baseline=baseline)
    assert said == [f"initial_state differs from repeat_vector {ALL}"]


def test_rows_that_differ_alike_share_a_line_and_lines_are_few(tmp_path):
    names = ("repeat_vector", "initial_state", "peek", "luong", "every_input", "all_routes")
    rows = {name: [f"decoder={name}"] for name in names}
    said = lines(tmp_path, rows, baseline="repeat_vector")
    assert said == [
        "initial_state, peek, all_routes differ from repeat_vector in routes, feedback and bridge: "
        "each difference is of all of these together",
        "luong differs from repeat_vector in routes, feedback, attention and bridge: the "
        "difference is of all of these together",
    ]  # every_input differs in its feedback alone


@pytest.mark.parametrize(
    "arguments",
    [
        ["decoder=repeat_vector", "decoder/feedback=teacher_forcing"],  # with its embedding size
        ["decoder=repeat_vector", "decoder.routes=[initial_state]"],  # with its bridge
        ["decoder=repeat_vector", "decoder/cell=gru"],
        ["decoder=repeat_vector", "encoder=bilstm"],  # with the width of a direction
        ["decoder=transformer"],  # another class
        ["decoder=repeat_vector", "decoder.hidden_size=64"],
    ],
)
def test_nothing_is_said_of_one_part(tmp_path, arguments):
    assert lines(tmp_path, {"a": ["decoder=repeat_vector"], "b": arguments}) == []


def test_parts_of_encoder_and_training_count(tmp_path):
    other = ["decoder=repeat_vector", "encoder=gru", "training.learning_rate=0.01"]
    (said,) = lines(tmp_path, {"a": ["decoder=repeat_vector"], "b": other})
    assert said.startswith("b differs from a in encoder.cell and training.learning_rate: the ")


@pytest.mark.parametrize(
    ("section", "given"),
    [
        ("evaluation", ["evaluation.beam_width=4", "evaluation.length_penalty=1"]),
        ("trainer", ["+trainer.accumulate_grad_batches=2"]),
        ("callbacks", ["callbacks=early_stopping"]),
    ],
)
def test_evaluation_trainer_and_callbacks_are_a_part_each(tmp_path, section, given):
    rows = {"a": ["decoder=repeat_vector"], "b": ["decoder=repeat_vector", *given]}
    assert lines(tmp_path / "alone", rows) == []
    rows["b"].append("training.learning_rate=0.01")
    (said,) = lines(tmp_path / "both", rows)
    assert said.startswith(f"b differs from a in training.learning_rate and {section}: the ")


def test_a_width_that_was_solved_for_is_no_part(tmp_path):
    rows = {"a": ["decoder=repeat_vector"], "b": ["decoder=every_input", "decoder.hidden_size=64"]}
    assert len(lines(tmp_path / "updates", rows)) == 1
    assert lines(tmp_path / "alike", rows, budget=replace(UPDATES, match="parameters")) == []


def test_a_declared_grid_and_rows_of_two_factors_are_left_out(tmp_path):
    rows = {"a": ["decoder=repeat_vector"], "b": ["decoder=initial_state"]}
    one = {"a": {"decoder": "x"}, "b": {"decoder": "y"}}
    assert len(lines(tmp_path / "one", rows, factors=one)) == 1
    two = {"a": {"decoder": "x", "encoder": "x"}, "b": {"decoder": "y", "encoder": "y"}}
    assert lines(tmp_path / "two", rows, factors=two) == []
    declared = {"decoder": ["x", "y"], "encoder": ["x", "y"]}
    held = {"a": {"decoder": "x", "encoder": "x"}, "b": {"decoder": "y", "encoder": "x"}}
    assert lines(tmp_path / "grid", rows, factors=held) != []
    made = analysis(tmp_path / "declared", {"a": [0.5], "b": [0.5]}, factors=held)
    study = replace(made.plan.study, factors=declared)
    known = {
        row.cell.run_id: RunConfig.from_composed(composed(*rows[row.cell.variant]))
        for row in made.rows
    }
    assert joint_differences(Analysis(replace(made.plan, study=study), made.rows, known)) == []
