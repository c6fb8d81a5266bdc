"""Forecasting: the windows, the rules beside it, and files of one's own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from decoderlab.data.values import Values
from decoderlab.generation import Search
from decoderlab.metrics.signature import signature
from decoderlab.tasks import ForecastingTask
from decoderlab.training.loading import load_run
from decoderlab.usage.outputs import predict
from tests.conftest import run

SMALL = {"source_length": 6, "target_length": 4}


def wave(tmp_path, values=None, name="wave.csv", header="time,x\n"):
    values = np.arange(100.0) if values is None else values
    path = tmp_path / name
    path.write_text(header + "".join(f"t{n},{value}\n" for n, value in enumerate(values)))
    return str(path)


def in_units(task, split):
    data, found = task.data, []
    for row in range(len(data.splits[split])):
        source = data.source_vocabulary.decode(data.splits[split].source[row])
        target = data.target_vocabulary.decode(data.splits[split].target[row])
        found.append((source[:, 0], target[:, 0]))
    return found


@pytest.mark.parametrize(
    ("series", "length", "missing", "first"),
    [
        ("taylor", 4032, 0, 22262),
        ("sunspots", 2820, 0, 58.0),
        ("sunspots_yearly", 309, 0, 5),
        ("co2", 2284, 59, 313.0),
        ("elec_equip", 257, 0, 66.19),
    ],
)
def test_a_series_is_the_real_one(series, length, missing, first):
    task = ForecastingTask(series=series, **SMALL)
    counts = task.data.counts
    assert (counts["steps"], counts["missing_values"]) == (length, missing)
    assert in_units(task, "train")[0][0][0] == pytest.approx(first, rel=1e-5)
    assert (counts["dropped_with_missing_values"] > 0) == (missing > 0)


def test_no_value_is_in_two_splits_and_a_target_goes_on_where_its_source_ends(tmp_path):
    task = ForecastingTask(path=wave(tmp_path), **SMALL)
    seen = {}
    for split in ("train", "validation", "test"):
        for source, target in in_units(task, split):
            joined = np.concatenate([source, target]).round(3)
            assert (np.diff(joined) == 1).all()  # the series counts up
            seen.setdefault(split, set()).update(joined.tolist())
    assert max(seen["train"]) < min(seen["validation"])
    assert max(seen["validation"]) < min(seen["test"])
    assert task.data.counts["train"] == 70 - 9
    assert seen["test"] == set(range(85, 100))


def test_stride_thins_every_split(tmp_path):
    task = ForecastingTask(path=wave(tmp_path), stride=5, **SMALL)
    assert [source[0] for source, _ in in_units(task, "train")][:3] == pytest.approx(
        [0, 5, 10], abs=1e-4
    )
    assert task.data.counts["test"] == 2  # windows of 10 from steps 85 and 90


def test_missing_values_cost_their_windows_alone(tmp_path):
    values = list(np.arange(100.0))
    values[30] = ""
    task = ForecastingTask(path=wave(tmp_path, values), **SMALL)
    assert task.data.counts["missing_values"] == 1
    assert task.data.counts["dropped_with_missing_values"] == 10
    assert task.data.counts["train"] == 70 - 9 - 10


def test_the_rules_beside_it_are_what_they_say(tmp_path):
    season = np.tile([3.0, 1.0, 2.0, 8.0], 60) + np.repeat(np.arange(60.0), 4)
    task = ForecastingTask(path=wave(tmp_path, season), season=4, **SMALL)
    rules = task.baselines()
    steps = np.array([[abs(t - s[-1]) for t in target] for s, target in in_units(task, "test")])
    assert rules["the last value"]["mean_absolute_error"] == pytest.approx(steps.mean(), rel=1e-4)
    # A season ago everything was lower by 1, which is what scales the error.
    naive = rules["seasonal naive (4 steps)"]
    assert naive["mean_absolute_error"] == pytest.approx(1, rel=1e-4)
    assert naive["mean_absolute_scaled_error"] == pytest.approx(1, rel=1e-4)
    assert task.data.naive_error.tolist() == [1.0]
    assert rules["linear (least squares)"]["mean_absolute_error"] < 1e-3


def test_a_season_longer_than_the_source_reaches_back_before_it(tmp_path):
    values = list(np.tile(np.random.default_rng(1).normal(size=20), 10) + np.arange(200) // 20)
    values[165] = ""  # a season before a step of the test
    task = ForecastingTask(path=wave(tmp_path, values), season=20, **SMALL)
    rule = task.baseline_predictions()["seasonal naive (20 steps)"]
    scale = task.data.target_vocabulary
    for row, (source, target) in enumerate(in_units(task, "test")):
        places = 170 + row + 6 + np.arange(4)  # of the target's steps
        filled = np.where(places == 185, source[-1], target - 1)
        assert scale.decode(rule[row])[:, 0] == pytest.approx(filled, abs=1e-4)
    assert {185 - 176 - row for row in range(len(rule))} >= {0, 1, 2, 3}, "one is missing"
    weekly = ForecastingTask(series="taylor", source_length=96, target_length=48)
    rules = weekly.baselines()
    assert {"seasonal naive (48 steps)", "seasonal naive (336 steps)"} <= set(rules)


def test_a_series_is_kept_once_however_many_windows_it_has():
    data = ForecastingTask(series="taylor", source_length=96, target_length=48).data
    stored = {side.values.data_ptr() for one in data.splits.values() for side in one_side(one)}
    assert len(stored) == 1
    assert data.splits["test"].source.values.shape == (4032, 1)
    others = ForecastingTask(series="taylor", source_length=96, target_length=48, stride=2).data
    assert others.fingerprint != data.fingerprint


def one_side(split):
    return split.source, split.target


def test_what_repeats_itself_cannot_scale_its_error(tmp_path):
    values = np.random.default_rng(0).normal(size=100)
    text = "day,x,what\n" + "".join(f"{n % 7},{one},a\n" for n, one in enumerate(values))
    path = tmp_path / "week.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"day never differs .* 7 step.* leave that out"):
        _ = ForecastingTask(path=str(path), season=7, **SMALL).data
    data = ForecastingTask(path=str(path), season=7, columns=["x"], **SMALL).data
    assert (data.counts["columns"], data.counts["columns_left_out"]) == (1, 2)


def test_columns_that_are_no_numbers_or_have_no_name_are_left_out_aloud(tmp_path, capsys):
    path = tmp_path / "numbered.csv"  # as pandas writes a table
    pd.DataFrame({"x": np.arange(90.0) ** 2, "time": "noon"}).to_csv(path)
    _ = ForecastingTask(path=str(path), **SMALL).data
    assert "the named columns of numbers, x, not Unnamed: 0, time" in capsys.readouterr().err


def test_the_linear_rule_is_scikit_learns(tmp_path):
    from sklearn.linear_model import LinearRegression

    values = np.random.default_rng(0).normal(size=300).cumsum()
    task = ForecastingTask(path=wave(tmp_path, values), **SMALL)
    train, test = in_units(task, "train"), in_units(task, "test")
    model = LinearRegression().fit(*map(np.stack, zip(*train, strict=True)))
    predicted = model.predict(np.stack([source for source, _ in test]))
    error = np.abs(predicted - np.stack([target for _, target in test])).mean()
    ours = task.baselines()["linear (least squares)"]["mean_absolute_error"]
    assert ours == pytest.approx(error, rel=1e-3)


def test_columns_are_read_and_forecast_together(tmp_path):
    path = tmp_path / "two.tsv"
    path.write_text("when\ta\tb\n" + "".join(f"x\t{n}\t{n * n}\n" for n in range(80)))
    both = ForecastingTask(path=str(path), **SMALL)
    one = ForecastingTask(path=str(path), columns=["b"], **SMALL)
    assert both.data.target_space.size == 2
    assert one.data.target_space.size == 1
    assert one.data.source_vocabulary.decode(one.data.splits["train"].source[0])[3, 0] == (
        pytest.approx(9, abs=1e-3)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give exactly one of them"),
        ({"series": "taylor", "path": "x"}, "give exactly one of them"),
        ({"series": "tailor"}, "Did you mean taylor"),
        ({"series": "taylor", "columns": ["a"]}, "has only one"),
        ({"series": "taylor", "target_length": 0}, "target_length is 0"),
        ({"series": "taylor", "season": -1}, "season is -1"),
        ({"series": "taylor", "test_share": 0.9}, "below 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ForecastingTask(**SMALL | settings)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (None, {}, "cannot be read"),
        ("", {}, "there are 0 lines"),
        ("a\n", {}, "there are 1 lines; give a CSV file"),
        ("a\n1\n2,3,4\n", {}, "Expected 1 fields in line 3"),
        ("a,b\nx,y\n", {}, r"numbers are \[\], and one at least is needed.* file$"),
        ("a,b\n1,y\n", {"columns": ["b", "c"]}, "and 'b' is text, 'c' is not there"),
        ("a;b\n1;2,5\n", {}, "the first lines have ';' between columns; write commas"),
        ("a,b\n1,2,5\n3,4,6\n", {}, "more cells than the first line; name every column"),
        ("v\n0,0\n1,1\n2,2\n", {}, "more cells than the first line; name every column"),
        ("a;b (k, n)\n1;2,5\n", {}, "the first lines have ';' between columns"),
        ("a,b,a\n1,2,3\n", {}, "the first line has 'a' twice"),
        ("20.13,4\n5,6\n", {}, r"numbers alone \(20.13, 4\)"),
        ("a\n" + "1e200\n-1e200\n" * 50, {}, "is out of range"),
        ("a\n1\n2\n3\n", {}, "the train part has 2 of 3 steps"),
        (
            "day,a\n2024-01-03,1\n2024-01-02,2\n2024-01-01,3\n",
            {},
            "'day' go back at line 3, 2024-01-02",
        ),
        ("a,at\n1,2024-01-03 12:00\n\n2,2024-01-03 11:00\n", {}, "at line 4, .*oldest first"),
        ("Date,a\n12/31/2020,1\n12/30/2020,2\n", {}, "at line 3, 12/30/2020 after 12/31/2020"),
        ("Date,a\n12/31/20 9:00 AM,1\n12/30/20 4:00 PM,2\n", {}, "at line 3, 12/30/20 4:00 PM"),
        ("Date,a\n2020/12/31,1\n2020/12/30,2\n", {}, "at line 3, 2020/12/30"),
        ("at,a\n31.12.2020,1\n30.12.2020,2\n", {}, "'at' go back at line 3"),
        ("at,a\n31/12/2020 9:00,1\n31/12/2020 8:00,2\n", {}, "'at' go back at line 3"),
        ('at,a\n"Feb 3, 2021",1\n"Jan 3, 2021",2\n', {}, "at line 3, Jan 3, 2021"),
        ("at,a\n2020-01-01,1\n2020-01-03,2\n2020-01-02,2\n", {}, "at line 4, 2020-01-02"),
        ("at,b,a\n2020-01-01,x,1\n2020-01-02,x,2\n2020-01-01,y,2\n", {}, "one series in a"),
        ("timestamp,a\n1612310400,1\n1612224000,2\n1612137600,3\n", {}, "at line 3, 1612224000"),
    ],
)
def test_a_file_that_does_not_serve_is_refused(tmp_path, text, settings, message):
    path = tmp_path / "some.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        _ = ForecastingTask(path=str(path), **SMALL, **settings).data


@pytest.mark.parametrize(
    ("dates", "repeat"),
    [
        (["01/02/2020", "01/03/2020", "02/01/2020"], False),  # months first; days first go back
        (["12/11/2020", "12/12/2020", "01/01/2021"], False),
        (["2020-01-01", "2020-01-01", "2020-01-02"], True),
        (["b", "a", "2020-01-01"], False),  # texts
    ],
)
def test_steps_in_the_order_of_time_are_read(tmp_path, capsys, dates, repeat):
    path = tmp_path / "some.csv"
    rows = [f"{dates[min(2, row // 40)]},{row % 7}" for row in range(120)]
    if not repeat:
        rows = [f"{date},{row}" for row, date in enumerate(dates)] + [
            f",{row}" for row in range(117)
        ]
    path.write_text("\n".join(["at,a", *rows]))
    _ = ForecastingTask(path=str(path), **SMALL).data
    assert ("the dates in 'at' repeat, first 2020-01-01" in capsys.readouterr().err) == repeat


def test_a_run_is_measured_in_the_units_of_the_data(tiny, tmp_path):
    values = 1000 + 50 * np.sin(np.arange(400) / 3)
    prepared = tiny(
        *(f"task.{name}={value}" for name, value in SMALL.items()),
        f"task.path={wave(tmp_path, values)}",
        "decoder=luong",
        "training.max_steps=3",
        task="forecasting_file",
    )
    assert prepared.config.evaluation.select == "mean_absolute_scaled_error"
    assert prepared.config.decoder["head"]["distribution"] == "point"
    assert run(prepared) == "FINISHED"
    loaded = load_run(prepared.folder.path)
    batch = loaded.task.data.splits["test"].batch(torch.arange(5))
    with torch.no_grad():
        rolled = loaded.module(batch.source, batch.source_lengths)
    vocabulary = loaded.task.data.target_vocabulary
    errors = np.abs(vocabulary.decode(rolled) - vocabulary.decode(batch.target))
    told = prepared.folder.predictions.read_text().splitlines()
    assert len(told) == loaded.result.data.counts["test"]
    metrics = loaded.result.metrics.test
    assert 0.1 * errors.mean() < metrics["mean_absolute_error"] < 10 * errors.mean()
    naive = loaded.task.data.naive_error[0]
    scaled = metrics["mean_absolute_error"] / naive
    assert metrics["mean_absolute_scaled_error"] == pytest.approx(scaled, rel=1e-6)
    line = loaded.task.data.source_vocabulary.text(batch.source[0])
    (text,) = predict(load_run(prepared.folder.path, data=False), [line])
    expected = vocabulary.decode(rolled[0])[:, 0]
    assert vocabulary.parse(text)[:, 0] == pytest.approx(expected, rel=1e-4)
    with pytest.warns(UserWarning, match=r"training has 6 positions, but here are some with 2, 7"):
        predict(loaded, [line, "1 2", f"{line} 3", ""])
    positions = loaded.result.probes["by_position"]
    assert positions["number"] == [len(told)] * SMALL["target_length"]
    mean = sum(positions["free"]) / sum(positions["number"])
    assert mean == pytest.approx(metrics["mean_absolute_error"], rel=1e-4)
    assert loaded.module.search == Search()


def test_values_are_text_and_text_values():
    values = Values([1.0, -2.0], [2.0, 0.5])
    got = values.encode([[3.0, -2.0], [1.0, -1.0]])
    assert got.tolist() == [[1.0, 0.0], [0.0, 2.0]]
    assert values.decode(got).tolist() == [[3.0, -2.0], [1.0, -1.0]]
    assert values.parse(values.text(got)).tolist() == [[3.0, -2.0], [1.0, -1.0]]
    for wrong in ("1 2", "1,2,3", "1,nan", "1,x", "1_0,2"):
        with pytest.raises(ValueError, match="the line"):
            values.parse(wrong)
    with pytest.raises(ValueError, match="constant"):
        Values.of([np.ones((3, 1))])
    with pytest.raises(ValueError, match="constant"):
        Values.of([np.full((99, 1), 0.1)])  # whose deviation is not quite 0
    with pytest.raises(ValueError, match="out of range"):
        Values.of([np.array([[1e200], [-1e200]])])
    assert np.signbit(values.parse("-0,-0")).tolist() == [[False, False]]


def test_values_are_told_as_finely_as_they_differ():
    far = Values([12_345_678.0, 0.0], [5.0, 1e-5])
    assert far.text([[1.0, 1.0], [-0.3, 1 / 3]]) == "12345683,1e-05 12345676.5,3.33333e-06"


def test_an_empty_line_is_a_step(tmp_path):
    values = ["" if n % 20 == 5 else f"{np.sin(n)}" for n in range(200)]
    found = []
    values[-3] = "NA"
    for name, lines in {
        "alone": ["x", *values],
        "beside": ["t,x", *(f"{n},{one}" for n, one in enumerate(values))],
        "empty": ["t,x", *(f"{n},{one}" if one else "" for n, one in enumerate(values))],
        "spaces": ["", " ", "x", *(one or "  " for one in values)],
        "years": ["2019,2020", *(f"{one}," for one in values)],
        "quoted": ['"x; (MW)"', *values],
    }.items():
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join([*lines, "", "", ""]))
        named = {"years": ["2019"], "quoted": None}.get(name, ["x"])
        found.append(ForecastingTask(path=str(path), columns=named, **SMALL).data)
    for data in found:
        assert (data.counts["steps"], data.counts["missing_values"]) == (200, 11)
        assert data.fingerprint == found[0].fingerprint


def test_errors_scaled_in_different_ways_are_not_compared():
    told = [
        ForecastingTask(series="taylor", season=season, stride=48, **SMALL).signatures()
        for season in (1, 48, 48)
    ]
    named = [signature("test", 9, 4, "d0", scores=one) for one in told]
    assert named[0] != named[1] == named[2]
    assert "|scores:" not in signature("test", 9, 4, "d0", scores={})
