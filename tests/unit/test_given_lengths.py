"""Outputs that are told how long their targets are, against searches by hand."""

from __future__ import annotations

import itertools
import json
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import RunConfig
from decoderlab.config.scientific import scientific_of
from decoderlab.generation import GivenLengths, Search, greedy
from decoderlab.generation.given_lengths import target_lengths
from decoderlab.metrics.metric_score import EXACT_MATCH
from decoderlab.metrics.signature import signature_parts
from decoderlab.studies.reporting.explanations import explain_score
from decoderlab.training.assembly import build_task
from decoderlab.training.loading import load_run, search_with
from decoderlab.training.model_evaluation import evaluate
from decoderlab.usage.outputs import predict, with_limit
from tests.conftest import composed, run
from tests.unit.test_search import EOS, PAD, SIX, TOKENS, Table, encoded, unpadded

LENGTHS = (0, 3, 5, 1)
TARGET = torch.tensor([[4] * length + [EOS] + [PAD] * (5 - length) for length in LENGTHS])
OTHERS = [4, 5]  # what an output is made of, its end left out
TOLD = ("decoder=luong", "evaluation.oracle_length=true")


def step_by_step(decoder, source, length):
    """Return the most probable token at each step, EOS left out, and an end after them."""
    prefix = ()
    for _ in range(length):
        logits = decoder.logits(source, prefix)
        prefix += (max(OTHERS, key=lambda token: float(logits[token])),)
    return [*prefix, EOS]


def log_probability(decoder, source, output):
    """Return that of an output among those of its length, its end being sure."""
    total = 0.0
    for step, token in enumerate(output):
        logits = decoder.logits(source, output[:step])
        total += float(logits[token]) - math.log(sum(math.exp(logits[one]) for one in OTHERS))
    return total


def test_lengths_are_those_of_the_targets():
    assert target_lengths(TARGET, TOKENS).tolist() == list(LENGTHS)


@pytest.mark.parametrize("end", [-9.0, 0.0, 9.0])
def test_greedy_takes_the_most_probable_token_until_it_is_told_to_end(end):
    decoder = Table(3, end=end)
    search = Search(oracle_length=True)
    found = unpadded(search.generate(decoder, encoded(*range(4)), target=TARGET, **SIX))
    assert found == [step_by_step(decoder, row, length) for row, length in enumerate(LENGTHS)]
    free = Search().generate(decoder, encoded(*range(4)), target=TARGET, **SIX)
    assert free.tolist() == greedy(decoder, encoded(*range(4)), **SIX).tolist()


@pytest.mark.parametrize("settings", [{}, {"length_penalty": 0.6}, {"beam_groups": 2}])
def test_a_beam_that_holds_everything_finds_the_best_of_the_length(settings):
    decoder = Table(5, scale=1.0, end=2.0)
    search = Search(beam_width=64, oracle_length=True, **settings)
    found = unpadded(search.generate(decoder, encoded(*range(4)), target=TARGET, **SIX))
    for row, length in enumerate(LENGTHS):
        every = itertools.product(OTHERS, repeat=length)
        best = max(every, key=lambda output: log_probability(decoder, row, output))
        assert found[row] == [*best, EOS]


def test_scores_are_given_the_length():
    decoder, lengths = Table(5, scale=1.0), torch.tensor(LENGTHS)
    told = GivenLengths(decoder, lengths, TOKENS)
    best = Search(beam_width=64).best(told, encoded(*range(4)), num_best=1, **SIX)
    for row, output in enumerate(unpadded(best.tokens[:, 0])):
        expected = log_probability(decoder, row, tuple(output[:-1]))
        assert float(best.log_probabilities[row, 0]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 1.0}, "temperature 1.0, but lengths are given in greedy"),
        ({"exact_steps": 5}, "exact_steps 5, but lengths are given in greedy"),
    ],
)
def test_another_search_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Search(oracle_length=True, **settings)


