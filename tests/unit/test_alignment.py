from __future__ import annotations

import torch

from decoderlab.contract import ImageSpace
from decoderlab.data.alignment import Alignment
from decoderlab.data.batches import Ragged, Split
from decoderlab.data.task_data import TaskData
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.tasks import EchoTask


def test_tokens_are_aligned_by_their_spelling():
    source, target = Vocabulary(["c", "a", "##b"]), Vocabulary(["a", "b", "c"])
    alignment = Alignment.of(source, target)
    assert alignment.target_ids.tolist() == [-1, -1, -1, -1, 6, 4, -1]
    for token, number in zip(alignment.source_tokens, alignment.target_ids.tolist(), strict=True):
        assert number == -1 or alignment.target_tokens[number] == token


def test_sources_become_target_ids_in_the_same_shape():
    alignment = Alignment.of(Vocabulary(["b", "a"]), Vocabulary(["a", "b"]))
    source = torch.tensor([[5, 4, 0], [3, 5, 2]])
    assert alignment.copied(source).tolist() == [[4, 5, -1], [-1, 4, -1]]


def test_what_echo_repeats_can_be_copied_and_survives_the_record():
    sizes = {"num_train": 50, "num_validation": 5, "num_test": 5}
    data = EchoTask(num_values=6, min_length=2, max_length=4, **sizes).data
    for one in (data, TaskData.recorded(data.record())):
        batch = data.splits["test"].batch(torch.arange(3))
        copied = one.alignment.copied(batch.source)
        for row in range(3):
            ids = [number for number in batch.target[row].tolist() if number > 3]
            assert [number for number in copied[row].tolist() if number >= 0] == ids


def test_nothing_is_aligned_where_a_side_is_not_of_tokens():
    splits = {"train": Split(Ragged.of([]), Ragged.of([]))}
    tokens, values = Vocabulary(["a"]), Values([0.0], [1.0])
    for source, target in ((values, tokens), (tokens, values), (ImageSpace(1, 2, 2), tokens)):
        assert TaskData(source, target, splits, 3).alignment is None
    assert TaskData(tokens, tokens, splits, 3).alignment is not None
