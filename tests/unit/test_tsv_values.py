"""Your own data: numbers as targets, bad lines that are left out, tabs that are missing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from decoderlab.common.errors import ConfigError
from decoderlab.data.values import Values
from decoderlab.tasks import ForecastingTask, TSVTask
from decoderlab.usage.sources import batches
from tests.conftest import composed, prepare, run, small


def written(path, rows, header="source\ttarget"):
    path.write_bytes("\n".join([header, *rows, ""]).encode())
    return path


def test_targets_can_be_numbers(tmp_path):
    rows = [f"{'ab' * (i % 5 + 1)} {i}\t{i / 10:.1f},{i} {i * 2},{i + 1}" for i in range(40)]
    task = TSVTask(path=str(written(tmp_path / "a.tsv", rows)), targets="values", target_size=2)
    data = task.data
    assert isinstance(data.target_vocabulary, Values)
    assert (data.max_target_length, data.target_space.size) == (2, 2)
    seen = {
        task.source_text(task.decoded_source(name, row)): data.target_vocabulary.decode(
            data.splits[name].target[row]
        )
        for name in data.splits
        for row in range(len(data.splits[name]))
    }
    for line in rows:
        source, target = line.split("\t")
        wanted = [[float(one) for one in at.split(",")] for at in target.split()]
        assert np.allclose(seen[source], wanted, atol=1e-4)
    rules = task.baselines()
    test = data.splits["test"]
    rest = np.concatenate([np.asarray(test.target[row]) for row in range(len(test))])
    wanted = (np.abs(rest) * data.target_vocabulary.deviation).mean()
    assert rules["the mean of training"]["mean_absolute_error"] == pytest.approx(wanted, rel=1e-5)


def test_a_model_of_numbers_is_selected_by_their_error(tmp_path):
    file = written(tmp_path / "a.tsv", [f"{'a' * (i % 9 + 1)}{i}\t{i}" for i in range(40)])
    config = composed(
        "task=tsv",
        f"task.path={file}",
        "task.targets=values",
        "task.target_size=1",
        *small("encoder", "lstm"),
        *small("decoder", "repeat_vector"),
        "training.max_steps=2",
        "evaluation.every_steps=2",
        "logger=none",
        f"run.output_dir={tmp_path}",
    )
    prepared = prepare(config, config.hydra.runtime.choices)
    assert prepared.config.evaluation.select == "mean_absolute_error"
    assert run(prepared) == "FINISHED"
    assert prepared.folder.result().met_limit is None


@pytest.mark.parametrize(
    ("settings", "rows", "message"),
    [
        ({"targets": "values"}, ["a\t1"], "task.target_size=1 for one number"),
        ({"target_size": 1}, ["a\t1"], "give a target_size exactly when targets are values"),
        ({"targets": "values", "target_size": 1}, ["a\tx"], "line 2: the line 'x' is not all"),
        (
            {"targets": "values", "target_size": 1},
            [f"{i}\t{' '.join('1' * (i % 2 + 1))}" for i in range(30)],
            "the targets have 1, 2 positions",
        ),
        ({}, ["no tab here"], r"line 2: 1 columns \(there is no tab in it\)"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, settings, rows, message):
    with pytest.raises(ValueError, match=message):
        _ = TSVTask(path=str(written(tmp_path / "a.tsv", rows)), **settings).data


def test_a_header_without_a_tab_is_said(tmp_path):
    file = written(tmp_path / "a.tsv", ["a,b"], header="source,target")
    with pytest.raises(ValueError, match=r"\(no tab\).*a tab between columns"):
        _ = TSVTask(path=str(file)).data


def test_bad_lines_are_left_out_counted_and_named(tmp_path, capsys):
    good = [f"{'ab' * (i % 4 + 1)}{i}\t{i}" for i in range(20)]
    file = written(tmp_path / "a.tsv", [*good[:10], "one\ttwo\tthree", "none", *good[10:], "z\tx"])
    with file.open("ab") as end:
        end.write(b"\xff\xfe\t1\n")
    settings = {"path": str(file), "targets": "values", "target_size": 1}
    with pytest.raises(ValueError, match=r"line 25.*(utf|UTF)|line 12"):
        _ = TSVTask(**settings).data
    task = TSVTask(**settings, skip_bad_lines=True)
    assert (task.data.counts["pairs"], task.data.counts["bad_lines"]) == (20, 4)
    assert list(task.bad_lines.reasons) == [12, 13, 24, 25]
    told = capsys.readouterr().err
    for line in (12, 13, 24, 25):
        assert f"line {line} is left out" in told
    whole = TSVTask(path=str(written(tmp_path / "b.tsv", good)), targets="values", target_size=1)
    assert whole.data.fingerprint == task.data.fingerprint


def test_many_columns_are_read_and_one_is_forecast(tmp_path):
    steps = np.arange(200)
    table = np.stack([np.sin(steps / 5), np.cos(steps / 7), steps % 11], axis=1)
    file = tmp_path / "a.csv"
    rows = [",".join(f"{value:.6f}" for value in row) for row in table]
    file.write_text("\n".join(["a,b,y", *rows]))
    shared = {"path": str(file), "source_length": 6, "target_length": 2, "season": 11}
    with pytest.raises(ValueError, match="y never differs from what it was 11 step"):
        _ = ForecastingTask(**shared, columns=["a", "b"], target_columns=["y"]).data
    task = ForecastingTask(**shared | {"season": 1}, columns=["a", "b"], target_columns=["y"])
    data = task.data
    assert (data.source_space.size, data.target_space.size) == (2, 1)
    first = data.splits["train"]
    assert np.allclose(data.source_vocabulary.decode(first.source[3]), table[3:9, :2], atol=1e-4)
    assert np.allclose(data.target_vocabulary.decode(first.target[3]), table[9:11, 2:], atol=1e-4)
    rules = task.baselines()
    assert rules["the last value"]["mean_absolute_error"] > 0
    assert task.naive_error().shape == (1,)
    both = ForecastingTask(**shared | {"season": 1}, target_columns=["y"])
    assert both.data.source_space.size == 3  # all that are numbers
    with pytest.raises(ValueError, match="'z' is not there"):
        _ = ForecastingTask(**shared, target_columns=["z"]).data


def test_a_bad_line_is_named_by_its_number():
    data = SimpleNamespace(source_vocabulary=Values([0.0], [1.0]))
    task = SimpleNamespace(data=data, source_length=None, evaluation_batch_size=4)
    run = SimpleNamespace(task=task, module=SimpleNamespace(dtype=torch.float32))
    with pytest.raises(ConfigError, match="line 12 of the input"):
        list(batches(run, ["1 2", "x"], first_row=10))
