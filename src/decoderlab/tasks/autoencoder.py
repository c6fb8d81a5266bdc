"""Autoencoding: write the source again, of any other task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from decoderlab.common.part_choice import Choice
from decoderlab.contract import ImageSpace
from decoderlab.data.example import Example, key_of
from decoderlab.data.task import Task
from decoderlab.data.task_data import Kind, TaskData
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary


class AutoencoderTask(Task):
    """The sources of another task, each with itself as the target.

    A source that stands in several splits of the other task, as "hello" can where conversations are
    kept apart, is left in the test split alone, else in validation alone; the rest is dropped and
    counted. Its training batches are drawn from all examples alike: a curriculum of the other task
    is refused. Images are written as sequences of their columns, from left to right.

    The encoder can be used elsewhere: `decoderlab.load_run(RUN).module.encoder`.

    Paper: Srivastava et al. 2015 (https://arxiv.org/abs/1502.04681) for real values, reversed; Dai
        and Le 2015 (https://arxiv.org/abs/1511.01432) for tokens.

    Args:
        of: the other task: its class, or a partial of it with its settings.
        reverse_target: write the source backwards.

    Raises:
        ValueError: for settings that the other task refuses, and for one whose training batches
            are its own.
    """

    def __init__(self, *, of: Callable[..., Task], reverse_target: bool = False) -> None:
        super().__init__()
        try:
            self.of: Task = Choice.of(of).build()
            self.of.evenly_trained([])
        except ValueError as error:
            raise ValueError(f"task.of: {error}") from error
        self.reverse_target = reverse_target
        self.reads, self.source_length = self.of.reads, self.of.source_length
        self.writes = _written(self.reads)
        self.metric = _metric(self.reads)
        self.unknown_slots = self.of.unknown_slots
        self.append_eos = self.of.reads == "tokens"

    @classmethod
    def fills(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what null stands for in a config with this task."""
        metric = _metric(cls.reads_with(settings))
        return super().fills(settings) | {"evaluation.select": metric, "study.metric": metric}

    @classmethod
    def writes_with(cls, settings: Mapping[str, Any]) -> str:
        """Return tokens where the other task reads them, else values."""
        return _written(cls.reads_with(settings))

    @classmethod
    def reads_with(cls, settings: Mapping[str, Any]) -> str:
        """Return what the other task reads."""
        return Choice.of(settings["of"]).stated("reads_with")(settings["of"])

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Take the sources of the other task."""
        examples, counts = self.of.examples()
        examples["train"] = self.of.evenly_trained(examples["train"])
        seen, splits = set(), {}
        counts = dict(counts) | {"repeated_sources": 0}
        for name in ("test", "validation", "train"):
            splits[name] = []
            for example in examples.pop(name):
                key = key_of(example.source)
                if key in seen:
                    counts["repeated_sources"] += 1
                    continue
                seen.add(key)
                splits[name].append(Example(example.source, self._target(example.source)))
        return splits, counts

    def vocabularies(self, train: list[Example]) -> tuple[Kind, Vocabulary | Values]:
        """Return the other task's source vocabulary, for both sides."""
        source = self.of.source_vocabulary(train)
        if not isinstance(source, ImageSpace):
            return source, source
        pixels = np.stack([example.source for example in train])
        size = source.channels * source.height
        # One scale for all pixels: some are the same in every image, and have no deviation.
        return source, Values([float(pixels.mean())] * size, [float(pixels.std())] * size)

    def baseline_predictions(self) -> dict[str, Sequence[Any]]:
        """Return the most frequent source, or the mean of training."""
        if self.reads == "tokens":
            return super().baseline_predictions()
        targets = self.data.splits["test"].target
        shapes = ((int(length), targets.values.shape[1]) for length in targets.lengths)
        return {"the mean of training": [np.zeros(shape) for shape in shapes]}

    def target_length(self, source_length: int) -> int:
        """Return as many positions as the source has; of an image, its columns."""
        return self.data.max_target_length if self.reads == "images" else source_length

    def adopt(self, data: TaskData) -> None:
        """Take data that are there already."""
        super().adopt(data)
        self.of.adopt(data)

    def pieces(self, side: str, sequence: Any) -> Any:
        """Split both sides as the other task splits its sources."""
        pieces = self.of.pieces("source", sequence)
        return pieces[::-1] if side == "target" and self.reverse_target else pieces

    def source_tokens(self, text: str) -> Sequence[str]:
        """Split a line as the other task does."""
        return self.of.source_tokens(text)

    def source_text(self, tokens: Sequence[str]) -> str:
        """Join tokens as the other task's sources have them."""
        return self.of.source_text(tokens)

    target_text = source_text

    def _target(self, source: Any) -> Any:
        if self.reads == "tokens":
            return source
        if self.reads == "images":
            source = source.transpose(2, 0, 1).reshape(source.shape[2], -1)
        return source[::-1] if self.reverse_target else source


def _metric(reads: str) -> str:
    return "exact_match" if reads == "tokens" else "mean_absolute_error"


def _written(reads: str) -> str:
    return "tokens" if reads == "tokens" else "values"
