"""Data of a report's figures: what a trained model does on its test split beside its scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decoderlab.common.bounded_archives import read_arrays
from decoderlab.common.errors import Invalid
from decoderlab.contract import Batch, TokenSpace
from decoderlab.data.task import Task
from decoderlab.data.task_data import of_tokens, of_values
from decoderlab.data.task_scores import scored_ids
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.generation.greedy_search import allowed
from decoderlab.metrics.sequences import nearest_target
from decoderlab.records.run_folder import write_atomic
from decoderlab.records.run_result import MAX_DRAWABLE
from decoderlab.training.memory_probe import influence_by_position
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.step_probe import NUM_EXAMPLES, step_arrays, step_rows

NUM_SUMMARIES = 256
NUM_MAPS = 3
MAX_MEMORY = 400  # positions of a memory that has no tokens to name them


@dataclass(frozen=True)
class Probes:
    """What was seen.

    Args:
        counts: for `result.json`, beside which examples were right. Of several right targets that
            counts which is nearest to what was written. `by_length`: target length in tokens, EOS
            left out, to [examples, correct ones]. `by_position`: for each position of the target,
            EOS counted, how many targets reach it (`number`), and how many predictions have its
            token there: generated freely (`free`), and each token predicted
            from the true ones before it (`forced`); nothing is right after an end that was
            predicted. `summary_influence`: see `memory_probe.influence_by_position`. Of real values
            there is no `by_length`, and `free` and `forced` are sums of absolute errors in the
            data's units.
        arrays: for `probes.npz`. `summaries`: (N, D) of the first test examples, `lengths` and
            `first`: their target's length and first token. Of real values, besides, `level`: the
            mean of their target's first number, and of the first K examples that number in `truth`
            and `forecast`, (K, T). `attention`: (K, T, S) weights of the
            first K examples while they generated; `step_NAME`: see `step_probe.step_arrays`;
            `attention_source` and `attention_target`: their
            tokens, as JSON lists.
    """

    counts: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def write(self, path: Path) -> None:
        """Write the arrays; the same arrays give the same bytes."""
        write_atomic(
            path,
            lambda file: np.savez_compressed(
                file,
                **self.arrays,  # pyright: ignore[reportArgumentType] - none is "allow_pickle"
            ),
        )


@torch.no_grad()
def probe(model: EncoderDecoder, task: Task) -> Probes:
    """Look at a model that has just been tested, with the same weights.

    Args:
        model: its `predictions` are those of the test split.
        task: with its data.
    """
    model.eval()
    with _as_tested(model):
        return _looked_at(model, task)


def _as_tested(model: EncoderDecoder) -> AbstractContextManager[object]:
    """Return in what a model that was tested in mixed precision computes as it did there."""
    trainer = model._trainer
    if trainer is None or trainer.precision != "bf16-mixed":
        return nullcontext()
    return trainer.precision_plugin.forward_context()


def _looked_at(model: EncoderDecoder, task: Task) -> Probes:
    """Do what `probe` does, in the precision of the test."""
    split, values = task.data.splits["test"], model.writes_values
    predictions = {row: prediction for row, prediction, _ in model.predictions}
    lengths = split.target.lengths.numpy() - (task.append_eos and not values)
    nearest = lengths.copy()
    longest = max((len(ids) for several in split.references.values() for ids in several), default=0)
    positions = _Positions(max(task.data.max_target_length, longest + 1))
    summaries: dict[int, np.ndarray] = {}
    for batch in _batches(model, task):
        encoded = model.encode(batch.source, batch.source_lengths)
        rows = batch.index.tolist()
        for row, summary in zip(rows, encoded.summary.float().cpu().numpy(), strict=True):
            if row < NUM_SUMMARIES:
                summaries[row] = summary
        made = [predictions[row] for row in rows]
        if not values:
            batch = _with_nearest_targets(task, batch, made)
            space = of_tokens(task.data.target_vocabulary).space
            real = batch.target != space.pad_id
            nearest[rows] = real.sum(dim=1).cpu().numpy() - task.append_eos
        outputs = model.decoder(encoded, batch.target)
        real, *right = (_errors if values else _hits)(model, task, batch, outputs, made)
        positions.add(real, *right)
    kept = sorted(summaries)
    counts: dict[str, Any] = {"by_position": positions.counts()}
    counts["summary_influence"] = influence_by_position(model, task)
    arrays = {
        "summaries": np.stack([summaries[row] for row in kept]).astype(np.float16),
        "lengths": lengths[kept],
    }
    vocabulary = task.data.target_vocabulary
    if isinstance(vocabulary, Values):
        true = [vocabulary.decode(split.target[row])[:, 0] for row in kept]
        arrays["first"] = np.array([f"{series[0]:.6g}" for series in true])
        arrays["level"] = np.array([series.mean() for series in true])
        if len({len(series) for series in true[:NUM_MAPS]}) == 1:
            made = [vocabulary.decode(predictions[row])[:, 0] for row in kept[:NUM_MAPS]]
            arrays |= {"truth": np.stack(true[:NUM_MAPS]), "forecast": np.stack(made)}
        return Probes(counts, arrays | _attention(model, task, predictions))
    eos = vocabulary.space.eos_id
    arrays["first"] = np.array(
        [vocabulary.decode(split.target[row][:1] or [eos])[0] for row in kept]
    )
    correct = np.array([right for _, _, right in sorted(model.predictions)])
    counts = {
        "by_length": {
            str(length): [int((nearest == length).sum()), int(correct[nearest == length].sum())]
            for length in np.unique(nearest).tolist()
        },
    } | counts
    sources = {row: _source_tokens(task, row, MAX_MEMORY) for row in step_rows(len(split))}
    arrays |= step_arrays(model, task, predictions, sources)
    return Probes(counts, arrays | _attention(model, task, predictions))


def _with_nearest_targets(task: Task, batch: Batch, made: Sequence[Sequence[int]]) -> Batch:
    """Return a batch that has, of several right targets, those nearest to what was written."""
    rows, several = batch.index.tolist(), task.data.splits["test"].references
    if not any(row in several for row in rows):
        return batch
    tokens = of_tokens(task.data.target_vocabulary).space
    ids = scored_ids(task, "test", rows, made)
    targets = [
        [
            *nearest_target(written, task.accepted("test", row))[0],
            *[tokens.eos_id] * task.append_eos,
        ]
        for row, written in zip(rows, ids, strict=True)
    ]
    longest = max(map(len, targets))
    padded = [[*target, *[tokens.pad_id] * (longest - len(target))] for target in targets]
    return batch._replace(target=torch.tensor(padded, device=batch.target.device))


def _errors(
    model: EncoderDecoder, task: Task, batch: Batch, outputs: Tensor, made: Sequence[np.ndarray]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return which positions are real, and the absolute errors there: free, and forced."""
    vocabulary = of_values(task.data.target_vocabulary)
    means = outputs[..., : vocabulary.space.size]
    deviation = torch.tensor(vocabulary.deviation)
    real = torch.ones(batch.target.shape[:2], dtype=torch.bool, device=outputs.device)
    free, forced = (
        ((values - batch.target).abs().double().cpu() * deviation).mean(dim=-1)
        for values in (torch.tensor(np.stack(made), device=outputs.device), means)
    )
    return real, free, forced


