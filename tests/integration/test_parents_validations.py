"""A continued run chooses its step among validations that mean the same, and tells its code."""

from __future__ import annotations

import json

import pytest

from decoderlab import load_run
from decoderlab.common.errors import ConfigError
from decoderlab.records.run_folder import RunFolder
from decoderlab.training import code_changes
from decoderlab.training.code_changes import made_here
from tests.conftest import run
from tests.integration.test_using_runs import prepared_run, write_pairs


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """Return a file of pairs, and a run on it of ten updates."""
    out = tmp_path_factory.mktemp("parent")
    prepared = prepared_run(out, write_pairs(out / "pairs.tsv"))
    assert run(prepared) == "FINISHED"
    return out / "pairs.tsv", prepared.folder.path


@pytest.mark.parametrize(
    ("more", "alike"),
    [
        (("evaluation.select=loss",), False),
        pytest.param(("evaluation.beam_width=3",), False, marks=pytest.mark.slow),
        pytest.param(("evaluation.temperature=1.0",), False, marks=pytest.mark.slow),
        pytest.param(("evaluation.max_length=2",), False, marks=pytest.mark.slow),
        pytest.param(("evaluation.validate_greedily=true",), False, marks=pytest.mark.slow),
        (("evaluation.every_steps=4", "training.learning_rate=0.02"), True),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_no_score_of_a_parent_is_compared_with_one_that_means_something_else(
    parent, tmp_path, capsys, more, alike
):
    file, first = parent
    child = prepared_run(tmp_path, file, f"training.from_run={first}", *more, steps=14)
    assert run(child) == "FINISHED"
    said, result = capsys.readouterr().err, RunFolder(child.folder.path).result()
    lines = [json.loads(line) for line in child.folder.metrics.read_text().splitlines()]
    validated = {
        line["step"]: line["validation/" + result.selected_by]
        for line in lines
        if "validation/loss" in line
    }
    assert ("are left out" in said) != alike
    assert (min(validated) <= 10) == alike
    assert min(line["step"] for line in lines) <= 10  # what was trained is there in any case
    best = (min if result.selected_by == "loss" else max)(validated.values())
    assert validated[result.best_step] == best
    assert result.signatures.get("selection") == (None if alike else "after update 10")
    load_run(child.folder.path)  # the records agree with each other
    again = prepared_run(tmp_path, file, f"training.from_run={first}", *more, steps=14)
    assert run(again) == "FINISHED"
    assert RunFolder(child.folder.path).result().to_dict() == result.to_dict()


def test_a_search_of_the_test_alone_leaves_a_parents_validations_comparable(tmp_path, capsys):
    greedily, file = "evaluation.validate_greedily=true", write_pairs(tmp_path / "pairs.tsv")
    first = prepared_run(tmp_path / "first", file, greedily)
    assert run(first) == "FINISHED"
    for width in (1, 3):
        more = f"training.from_run={first.folder.path}", f"evaluation.beam_width={width}", greedily
        child = prepared_run(tmp_path / str(width), file, *more, steps=14)
        assert run(child) == "FINISHED"
        lines = [json.loads(line) for line in child.folder.metrics.read_text().splitlines()]
        assert min(line["step"] for line in lines if "validation/loss" in line) <= 10
        assert RunFolder(child.folder.path).result().signatures.get("selection") is None
    assert "are left out" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("+trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches is new"),
        ("+trainer.deterministic=true", "trainer.deterministic is new"),
        ("training/initial_weights=keras", "training.initial_weights"),
        ("training.uniform_range=0.08", "training.uniform_range is 0.08"),
        ("training.weights_seed=3", "training.weights_seed is 3, where None was run"),
        ("training.order_seed=3", "training.order_seed is 3, where None was run"),
    ],
)
def test_what_a_continued_run_cannot_change_is_refused(parent, tmp_path, setting, message):
    file, first = parent
    with pytest.raises(ConfigError, match=f"training.from_run: {message}"):
        prepared_run(tmp_path, file, f"training.from_run={first}", setting, steps=14)


def test_a_child_of_another_seed_may_name_the_draws_of_its_parent(parent, tmp_path):
    file, first = parent
    draws = ("seed=4", "training.weights_seed=0", "training.order_seed=0")
    child = prepared_run(tmp_path, file, f"training.from_run={first}", *draws, steps=11)
    assert run(child) == "FINISHED"


@pytest.mark.parametrize(
    ("more", "edited", "said"),
    [
        ((), True, ["RecurrentDecoder"]),
        pytest.param(("training/objective=minimum_risk",), False, [], marks=pytest.mark.slow),
    ],
)
def test_other_code_than_the_parents_is_recorded(parent, tmp_path, monkeypatch, more, edited, said):
    file, first = parent
    child = prepared_run(tmp_path, file, f"training.from_run={first}", *more, steps=11)

    def with_an_edit(config):
        made = made_here(config)
        return made | {"code": made["code"] | ({"RecurrentDecoder": "x"} if edited else {})}

    monkeypatch.setattr(code_changes, "made_here", with_an_edit)
    assert run(child) == "FINISHED"
    assert RunFolder(child.folder.path).result().code_changes == said


@pytest.mark.parametrize(
    ("edited", "said"), [("RecurrentEncoder", True), ("RecurrentDecoder", False)]
)
def test_other_code_than_that_which_trained_an_encoder_is_recorded(
    parent, tmp_path, monkeypatch, edited, said
):
    file, first = parent
    child = prepared_run(tmp_path, file, f"encoder.from_run={first}")
    makers = code_changes._makers

    def of_other_code(folder):
        made = makers(folder)
        if folder.path != first:
            return made
        return [made[-1] | {"code": made[-1]["code"] | {edited: "x"}}]

    monkeypatch.setattr(code_changes, "_makers", of_other_code)
    assert run(child) == "FINISHED"
    changes = RunFolder(child.folder.path).result().code_changes
    assert changes == [edited] * said
