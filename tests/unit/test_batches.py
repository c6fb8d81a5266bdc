from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from decoderlab.data.batches import EvaluationBatches, Ragged, Split, TrainingBatches, by_length


def split(lengths, target_lengths=None) -> Split:
    rows, targets = (
        [[4 + row % 5] * length for row, length in enumerate(one)]
        for one in (lengths, target_lengths or lengths)
    )
    return Split(Ragged.of(rows), Ragged.of([row + [2] for row in targets]))


@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=6), min_size=1, max_size=9))
def test_ragged_gives_back_what_it_was_given(rows):
    ragged = Ragged.of(rows)
    assert [ragged[place] for place in range(len(rows))] == rows
    index = torch.arange(len(rows)).flip(0)
    padded, lengths = ragged.take(index, pad_id=0)
    assert lengths.tolist() == [len(row) for row in rows[::-1]]
    longest = max(map(len, rows))
    assert padded.tolist() == [row + [0] * (longest - len(row)) for row in rows[::-1]]
    for number in range(len(rows) + 2):
        assert ragged.first(number) == list(map(list, rows[:number]))


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=40),
    st.integers(1, 7),
    st.integers(0, 2**32 - 1),
)
def test_batches_have_one_length_and_hold_each_example_once(lengths, batch_size, seed):
    lengths = np.array(lengths)
    order = np.random.default_rng(seed).permutation(len(lengths))
    batches = by_length(lengths, batch_size, order)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= batch_size
        assert len(set(lengths[batch].tolist())) == 1


def stream(first_step: int, seed: int = 0):
    return TrainingBatches(
        split([1, 2, 3] * 7), batch_size=4, seed=seed, first_step=lambda: first_step
    )


def test_a_stream_begun_later_is_the_same_stream():
    whole = [batch.index.tolist() for batch in islice(stream(0), 20)]
    for first in (1, 5, 6, 7, 13):
        rest = [batch.index.tolist() for batch in islice(stream(first), 20 - first)]
        assert rest == whole[first:]


def test_epochs_and_seeds_have_orders_of_their_own():
    batches = stream(0)
    epochs = [[b.tolist() for b in batches.epoch(number)] for number in (0, 1)]
    assert len(epochs[0]) == len(epochs[1]) == batches.batches_per_epoch
    assert epochs[0] != epochs[1]
    assert epochs[0] != [b.tolist() for b in stream(0, seed=1).epoch(0)]
    assert sorted(sum(epochs[0], [])) == list(range(21))


def test_evaluation_sees_every_example_once():
    batches = EvaluationBatches(split([1, 3, 2, 3, 1]), batch_size=2)
    seen = [batch.index.tolist() for batch in batches]
    assert len(seen) == len(batches)
    assert sorted(sum(seen, [])) == [0, 1, 2, 3, 4]


def test_targets_of_a_batch_have_nearly_one_length_where_that_is_asked_for():
    made = split([3] * 40 + [5] * 40, [1, 2, 3, 4, 5, 6, 7, 8] * 10)
    batches, plain = (
        TrainingBatches(
            made, batch_size=5, seed=0, first_step=lambda: 0, group_by_target_length=grouped
        )
        for grouped in (True, False)
    )
    epochs = [batches.epoch(number) for number in (0, 1)]
    for epoch in epochs:
        assert len(epoch) == batches.batches_per_epoch == plain.batches_per_epoch
        assert sorted(np.concatenate(epoch).tolist()) == list(range(80))
        for index in epoch:
            assert len(set(made.source.lengths[index].tolist())) == 1
            assert len(set(made.target.lengths[index].tolist())) == 1  # there are five of each
    assert [sorted(one.tolist()) for one in epochs[0]] != [
        sorted(one.tolist()) for one in epochs[1]
    ]
    assert any(len(set(made.target.lengths[one].tolist())) > 1 for one in plain.epoch(0))
