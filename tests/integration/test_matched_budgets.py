"""Budgets that a study matches between its variants: parameters, operations or seconds."""

from __future__ import annotations

import pytest

from decoderlab.common.errors import ConfigError
from decoderlab.studies.reporting.row_parts import differing_parts
from decoderlab.training.prepared_run import prepare_planned
from tests.conftest import run, small

pytestmark = pytest.mark.usefixtures("undrawn")


def matched(planned, match: str, *arguments: str):
    given = (f"budget.match={match}", "study.baseline=repeat_vector")
    return planned("decoder=repeat_vector,output,every_input", *given, *arguments)


def test_parameters_are_matched_by_the_decoders_width(planned):
    sizes = ("encoder.hidden_size=64", "decoder.hidden_size=64", "seed=0,1")
    plain = planned("decoder=repeat_vector,output,every_input", *sizes).plan.cells
    assert max(cell.parameters for cell in plain) > 1.05 * plain[0].parameters
    plan = matched(planned, "parameters", *sizes)
    plan.demand_possible()
    for cell in plan.plan.cells:
        assert cell.parameters == pytest.approx(plain[0].parameters, rel=0.01)
        config = plan.configs[cell.run_id]
        assert config.budget.match == "parameters"
        assert prepare_planned(config).num_parameters == cell.parameters
    widths = {plan.configs[cell.run_id].decoder["hidden_size"] for cell in plan.plan.cells}
    assert len(widths) == 3
    # The baseline is what it was, and so are its runs.
    assert [cell.run_id for cell in plan.plan.cells[:2]] == [cell.run_id for cell in plain[:2]]


@pytest.mark.parametrize("match", ["parameters", "flops"])
def test_each_seed_is_matched_with_its_own_baseline(planned, match):
    """Where data follow the seed, and with them the vocabulary, so do the sizes of the models."""
    sizes = ("encoder.hidden_size=64", "decoder.hidden_size=64", "training.max_steps=2000")
    plan = matched(planned, match, *sizes, "seed=20,90", "task.num_values=${seed}")
    plan.demand_possible()
    baselines = {each.seed: each for each in plan.plan.cells if each.variant == "repeat_vector"}
    assert baselines[90].parameters > 1.05 * baselines[20].parameters
    for cell in plan.plan.cells:
        own = baselines[cell.seed]
        if match == "parameters":
            assert cell.parameters == pytest.approx(own.parameters, rel=0.01)
        else:
            assert cell.steps * cell.flops == pytest.approx(own.steps * own.flops, rel=0.01)
    assert len(plan.plan.cells) == 6


def test_widths_that_cannot_be_built_are_passed_over(planned):
    plan = planned(
        *("decoder=repeat_vector,transformer", "encoder.hidden_size=64", "decoder.hidden_size=64"),
        *("budget.match=parameters", "budget.tolerance=0.2", "study.baseline=repeat_vector"),
    )
    plan.demand_possible()
    (_, transformer) = plan.plan.cells
    decoder = plan.configs[transformer.run_id].decoder
    assert decoder["hidden_size"] % decoder["num_heads"] == 0
    assert decoder["num_heads"] > 1


def test_parameters_that_cannot_be_matched_are_impossible_cells(planned):
    plan = planned(
        *("decoder=repeat_vector,initial_state", "budget.match=parameters"),
        "study.baseline=repeat_vector",
    )
    with pytest.raises(ConfigError, match=r"no decoder.hidden_size gives .*decoder/bridge=dense"):
        plan.demand_possible()


