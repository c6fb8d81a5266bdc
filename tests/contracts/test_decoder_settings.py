"""Settings of a decoder: what contradicts, what has no effect and what makes another model."""

from __future__ import annotations

import pytest
import torch

from decoderlab.common.part_building import build, complete
from decoderlab.config.run_config import INJECTED
from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.layers import GRU, LSTM, GRUResetSummary
from decoderlab.testing import ENCODER_SHAPE
from tests import parts


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"routes": []}, "nothing of the source"),
        ({"routes": ["initial_state"]}, "carries nothing"),
        ({"routes": ["initial_state"], "bridge": parts.bridge("learned")}, "carries nothing"),
        ({"routes": ["output", "output"]}, "name each entry once"),
        ({"routes": ["outptu"]}, "Did you mean output"),
        ({"combine": "max"}, "concat, add, mul"),
        ({"cell": GRUResetSummary, "routes": ["first_input"]}, "take the route every_input"),
        (
            {"head": parts.head("linear", sees_previous=True), "feedback": parts.feedback("none")},
            "sees_previous=true",
        ),
        (
            {"cell": GRUResetSummary, "attention": parts.attention("dot", query="between")},
            "that of a second cell is the context alone",
        ),
        ({"head": parts.head("linear", distribution="point")}, "the targets are tokens"),
        (
            {
                "target_space": ValueSpace(2),
                "head": parts.head("linear", distribution="categorical"),
            },
            "take decoder.head.distribution=point or gaussian",
        ),
        ({"head": parts.head("linear", tied=True)}, "no table of embeddings"),
        ({"head": parts.head("linear", tied=True, rank=2)}, "leave head.rank out"),
        (
            {"head": parts.head("tanh", state="previous"), "attention": parts.attention("dot")},
            "attention.mixing",
        ),
        ({"attention": "dot"}, "'dot' is not a part; give a class"),
        ({"attention": parts.attention("dot"), "hidden_size": 5}, "take decoder/attention=general"),
        (
            {"bridge": parts.bridge("dense", cell="hiden"), "routes": ["initial_state"]},
            "Did you mean hidden",
        ),
        (
            {"head": parts.head("linear", tied=True), "feedback": parts.feedback("none")},
            "head.tied=true",
        ),
        (
            {"feedback": parts.feedback("scheduled_sampling", schedule="constant")},
            "teacher forcing",
        ),
        ({"feedback": parts.feedback("scheduled_sampling", first_ratio=1.5)}, "between 0 and 1"),
        ({"feedback": parts.feedback("scheduled_sampling", decay_steps=0)}, "at least 1"),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(chosen, message):
    basis = {"target_space": TokenSpace(9), "encoder_shape": ENCODER_SHAPE, "cell": LSTM}
    basis |= {"hidden_size": 8, "routes": ["every_input"]}
    with pytest.raises(ValueError, match=message):
        RecurrentDecoder(**basis | chosen)


BASIS = {
    "cell": LSTM,
    "hidden_size": 8,
    "routes": ["every_input"],
    "combine": "concat",
    "bridge": parts.chosen("bridge", "zero"),
    "feedback": parts.chosen("feedback", "teacher_forcing"),
    "attention": None,
    "head": parts.chosen("head", "linear"),
    "embedding_size": 4,
    "num_layers": 1,
    "dropout": 0.0,
}


def normal(settings: dict) -> dict:
    """Return what a run is named by, of settings as a config has them."""
    completed = complete("decoder", RecurrentDecoder, settings, INJECTED["decoder"])
    return RecurrentDecoder.normalised(completed)


@pytest.mark.parametrize(
    ("basis", "without_effect"),
    [
        ({}, {"bridge": parts.chosen("bridge", "copy")}),
        ({}, {"bridge": parts.chosen("bridge", "zero", source="summary", cell="hidden")}),
        (
            {},
            {
                "feedback": parts.chosen(
                    "feedback", "teacher_forcing", scope="sequence", decay_steps=5
                )
            },
        ),
        ({}, {"attention": parts.chosen("attention", "none", query="previous", mixing="none")}),
        ({}, {"head": parts.chosen("head", "linear", size=3)}),
        ({"feedback": parts.chosen("feedback", "none")}, {"embedding_size": 7}),
        ({"feedback": parts.chosen("feedback", "none")}, {"combine": "add"}),
        ({"routes": ["first_input"]}, {"combine": "mul"}),
        # The route initial_state is off, so nothing of the bridge is in force.
        ({}, {"bridge": parts.chosen("bridge", "dense", source="summary")}),
        (
            {"attention": parts.chosen("attention", "dot")},
            {"attention": parts.chosen("attention", "dot", size=3)},
        ),
        ({"routes": ["output", "every_input"]}, {"routes": ["every_input", "output"]}),
        (
            {"cell": GRU, "bridge": parts.chosen("bridge", "dense"), "routes": ["initial_state"]},
            {"bridge": parts.chosen("bridge", "dense", cell="zero")},
        ),
        (
            {
                "feedback": parts.chosen(
                    "feedback", "scheduled_sampling", schedule="constant", first_ratio=0.5
                )
            },
            {
                "feedback": parts.chosen(
                    "feedback",
                    "scheduled_sampling",
                    schedule="constant",
                    first_ratio=0.5,
                    decay_steps=7,
                    last_ratio=0.1,
                )
            },
        ),
    ],
    ids=str,
)
def test_what_has_no_effect_makes_no_other_model(basis, without_effect):
    plain = BASIS | basis
    changed = plain | without_effect
    assert normal(plain) == normal(changed)
    settled = normal(changed)
    assert normal(settled) == settled
    models = []
    for chosen in (plain, changed, settled):
        torch.manual_seed(0)
        spaces = {"target_space": TokenSpace(9), "encoder_shape": ENCODER_SHAPE}
        completed = complete("decoder", RecurrentDecoder, chosen, INJECTED["decoder"])
        target = {"_target_": "decoderlab.decoders.RecurrentDecoder"}
        models.append(build("decoder", target | completed, **spaces).state_dict())
    for other in models[1:]:
        assert other.keys() == models[0].keys()
        assert all(torch.equal(other[key], models[0][key]) for key in other)


@pytest.mark.parametrize(
    "with_effect",
    [
        {"routes": ["initial_state", "every_input"], "bridge": parts.chosen("bridge", "copy")},
        {"bridge": parts.chosen("bridge", "learned")},
        {"feedback": parts.chosen("feedback", "free_running")},
        {"combine": "mul"},
        {"attention": parts.chosen("attention", "general")},
        {"head": parts.chosen("head", "tanh")},
        {"head": parts.chosen("head", "linear", state="previous")},
        {"embedding_size": None},
    ],
    ids=str,
)
def test_what_has_an_effect_makes_another_model(with_effect):
    assert normal(BASIS | with_effect) != normal(BASIS)
