from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics import Metric
from torchmetrics.functional.text import edit_distance as reference_edit_distance

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import RunConfig
from decoderlab.data.task_scores import prepared_metrics
from decoderlab.metrics import (
    Bleu,
    BleuByLength,
    Distinct,
    EmptyOutputs,
    MetricScore,
    Perplexity,
    SequenceMetrics,
    ValueErrors,
    WordErrorRate,
)
from decoderlab.metrics.metric_collection import BatchedMetrics
from decoderlab.metrics.sequences import edit_distance
from decoderlab.metrics.shipped import our_scores, recorded_scores
from decoderlab.metrics.task_metric import computed
from decoderlab.tasks import EchoTask
from decoderlab.training.assembly import build_task
from tests.conftest import TASKS, TINY, composed, variants

WORDS = st.text("abc", max_size=7)


@given(WORDS, WORDS)
def test_edit_distance_is_torchmetrics(one, other):
    assert edit_distance(one, other) == int(
        reference_edit_distance([one], [other], reduction="sum")
    )


def by_hand(prediction, reference):
    """Return the edit distance by the textbook's recursion."""
    row = list(range(len(reference) + 1))
    for i, left in enumerate(prediction, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(reference, start=1):
            substituted = diagonal + (left != right)
            diagonal = row[j]
            row[j] = min(diagonal + 1, row[j - 1] + 1, substituted)
    return row[-1]


@given(st.lists(st.integers(0, 5), max_size=9), st.lists(st.integers(0, 5), max_size=9))
def test_edit_distance_of_ids_is_that_of_the_textbook(prediction, reference):
    assert edit_distance(prediction, tuple(reference)) == by_hand(prediction, reference)


def scores(predictions, references):
    metrics = SequenceMetrics()
    metrics.update(predictions, references)
    return metrics.compute()


def test_a_prediction_is_right_if_it_equals_any_reference():
    assert scores([(1, 2)], [[(3,), (1, 2)]])["exact_match"] == 1
    assert scores([(1,)], [[(3,), (1, 2)]])["exact_match"] == 0


def test_symbol_error_rate_uses_the_nearest_reference():
    assert scores([(1, 2, 9)], [[(7, 8), (1, 2, 3)]])["symbol_error_rate"] == pytest.approx(1 / 3)


def test_token_accuracy_counts_the_end():
    assert scores([(1, 2)], [[(1, 2)]])["token_accuracy"] == 1
    assert scores([(1, 2, 3)], [[(1, 2)]])["token_accuracy"] == pytest.approx(2 / 3)
    assert scores([()], [[(1, 2)]])["token_accuracy"] == 0


def test_without_an_end_there_is_no_token_for_it():
    metrics = SequenceMetrics(targets_end=False)
    metrics.update([(9, 9)], [[(1, 2)]])
    assert metrics.compute()["token_accuracy"] == 0
    metrics.update([(1, 2)], [[(1, 2)]])
    assert metrics.compute()["token_accuracy"] == 0.5


@given(st.lists(st.tuples(WORDS, WORDS.filter(bool)), min_size=1, max_size=8))
def test_scores_do_not_depend_on_how_examples_are_batched(rows):
    whole = scores([one for one, _ in rows], [[other] for _, other in rows])
    parts = SequenceMetrics()
    for one, other in rows:
        parts.update([one], [[other]])
    assert parts.compute() == whole
    assert list(whole) == [score.name for score in parts.scores]
    assert 0 <= whole["exact_match"] <= 1


def test_counts_stay_exact_where_float32_would_not():
    metrics = SequenceMetrics()
    metrics.examples += 2**24
    metrics.update([(1,)], [[(1,)]])
    assert metrics.examples == torch.tensor(2**24 + 1, dtype=torch.float64)


@pytest.mark.parametrize("metric", [WordErrorRate(), Distinct(), EmptyOutputs()])
def test_a_metric_of_texts_begins_again(metric):
    values = []
    for _ in range(2):
        metric.update(["a b", "a"], [["a b"], ["b"]])
        values.append(metric.compute())
        metric.reset()
    assert values[0] == values[1]
    assert set(values[0]) == {score.name for score in metric.scores}


# What the numbers mean


def test_the_earlier_step_wins_among_equals():
    higher, lower = our_scores()["exact_match"], our_scores()["loss"]
    assert higher.improves(0.6, 0.5)
    assert not higher.improves(0.5, 0.5)
    assert lower.improves(0.4, 0.5)
    assert not lower.improves(0.5, 0.5)


def test_a_description_survives_its_record():
    for name, score in our_scores().items():
        assert recorded_scores({name: score.record()})[name] == score
        assert all(value != math.inf for value in score.record().values())
    own = replace(our_scores()["bleu"], label="our BLEU", low=-math.inf)
    assert recorded_scores({"bleu": own.record()})["bleu"] == own
    assert recorded_scores({})["bleu"].label == "BLEU"


def test_a_record_of_before_says_that_exact_match_is_a_mean_of_outcomes():
    def of_before(score):
        return {key: value for key, value in score.record().items() if key != "per_example"}

    for name, score in our_scores().items():
        assert recorded_scores({name: of_before(score)})[name] == score
    exact = our_scores()["exact_match"]
    percent = replace(exact, high=100, per_example=False)
    assert recorded_scores({"exact_match": of_before(percent)})["exact_match"] == percent
    said = replace(exact, per_example=False)
    assert recorded_scores({"exact_match": said.record()})["exact_match"] == said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"better": "higher"}, "must be one of max, min"),
        ({"low": 1, "high": 0}, "give low below high"),
        ({"low": 0, "high": 1, "worst": 2}, "must be from 0 to 1"),
        ({"per_example": True}, "from -inf to inf, so that it is not a mean of a 0/1 outcome"),
        ({"per_example": True, "low": 0, "high": 100}, "from 0 to 100, .* leave out per_example"),
        ({"per_example": True, "low": 0, "high": 1, "worst": 1}, "worse outcome is 0; give that"),
    ],
)
def test_a_description_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MetricScore(**{"name": "mine", "better": "max"} | settings)


