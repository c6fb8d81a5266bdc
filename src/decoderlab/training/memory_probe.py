"""How long a decoder remembers its fixed-length encoding: what changes when it gets another's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from decoderlab.common.randomness import numpy_generator
from decoderlab.contract import Batch, Encoded, TokenSpace, ValueSpace
from decoderlab.data.task import Task
from decoderlab.generation.greedy_search import allowed
from decoderlab.training.module import EncoderDecoder

NUM_EXCHANGED = 1024  # test examples, from the first on


@torch.no_grad()
def influence_by_position(model: EncoderDecoder, task: Task) -> list[float]:
    """Return how far outputs move, by position, when summary and state are another example's.

    Each example gets those of one that is drawn at random among the others, whatever its length,
    the same for every model and batch size; the memory stays. A decoder that remembers all of its
    encoding is moved as far at its last position as at its first.

    Paper: after Tanti et al. 2018 (https://arxiv.org/abs/1708.02043), who exchange the image of a
    caption generator.

    Args:
        model: in evaluation mode.
        task: with its data.

    Returns:
        The mean total variation distance between the distributions, 0 to 1, at each position of the
        target before its end; of real values the mean absolute change of the output, in standard
        deviations of the target. [] with fewer than two examples.
    """
    number = min(len(task.data.splits["test"]), NUM_EXCHANGED)
    if number < 2:
        return []
    encodings = _Partners(number)
    for batch, kept in _batches(model, task, number):
        encodings.add(model.encode(batch.source, batch.source_lengths), batch.index, kept)
    sums = np.zeros((2, task.data.max_target_length))
    for batch, kept in _batches(model, task, number):
        encoded = model.encode(batch.source, batch.source_lengths)
        outputs = model.decoder(encoded, batch.target)
        swapped = model.decoder(encodings.exchanged(encoded, batch.index), batch.target)
        moved, real = _distance(outputs, swapped, batch.target, model.target_space)
        real &= kept[:, None]
        width = real.shape[1]
        sums[0, :width] += moved.masked_fill(~real, 0.0).sum(dim=0).double().cpu().numpy()
        sums[1, :width] += real.sum(dim=0).cpu().numpy()
    reached = sums[1] > 0
    return [round(float(value), 6) for value in sums[0, reached] / sums[1, reached]]


def partners(number: int) -> np.ndarray:
    """Return for each of so many examples another one, (N,), drawn at random.

    Example:
        >>> all(partners(5) != range(5)), sorted(partners(5).tolist())
        (True, [0, 1, 2, 3, 4])
    """
    order = numpy_generator(0, "statistics", "partners").permutation(number)
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)
    return partner


class _Partners:
    """Summaries and states of the examples, and whose each of them gets."""

    def __init__(self, number: int) -> None:
        self.partner = torch.from_numpy(partners(number))
        self.summaries: list[Tensor] = []
        self.parts: list[list[Tensor]] = []
        self.rows: list[int] = []

    def add(self, encoded: Encoded, index: Tensor, kept: Tensor) -> None:
        """Keep those of a batch."""
        self.rows += index[kept].tolist()
        self.summaries.append(encoded.summary[kept])
        if encoded.state is not None:
            parts: list[Tensor] = []
            encoded.state.map(lambda part: parts.append(part[:, kept]) or part)
            self.parts.append(parts)

    def exchanged(self, encoded: Encoded, index: Tensor) -> Encoded:
        """Return the encodings of a batch with summary and state of the partners."""
        kept_at = {row: number for number, row in enumerate(self.rows)}
        last = len(self.partner) - 1  # rows after it are not looked at
        wanted = self.partner[index.cpu().clamp(max=last)].tolist()
        at = torch.tensor([kept_at[row] for row in wanted], device=encoded.summary.device)
        state = encoded.state
        if state is not None:
            parts = (torch.cat(several, dim=1)[:, at] for several in zip(*self.parts, strict=True))
            state = state.map(lambda part: next(parts))
        return encoded._replace(summary=torch.cat(self.summaries)[at], state=state)


def _batches(model: EncoderDecoder, task: Task, number: int) -> Iterator[tuple[Batch, Tensor]]:
    """Yield the batches with any of the first examples, and (B,) which of them these are."""
    for batch in task.evaluation_batches("test"):
        if bool((batch.index < number).any()):
            batch = model.transfer_batch_to_device(batch, model.device, 0)
            yield batch, batch.index < number


def _distance(
    outputs: Tensor, swapped: Tensor, target: Tensor, space: TokenSpace | ValueSpace
) -> tuple[Tensor, Tensor]:
    """Return how far outputs moved, (B, T), and which positions are before the end."""
    if isinstance(space, ValueSpace):
        real = torch.ones(target.shape[:2], dtype=torch.bool, device=target.device)
        return (outputs - swapped)[..., : space.size].abs().mean(dim=-1), real
    first, second = (allowed(logits, space).softmax(dim=-1) for logits in (outputs, swapped))
    moved = (first - second).abs().sum(dim=-1) / 2
    return moved, (target != space.pad_id) & (target != space.eos_id)
