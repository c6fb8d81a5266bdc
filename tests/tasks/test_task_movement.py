from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from decoderlab.data.example import SPLITS
from decoderlab.data.reading import package_file
from decoderlab.data.task_data import TaskData
from decoderlab.tasks.movement import EXERCISES, MovementTask, averaged, watch_recordings
from tests.conftest import version

needs_data = pytest.mark.skipif(version("seglearn") is None, reason="needs decoderlab[data]")

SIZES: dict[str, Any] = {
    "num_train": 200,
    "num_validation": 30,
    "num_test": 40,
    "window_seconds": [1.5, 2.0, 2.5],
}


@pytest.fixture(scope="module")
def task():
    made = MovementTask(**SIZES)
    assert made.data
    return made


@pytest.fixture(scope="module")
def examples(task):
    return task.examples()[0]


def raw() -> dict:
    path = package_file("seglearn", "seglearn/data/watch_dataset.npy")
    return np.load(path, allow_pickle=True).item()


def means(readings: np.ndarray, block: int) -> np.ndarray:
    """Return the mean of the block that begins at each reading, by running sums."""
    sums = np.cumsum(np.concatenate([np.zeros((1, 6)), readings]), axis=0)
    return (sums[block:] - sums[:-block]) / block


@needs_data
def test_the_recordings_are_those_of_the_package():
    recordings = watch_recordings()
    data = raw()
    assert len(recordings) == 140
    assert sum(len(one.readings) for one in recordings) == 244_102
    lengths = [len(one.readings) for one in recordings]
    assert (min(lengths), max(lengths)) == (947, 2618)
    assert Counter(one.exercise for one in recordings) == dict.fromkeys(EXERCISES, 20)
    assert {one.subject for one in recordings} == set(range(1, 11))
    for one, kind in zip(recordings, data["y"], strict=True):
        assert one.exercise == data["y_labels"][kind]


@needs_data
@pytest.mark.parametrize("sample_rate", [10, 25])
def test_sources_are_cuts_of_one_arm_whose_exercises_the_target_names(sample_rate):
    sizes: dict[str, Any] = SIZES | {"num_train": 12, "num_validation": 6, "num_test": 12}
    if sample_rate == 25:
        sizes["window_seconds"] = [1.0, 2.0]
    task, data = MovementTask(sample_rate=sample_rate, **sizes), raw()
    block = 50 // sample_rate
    allowed = {round(one * sample_rate) for one in sizes["window_seconds"]}
    used = set()
    for row in [row for rows in task.examples()[0].values() for row in rows]:
        subject = int(row.group.removeprefix("subject "))
        sides = []
        for side in (0, 1):
            left, matched = row.source, 0
            for name in row.target:
                (number,) = (
                    place
                    for place in range(140)
                    if data["subject"][place] == subject
                    and data["side"][place] == side
                    and data["y_labels"][data["y"][place]] == name
                )
                smooth = means(data["X"][number], block)
                starts = np.flatnonzero(np.abs(smooth - left[0]).max(axis=1) < 1e-5)
                if len(starts) != 1:
                    break
                there = smooth[starts[0] :: block][: len(left)]
                equal = np.abs(there - left[: len(there)]).max(axis=1) < 1e-5
                length = len(equal) if equal.all() else int(equal.argmin())
                assert length in allowed
                used.add(length)
                left, matched = left[length:], matched + 1
            sides.append(matched == len(row.target) and not len(left))
        assert sum(sides) == 1, "of exactly one arm"
    assert used == allowed


@needs_data
def test_no_subject_is_in_two_splits(task, examples):
    subjects = {split: {row.group for row in rows} for split, rows in examples.items()}
    assert [len(subjects[split]) for split in SPLITS] == [6, 2, 2]
    assert len(set.union(*subjects.values())) == 10
    assert task.data.counts["test_sources_seen_in_training"] == 0
    assert task.data.counts["test_subjects"] == 2
    assert task.data.counts["test_recordings"] == 28
    for split, rows in examples.items():
        assert len({row.source.tobytes() for row in rows}) == len(rows) == SIZES[f"num_{split}"]


@needs_data
def test_no_exercise_follows_itself_and_all_are_alike_frequent(examples):
    rows = [row for part in examples.values() for row in part]
    assert Counter(len(row.target) for row in rows).keys() == {2, 3, 4}
    assert all(one != other for row in rows for one, other in pairwise(row.target))
    counts = Counter(name for row in rows for name in row.target)
    expected = counts.total() / 7
    assert all(0.7 * expected < counts[name] < 1.3 * expected for name in EXERCISES)


