"""Runs that differ in the test's search alone are trained once, and are what each would be."""

from __future__ import annotations

import json
import shutil

import pytest

from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import run_id
from decoderlab.records.opened_run import open_run
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import read_plan
from decoderlab.studies.execution.sweep import _siblings
from decoderlab.training import shared_training
from tests.conftest import composed
from tests.integration.cli import in_process, tiny_arguments

pytestmark = pytest.mark.usefixtures("undrawn")
WIDTHS = ("evaluation.beam_width=1,3", "evaluation.length_penalty=0")
GREEDILY = "evaluation.validate_greedily=true"
# What says when and how long; a run that is only tested has its training's seconds.
OF_TIME = {"started", "ended", "evaluation_seconds", "train_seconds", "peak_memory_bytes"}


def _study(monkeypatch, folder, *more: str) -> int:
    given = ("decoder=luong", "study.name=s", "hydra/launcher=basic", *WIDTHS, *more)
    return in_process(monkeypatch, "-m", *tiny_arguments(folder, *given))


def _runs(folder) -> dict[tuple[int, int], RunFolder]:
    """Return the finished runs of the study by beam width and seed."""
    opened = [open_run(RunFolder(path)) for path in (folder / "runs").iterdir() if path.is_dir()]
    return {(each.config.evaluation.beam_width, each.config.seed): each.folder for each in opened}


def _trained_by(runs) -> dict[tuple[int, int], str | None]:
    return {key: folder.result().trained_by for key, folder in runs.items()}


def _by_id(runs: dict[tuple[int, int], RunFolder], seed: int) -> list[RunFolder]:
    """Return the runs of a seed by their ids: the first of them is trained."""
    own = [folder for (_, at), folder in runs.items() if at == seed]
    return sorted(own, key=lambda folder: folder.result().run_id)


def test_no_two_runs_wait_for_each_other_in_whatever_order_studies_have_them(planned):
    waiting: dict[str, set[str]] = {}
    for widths in ("1,3,2", "3,2,1", "2,1,3", "3,1"):
        greedily = ("decoder=luong", GREEDILY, "evaluation.length_penalty=0", "seed=0,1")
        plan = planned(*greedily, f"evaluation.beam_width={widths}")
        for run, siblings in _siblings(plan).items():
            waiting.setdefault(run, set()).update(cell.run_id for cell in siblings)
    assert sum(map(len, waiting.values())) == 2 * 3
    for run, siblings in waiting.items():
        assert not any(run in waiting[sibling] for sibling in siblings)


def test_each_seed_is_trained_once_and_tested_with_each_search(monkeypatch, tmp_path, capsys):
    assert _study(monkeypatch, tmp_path / "together", GREEDILY, "seed=0,1") == 0
    runs = _runs(tmp_path / "together")
    trained, tested = {}, {}
    for seed in (0, 1):
        trained[seed], tested[seed] = _by_id(runs, seed)
        assert trained[seed].result().trained_by is None
        assert tested[seed].result().trained_by == trained[seed].result().run_id
    said = capsys.readouterr().err
    assert said.count("which differs in its search alone: only the test is done") == 2
    width = open_run(tested[1]).config.evaluation.beam_width
    other = in_process(
        monkeypatch,
        *tiny_arguments(tmp_path / "single", "decoder=luong", GREEDILY, "seed=1"),
        f"evaluation.beam_width={width}",
        "evaluation.length_penalty=0",
    )
    (single,) = _runs(tmp_path / "single").values()
    assert other == 0
    assert single.result().trained_by is None
    mine, own = tested[1].result().to_dict(), single.result().to_dict()
    differing = {name for name in mine if mine[name] != own[name]} - OF_TIME
    assert differing == {"trained_by"}
    for name in ("predictions.jsonl", "vocabularies.json"):
        assert (tested[1].path / name).read_bytes() == (single.path / name).read_bytes()


@pytest.mark.slow
def test_of_many_searches_each_has_the_one_training_and_all_can_be_gone_on_from(
    monkeypatch, tmp_path, capsys
):
    more = ("evaluation.beam_width=1,2,3,4", "seed=0")
    assert _study(monkeypatch, tmp_path, GREEDILY, *more) == 0
    runs = _by_id(_runs(tmp_path), 0)
    first, *others = [folder.result() for folder in runs]
    assert first.trained_by is None
    assert {other.trained_by for other in others} == {first.run_id}
    assert [other.restarts for other in others] == [first.restarts] * 3
    assert len({other.metrics.validation["loss"] for other in (first, *others)}) == 1
    said = capsys.readouterr().err
    assert said.count("only the test is done") == 3
    assert "is not used" not in said
    # Whoever goes on from one of them goes on from the same training, and is a training of its own.
    given = ("decoder=luong", GREEDILY, "seed=0", "training.max_steps=16")
    ends = []
    for number, parent in enumerate(runs):
        folder = tmp_path / f"child{number}"
        more = (f"training.from_run={parent.path}", "evaluation.length_penalty=0")
        assert in_process(monkeypatch, *tiny_arguments(folder, *given, *more)) == 0
        (child,) = _runs(folder).values()
        ends.append(child.result())
    assert "starts again" not in capsys.readouterr().err
    assert {(end.trained_by, end.restarts, end.steps) for end in ends} == {(None, 0, 16)}
    assert len({end.metrics.test["loss"] for end in ends}) == 1