def test_a_copied_state_is_matched_by_one_width_of_encoder_and_decoder(planned):
    both = "budget.width=[encoder.hidden_size,decoder.hidden_size]"
    sizes = ("encoder.hidden_size=64", "decoder.hidden_size=64")
    plan = planned(
        *("decoder=repeat_vector,initial_state,peek,luong", "budget.match=parameters", both),
        *(*sizes, "study.baseline=repeat_vector", "budget.tolerance=0.02"),
    )
    plan.demand_possible()
    baseline = plan.plan.cells[0].parameters
    widths = set()
    for cell in plan.plan.cells:
        assert cell.parameters == pytest.approx(baseline, rel=0.02)
        config = plan.configs[cell.run_id]
        assert config.encoder["hidden_size"] == config.decoder["hidden_size"]
        widths.add(config.decoder["hidden_size"])
    assert len(widths) == 4
    # What was solved for is no part in which two rows differ.
    records = [config.to_dict() for config in plan.configs.values()]
    assert all("hidden_size" not in part for part in differing_parts(records[1], records[3]))


def test_a_study_of_equal_parameters_is_run_and_reported(here, tmp_path):
    given = ("decoder=repeat_vector,initial_state", "budget=parameters", "budget.tolerance=0.1")
    given += ("study.baseline=repeat_vector", "study.name=s", "seed=0", "training.max_steps=2")
    given += ("encoder.hidden_size=16", "decoder.hidden_size=16", f"run.output_dir={tmp_path}")
    done = here("train", "-m", *given, "task.num_train=20", "task.num_test=5")
    assert done.returncode == 0, done.stdout + done.stderr
    report = (tmp_path / "studies/s/report.md").read_text(encoding="utf-8")
    assert "budget: equal parameters" in report


@pytest.mark.parametrize(
    "width",
    ["encoder.hidden_size", "[encoder.hidden_size]", "[decoder.hidden_size,task.num_values]", "[]"],
)
def test_a_width_is_one_of_the_decoder_or_of_both(planned, width):
    with pytest.raises(ConfigError, match="name a setting of the decoder"):
        matched(planned, "parameters", f"budget.width={width}")


@pytest.mark.fault(41)
def test_operations_are_matched_by_the_updates(planned):
    plan = matched(planned, "flops", "training.max_steps=1000")
    plan.demand_possible()
    first = plan.plan.cells[0]
    assert first.steps == 1000
    for cell in plan.plan.cells:
        assert cell.steps * cell.flops == pytest.approx(first.steps * first.flops, rel=0.01)
        assert plan.configs[cell.run_id].training.max_steps == cell.steps
    assert len({cell.steps for cell in plan.plan.cells}) == 3
    # The baseline is what it was, with a budget in epochs too.
    epochs = ("training.max_steps=null", "training.max_epochs=60")
    same = [planned("decoder=repeat_vector", *epochs), matched(planned, "flops", *epochs)]
    assert same[0].plan.cells[0].run_id == same[1].plan.cells[0].run_id
    with pytest.raises(ConfigError, match="give a larger training.max_steps"):
        matched(planned, "flops", "training.max_steps=3").demand_possible()
    with pytest.raises(ConfigError, match="wants a budget in updates or epochs"):
        matched(
            planned, "flops", "training.max_steps=null", "training.max_seconds=3"
        ).demand_possible()


@pytest.mark.fault(41)
def test_seconds_are_matched_where_they_are_given(planned):
    given = ("training.max_steps=null", "training.max_seconds=3")
    plan = matched(planned, "seconds", *given)
    plan.demand_possible()
    assert {cell.steps for cell in plan.plan.cells} == {None}
    with pytest.raises(ConfigError, match="training.max_seconds=60"):
        matched(planned, "seconds").demand_possible()
    unequal = matched(planned, "seconds", "training.max_steps=null", "training.max_seconds=3,4")
    with pytest.raises(ConfigError, match="is 4 here and 3 before"):
        unequal.demand_possible()


@pytest.mark.parametrize("others", ["minimum_risk", "reinforce,optimal_completion"])
def test_operations_that_are_not_counted_are_not_called_equal(planned, others):
    baseline = "study.baseline='training/objective=likelihood'"
    given = ("budget.match=flops", "training.max_steps=1000", baseline)
    plan = planned(f"training/objective=likelihood,{others}", *given)
    assert len(plan.impossible) == len(others.split(","))
    with pytest.raises(ConfigError, match="differ in what they draw, which is not counted"):
        plan.demand_possible()


