"""A class that computes while it is built gets a message that names it, and what to do."""

from __future__ import annotations

import pytest

from decoderlab.common.errors import ConfigError
from decoderlab.common.meta_device import reads_values
from decoderlab.decoders.attention import GeneralScore
from decoderlab.testing.part_checks import part_failures

CHECK = "it_is_built_without_computing"


class NormOfItsWeights(GeneralScore):
    def __init__(self, *, query_size, memory_size):
        super().__init__(query_size=query_size, memory_size=memory_size)
        self.norm = self.project_query.weight.detach().norm().item()


class OtherMistake(GeneralScore):
    def __init__(self, *, query_size, memory_size):
        raise RuntimeError("no file of weights")


def test_a_run_says_which_class_computes_and_what_to_do(tiny):
    score = f"{__name__}.{NormOfItsWeights.__name__}"
    with pytest.raises(ConfigError) as raised:
        tiny("decoder=luong", f"decoder.attention.score={{_target_: {score}}}")
    message = str(raised.value)
    assert message.startswith(f"decoder: {score} reads the values of a tensor")
    assert "test_meta_device.py, line" in message
    assert "device='cpu'" in message


def test_another_mistake_is_said_as_it_is(tiny):
    score = f"{__name__}.{OtherMistake.__name__}"
    with pytest.raises(ConfigError, match="cannot be built: RuntimeError: no file of weights"):
        tiny("decoder=luong", f"decoder.attention.score={{_target_: {score}}}")


def test_the_battery_says_it_too():
    failures = {one.check: one.seen for one in part_failures("attention_score", NormOfItsWeights)}
    assert "NormOfItsWeights reads the values of a tensor" in failures[CHECK]


@pytest.mark.parametrize(
    ("error", "explained"),
    [
        (RuntimeError("Tensor.item() cannot be called on meta tensors"), True),
        (NotImplementedError("Cannot copy out of meta tensor; no data!"), True),
        (RuntimeError("found at least two devices, meta and cpu!"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("there is no file metadata.json for meta tensors"), False),
    ],
)
def test_only_tensors_without_values_are_explained(error, explained):
    assert (reads_values(error) is not None) == explained