class Mean(Metric):
    """A metric of somebody else's, with the two attributes that make it one of a task."""

    full_state_update = False
    scores = (MetricScore(name="mean_length", better="min", unit="tokens"),)

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("number", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, predictions, references):
        self.total += sum(map(len, predictions))
        self.number += len(predictions)

    def compute(self):
        return self.total / self.number


def test_a_plain_torchmetric_with_a_description_is_a_metric():
    metrics = BatchedMetrics([SequenceMetrics(), Mean()])
    metrics.update([[1, 2], [3]], [[(1, 2)], [(4,)]])
    assert metrics.compute()["mean_length"] == 1.5
    assert metrics.compute()["exact_match"] == 0.5
    metrics.reset()
    metrics.update([[1, 2]], [[(1, 2)]])
    assert metrics.compute()["mean_length"] == 2


def test_a_metric_must_return_what_it_names():
    metric = Mean()
    metric.scores = (*Mean.scores, MetricScore(name="other", better="max"))
    metric.update([[1]], [[(1,)]])
    with pytest.raises(ValueError, match="return a number for each of its scores, mean_length, ot"):
        computed(metric)


class OfLosses(Perplexity):
    scores = (MetricScore(name="low_loss", better="max", low=0, high=1, per_example=True),)


class LossOfSources(Perplexity):
    reads_source = True


def small_echo() -> EchoTask:
    sizes = {"num_train": 20, "num_validation": 5, "num_test": 5}
    return EchoTask(num_values=6, min_length=2, max_length=4, **sizes)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"mine": torch.nn.ReLU()}, "ReLU does not say what it measures"),
        ({"one": SequenceMetrics(), "two": SequenceMetrics()}, "'exact_match', and so has metrics"),
        ({"values": ValueErrors()}, "targets of EchoTask are tokens"),
        ({"mine": OfLosses()}, "metrics.mine: OfLosses reads the loss .* leave out per_example"),
        ({"mine": LossOfSources()}, "reads the loss alone, which has no sources; leave out reads"),
    ],
)
def test_metrics_that_a_task_cannot_have_are_refused(metrics, message):
    task = small_echo()
    task.metrics = metrics
    with pytest.raises(ValueError, match=message):
        prepared_metrics(task)


