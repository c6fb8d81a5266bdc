"""Nothing is cut in silence: the greatest length of an output, and what met it is marked."""

from __future__ import annotations

import json

import pytest

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import run_id
from decoderlab.config.scientific import scientific_of
from decoderlab.records.run_folder import RunFolder
from decoderlab.training.loading import load_run
from decoderlab.training.module import EncoderDecoder
from decoderlab.usage.outputs import predict_outputs, with_limit
from tests.conftest import composed, run


def test_every_output_that_met_the_limit_is_marked_and_counted(tiny):
    prepared = tiny("decoder=luong", "evaluation.max_length=1")
    assert run(prepared) == "FINISHED"
    folder = RunFolder(prepared.folder.path)
    records = [json.loads(line) for line in folder.predictions.read_text().splitlines()]
    for record in records:
        tokens = record.get("tokens", record["prediction"].split())
        assert record.get("met_limit", False) == (len(tokens) == 1)
        assert len(tokens) <= 1
    result = folder.result()
    assert "max_length:1|" in result.signature
    cut = sum(record.get("met_limit", False) for record in records) / len(records)
    assert result.met_limit == cut > 0
    loaded = load_run(folder.path, data=False)
    sources = [record["source"] for record in records]
    ((marked,), *_) = predict_outputs(loaded, sources[:1])
    assert marked.met_limit == records[0].get("met_limit", False)
    loaded = with_limit(loaded, 9)
    outputs = [several[0] for several in predict_outputs(loaded, sources, details=True)]
    for output in outputs:
        assert len(output.tokens) <= 9
        assert output.met_limit == (len(output.tokens) == 9) == (output.end_probability is None)


def test_a_limit_that_is_not_given_names_no_run_and_one_that_is_names_another():
    settings = ("task=echo", "decoder=luong")
    plain, given = (
        RunConfig.from_composed(composed(*settings, f"evaluation.max_length={length}"))
        for length in ("null", 7)
    )
    assert "max_length" not in scientific_of(plain.to_dict())["evaluation"]
    older = plain.to_dict()
    del older["evaluation"]["max_length"]  # of a run before there was the setting
    assert RunConfig.from_dict(older) == plain
    assert run_id(plain, "data") != run_id(given, "data")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("task=echo", "evaluation.max_length=0"), "max_length is 0; it must be at least 1"),
        (("task=echo", "evaluation.max_length=100001"), "must be at most 100,000"),
    ],
)
def test_a_limit_out_of_range_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_composed(composed(*settings))


def test_targets_without_an_end_meet_no_limit():
    class Endless:
        append_eos = False

    model = EncoderDecoder.__new__(EncoderDecoder)
    object.__setattr__(model, "__dict__", {"task": Endless(), "max_target_length": 2})
    object.__setattr__(model, "target_space", object())
    assert not EncoderDecoder.met_limit(model, [4, 5])