def test_a_frozen_encoder_is_no_part_of_equal_parameters(planned, tiny):
    parent = tiny("decoder=luong")
    assert run(parent) == "FINISHED"
    given = ("decoder=luong", "budget.match=parameters", f"encoder.from_run={parent.folder.path}")
    given += tuple(small("encoder", "lstm")[1:])
    plan = planned(*given, "encoder.frozen=false,true", "study.baseline='encoder.frozen=False'")
    with pytest.raises(ConfigError, match="encoder.frozen is true of one and false of the other"):
        plan.demand_possible()


@pytest.mark.parametrize("batches", ["1,2", "2,1"])
def test_batches_that_are_summed_up_count_as_operations(planned, batches):
    first = batches.partition(",")[0]
    baseline = f"study.baseline='trainer.accumulate_grad_batches={first}'"
    given = ("budget.match=flops", baseline, "training.max_steps=1000")
    plan = planned("decoder=repeat_vector", f"+trainer.accumulate_grad_batches={batches}", *given)
    with pytest.raises(ConfigError, match="and equal batches"):
        plan.demand_possible()


def test_operations_of_a_frozen_encoder_are_not_called_equal(planned, tiny):
    parent = tiny("encoder.hidden_size=8", "decoder.hidden_size=8")
    assert run(parent) == "FINISHED"
    given = (f"encoder.from_run={parent.folder.path}", "training.max_steps=1000")
    baseline = "study.baseline='encoder.frozen=False'"
    frozen = ("budget.match=flops", baseline, "encoder.frozen=false,true")
    with pytest.raises(ConfigError, match="encoder.frozen is true of one and false of the other"):
        planned("decoder=repeat_vector", *given, *frozen).demand_possible()


def test_operations_of_a_parent_are_not_called_equal(planned, tiny):
    parent = tiny("decoder=repeat_vector", "encoder.hidden_size=8", "decoder.hidden_size=8")
    assert run(parent) == "FINISHED"
    given = (f"training.from_run={parent.folder.path}", "training.max_steps=1000")
    rates = ("training.learning_rate=0.01,0.02", "study.baseline='training.learning_rate=0.01'")
    with pytest.raises(ConfigError, match="training.from_run names a run whose updates may"):
        planned("decoder=repeat_vector", *given, *rates, "budget.match=flops").demand_possible()


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        ("training/objective=minimum_risk,likelihood", "decoder.feedback makes training see"),
        ("training/objective=likelihood,minimum_risk", "decoder.feedback makes training see"),
        ("evaluation.coverage_penalty=0,0.5", "shows no attention_weights"),
        ("evaluation.coverage_penalty=0.5,0", "shows no attention_weights"),
    ],
)
def test_each_way_to_train_and_to_generate_is_checked_with_its_model(planned, factor, said):
    """Also where another cell has the same model, which is counted once."""
    given = ("decoder=every_input", "decoder/feedback=scheduled_sampling")
    plan = planned(*given, "evaluation.beam_width=2", factor)
    (reason,) = plan.impossible
    assert said in reason
    assert len(plan.plan.cells) == len(plan.impossible[reason]) == 1


@pytest.mark.slow
def test_operations_of_one_objective_that_draws_are_matched(planned):
    objective = ("training/objective=minimum_risk", "training.max_steps=1000")
    plan = matched(planned, "flops", *objective)
    plan.demand_possible()
    assert len({cell.steps for cell in plan.plan.cells}) == 3


def test_a_budget_needs_a_baseline_to_match(planned):
    with pytest.raises(ConfigError, match="no baseline to match"):
        planned("decoder=luong,peek", "budget.match=parameters")
    with pytest.raises(ConfigError, match="which has no run on echo"):
        planned("decoder=luong,peek", "budget.match=flops", "study.baseline=x")