@needs_data
def test_many_sources_share_one_length_and_values_are_standardised(task):
    train = task.data.splits["train"].source
    assert set(train.lengths.tolist()) <= set(range(30, 101, 5))
    for batch in task.val_dataloader():
        assert batch.source.shape[1:] == (int(batch.source_lengths[0]), 6)
    assert train.values.shape[1] == task.data.source_space.size == 6
    assert train.values.mean(dim=0).numpy() == pytest.approx(np.zeros(6), abs=1e-4)
    assert train.values.std(dim=0).numpy() == pytest.approx(np.ones(6), abs=1e-3)
    one_length = MovementTask(**SIZES | {"window_seconds": [2]}, min_commands=3, max_commands=3)
    assert set(one_length.data.splits["train"].source.lengths.tolist()) == {60}


def test_blocks_are_averaged():
    readings = np.arange(24.0).reshape(12, 2)
    assert averaged(readings, 3, 4).tolist() == [[3.0, 4.0], [11.0, 12.0], [19.0, 20.0]]
    assert averaged(readings, 2, 1).tolist() == readings[:2].tolist()


@needs_data
def test_data_are_the_same_again_and_others_with_other_settings(task):
    known = {task.data.fingerprint}
    assert MovementTask(**SIZES).data.fingerprint in known
    for settings in (
        {"data_seed": 1},
        {"sample_rate": 50},
        {"window_seconds": [1.5, 2.0]},
        {"min_commands": 3},
        {"num_test_subjects": 3},
    ):
        one = MovementTask(**SIZES | settings).data.fingerprint
        assert one not in known, settings
        known.add(one)


@needs_data
def test_held_out_sequences_do_not_change_with_the_training_size(examples):
    larger = MovementTask(**SIZES | {"num_train": 300}).examples()[0]
    for split in ("validation", "test"):
        for one, other in zip(larger[split], examples[split], strict=True):
            assert one.source.tobytes() == other.source.tobytes()
            assert one.target == other.target


@needs_data
def test_lines_of_numbers_are_read_as_they_are_written(task):
    recorded = TaskData.recorded(task.data.record())
    values = recorded.source_vocabulary
    source = np.array(task.data.splits["test"].source[3])
    line = values.text(source)
    assert line.count(" ") == len(source) - 1
    assert line.count(",") == 5 * len(source)
    assert values.encode(values.parse(line)) == pytest.approx(source, abs=1e-4)
    with pytest.raises(ValueError, match="must hold 6 finite"):
        values.parse("1,2,3 4,5,6")
    split = task.data.splits["test"]
    for row, example in enumerate(task.examples()[0]["test"]):
        (target,) = split.accepted(row, 2)
        assert task.text_of(target) == " ".join(example.target)
        assert recorded.target_vocabulary.encode(example.target) == list(target)


@needs_data
def test_the_nearest_source_is_of_the_same_length(task):
    found = task.baseline_predictions()["the nearest training source"]
    train, test = (task.data.splits[name] for name in ("train", "test"))
    several = 0
    for row in range(len(test)):
        here = np.array(test.source[row])
        there = [
            (float(((np.array(one) - here) ** 2).sum()), place)
            for place in range(len(train))
            if len(one := train.source[place]) == len(here)
        ]
        assert found[row] == (train.target[min(there)[1]][:-1] if there else [])
        several += len(there) > 1
    assert several > 20


@needs_data
def test_a_source_of_a_length_that_training_lacks_has_no_nearest():
    sizes = SIZES | {"num_train": 1, "num_test": 60}
    found = MovementTask(**sizes).baseline_predictions()["the nearest training source"]
    assert sum(not one for one in found) > 30


@needs_data
def test_a_missing_package_names_the_extra(hide):
    hide()
    with pytest.raises(ValueError, match=r"'seglearn'.*decoderlab\[data\]"):
        MovementTask(**SIZES).examples()


@needs_data
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("side"), "not the data of seglearn"),
        (lambda data: data["X"].pop(), "not the data of seglearn"),
        (lambda data: data["subject"].__setitem__(0, 3), "is needed once"),
    ],
)
def test_a_file_with_other_data_is_refused(monkeypatch, tmp_path, change, message):
    data = raw()
    change(data)
    np.save(tmp_path / "watch.npy", data)
    monkeypatch.setattr("decoderlab.tasks.movement.package_file", lambda *_: tmp_path / "watch.npy")
    with pytest.raises(ValueError, match=message):
        watch_recordings()


@needs_data
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_seconds": [30.0]}, "shortest recording has 18.94 seconds"),
        ({"num_validation_subjects": 5, "num_test_subjects": 5}, "there are only 10 subjects"),
    ],
)
def test_what_the_recordings_do_not_allow_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MovementTask(**SIZES | settings).examples()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample_rate": 20}, "sample_rate is 20; it must divide the 50"),
        ({"window_seconds": [1.25]}, "a whole number of steps of 1/10 s"),
        ({"window_seconds": []}, "window_seconds is \\[\\]"),
        ({"window_seconds": [0.0]}, "give one or more lengths"),
        ({"min_commands": 5}, "min_commands is 5"),
        ({"max_commands": 21}, "max_commands is 21"),
        ({"num_test_subjects": 0}, "num_test_subjects is 0"),
        ({"num_train": 0}, "num_train is 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MovementTask(**SIZES | settings)
