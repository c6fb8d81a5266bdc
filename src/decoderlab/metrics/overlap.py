"""Overlap of texts with their references: BLEU and chrF, of the corpus, by sacrebleu.

Paper: Papineni et al. 2002 (https://aclanthology.org/P02-1040), Popović 2015
    (https://aclanthology.org/W15-3049); as Post 2018 (https://aclanthology.org/W18-6319).
Differs: none; `signatures` says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, ClassVar

from decoderlab.common import require
from decoderlab.metrics.metric_score import MetricScore
from decoderlab.metrics.task_metric import TaskMetric


class _Overlap(TaskMetric):
    """What both share: texts are kept until the corpus is complete."""

    reads: ClassVar[str] = "texts"

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)
        _sacrebleu()  # a missing library should be known before the training, not after it
        self.predictions: list[str] = []
        self.references: list[Sequence[str]] = []

    def library(self) -> Any:
        """Return sacrebleu's own metric."""
        raise NotImplementedError

    def update(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Add texts, and all references of each."""
        self.predictions += predictions
        self.references += references

    def compute(self) -> dict[str, float]:
        """Return the score of the corpus, 0 to 100."""
        score = self.library().corpus_score(self.predictions, _streams(self.references)).score
        return {self.scores[0].name: min(score, 100.0)}  # 100 and rounding

    def signatures(self, references: Sequence[Sequence[str]]) -> dict[str, str]:
        """Return how sacrebleu computes the score, in its own words."""
        library = self.library()  # which tells it of what it has scored alone
        library.corpus_score([several[0] for several in references], _streams(references))
        return {self.scores[0].name: str(library.get_signature())}

    def reset(self) -> None:
        """Begin again."""
        super().reset()
        self.predictions, self.references = [], []


# Of sacrebleu's those that need nothing further: others are downloaded, or want other packages.
TOKENIZERS = ("13a", "intl", "zh", "char")


class Bleu(_Overlap):
    """Overlap with the references in words and runs of up to four words.

    Args:
        tokenizer: how sacrebleu splits the texts: 13a, intl, zh, char; None for what the task
            says (its `bleu_tokenizer`), else 13a.

    Raises:
        ValueError: for another tokenizer, or if sacrebleu is not installed.

    Example:
        >>> metric = Bleu()
        >>> metric.update(["the cat sat on the mat"], [["the cat sat on the mat"]])
        >>> round(metric.compute()["bleu"], 6)
        100.0
    """

    scores = (
        MetricScore(
            name="bleu", better="max", low=0, high=100, worst=0, unit="BLEU points", label="BLEU"
        ),
    )

    def __init__(self, *, tokenizer: str | None = None) -> None:
        super().__init__()
        if tokenizer is not None:
            require.choice("tokenizer", tokenizer, TOKENIZERS)
        self.tokenizer = tokenizer or "13a"
        self._given = tokenizer is not None

    def prepare(self, task: Any) -> None:
        """Take from the task how texts are split."""
        if not self._given:
            self.tokenizer = getattr(task, "bleu_tokenizer", self.tokenizer)

    def library(self) -> Any:
        """Return sacrebleu's own metric."""
        # `force` keeps it from warning of texts that look as if they were tokens already.
        return _sacrebleu().BLEU(tokenize=self.tokenizer, force=True)


class ChrF(_Overlap):
    """Overlap with the references in runs of up to six characters.

    Raises:
        ValueError: if sacrebleu is not installed.

    Example:
        >>> metric = ChrF()
        >>> metric.update(["the cat"], [["a dog", "the cat"]])
        >>> round(metric.compute()["chrf"], 6)
        100.0
    """

    scores = (
        MetricScore(
            name="chrf", better="max", low=0, high=100, worst=0, unit="chrF points", label="chrF"
        ),
    )

    def library(self) -> Any:
        """Return sacrebleu's own metric."""
        return _sacrebleu().CHRF()


def _streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Return references as sacrebleu takes them: the first of each, the second of each, ..."""
    return [list(stream) for stream in zip_longest(*references)]


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise ValueError(
            "BLEU and chrF are computed by the package 'sacrebleu', which is not installed; run: "
            "pip install 'decoderlab[data]'"
        ) from error
    return metrics
