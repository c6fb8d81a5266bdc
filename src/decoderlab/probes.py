"""What a trained model does on its test split beside its scores: what a report's pictures show."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decoderlab.contract import Batch, Encoded, ImageSpace, State, TokenSpace
from decoderlab.generation import allowed
from decoderlab.module import EncoderDecoder
from decoderlab.records import write_atomic
from decoderlab.tasks.task import Task

NUM_SUMMARIES = 256
NUM_SWAPPED = 1024
NUM_MAPS = 3


@dataclass(frozen=True)
class Probes:
    """What was seen.

    Args:
        counts: for `result.json`. `correct`: a bit an example, packed and in hexadecimal, in the
            order of the test split. `by_length`: target length in tokens, EOS left out, to
            [examples, correct ones]. `by_position`: for each position of the listed target, EOS
            counted, how many targets reach it (`number`), and how many predictions have its token
            there: generated freely (`free`), and each token predicted from the true ones before it
            (`forced`); nothing is right after an end that was predicted. `summary_influence`: by
            position, the mean total variation distance, 0 to 1, between the decoder's distribution
            and the one that it has when summary and state are another example's; [] where they
            cannot be exchanged.
        arrays: for `probes.npz`. `summaries`: (N, D) of the first test examples, `lengths` and
            `first`: their target's length and first token. `attention`: (K, T, S) weights of the
            first K examples while they generated; `attention_source` and `attention_target`: their
            tokens, as JSON lists.
    """

    counts: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def write(self, path: Path) -> None:
        """Write the arrays; the same arrays give the same bytes."""
        write_atomic(path, lambda file: np.savez_compressed(file, **self.arrays))


@torch.no_grad()
def probe(model: EncoderDecoder, task: Task) -> Probes:
    """Look at a model that has just been tested, with the same weights.

    The distance between distributions after an exchange of the encoding: after Tanti et al. 2018
    (https://arxiv.org/abs/1708.02043), who measure how long a caption generator remembers its
    image by exchanging that.

    Args:
        model: its `predictions` are those of the test split.
        task: with its data.
    """
    model.eval()
    split = task.data.splits["test"]
    predictions = {row: prediction for row, prediction, _ in model.predictions}
    correct = np.array([right for _, _, right in sorted(model.predictions)])
    lengths = split.target.lengths.numpy() - task.append_eos
    positions = _Positions(task.data.max_target_length)
    influence = _Influence(task.data.max_target_length)
    summaries: dict[int, np.ndarray] = {}
    for batch in _batches(model, task):
        encoded = model.encoder(batch.source, batch.source_lengths)
        rows = batch.index.tolist()
        for row, summary in zip(rows, encoded.summary.float().cpu().numpy(), strict=True):
            if row < NUM_SUMMARIES:
                summaries[row] = summary
        outputs = model.decoder(encoded, batch.target)
        real = batch.target != model.tokens.pad_id
        forced = _until_end(allowed(outputs, model.tokens).argmax(dim=-1), model.tokens)
        free = _as_targets(model, [predictions[row] for row in rows], batch.target, task.append_eos)
        positions.add(real, free == batch.target, forced == batch.target)
        influence.add(model, encoded, batch, outputs, real)
    kept, vocabulary, eos = sorted(summaries), task.data.target_vocabulary, model.tokens.eos_id
    arrays = {
        "summaries": np.stack([summaries[row] for row in kept]).astype(np.float16),
        "lengths": lengths[kept],
        "first": np.array([vocabulary.decode(split.target[row][:1] or [eos])[0] for row in kept]),
    }
    return Probes(
        {
            "correct": np.packbits(correct).tobytes().hex(),
            "by_length": {
                str(length): [int((lengths == length).sum()), int(correct[lengths == length].sum())]
                for length in np.unique(lengths).tolist()
            },
            "by_position": positions.counts(),
            "summary_influence": influence.means(),
        },
        arrays | _attention(model, task, predictions),
    )


def unpack(counts: Mapping[str, Any], number: int) -> np.ndarray:
    """Return which of the test examples were correct, (number,) bool, from `Probes.counts`."""
    packed = np.frombuffer(bytes.fromhex(counts["correct"]), dtype=np.uint8)
    return np.unpackbits(packed, count=number).astype(bool)


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of `Probes.write`; {} where there are none, or they are damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return {}


class _Positions:
    """Counts of right tokens by position."""

    def __init__(self, longest: int) -> None:
        self.rows = np.zeros((3, longest), dtype=np.int64)

    def add(self, real: Tensor, *right: Tensor) -> None:
        for row, one in zip(self.rows, (real, *(real & one for one in right)), strict=True):
            row[: one.shape[1]] += one.sum(dim=0).cpu().numpy()

    def counts(self) -> dict[str, list[int]]:
        names = ("number", "free", "forced")
        return {name: row.tolist() for name, row in zip(names, self.rows, strict=True)}


class _Influence:
    """How much the outputs change when another example's fixed-length encoding is put in."""

    def __init__(self, longest: int) -> None:
        self.sums, self.numbers = np.zeros(longest), np.zeros(longest)
        self.seen = 0

    def add(
        self, model: EncoderDecoder, encoded: Encoded, batch: Batch, outputs: Tensor, real: Tensor
    ) -> None:
        if self.seen >= NUM_SWAPPED or len(real) < 2:
            return
        self.seen += len(real)
        swapped = model.decoder(exchanged(encoded), batch.target)
        distance = _total_variation(outputs, swapped, model.tokens).masked_fill(~real, 0.0)
        self.sums[: real.shape[1]] += distance.sum(dim=0).double().cpu().numpy()
        self.numbers[: real.shape[1]] += real.sum(dim=0).cpu().numpy()

    def means(self) -> list[float]:
        reached = self.numbers > 0
        return [round(float(one), 6) for one in self.sums[reached] / self.numbers[reached]]


def exchanged(encoded: Encoded) -> Encoded:
    """Return the encodings with summary and state of another row; the memory stays."""
    state = encoded.state
    if state is not None:
        state = State(*(None if part is None else part.roll(1, dims=1) for part in state))
    return encoded._replace(summary=encoded.summary.roll(1, dims=0), state=state)


def _total_variation(one: Tensor, other: Tensor, tokens: TokenSpace) -> Tensor:
    first, second = (allowed(logits, tokens).softmax(dim=-1) for logits in (one, other))
    return (first - second).abs().sum(dim=-1) / 2


def _batches(model: EncoderDecoder, task: Task) -> Iterator[Batch]:
    for batch in task.evaluation_batches("test"):
        yield model.transfer_batch_to_device(batch, model.device, 0)


def _until_end(predicted: Tensor, tokens: TokenSpace) -> Tensor:
    """Return predictions (B, T) with padding after the first EOS, as generation would write it.

    Without it a decoder that sees no token would seem to do better with the true ones before it.
    """
    ends = (predicted == tokens.eos_id).long()
    return predicted.masked_fill(ends.cumsum(dim=1) - ends > 0, tokens.pad_id)


def _as_targets(
    model: EncoderDecoder, predictions: Sequence[list[int]], target: Tensor, append_eos: bool
) -> Tensor:
    """Return predictions as (B, T) ids, cut and padded to the width of the targets."""
    width, tokens = target.shape[1], model.tokens
    end = [tokens.eos_id] if append_eos else []
    rows = [([*one, *end] + [tokens.pad_id] * width)[:width] for one in predictions]
    return torch.tensor(rows, device=target.device)


def _attention(
    model: EncoderDecoder, task: Task, predictions: Mapping[int, list[int]]
) -> dict[str, np.ndarray]:
    """Return the weights of the first examples, {} of a decoder that shows none."""
    split, tokens = task.data.splits["test"], model.tokens
    maps, sources, targets = [], [], []
    for row in range(min(NUM_MAPS, len(split))):
        batch = model.transfer_batch_to_device(split.batch(torch.tensor([row])), model.device, 0)
        state = model.decoder.start(model.encoder(batch.source, batch.source_lengths))
        written = predictions[row] + ([tokens.eos_id] if task.append_eos else [])
        weights = []
        for before in [tokens.bos_id, *written[:-1]] if written else []:
            _, state = model.decoder.step(torch.tensor([before], device=model.device), state)
            seen = getattr(state, "attention_weights", None)
            if seen is None:
                return {}
            weights.append(seen[0].float().cpu().numpy())
        if weights:
            maps.append(np.stack(weights))
            sources.append(_source_tokens(task, row, maps[-1].shape[1]))
            targets.append(task.data.target_vocabulary.decode(written))
    if not maps:
        return {}
    attention = np.zeros((len(maps), *np.max([one.shape for one in maps], axis=0)), np.float16)
    for place, one in enumerate(maps):
        attention[place, : one.shape[0], : one.shape[1]] = one
    return {
        "attention": attention,
        "attention_source": np.array([json.dumps(one) for one in sources]),
        "attention_target": np.array([json.dumps(one) for one in targets]),
    }


def _source_tokens(task: Task, row: int, number: int) -> list[str]:
    vocabulary = task.data.source_vocabulary
    if isinstance(vocabulary, ImageSpace):  # regions of an image
        return [str(place) for place in range(number)]
    return vocabulary.decode(task.data.splits["test"].source[row])