def test_metrics_of_a_task_are_fresh_every_time():
    task = small_echo()
    first, second = task.measure(), task.measure()
    first.update([[4]], [[(4,)]])
    second.update([[4]], [[(5,)]])
    assert first.compute()["exact_match"] == 1
    assert second.compute()["exact_match"] == 0


# In a config


def read(*overrides: str) -> RunConfig:
    return RunConfig.from_composed(composed(*overrides))


def tiny_echo(*overrides: str) -> RunConfig:
    return read(*TASKS["echo"], *TINY, *overrides)


@pytest.mark.parametrize("name", variants("metric"))
def test_a_yaml_builds_a_metric_that_describes_itself(name):
    config = read(f"+metric@task.metrics.{name}={name}")
    settings = config.task["metrics"][name]
    assert settings["_target_"].startswith("decoderlab.metrics.")
    module, _, kind = settings["_target_"].rpartition(".")
    built = getattr(__import__(module, fromlist=[kind]), kind)(
        **{key: value for key, value in settings.items() if key != "_target_"}
    )
    for score in built.scores:
        assert our_scores()[score.name] == score
        assert score.unit


def test_every_score_of_ours_has_a_yaml():
    names = set()
    for name in variants("metric"):
        target = composed(f"+metric@task.metrics.{name}={name}").task.metrics[name]["_target_"]
        names.add(target.rpartition(".")[2])
    assert {"SequenceMetrics", "ValueErrors", "Bleu", "ChrF", "Distinct", "BleuByLength"} < names
    assert "EmptyOutputs" in names


def test_a_metric_is_added_and_left_out_on_the_command_line():
    config = tiny_echo("+metric@task.metrics.perplexity=perplexity", "evaluation.select=perplexity")
    assert list(config.task["metrics"]) == ["sequence", "perplexity"]
    assert list(build_task(config).scores)[-2:] == ["loss", "perplexity"]
    without = tiny_echo(
        "+metric@task.metrics.perplexity=perplexity",
        "+task.metrics.sequence=null",
        "evaluation.select=perplexity",
        "study.metric=loss",
    )
    assert list(build_task(without).scores) == ["loss", "perplexity"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evaluation.select=exact"], "Did you mean exact_match"),
        (["study.metric=bleu"], "study.metric is bleu, which this task does not measure"),
        (["+task.metrics.sequence={}"], "task.metrics.sequence is {}, which names no class"),
        (["+task.metrics=[1]"], r"task.metrics is \[1\]; it must be metrics by name"),
        (
            ["+metric@task.metrics.bleu=bleu", "+task.metrics.bleu.tokeniser=zh"],
            "task.metrics.bleu.tokeniser is not a setting of Bleu",
        ),
        (["+task.metrics.more={_target_: decoderlab.metrics.SequenceMetrics}"], "and so has"),
    ],
)
def test_a_config_of_metrics_that_cannot_be_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        build_task(tiny_echo(*overrides))


@pytest.mark.parametrize(
    ("of", "kept"),
    [("conversation", "sequence"), ("forecasting", "values"), ("digits", "values")],
)
def test_an_autoencoder_has_the_metrics_of_what_it_writes(of, kept):
    task = read("task=autoencoder", f"task@task.of={of}").task
    assert list(task["metrics"]) == [kept]
    assert "metrics" not in task["of"]


def test_the_yaml_of_a_task_says_what_it_is_measured_by():
    metrics = {
        name: list(read(f"task={name}", "training.max_steps=1").task["metrics"])
        for name in ("echo", "g2p_de", "translation", "conversation", "forecasting")
    }
    assert metrics == {
        "echo": ["sequence"],
        "g2p_de": ["sequence", "word_error_rate"],
        "translation": ["sequence", "bleu", "chrf"],
        "conversation": ["sequence", "perplexity", "distinct"],
        "forecasting": ["values"],
    }


@pytest.mark.parametrize("kind", [Bleu, BleuByLength])
@pytest.mark.parametrize("tokenizer", ["flores200", "spm", "ja-mecab", "nonsense", ["13a"], 13])
def test_a_tokenizer_that_is_downloaded_or_not_there_is_refused(kind, tokenizer):
    with pytest.raises(ValueError, match="tokenizer is .*; it must be one of 13a, intl, zh, char"):
        kind(tokenizer=tokenizer)
