"""Captions of rows of digits."""

from __future__ import annotations

import csv
import gzip
import sys
from collections import Counter

import numpy as np
import pytest

from decoderlab.data.example import SPLITS
from decoderlab.data.reading import package_file
from decoderlab.tasks.captioning import WORDS, DigitsTask, EmojiTask
from tests.conftest import version

needs_digits = pytest.mark.skipif(version("scikit-learn") is None, reason="needs decoderlab[data]")
ROWS = {"num_train": 300, "num_validation": 40, "num_test": 60}


@pytest.fixture(scope="module")
def digits_task():
    task = DigitsTask(**ROWS)
    assert task.data
    return task


def listed_digits() -> dict[bytes, int]:
    """Return the digit of each image, read by other means than the task's."""
    path = package_file("scikit-learn", "sklearn/datasets/data/digits.csv.gz")
    with gzip.open(path, "rt", newline="") as file:
        rows = [[float(one) for one in row] for row in csv.reader(file)]
    return {(np.array(row[:-1], np.float32) / 16).tobytes(): int(row[-1]) for row in rows}


def cells(picture: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(part) for part in np.split(picture[0], picture.shape[2] // 8, 1)]


@needs_digits
def test_rows_show_the_digits_that_their_targets_name(digits_task):
    listed, empty = listed_digits(), np.zeros((8, 8), np.float32).tobytes()
    lengths, filled = Counter(), Counter()
    for rows in digits_task.examples()[0].values():
        for row in rows:
            assert row.source.shape == (1, 8, 32)
            shown = [cell.tobytes() for cell in cells(row.source)]
            assert [WORDS[listed[one]] for one in shown if one != empty] == row.target
            lengths[len(row.target)] += 1
            filled.update(place for place, one in enumerate(shown) if one != empty)
    number = lengths.total()
    assert set(lengths) == {2, 3, 4}
    assert min(lengths.values()) > 0.25 * number
    assert all(0.65 * number < filled[place] < 0.85 * number for place in range(4))


@needs_digits
def test_no_image_of_a_digit_is_in_two_splits(digits_task):
    examples, counts = digits_task.examples()
    used = {
        split: {cell.tobytes() for row in rows for cell in cells(row.source) if cell.any()}
        for split, rows in examples.items()
    }
    assert not used["train"] & used["test"]
    assert not used["train"] & used["validation"]
    assert not used["validation"] & used["test"]
    assert all(len(used[split]) <= counts[f"digits_{split}"] for split in SPLITS)
    assert counts["digits"] == sum(counts[f"digits_{split}"] for split in SPLITS) == 1797
    assert counts["digits_test"] == 449  # a quarter
    for split, rows in examples.items():
        assert len({row.source.tobytes() for row in rows}) == len(rows) == ROWS[f"num_{split}"]


@needs_digits
def test_held_out_rows_do_not_change_with_the_training_size(digits_task):
    larger = DigitsTask(**ROWS | {"num_train": 400}).data
    for split in ("validation", "test"):
        values = digits_task.data.splits[split].source.values
        assert larger.splits[split].source.values.equal(values)


@needs_digits
def test_rows_are_the_same_again_and_others_with_other_settings(digits_task):
    known = {digits_task.data.fingerprint}
    assert DigitsTask(**ROWS).data.fingerprint in known
    for settings in (
        {"data_seed": 1},
        {"min_digits": 1},
        {"max_digits": 3},
        {"test_share": 0.3},
    ):
        one = DigitsTask(**ROWS, **settings).data.fingerprint
        assert one not in known, settings
        known.add(one)


@needs_digits
def test_rules_read_rows(digits_task):
    rules = digits_task.baselines()
    places = rules["the nearest training digit at each place"]
    row = rules["the nearest training row"]
    most = rules["the most frequent target"]
    assert places["exact_match"] > 0.85
    assert places["exact_match"] > row["exact_match"] + 0.3
    assert row["token_accuracy"] > most["token_accuracy"]
    batches = list(digits_task.val_dataloader())
    assert sum(len(batch.index) for batch in batches) == ROWS["num_validation"]
    text = digits_task.text_of(digits_task.accepted("test", 0)[0])
    assert text.split() == digits_task.examples()[0]["test"][0].target


@needs_digits
def test_scikit_learn_is_not_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)  # an import would raise
    assert len(DigitsTask(**ROWS).examples()[0]["train"]) == 300


@needs_digits
def test_missing_digits_name_the_extra(hide):
    hide("scikit-learn")
    with pytest.raises(ValueError, match=r"'scikit-learn'.*decoderlab\[data\]"):
        DigitsTask(**ROWS).examples()


@needs_digits
def test_more_rows_than_there_are_are_refused():
    sizes = {"num_train": 1000, "num_validation": 9, "num_test": 9}
    with pytest.raises(ValueError, match=r"num_train is 1000, but 1078 digits make only 1078 rows"):
        DigitsTask(min_digits=1, max_digits=1, **sizes).examples()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EmojiTask(num_validation=0, num_test=5), "num_validation is 0"),
        (lambda: EmojiTask(num_validation=5, num_test=0), "num_test is 0"),
        (lambda: EmojiTask(num_validation=5, num_test=5, apart="figures"), "Did you mean figure"),
        (lambda: EmojiTask(num_validation=5, num_test=5, picture_size=4), "between 8 and 128"),
        (lambda: DigitsTask(max_digits=9, **ROWS), "max_digits is 9"),
        (lambda: DigitsTask(min_digits=5, **ROWS), "min_digits is 5; .* between 1 and 4"),
        (lambda: DigitsTask(test_share=0.9, **ROWS), "below 1"),
        (lambda: DigitsTask(**ROWS | {"num_train": 0}), "num_train is 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
