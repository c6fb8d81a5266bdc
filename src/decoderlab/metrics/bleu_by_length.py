"""BLEU of short sources and of long ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any, ClassVar

from decoderlab.metrics.overlap import Bleu
from decoderlab.metrics.task_metric import TaskMetric


class BleuByLength(TaskMetric):
    """BLEU of the sources of up to the median length, and of the longer ones.

    Paper: the question of Cho et al. 2014, section 4 (https://aclanthology.org/W14-4012), and of
        Bahdanau et al. 2015, figure 2 (https://arxiv.org/abs/1409.0473).
    Differs: two groups of about equal size; the papers have a curve over lengths. Where all sources
        are of one length, both groups are all of them.

    Args:
        tokenizer: as of `Bleu`.

    Raises:
        ValueError: if sacrebleu is not installed.

    Example:
        >>> metric = BleuByLength()
        >>> metric.update(["yes it is so", "no"], [["yes it is so"], ["by no means at all"]],
        ...               ["oui", "mais pas du tout"])
        >>> scores = metric.compute()
        >>> round(scores["bleu_short"]), round(scores["bleu_long"])
        (100, 0)
    """

    scores = (
        replace(Bleu.scores[0], name="bleu_short", label="BLEU of short sources"),
        replace(Bleu.scores[0], name="bleu_long", label="BLEU of long sources"),
    )
    reads: ClassVar[str] = "texts"
    reads_source: ClassVar[bool] = True

    def __init__(self, *, tokenizer: str | None = None) -> None:
        super().__init__(sync_on_compute=False)
        self.bleu = Bleu(tokenizer=tokenizer)
        self.examples: list[tuple[str, Sequence[str], int]] = []

    def prepare(self, task: Any) -> None:
        """Take from the task how texts are split."""
        self.bleu.prepare(task)

    def update(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        sources: Sequence[str],
    ) -> None:
        """Add texts, all references of each, and their sources, whose words are counted."""
        lengths = (len(source.split()) for source in sources)
        self.examples += zip(predictions, references, lengths, strict=True)

    def compute(self) -> dict[str, float]:
        """Return the scores of both groups, 0 to 100."""
        middle = median(length for *_, length in self.examples)
        groups = [
            [example for example in self.examples if example[2] <= middle],
            [example for example in self.examples if example[2] > middle],
        ]
        short, long = (self._score(group or self.examples) for group in groups)
        return {"bleu_short": short, "bleu_long": long}

    def _score(self, examples: Sequence[tuple[str, Sequence[str], int]]) -> float:
        predictions, references, _ = zip(*examples, strict=True)
        self.bleu.reset()
        self.bleu.update(predictions, references)
        return self.bleu.compute()["bleu"]

    def signatures(self, references: Sequence[Sequence[str]]) -> dict[str, str]:
        """Return how sacrebleu computes the scores, in its own words."""
        (words,) = self.bleu.signatures(references).values()
        return dict.fromkeys((score.name for score in self.scores), words)

    def reset(self) -> None:
        """Begin again."""
        super().reset()
        self.examples = []
