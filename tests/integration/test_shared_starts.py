"""Seeds that are not independent are named: of one start, one training, or one draw."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import Choices
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import StudyCell, read_plan
from decoderlab.studies.design.sealed_plan import settings_of
from decoderlab.studies.design.shared_starts import DRAWS, dependent_seeds, shared_starts
from decoderlab.studies.execution.sweep import notes_of
from decoderlab.studies.reporting.build import build_report
from decoderlab.studies.reporting.cautions import not_independent
from decoderlab.studies.reporting.json_record import report_record
from decoderlab.studies.reporting.row_parts import joint_differences
from decoderlab.studies.reporting.terminal_table import terminal_report
from decoderlab.studies.reporting.two_studies import compare_studies
from decoderlab.training.assembly import build_model
from tests.conftest import run
from tests.integration.reports import A, report_text
from tests.unit import studies
from tests.unit.studies import result, rewrite, study, write, write_run

pytestmark = pytest.mark.usefixtures("undrawn")
OF_ONE = "Not independent: b on echo: the seeds {} begin with the {} of one run ({}: parent0)"


def _children(tmp_path, monkeypatch, setting: str, parent_of_seed):
    """Write a study of two rows, of which b begins with other runs; return its plan."""
    parents = [tmp_path / f"runs/parent{number}" for number in range(len(A))]
    for number, parent in enumerate(parents):
        config = studies.config_of(90 + number, Choices("echo", "lstm", "luong"), number)
        write_run(RunFolder(parent), 0.5, config)
    made = studies.config_of

    def begun(number, choices, seed):
        config = made(number, choices, seed)
        if choices.decoder != "b":
            return config
        path = str(parents[parent_of_seed(seed)])
        if setting == "training.from_run":
            return config.with_setting(setting, path)
        start = {"from_run": path, "frozen": False}
        return replace(config, encoder=type(config.encoder)(config.encoder.to_dict() | start))

    monkeypatch.setattr(studies, "config_of", begun)
    return study(tmp_path, {"a": A, "b": [score + 0.1 for score in A]})


@pytest.mark.thinned(2)
@pytest.mark.parametrize(
    ("setting", "parent_of_seed", "said"),
    [
        ("training.from_run", lambda seed: 0, ("0-7", "weights")),
        ("encoder.from_run", lambda seed: 0, ("0-7", "encoder")),
        ("training.from_run", lambda seed: max(seed - 2, 0), ("0-2", "weights")),
        ("training.from_run", lambda seed: seed, None),
    ],
)
def test_a_report_says_which_seeds_begin_with_one_run(
    tmp_path, monkeypatch, setting, parent_of_seed, said
):
    plan = _children(tmp_path, monkeypatch, setting, parent_of_seed)
    text = report_text(tmp_path, plan).replace("**", "").replace("\\_", "_")
    record = report_record(Analysis(read_plan(tmp_path, "s"), read_rows(plan, tmp_path)))
    if said is None:
        assert "begin with" not in text
        assert record["not_independent"] == []
        assert "varied between seeds: initial weights, order" in text
        return
    seeds, what = said
    (line,) = record["not_independent"]
    assert line.startswith(OF_ONE.format(seeds, what, setting).removeprefix("Not independent: "))
    read = read_plan(tmp_path, "s")
    text = report_text(tmp_path, read).replace("**", "").replace("\\_", "_")
    assert OF_ONE.format(seeds, what, setting) in text
    noted = "Some seeds are not independent of each other."
    assert noted in (tmp_path / "studies/s/table.tex").read_text()
    assert "initial weights (but where the seeds of a row begin with one run)" in text


@pytest.mark.parametrize(
    "text",
    [
        '"from_run"',
        '["from_run"]',
        '{"training": {"from_run": 3}, "encoder": {}}',
        '{"training": {"from_run": ["a"]}, "encoder": {"from_run": {}}}',
        '{"training": ["from_run"], "encoder": 7}',
        '{"training": {"from_run": "a"}}',
        '{"training": {"weights_seed": [1], "order_seed": {}}, "encoder": {}, "seed": [2]}',
        '{"training": {"from_run": "a"',
        '{"x": "from_run"',
    ],
)
def test_settings_that_are_none_name_no_run(text):
    cells = [StudyCell(str(seed), "runs/a", "a", "echo", seed, 9, ()) for seed in (0, 1)]
    assert shared_starts(cells, dict.fromkeys("01", text)) == []


def test_links_to_one_run_name_one_run(tmp_path):
    for name in ("run", "other"):
        (tmp_path / name).mkdir()
    for seed, name in enumerate(("run", "run", "other")):
        (tmp_path / f"parent{seed}").symlink_to(tmp_path / name)
    cells = [StudyCell(str(seed), "runs/a", "a", "echo", seed, 9, ()) for seed in range(3)]
    text = '{{"training": {{"from_run": "{}"}}, "encoder": {{}}}}'
    settings = {str(seed): text.format(tmp_path / f"parent{seed}") for seed in range(3)}
    (line,) = shared_starts(cells, settings)
    assert "the seeds 0, 1 begin with the weights of one run (training.from_run: run)" in line


def test_a_comparison_of_studies_says_it_too(tmp_path, monkeypatch):
    write(_children(tmp_path, monkeypatch, "training.from_run", lambda seed: 0), tmp_path)
    write(study(tmp_path, {"b": A}, name="t"), tmp_path)
    _, sides, _ = compare_studies("s", "t", tmp_path)
    assert sum("begin with the weights of one run" in side for side in sides) == 2


def test_a_plan_says_which_seeds_begin_with_one_run(tiny, planned, tmp_path):
    parent = tiny("encoder.hidden_size=8", "decoder.hidden_size=8")
    assert run(parent) == "FINISHED"
    given = ("decoder=repeat_vector", "seed=0,1", "study.baseline=null", "encoder.embedding_size=4")
    start = f"encoder.from_run={parent.folder.path}"
    assert [note for note in notes_of(planned(*given)) if "begin with" in note] == []
    (note,) = (note for note in notes_of(planned(*given, start)) if "begin with" in note)
    assert "the seeds 0, 1 begin with the encoder of one run (encoder.from_run: " in note
    assert parent.folder.path.name in note


def test_seeds_that_are_one_training_are_named(tmp_path, capsys):
    plan = study(tmp_path, {"a": A, "b": A})
    same = result(0.6)
    for place in (9, 10, 12):  # seeds 1, 2 and 4 of b
        rewrite(RunFolder(tmp_path / f"runs/s{place}"), same)
    text = report_text(tmp_path, plan)
    terminal_report(build_report(read_plan(tmp_path, "s"), tmp_path)).print()
    assert "not independent: these seeds are one training" in capsys.readouterr().err
    assert "counted repeatedly, so that intervals are too narrow (b on echo: seeds 1, 2, 4)" in text
    last = json.loads((tmp_path / "runs/s12/result.json").read_text())["metrics"]["validation_last"]
    other = {"test": same["metrics"]["test"] | {"loss": 0.4000000001}}
    rewrite(
        RunFolder(tmp_path / "runs/s12"), same | {"metrics": same["metrics"] | other}
    )  # a digit of its loss is another one
    assert last["loss"] == 0.4
    assert "(b on echo: seeds 1, 2)" in report_text(tmp_path, plan)


def test_initial_weights_and_order_have_seeds_of_their_own(tiny):
    def drawn(*given: str):
        made = tiny(*given)
        model = build_model(made.config, made.task)
        batch = next(iter(made.task.train_dataloader()))
        return [weight.tolist() for weight in model.state_dict().values()], batch.source.tolist()

    weights, order = drawn("seed=0")
    others, another = drawn("seed=5")
    assert weights != others
    assert order != another
    assert drawn("seed=0", "training.weights_seed=5") == (others, order)
    assert drawn("seed=0", "training.order_seed=5") == (weights, another)
    assert drawn("seed=0", "training.weights_seed=0", "training.order_seed=0") == (weights, order)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("name", ["weights_seed", "order_seed"])
@pytest.mark.parametrize("start", ["training.from_run", "encoder.from_run"])
def test_who_begins_with_a_run_of_a_fixed_draw_says_so(tiny, start, name):
    """So that seeds which go on from runs of one draw are known not to be independent."""
    parent = tiny("seed=0", f"training.{name}=1")
    assert run(parent) == "FINISHED"
    begins, more = f"{start}={parent.folder.path}", "training.max_steps=40"
    with pytest.raises(ConfigError, match=f"{start}: training.{name} is None, where 1 was run"):
        tiny("seed=0", begins, more)
    child = tiny("seed=0", begins, more, f"training.{name}=1")
    assert child.config.training.from_run or child.config.encoder_start.from_run
    settings = settings_of(child.config.to_dict())
    cells = [StudyCell(str(seed), "runs/a", "a", "echo", seed, 9, ()) for seed in (0, 1)]
    lines = dependent_seeds(cells, dict.fromkeys("01", settings))
    assert any(f"the seeds 0, 1 have one draw of the {DRAWS[name]}" in line for line in lines)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("given", ["-1", "4294967296", "1.5", "true", "x"])
@pytest.mark.parametrize("name", ["weights_seed", "order_seed"])
def test_a_seed_of_a_draw_is_checked(tiny, name, given):
    with pytest.raises(ConfigError, match=f"training.{name}|{name} is {given}"):
        tiny(f"training.{name}={given}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "drawn"),
    [("training.weights_seed", "initial weights"), ("training.order_seed", "order of examples")],
)
def test_a_report_says_which_seeds_have_one_draw(tmp_path, monkeypatch, setting, drawn):
    made = studies.config_of

    def fixed(number, choices, seed):
        config = made(number, choices, seed)
        of_seed = 3 if seed < 6 else seed  # seeds 6 and 7 have draws of their own
        return config if choices.decoder != "b" else config.with_setting(setting, of_seed)

    monkeypatch.setattr(studies, "config_of", fixed)
    plan = study(tmp_path, {"a": A, "b": [score + 0.1 for score in A]})
    report_text(tmp_path, plan)
    text = report_text(tmp_path, read_plan(tmp_path, "s")).replace("**", "").replace("\\_", "_")
    said = f"b on echo: the seeds 0-5 have one draw of the {drawn} ({setting}=3)"
    assert f"Not independent: {said}" in text
    assert f"{drawn} (but where one draw is fixed)" in text


def test_rows_of_two_draws_are_two_lines_and_differ_in_the_draw(tmp_path, monkeypatch):
    made = studies.config_of

    def of_row(number, choices, seed):
        row = {"a": 1, "b": 3}[choices.decoder]
        config = made(number, choices, seed).with_setting("training.weights_seed", row)
        return config.with_setting("training.learning_rate", row / 100)

    monkeypatch.setattr(studies, "config_of", of_row)
    plan = study(tmp_path, {"a": A, "b": A})
    report_text(tmp_path, plan)
    found = Analysis(read_plan(tmp_path, "s"), read_rows(plan, tmp_path), studies.CONFIGS)
    lines = not_independent(found)
    assert [line.partition(", so that")[0] for line in lines] == [
        f"{row} on echo: the seeds 0-7 have one draw of the initial weights "
        f"(training.weights_seed={seed})"
        for row, seed in (("a", 1), ("b", 3))
    ]
    (said,) = joint_differences(found)
    assert "training.weights_seed" in said