def test_a_length_that_nothing_gives_is_refused():
    with pytest.raises(ValueError, match="no target to give its length"):
        Search(oracle_length=True).generate(Table(), encoded(1), **SIX)


def test_the_signature_says_so():
    assert Search(oracle_length=True).signature == "greedy|lengths:given"
    wide = Search(beam_width=3, oracle_length=True).signature
    assert signature_parts(f"generation:{wide}") == {
        "generation": "beam:3",
        "length_penalty": "0.0",
        "lengths": "given",
    }


def test_a_report_says_so():
    signatures = [
        f"generation:{Search(oracle_length=told).signature}|n:5" for told in (True, False)
    ]
    rows = [SimpleNamespace(signature=signature) for signature in signatures]
    said = explain_score(cast("Any", SimpleNamespace(scale=EXACT_MATCH, rows=rows, entries={})))
    assert "(greedy, greedy at the given lengths of the targets)" in said


def config(*settings: str) -> RunConfig:
    return RunConfig.from_composed(composed("task=echo", "decoder=luong", *settings))


def test_it_names_a_run_only_where_it_is_true():
    plain, told = config().to_dict(), config("evaluation.oracle_length=true").to_dict()
    assert "oracle_length" not in scientific_of(plain)["evaluation"]
    assert scientific_of(told)["evaluation"]["oracle_length"] is True
    del plain["evaluation"]["oracle_length"]  # of a run before there was the setting
    assert RunConfig.from_dict(plain) == config()


def test_a_limit_beside_it_is_refused():
    with pytest.raises(ConfigError, match="max_length is 9 and oracle_length true"):
        config("evaluation.oracle_length=true", "evaluation.max_length=9")


@pytest.mark.parametrize(
    "settings", [["task=addition", "task.padding=right"], ["task=forecasting_sunspots"]]
)
def test_targets_without_an_end_are_refused(settings):
    told = ["decoder=initial_state", "evaluation.oracle_length=true", *settings]
    with pytest.raises(ConfigError, match="oracle_length is true, but the targets of this task"):
        build_task(RunConfig.from_composed(composed(*told)))


def test_a_run_says_that_lengths_were_given(tiny):
    prepared = tiny(*TOLD)
    assert run(prepared) == "FINISHED"
    folder = prepared.folder
    records = [json.loads(line) for line in folder.predictions.read_text().splitlines()]
    assert records
    for record in records:
        assert record["length_given"] is True
        assert "met_limit" not in record
        assert len(record["prediction"].split()) == len(record["references"][0].split())
    result = folder.result()
    assert result.signature.startswith("generation:greedy|lengths:given|max_length:")
    assert result.met_limit == 0
    loaded = load_run(folder.path)
    with pytest.raises(ConfigError, match="--no-oracle-length"):
        predict(loaded, [records[0]["source"]])
    free = search_with(loaded, oracle_length=False)
    assert len(predict(free, [records[0]["source"]])) == 1
    again = evaluate(loaded.module, loaded.task, "test", loaded.config)
    assert again["exact_match"] == result.metrics.test["exact_match"]
    wide = search_with(loaded, beam_width=2)
    assert wide.module.search.signature == "beam:2|length_penalty:0.0|lengths:given"
    with pytest.raises(ConfigError, match="oracle_length is true and temperature 1.0"):
        search_with(loaded, temperature=1.0)
    with pytest.raises(ConfigError, match="--max-length is 3, but each output is as long as its"):
        with_limit(loaded, 3)


def test_lengths_are_given_whatever_limit_a_run_has(tiny):
    prepared = tiny("decoder=luong", "evaluation.max_length=2")
    assert run(prepared) == "FINISHED"
    told = search_with(load_run(prepared.folder.path), oracle_length=True)
    evaluate(told.module, told.task, "test", told.config)
    eos_id, targets = told.module.target_space.eos_id, told.task.data.splits["test"].target
    for row, generated, _ in told.module.predictions:
        assert len(generated) == len([token for token in targets[row] if token != eos_id])
    assert max(len(generated) for _, generated, _ in told.module.predictions) > 2
