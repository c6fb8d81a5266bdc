"""BLEU of short and of long sources, against sacrebleu on the two groups."""

from __future__ import annotations

import pytest

from decoderlab.metrics import BleuByLength
from decoderlab.metrics.task_metric import require_metric

sacrebleu = pytest.importorskip("sacrebleu")

SOURCES = ["a", "a b", "a b c", "a b c d", "a b c d e"]
PREDICTIONS = [
    "it is one of two",
    "it is one two three",
    "so is it one of three",
    "it was one of many then",
    "it was one of two of three of four",
]
REFERENCES = [
    ["it is one of two"],
    ["it is one two four"],
    ["so it is one of three"],
    ["it was one of two then"],
    ["it is one of two of four of three"],
]


def bleu(rows) -> float:
    """Return what sacrebleu says of some of the examples."""
    texts = [PREDICTIONS[row] for row in rows]
    return sacrebleu.corpus_bleu(texts, [[REFERENCES[row][0] for row in rows]], force=True).score


def measured(order=range(5)) -> dict[str, float]:
    metric = BleuByLength()
    for part in (list(order)[:2], list(order)[2:]):
        metric.update(*([some[row] for row in part] for some in (PREDICTIONS, REFERENCES, SOURCES)))
    return metric.compute()


def test_the_groups_are_those_up_to_the_median_and_above():
    short, long = bleu([0, 1, 2]), bleu([3, 4])
    scores = measured()
    assert scores == pytest.approx({"bleu_short": short, "bleu_long": long})
    assert 0 < long < short < 100
    assert measured([4, 2, 0, 1, 3]) == pytest.approx(scores)


def test_sources_of_one_length_are_both_groups():
    metric = BleuByLength()
    metric.update(PREDICTIONS, REFERENCES, ["a b"] * 5)
    scores = metric.compute()
    assert scores["bleu_short"] == scores["bleu_long"] == pytest.approx(bleu(range(5)))


def test_it_begins_again_and_says_how_sacrebleu_measured():
    metric = BleuByLength(tokenizer="char")
    require_metric("by_length", metric)
    metric.update(PREDICTIONS, REFERENCES, SOURCES)
    first = metric.compute()
    metric.reset()
    metric.update(PREDICTIONS, REFERENCES, SOURCES)
    assert metric.compute() == first != measured()
    said = metric.signatures(REFERENCES)
    assert said.keys() == first.keys()
    assert all("tok:char" in words for words in said.values())


def test_it_splits_texts_as_the_task_does():
    class Task:
        bleu_tokenizer = "zh"

    metric = BleuByLength()
    metric.prepare(Task())
    assert "tok:zh" in metric.signatures(REFERENCES)["bleu_long"]
