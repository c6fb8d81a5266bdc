"""Plans: what is counted, estimated and refused before the first run."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from hydra._internal.hydra import Hydra

from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.records.run_folder import sealed, write_json
from decoderlab.studies.design import draft
from decoderlab.studies.design.grid import as_value
from decoderlab.studies.design.plan_file import plan_file, read_configs, read_job, read_plan
from decoderlab.studies.design.replanning_checks import check_changes
from decoderlab.studies.execution.sweep import confirm
from decoderlab.studies.reporting.build import build_report
from decoderlab.training.code_changes import made_here
from decoderlab.training.prepared_run import prepare
from decoderlab.training.run_lifecycle import execute
from tests.conftest import TINY, composed, run
from tests.integration.cli import SIZES, forked, in_process

pytestmark = pytest.mark.usefixtures("undrawn")


def test_a_plan_says_of_each_run_what_the_run_says_itself(planned, tmp_path):
    plan = planned("decoder=luong,bahdanau2015,transformer,feedforward").plan
    assert [cell.steps for cell in plan.cells] == [12] * 4
    for cell in plan.cells:
        config = composed(*cell.overrides)
        prepared = prepare(config, config.hydra.runtime.choices)
        assert cell.run_id == prepared.run_id
        assert tmp_path / cell.folder == prepared.folder.path
        run(prepared)
        result = prepared.folder.result()
        assert cell.parameters == result.parameters["total"]
        assert cell.flops == result.flops_per_example
    assert not (tmp_path / "studies").exists()


def test_models_too_large_for_real_tensors_are_counted_the_same(planned, monkeypatch):
    before = planned("decoder=luong,peek").plan.cells
    monkeypatch.setattr("decoderlab.studies.design.preparation.SMALL_MODEL", 0)
    assert planned("decoder=luong,peek").plan.cells == before


def test_all_impossible_cells_are_named_with_their_reasons(planned):
    plan = planned("decoder=initial_state,every_input", "encoder.hidden_size=8,6,0", "seed=0,1")
    assert len(plan.plan.cells) == 2 + 4  # only a state that is copied has to be as wide
    with pytest.raises(ConfigError) as error:
        plan.demand_possible()
    lines = str(error.value).splitlines()
    cells = "4 cells: encoder.hidden_size=0 decoder=initial_state seed=0; "
    assert len(lines) == 3
    assert "study.exclude" in lines[2]
    for reason, where in (("hidden_size is 0", cells), ("bridge is 'copy'", "in 2 cells")):
        assert any(reason in line and where in line for line in lines)
    with pytest.raises(ConfigError, match="hidden_size is 0"):
        planned("encoder.hidden_size=0")


def test_a_model_that_cannot_read_its_batches_is_refused(planned, monkeypatch):
    from decoderlab.decoders.recurrent_decoder import RecurrentDecoder

    monkeypatch.setattr(RecurrentDecoder, "forward", lambda *_: torch.ones(2) @ torch.ones(3))
    with pytest.raises(ConfigError, match=r"cannot read a batch of its task \(RuntimeError"):
        planned("decoder=luong")


def test_a_baseline_that_is_no_row_is_refused(planned):
    with pytest.raises(ConfigError, match=r"baseline=null. Did you mean luong\?"):
        planned("decoder=luong,peek", "study.baseline=lunog")
    decoders = ("decoder=luong,peek", "study.baseline=repeat_vector")
    with pytest.raises(ConfigError, match="rows: luong, peek; give one of them, or study.baseline"):
        planned(*decoders)
    with pytest.raises(ConfigError, match=r"Did you mean luong\?"):
        planned("decoder=luong,peek", "study.baseline=lunog", "study.allow_changes=true")
    (note,) = planned(*decoders, "study.allow_changes=true").notes
    assert "none of the rows: luong, peek" in note


def test_a_task_without_its_baseline_is_noted_before_the_runs(planned):
    given = ("decoder=luong,peek", "task=echo,reverse", "study.baseline=luong")
    assert not any("no row is compared" in note for note in planned(*given).notes)
    notes = planned(*given, exclude=[{"decoder": "luong", "task": "echo"}]).notes
    said = "study.baseline is luong, which has no run on echo: no row is compared there"
    assert said in notes


@pytest.mark.parametrize(
    ("seeds", "decoders", "said"),
    [
        ("range(0,5)", "luong,peek", "the study: fewer than 6 seeds, a pilot"),
        ("range(0,6)", "luong,peek", None),
        ("range(0,6)", "luong,peek,every_input", "with 6 seeds none of 2 comparisons can be"),
    ],
)
def test_too_few_seeds_for_a_claim_are_noted_before_the_runs(planned, seeds, decoders, said):
    plan = planned(f"decoder={decoders}", f"seed={seeds}", "study.baseline=luong")
    notes = plan.check_seeds()
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]


def test_what_is_noted_of_several_tasks_is_noted_once(planned):
    given = ("decoder=luong,peek", "task=echo,sort,reverse", "seed=0,1", "study.baseline=luong")
    notes = planned(*given, "study.family=task").check_seeds()
    assert notes == ["echo and 2 more tasks: fewer than 6 seeds, a pilot"]


def test_rows_of_one_name_are_refused(planned):
    with pytest.raises(ConfigError, match="two runs that differ are both called a b c, echo"):
        planned(
            variants={"a b": {"decoder": "peek"}, "a": {"decoder.dropout": 0.1}},
            factors={"x": {"c": {"encoder.dropout": 0.1}, "b c": {"encoder.dropout": 0.2}}},
        ).check_seeds()


def test_published_values_stand_beside_rows_that_there_are(planned):
    value = {"value": 0.5, "tolerance": 0.1, "source": "x"}

    def plan(*published, decoders="luong,peek"):
        return planned(f"decoder={decoders}", f"study.published={as_value(list(published))}")

    assert not plan({"row": "luong", **value}).notes
    with pytest.raises(ConfigError, match=r"published\[1\].row is lunog, .*Did you mean luong"):
        plan({"row": "luong", **value}, {"row": "lunog", **value})
    (note,) = plan({"row": "luong", "against": "output", **value}).notes
    assert "study.published[0].against is output, which is none of luong, peek" in note
    for wrong, message in (
        ({"row": "luong", **value, "tolerance": 0}, "published.tolerance is 0"),
        ({"row": "luong", **value, "vaule": 1}, "published.*vaule is not a setting.*value"),
        ({"row": "luong"}, r"study.published\[0\].value is missing; give it as"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan(wrong)


@pytest.mark.fault(9)
def test_cells_that_are_the_same_run_are_planned_once(planned):
    plan = planned("training.learning_rate=1e-3,0.001", "seed=0,1")
    assert len(plan.plan.cells) == 2
    (note,) = plan.notes
    assert note == "repeat_vector, echo is given more than once: planned once (seed 0, 1)"


@pytest.mark.thinned(2)
@pytest.mark.parametrize(
    ("key", "fixed", "shared", "others"),
    [
        ("task.data_seed", 1, "1", "2,3"),
        ("evaluation.max_length", 7, "7", "8,9"),
        ("training.weights_seed", 1, "1", "0,2"),
        ("training.order_seed", 2, "2", "0,1"),
    ],
)
def test_rows_that_are_the_same_run_with_some_seeds_are_refused(
    planned, key, fixed, shared, others
):
    follows = None if key.startswith("training") else "${seed}"
    own, one = ({"decoder": "luong", key: value} for value in (follows, fixed))
    for rows in ({"own": own, "one": one}, {"one": one, "own": own}):
        with pytest.raises(ConfigError) as refused:
            planned(f"seed={others},{shared}", variants=rows)
        said = str(refused.value)
        different = others.replace(",", ", ")
        assert f"are the same run with seed {shared}, and others with seed {different}:" in said
        assert f"leave seed {shared} out" in said
        apart = planned(f"seed={others}", variants=rows)
        assert len(apart.plan.cells) == 4
        assert not any("same run" in note for note in apart.notes)
        assert len(planned(f"seed={shared}", variants=rows).plan.cells) == 1  # one under two names


def test_one_row_of_two_that_are_the_same_run_is_left_out_whole(planned):
    rows = {"a": {"decoder": "luong"}, "b": {"decoder": "luong", "decoder.dropout": 0.0}}
    with pytest.raises(ConfigError, match="a has no other seeds of b, echo; leave one|a, echo has"):
        planned("seed=0,1,2", variants=rows, exclude=[{"variant": "a", "seed": [2]}])
    plan = planned("seed=0,1,2", variants=rows, exclude=[{"variant": "b", "seed": [2]}])
    assert {cell.variant for cell in plan.plan.cells} == {"a"}


def test_a_baseline_that_is_another_row_is_named_with_it(planned):
    rows = {"a": {"decoder": "luong"}, "b": {"decoder": "luong", "decoder.dropout": 0.0}}
    with pytest.raises(ConfigError, match="which is the same run as a with all seeds.*baseline=a"):
        planned("seed=0,1", "study.baseline=b", variants=rows)


@pytest.mark.fault(9)
def test_a_run_under_two_names_is_recorded_by_its_first(planned, tmp_path):
    plan = planned("task=reverse,echo,copy", "decoder=repeat_vector,peek", "seed=0,1")
    assert {cell.task for cell in plan.plan.cells} == {"reverse", "echo"}
    assert sorted(plan.notes) == [
        f"{variant}, copy is the same run as {variant}, echo: planned once (seed 0, 1)"
        for variant in ("peek", "repeat_vector")
    ]
    plan.plan.write(tmp_path, plan.configs)
    read = read_plan(tmp_path, plan.plan.name)
    assert not read.invalid
    assert sorted(read.same_runs) == sorted(plan.notes)


def test_variants_are_the_rows_of_the_table(planned):
    variants = {"a": {"decoder": "luong"}, "b": {"decoder": "luong", "decoder.num_layers": 2}}
    cells = planned("seed=0,1", "encoder.num_layers=2", variants=variants).plan.cells
    assert [(cell.variant, cell.seed) for cell in cells] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert cells[0].parameters < cells[2].parameters
    assert cells[0].factors == {"variant": "a"}


def test_a_plan_keeps_the_configs_and_the_plans_before_it(planned, tmp_path):
    first = planned("seed=0")
    first.plan.write(tmp_path, first.configs)
    second = planned("seed=0,1")
    second.plan.write(tmp_path, second.configs)
    second.plan.write(tmp_path, second.configs)
    assert read_plan(tmp_path, "s") == second.plan
    folder = plan_file(tmp_path, "s").parent
    assert sorted(path.name for path in folder.glob("plan*")) == ["plan-001.json", "plan.json"]
    configs = read_configs(folder / "plan.json")
    assert configs == second.configs
    third = planned("seed=2")
    third.plan.write(tmp_path, third.configs)
    assert read_plan(tmp_path, "s") == third.plan
    # A job that is still in the queue of a cluster finds its own run.
    cell, config = read_job(folder / "plan.json", second.plan.cells[0].run_id)
    assert (cell, config) == (second.plan.cells[0], second.configs[cell.run_id])
    (folder / "plan-001.json").unlink()
    second.plan.write(tmp_path, second.configs)
    names = sorted(path.name for path in folder.glob("plan*"))
    assert names == ["plan-002.json", "plan-003.json", "plan.json"]
    assert configs[second.plan.cells[1].run_id].seed == 1


@pytest.mark.parametrize(
    ("limit", "name"), [("study.max_runs=1", "max_runs"), ("study.max_hours=1e-9", "max_hours")]
)
@pytest.mark.fault(10)
def test_too_large_a_sweep_is_asked_about(planned, monkeypatch, limit, name):
    plan = planned("seed=0,1", limit)
    with pytest.raises(
        ConfigError, match=rf"2 runs are pending, about .* with 1 at a time.*study.{name}="
    ):
        confirm([plan], jobs=1)
    confirm([planned("seed=0,1")], jobs=1)
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    monkeypatch.setattr("rich.console.Console.input", lambda *_, **__: "y")
    confirm([plan], jobs=1)
    monkeypatch.setattr("rich.console.Console.input", lambda *_, **__: "n")
    with pytest.raises(ConfigError, match="nothing was started"):
        confirm([plan], jobs=1)

    def end_of_input(*_, **__):
        raise EOFError

    monkeypatch.setattr("rich.console.Console.input", end_of_input)
    with pytest.raises(ConfigError, match="nothing was started"):
        confirm([plan], jobs=1)


@pytest.mark.fault(46)
def test_runs_of_other_code_are_refused_and_recorded(planned, tmp_path):
    plan = planned("seed=0,1")
    config = composed(*plan.plan.cells[0].overrides)
    prepared = prepare(config, config.hydra.runtime.choices)
    run(prepared)
    assert check_changes(plan).plan.accepted_changes == ()
    (made,) = json.loads(prepared.folder.made_by.read_text())["makers"]
    assert made == made_here(prepared.config)
    made["code"]["RecurrentDecoder"] = "x"
    made["versions"]["torch"] = "0.1"
    write_json(prepared.folder.made_by, sealed({"makers": [made]}))
    with pytest.raises(
        ConfigError, match=r"1 of 2 runs .* other code: RecurrentDecoder, torch 0.1 -> "
    ):
        check_changes(plan)
    with pytest.raises(ConfigError, match="study.allow_changes=true"):
        run(prepared)
    allowed = check_changes(planned("seed=0,1", "study.allow_changes=true"))
    assert (
        "1 of 2 runs were made by other code: RecurrentDecoder" in allowed.plan.accepted_changes[0]
    )
    prepared.folder.made_by.unlink()
    with pytest.raises(Invalid, match="made_by.json is missing; which code made the run"):
        check_changes(plan)
    # Whoever left nothing to go on from does not count.
    prepared.folder.result_file.unlink()
    shutil.rmtree(prepared.folder.checkpoints)
    write_json(prepared.folder.made_by, sealed({"makers": [made]}))
    assert check_changes(plan).plan.accepted_changes == ()
    run(prepared)
    assert prepared.folder.result().code_changes == []
    assert json.loads(prepared.folder.made_by.read_text())["makers"] == [made_here(prepared.config)]


@pytest.mark.fault(60)
def test_a_run_that_went_on_with_other_code_says_so_in_the_report(planned, tmp_path, monkeypatch):
    plan = planned("seed=0", "study.allow_changes=true")
    config = composed(*plan.plan.cells[0].overrides)
    prepared = prepare(config, config.hydra.runtime.choices)
    run(prepared)
    (made,) = json.loads(prepared.folder.made_by.read_text())["makers"]
    made["code"]["RecurrentDecoder"] = "x"
    write_json(prepared.folder.made_by, sealed({"makers": [made]}))
    prepared.folder.result_file.unlink()  # tested again, by the code of now
    assert execute(prepared, report=lambda *_: None, retry=True, allow_changes=True) == "FINISHED"
    assert prepared.folder.result().code_changes == ["RecurrentDecoder"]
    build_report(check_changes(plan).plan, tmp_path)
    text = (tmp_path / "studies/s/report.md").read_text()
    assert (
        "accepted: 1 runs were resumed with other code than they started with: RecurrentDecoder"
        in text
    )


@pytest.mark.fault(46)
def test_a_plan_that_loses_runs_is_refused(planned, tmp_path):
    plan = planned("seed=0,1")
    plan.plan.write(tmp_path, plan.configs)
    check_changes(planned("seed=0,1,2"))
    with pytest.raises(ConfigError, match="1 of 2 runs that study s consists of .* such as echo"):
        check_changes(planned("seed=0"))
    changed = planned("seed=0,1", "training.max_steps=13")
    with pytest.raises(ConfigError, match="since training.max_steps 12 -> 13 changed"):
        check_changes(changed)
    allowed = check_changes(planned("seed=0", "study.allow_changes=true"))
    assert "1 of 2 runs" in allowed.plan.accepted_changes[0]
    plan_file(tmp_path, "s").write_text("{")
    with pytest.raises(ConfigError, match="plan.json is no JSON.* study.allow_changes=true"):
        check_changes(plan)


def test_a_single_run_is_composed_once(monkeypatch):
    compose, composed_with = Hydra.compose_config, []

    def counted(*arguments, **named):
        composed_with.append(named)
        return compose(*arguments, **named)

    monkeypatch.setattr(Hydra, "compose_config", counted)
    assert in_process(monkeypatch, "training.max_steps=0") == 2
    assert len(composed_with) == 1


def test_tasks_that_are_built_alike_are_built_together(planned, monkeypatch):
    rates, built = ["training.learning_rate=0.1,0.01", "seed=0,1"], []
    build = draft.build_task
    monkeypatch.setattr(draft, "build_task", lambda config: built.append(config) or build(config))
    planned("decoder=luong", *rates)
    once = len(built)
    planned("decoder=luong,peek,every_input", *rates)
    assert len(built) == 2 * once > 0


@pytest.mark.parametrize("place", ["a preset", "the command line"])
def test_whatever_a_config_makes_a_sweep_is_one(tmp_path, place):
    (tmp_path / "preset").mkdir()
    mode = "# @package _global_\nhydra:\n  mode: MULTIRUN\n"
    (tmp_path / "preset" / "mine.yaml").write_text(mode)
    own = ("--config-dir", str(tmp_path), "preset=mine")
    given = own if place == "a preset" else ("hydra.mode=MULTIRUN", "study.seeds=[0,1]")
    done = forked("plan", *given, *SIZES, *TINY, f"run.output_dir={tmp_path / 'outputs'}")
    runs = 1 if place == "a preset" else 2
    assert f"{runs} of {runs} runs to do" in done.stderr, done.stderr


def test_weights_that_nothing_reads_are_named(planned):
    plan = planned("decoder=luong,peek", "encoder.summary_size=5")
    (note,) = [note for note in plan.notes if "the loss does not depend on" in note]
    assert note.startswith(
        "luong: the loss does not depend on the weights encoder.summarise.weight"
    )
    assert not any("does not depend" in note for note in planned("decoder=luong,peek").notes)
