"""What of the data limits the scores of a test is said before and after the runs."""

from __future__ import annotations

import pytest

from decoderlab.data.task_data import data_cautions
from decoderlab.studies.reporting.cautions import cautions
from decoderlab.tasks import TSVTask
from tests.unit.studies import analysis, result

SIZES = ("encoder.hidden_size=8", "decoder.hidden_size=8")
A = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50]


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ("word", "tsv: its 6 test targets have 6 tokens that no target of training has, and where"),
        ("character", ""),
    ],
)
@pytest.mark.parametrize("seeds", [("seed=0",), ("seed=0,1,2", "task.data_seed=${seed}")])
def test_a_plan_says_once_that_most_targets_cannot_be_written(here, tmp_path, tokens, said, seeds):
    pairs = "".join(f"number {'i' * (number % 7)} {number}\t{number}\n" for number in range(60))
    (tmp_path / "pairs.tsv").write_text(f"source\ttarget\n{pairs}")
    given = [f"task.path={tmp_path / 'pairs.tsv'}", f"task.tokens={tokens}", *seeds]
    given += ["task=tsv", *SIZES, f"run.output_dir={tmp_path / 'out'}"]
    done = here("plan", "-m", "decoder=repeat_vector,luong", *given)
    assert done.returncode == 0, done.stderr
    assert said in done.stderr
    assert done.stderr.count("no target of training has") == bool(said)


@pytest.mark.parametrize(("unknown", "known"), [(40, False), (3, True)])
def test_a_report_says_it_above_its_tables(tmp_path, unknown, known):
    data = result(0.5)["data"]
    counts = data["counts"] | {"test_unknown_target_tokens": unknown, "test": 100}
    changes = {"data": data | {"counts": counts}}
    made = analysis(tmp_path, {"a": A, "b": A}, result_changes=changes)
    said = [block.text for block in cautions(made) if getattr(block, "strong", "") == "Data: "]
    first = "echo: its 100 test targets have 40 tokens that no target of training has"
    assert [text.partition(", and where")[0] for text in said] == ([] if known else [first])


def test_an_argument_that_a_yaml_does_not_list_is_named(here, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/decoder").mkdir()
    (tmp_path / "own/ownpart.py").write_text(
        "from torch import nn\n"
        "class Mine(nn.Module):\n"
        "    def __init__(self, *, target_space, encoder_shape, width=4):\n"
        "        super().__init__()\n"
    )
    (tmp_path / "own/decoder/mine.yaml").write_text("_target_: ownpart.Mine\n")
    given = ("decoder=mine", "decoder.width=8", "--config-dir", str(tmp_path / "own"))
    for command in (("plan", "-m", "decoder=mine,mine", *given[1:]), ("train", *given)):
        done = here(*command, f"run.output_dir={tmp_path / 'out'}")
        assert done.returncode == 2
        said = "decoder.width is not a setting, but its class takes width: list it in its YAML"
        assert said in done.stderr


def test_sources_of_other_groups_in_training_and_validation_are_said(tmp_path):
    (tmp_path / "p.tsv").write_text(
        "source\ttarget\twho\n"
        + "".join(f"hi {n // 10 % 4}\tx{n}\tspeaker {n % 10}\n" for n in range(200))
    )
    task = TSVTask(path=str(tmp_path / "p.tsv"), group_column="who")
    number = task.data.counts["test"]
    for split, caution in zip(
        ("training", "validation"), data_cautions(task.data.counts), strict=True
    ):
        assert task.data.counts[f"test_sources_seen_in_{split}"] == number > 0
        assert f"of its {number} test examples {number} have a source that {split}" in caution
