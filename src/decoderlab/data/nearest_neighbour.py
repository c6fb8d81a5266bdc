"""The nearest training example: a rule without trained weights, for sources of numbers."""

from __future__ import annotations

import torch

from decoderlab.data.batches import by_length
from decoderlab.data.task import Task
from decoderlab.data.task_data import of_tokens

BLOCK = 256  # test sources compared at a time


def nearest_targets(task: Task) -> list[list[int]]:
    """Return, for each test source, the target of the training source that is nearest to it.

    Sources are images or real values; near is the Euclidean distance, as the network gets the
    numbers, to training sources of the same length. Of several at one distance the first is taken;
    where training has none of that length, nothing is predicted.

    Returns:
        Ids without EOS, of each test example.
    """
    train, test = (task.data.splits[name] for name in ("train", "test"))
    eos_id = of_tokens(task.data.target_vocabulary).space.eos_id
    train_lengths = train.source.lengths
    predicted: list[list[int]] = [[] for _ in range(len(test))]
    for rows in by_length(test.source.lengths.numpy(), BLOCK, torch.arange(len(test)).numpy()):
        index = torch.from_numpy(rows)
        candidates = torch.nonzero(train_lengths == test.source.lengths[rows[0]]).flatten()
        if not len(candidates):
            continue
        there, here = (
            part.source.take(taken, 0)[0].flatten(1)
            for part, taken in ((train, candidates), (test, index))
        )
        for row, nearest in zip(rows, torch.cdist(here, there).argmin(dim=1), strict=True):
            target = train.target[int(candidates[nearest])]
            predicted[row] = [number for number in target if number != eos_id]
    return predicted