def test_children_of_one_parent_share_their_training_too(monkeypatch, tmp_path):
    parent = tmp_path / "parent"
    assert in_process(monkeypatch, *tiny_arguments(parent, "decoder=luong", GREEDILY)) == 0
    (run,) = _runs(parent).values()
    more = (f"training.from_run={run.path}", "training.max_steps=16", "seed=0")
    assert _study(monkeypatch, tmp_path / "children", GREEDILY, *more) == 0
    trained, tested = _by_id(_runs(tmp_path / "children"), 0)
    assert trained.result().trained_by is None
    assert tested.result().trained_by == trained.result().run_id
    assert (tested.result().steps, tested.result().restarts) == (16, 0)


def test_a_child_never_begins_with_weights_that_nothing_has_trained(monkeypatch, tmp_path, capsys):
    parent = tmp_path / "parent"
    assert in_process(monkeypatch, *tiny_arguments(parent, "decoder=luong")) == 0
    (run,) = _runs(parent).values()
    monkeypatch.setattr("decoderlab.training.continued_training.restarts_of", lambda memory: -2)
    child = ("decoder=luong", f"training.from_run={run.path}", "training.max_steps=16")
    assert in_process(monkeypatch, *tiny_arguments(tmp_path / "child", *child)) == 1
    assert "it is not trained without it" in capsys.readouterr().err
    assert not list((tmp_path / "child").rglob("result.json"))


def test_validations_are_greedy_and_the_test_is_searched(monkeypatch, tmp_path):
    baseline = "study.baseline='evaluation.beam_width=1'"
    assert _study(monkeypatch, tmp_path, GREEDILY, "seed=0,1", baseline) == 0
    greedy, wide = (_runs(tmp_path)[width, 0].result() for width in (1, 3))
    assert greedy.metrics.validation == wide.metrics.validation
    assert "generation:greedy" in greedy.signature
    assert "generation:beam:3" in wide.signature
    plan = read_plan(tmp_path, "s")
    analysis = Analysis(plan, read_rows(plan, tmp_path))
    (comparison,) = analysis.comparisons.values()
    assert (comparison.verdict, comparison.paired.n) == ("pilot", 2)  # not "not comparable"


def test_without_the_setting_each_run_is_trained(monkeypatch, tmp_path):
    assert _study(monkeypatch, tmp_path, "seed=0") == 0
    assert set(_trained_by(_runs(tmp_path)).values()) == {None}


@pytest.mark.parametrize(
    "harm",
    [
        "weights",
        *(
            pytest.param(harm, marks=pytest.mark.slow)
            for harm in ("checkpoint", "result", "maker", "gone")
        ),
    ],
)
def test_a_run_whose_sibling_cannot_be_trusted_is_trained_by_itself(
    monkeypatch, tmp_path, capsys, harm
):
    assert _study(monkeypatch, tmp_path, GREEDILY, "seed=0") == 0
    first, second = _by_id(_runs(tmp_path), 0)
    width = open_run(second).config.evaluation.beam_width
    before = second.result().to_dict()
    shutil.rmtree(second.path)
    if harm == "weights":
        best = first.path / first.result().best_checkpoint
        best.write_bytes(best.read_bytes()[:-1])
    elif harm == "checkpoint":
        for path in first.numbered("step"):
            path.unlink()
    elif harm == "result":
        record = json.loads(first.result_file.read_text())
        record["metrics"]["test"]["exact_match"] = 1.0
        first.result_file.write_text(json.dumps(record))
    elif harm == "maker":
        monkeypatch.setattr(shared_training, "changed_code", lambda *_: ["Head"])
    else:
        shutil.rmtree(first.path)
    _study(monkeypatch, tmp_path, GREEDILY, "seed=0", "study.name=s")
    after = _runs(tmp_path)[width, 0].result().to_dict()
    assert {name for name in before if before[name] != after[name]} - OF_TIME <= {"trained_by"}
    repaired = harm in ("result", "gone")  # the first run itself is done again before
    assert (after["trained_by"] is None) is not repaired


def test_a_setting_without_effect_on_values_is_refused(tiny):
    with pytest.raises(
        Exception, match=r"evaluation.validate_greedily is True, .* leave it at false"
    ):
        tiny("task=forecasting", GREEDILY, task="forecasting")


def test_the_setting_names_a_run_only_where_it_is_given():
    def known(*more: str) -> str:
        return run_id(RunConfig.from_composed(composed("task=echo", *more)), "data")

    assert known() == known("evaluation.validate_greedily=false")
    assert known() != known(GREEDILY)
