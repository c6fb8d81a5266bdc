from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.text import edit_distance as reference_edit_distance

from decoderlab.data.metrics import SequenceMetrics, edit_distance

WORDS = st.text("abc", max_size=7)


@given(WORDS, WORDS)
def test_edit_distance_is_torchmetrics(one, other):
    assert edit_distance(one, other) == int(
        reference_edit_distance([one], [other], reduction="sum")
    )


def scores(predictions, references):
    metrics = SequenceMetrics()
    metrics.update(predictions, references)
    return metrics.compute()


def test_a_prediction_is_right_if_it_equals_any_reference():
    assert scores([(1, 2)], [[(3,), (1, 2)]])["exact_match"] == 1
    assert scores([(1,)], [[(3,), (1, 2)]])["exact_match"] == 0


def test_symbol_error_rate_uses_the_nearest_reference():
    assert scores([(1, 2, 9)], [[(7, 8), (1, 2, 3)]])["symbol_error_rate"] == pytest.approx(1 / 3)


def test_token_accuracy_counts_the_end():
    assert scores([(1, 2)], [[(1, 2)]])["token_accuracy"] == 1
    assert scores([(1, 2, 3)], [[(1, 2)]])["token_accuracy"] == pytest.approx(2 / 3)
    assert scores([()], [[(1, 2)]])["token_accuracy"] == 0


def test_without_an_end_there_is_no_token_for_it():
    metrics = SequenceMetrics(targets_end=False)
    metrics.update([(9, 9)], [[(1, 2)]])
    assert metrics.compute()["token_accuracy"] == 0
    metrics.update([(1, 2)], [[(1, 2)]])
    assert metrics.compute()["token_accuracy"] == 0.5


@given(st.lists(st.tuples(WORDS, WORDS.filter(bool)), min_size=1, max_size=8))
def test_scores_do_not_depend_on_how_examples_are_batched(rows):
    whole = scores([one for one, _ in rows], [[other] for _, other in rows])
    parts = SequenceMetrics()
    for one, other in rows:
        parts.update([one], [[other]])
    assert parts.compute() == whole
    assert set(whole) == set(parts.scores)
    assert 0 <= whole["exact_match"] <= 1


def test_counts_stay_exact_where_float32_would_not():
    metrics = SequenceMetrics()
    metrics.examples += 2**24
    metrics.update([(1,)], [[(1,)]])
    assert metrics.examples == torch.tensor(2**24 + 1, dtype=torch.float64)