def _hits(
    model: EncoderDecoder, task: Task, batch: Batch, outputs: Tensor, made: Sequence[list[int]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return which positions are real, and whether the tokens there are right: free, and forced."""
    ends = [task.append_eos and not model.met_limit(ids) for ids in made]
    tokens = of_tokens(task.data.target_vocabulary).space
    forced = _until_end(allowed(outputs, tokens).argmax(dim=-1), tokens)
    if of_tokens(task.data.target_vocabulary).unknown_slots:
        written = scored_ids(task, "test", batch.index.tolist(), forced.tolist())
        forced = torch.tensor(written, device=forced.device)
    free = _as_targets(made, batch.target, tokens, ends)
    return batch.target != tokens.pad_id, free == batch.target, forced == batch.target


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of `Probes.write`; {} where there are none, or they are damaged."""
    try:
        arrays = read_arrays(path)
        return arrays if _are_probes(arrays) else {}
    except Invalid:
        return {}


# The kinds of the arrays: dimensions, and letters of NumPy's `dtype.kind`. Those of a group have
# one number of examples.
ARRAY_KINDS = (
    {"summaries": (2, "f"), "lengths": (1, "iu"), "first": (1, "U"), "level": (1, "f")},
    {"truth": (2, "f"), "forecast": (2, "f")},
    {
        "step_rows": (1, "iu"),
        "step_written": (1, "U"),
        "step_source": (1, "U"),
        "step_best": (1, "U"),
        "step_probability": (3, "f"),
        "step_leaning": (3, "f"),
        "step_attention": (3, "f"),
    },
    {"attention": (3, "f"), "attention_source": (1, "U"), "attention_target": (1, "U")},
)

# Examples of each: a picture has a panel for each of some.
MOST = (NUM_SUMMARIES, NUM_MAPS, NUM_EXAMPLES, NUM_MAPS)

# What is drawn as it is: some numbers, none of which takes a picture out of what can be computed.
DRAWN_NUMBERS = ("summaries", "level", "truth", "forecast", "attention")
DRAWN_TEXTS = ("attention_source", "attention_target", "step_written", "step_source", "step_best")


def _are_probes(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether arrays are of the kinds that `Probes.write` writes, whoever wrote them."""
    for group, most in zip(ARRAY_KINDS, MOST, strict=True):
        there = {name: arrays[name] for name in group if name in arrays}
        if len({len(array) if array.ndim else -1 for array in there.values()}) > 1:
            return False
        for name, array in there.items():
            dimensions, kinds = group[name]
            if array.ndim != dimensions or array.dtype.kind not in kinds:
                return False
            if not 0 < len(array) <= most:
                return False
            if name in DRAWN_NUMBERS and not (array.size and _largest(array) < MAX_DRAWABLE):
                return False
    needed = [set(group) - {"level", "step_attention"} for group in ARRAY_KINDS]
    whole = all(group <= set(arrays) or not group & set(arrays) for group in needed)
    same = "truth" not in arrays or arrays["truth"].shape == arrays["forecast"].shape
    return (
        whole
        and same
        and all(_are_texts(str(text)) for name in DRAWN_TEXTS for text in arrays.get(name, ()))
    )


def _largest(array: np.ndarray) -> float:
    return float(np.abs(np.nan_to_num(array)).max())


def _are_texts(line: str) -> bool:
    """Whether a line of JSON is a list of texts."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


class _Positions:
    """Counts of right tokens, or sums of errors, by position."""

    def __init__(self, longest: int) -> None:
        self.rows = np.zeros((3, longest))

    def add(self, real: Tensor, *right: Tensor) -> None:
        real = real.cpu()
        for row, hits in zip(
            self.rows, (real, *(real * hits.cpu() for hits in right)), strict=True
        ):
            row[: hits.shape[1]] += hits.sum(dim=0).numpy()

    def counts(self) -> dict[str, list[float]]:
        names = ("number", "free", "forced")
        return {
            name: [int(value) if value == int(value) else round(value, 6) for value in row.tolist()]
            for name, row in zip(names, self.rows, strict=True)
        }


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
    predictions: Sequence[list[int]], target: Tensor, tokens: TokenSpace, ends: Sequence[bool]
) -> Tensor:
    """Return predictions as (B, T) ids, cut and padded to the width of the targets.

    Those that have an end, which a prediction that was cut has not, end in EOS.
    """
    width = target.shape[1]
    rows = [
        ([*prediction, *[tokens.eos_id] * end] + [tokens.pad_id] * width)[:width]
        for prediction, end in zip(predictions, ends, strict=True)
    ]
    return torch.tensor(rows, device=target.device)


def _attention(
    model: EncoderDecoder, task: Task, predictions: Mapping[int, Sequence[int] | np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the weights of the first examples, {} of a decoder that shows none."""
    split = task.data.splits["test"]
    maps, sources, targets = [], [], []
    for row in range(min(NUM_MAPS, len(split))):
        batch = model.transfer_batch_to_device(split.batch(torch.tensor([row])), model.device, 0)
        state = model.decoder.start(model.encode(batch.source, batch.source_lengths))
        made = predictions[row]
        ends = task.append_eos and not model.met_limit(list(made))
        seen_before, shown = _steps(task, row, made, ends=ends)
        weights = []
        for before in seen_before:
            given = torch.tensor(before[None], device=model.device)
            given = given.to(model.dtype) if given.is_floating_point() else given
            _, state = model.decoder.step(given, state)
            seen = getattr(state, "attention_weights", None)
            if seen is None:
                return {}
            weights.append(seen[0].float().cpu().numpy())
        if weights:
            maps.append(np.stack(weights))
            sources.append(_source_tokens(task, row, maps[-1].shape[1]))
            targets.append(shown)
    if not maps:
        return {}
    attention = np.zeros(
        (len(maps), *np.max([weights.shape for weights in maps], axis=0)), np.float16
    )
    for index, weights in enumerate(maps):
        attention[index, : weights.shape[0], : weights.shape[1]] = weights
    return {
        "attention": attention,
        "attention_source": np.array([json.dumps(sequence) for sequence in sources]),
        "attention_target": np.array([json.dumps(sequence) for sequence in targets]),
    }


def _steps(
    task: Task, row: int, prediction: Sequence[int] | np.ndarray, *, ends: bool
) -> tuple[np.ndarray, list[str]]:
    """Return what a decoder is given at each step of what it wrote, and that as a person sees it.

    The first is (T,) ids, BOS at first, or (T, F) values, zeros at first.
    """
    vocabulary = task.data.target_vocabulary
    if isinstance(vocabulary, Values):
        values = np.asarray(prediction)
        shown = [str(position) for position in range(1, len(values) + 1)]
        return np.concatenate([np.zeros_like(values[:1]), values[:-1]]), shown
    tokens = vocabulary.space
    written = [*prediction, *([tokens.eos_id] if ends else [])]
    shown = vocabulary.decode(written, task.words_of("test", row))
    return np.array([tokens.bos_id, *written[:-1]] if written else []), shown


def _source_tokens(task: Task, row: int, number: int) -> list[str]:
    vocabulary = task.data.source_vocabulary
    if not isinstance(vocabulary, Vocabulary):  # regions of an image, positions of a series
        return [str(position) for position in range(number)]
    return task.decoded_source("test", row)
