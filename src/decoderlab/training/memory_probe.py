"""How long a decoder remembers its fixed-length encoding: what changes when it gets another's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from decoderlab.common.randomness import numpy_generator
from decoderlab.contract import Batch, State, TokenSpace, ValueSpace
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
    summary, state = _first_encodings(model, task, number)
    partner = torch.from_numpy(partners(number))
    sums = np.zeros((2, task.data.max_target_length))
    for batch, kept in _batches(model, task, number):
        encoded = model.encode(batch.source, batch.source_lengths)
        outputs = model.decoder(encoded, batch.target)
        # Examples after the first ones are not looked at, whatever they get.
        rows = partner[batch.index.cpu().clamp(max=number - 1)].to(model.device)
        other = encoded._replace(
            summary=summary[rows], state=None if state is None else _rows_of(state, rows)
        )
        swapped = model.decoder(other, batch.target)
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


def _first_encodings(model: EncoderDecoder, task: Task, number: int) -> tuple[Tensor, State | None]:
    """Return summaries (N, D) and states (L, N, ...) of the first examples, in their order."""
    index, summaries, states = [], [], []
    for batch, kept in _batches(model, task, number):
        encoded = model.encode(batch.source, batch.source_lengths)
        index.append(batch.index[kept])
        summaries.append(encoded.summary[kept])
        if encoded.state is not None:
            states.append(_rows_of(encoded.state, kept))
    order = torch.cat(index).argsort()
    state = None
    if states:
        joined = states[0].map(lambda *parts: torch.cat(parts, dim=1), *states[1:])
        state = _rows_of(joined, order)
    return torch.cat(summaries)[order], state


def _rows_of(state: State, rows: Tensor) -> State:
    return state.map(lambda part: part[:, rows])


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
