"""Some test examples step by step: what a decoder was about to write, and what that depended on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decoderlab.contract import Batch, Encoded, TokenSpace
from decoderlab.data.task import Task
from decoderlab.data.task_data import of_tokens
from decoderlab.generation.greedy_search import allowed
from decoderlab.training.module import EncoderDecoder

NUM_EXAMPLES = 10
NUM_BEST = 5
MAX_STEPS = 40
# What is exchanged, in the order of `step_leaning`.
EXCHANGED = ("summary", "memory", "previous token")


@torch.no_grad()
def step_arrays(
    model: EncoderDecoder,
    task: Task,
    predictions: Mapping[int, Sequence[int]],
    source_tokens: Mapping[int, list[str]],
) -> dict[str, np.ndarray]:
    """Return the inputs and the distributions at each step of some examples, for `probes.npz`.

    How much a step leaned on something is how far its distribution moves (total variation distance,
    0 to 1) when that is another example's: the summary and the state from the start on, the memory
    from the start on, the previous token at this step alone. So what was handed on by earlier steps
    counts with the first two.

    Args:
        model: with the weights that were tested, in evaluation mode.
        task: with its data; its targets are tokens.
        predictions: ids without EOS, by row of the test split.
        source_tokens: of the rows of `step_rows`, as a person reads them.

    Returns:
        `step_rows`: (E,), the examples. `step_written`, `step_source`: their tokens as JSON lists,
        EOS among those written. `step_best`: the most probable tokens, `NUM_BEST` a step, as flat
        JSON lists, and `step_probability` (E, T, `NUM_BEST`). `step_leaning`: (E, T, 3), see
        `EXCHANGED`; NaN where no other example has another token there. `step_attention`:
        (E, T, S), of a decoder that shows weights. Zeros after the end of an example.
    """
    rows = step_rows(len(task.data.splits["test"]))
    vocabulary = of_tokens(task.data.target_vocabulary)
    words = [task.words_of("test", row) for row in rows]
    tokens = vocabulary.space
    written = [
        [*ids, *[tokens.eos_id] * (task.append_eos and not model.met_limit(ids))][:MAX_STEPS]
        for ids in (predictions[row] for row in rows)
    ]
    longest = max(map(len, written), default=0)
    if len(rows) < 2 or not longest:
        return {}
    given = torch.tensor([[*ids, *[tokens.pad_id] * longest][:longest] for ids in written])
    before = torch.cat([torch.full((len(rows), 1), tokens.bos_id), given[:, :-1]], dim=1)
    batch = task.data.splits["test"].batch(torch.tensor(rows))
    batch = model.transfer_batch_to_device(batch, model.device, 0)
    seen = _steps(model, batch, before.to(model.device), tokens)
    best, leaning = seen["best"], seen["leaning"]
    chosen, ids = best.topk(min(NUM_BEST, best.shape[-1]), dim=-1)
    arrays: dict[str, Any] = {
        "step_rows": np.array(rows),
        "step_written": [
            vocabulary.decode(sequence, own) for sequence, own in zip(written, words, strict=True)
        ],
        "step_source": [source_tokens[row] for row in rows],
        "step_best": [
            vocabulary.decode(ids[index, : len(sequence)].flatten().tolist(), words[index])
            for index, sequence in enumerate(written)
        ],
    }
    arrays = {
        name: value if name == "step_rows" else np.array([json.dumps(item) for item in value])
        for name, value in arrays.items()
    }
    lengths = torch.tensor([len(sequence) for sequence in written])
    real = torch.arange(longest)[None, :, None] < lengths[:, None, None]
    arrays["step_probability"] = (chosen.cpu() * real).numpy().astype(np.float32)
    arrays["step_leaning"] = torch.where(real, leaning.cpu(), 0.0).numpy().astype(np.float32)
    if seen["attention"] is not None:
        arrays["step_attention"] = (seen["attention"].cpu() * real).numpy().astype(np.float16)
    return arrays


def step_rows(number: int) -> list[int]:
    """Return the examples that are looked at, of so many: the same for every model.

    Example:
        >>> step_rows(500), step_rows(3)
        ([0, 55, 111, 166, 222, 277, 333, 388, 444, 499], [0, 1, 2])
    """
    if number <= NUM_EXAMPLES:
        return list(range(number))
    return [int(row) for row in np.linspace(0, number - 1, NUM_EXAMPLES).round()]


def _steps(
    model: EncoderDecoder, batch: Batch, before: Tensor, tokens: TokenSpace
) -> dict[str, Any]:
    """Return distributions (E, T, V), what they leaned on (E, T, 3), and attention (E, T, S)."""
    decoder = model.decoder
    encoded = model.encode(batch.source, batch.source_lengths)
    states = [decoder.start(encoding) for encoding in (encoded, *_exchanged(encoded))]
    distributions, leaning, weights = [], [], []
    # What the targets have there: the model may have written one token in all examples.
    true = torch.full_like(before, tokens.pad_id)
    width = min(before.shape[1] - 1, batch.target.shape[1])
    true[:, 1 : width + 1] = batch.target[:, :width]
    for previous, beside in zip(before.unbind(dim=1), true.unbind(dim=1), strict=True):
        other, differs = _other_token(previous, beside, tokens)
        # A step may change the state that it gets: this one gets a copy.
        copied = decoder.reorder(states[0], torch.arange(len(other), device=other.device))
        swapped = _distribution(decoder.step(other, copied)[0], tokens)
        moved = [decoder.step(previous, state) for state in states]
        states = [state for _, state in moved]
        mine, *theirs = (_distribution(outputs, tokens) for outputs, _ in moved)
        distances = [(mine - changed).abs().sum(dim=-1) / 2 for changed in (*theirs, swapped)]
        distances[-1] = distances[-1].masked_fill(~differs, float("nan"))
        distributions.append(mine)
        leaning.append(torch.stack(distances, dim=-1))
        weights.append(getattr(states[0], "attention_weights", None))
    shown = all(isinstance(weight, Tensor) and weight.dim() == 2 for weight in weights)
    return {
        "best": torch.stack(distributions, dim=1),
        "leaning": torch.stack(leaning, dim=1),
        "attention": torch.stack(weights, dim=1).float() if shown else None,
    }


def _exchanged(encoded: Encoded) -> tuple[Encoded, Encoded]:
    """Return the encodings with the summary and state, and with the memory, of another row."""
    state = encoded.state
    if state is not None:
        state = state.map(lambda part: part.roll(1, dims=1))
    summary = encoded._replace(summary=encoded.summary.roll(1, dims=0), state=state)
    names = [name for name in ("memory", "memory_mask", "source") if hasattr(encoded, name)]
    known = {name: getattr(encoded, name) for name in names}
    rolled = {name: tensor.roll(1, dims=0) for name, tensor in known.items() if tensor is not None}
    return summary, encoded._replace(**rolled)


def _distribution(outputs: Tensor, tokens: TokenSpace) -> Tensor:
    return allowed(outputs, tokens).softmax(dim=-1).float()


def _other_token(previous: Tensor, true: Tensor, tokens: TokenSpace) -> tuple[Tensor, Tensor]:
    """Return for each row another row's token that differs from its own, and whether one does.

    Args:
        previous: (E,), what the model has written.
        true: (E,), what the targets have there.
        tokens: of both.
    """
    other, differs = previous.clone(), torch.zeros_like(previous, dtype=torch.bool)
    for candidates in (previous, true):
        for shift in range(1, len(previous)):
            candidate = candidates.roll(shift)
            real = (candidate != tokens.pad_id) & (candidate != tokens.eos_id)
            better = ~differs & real & (candidate != previous)
            other = torch.where(better, candidate, other)
            differs |= better
    return other, differs
