"""The initial weights with a constant bias of the forget gates."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from decoderlab.layers import LSTMLayerNorm
from decoderlab.layers.initialisation import ForgetBiasWeights
from tests.unit.test_initialisation import started


@pytest.mark.parametrize(
    ("make", "forget"),
    [
        (lambda: nn.LSTM(3, 4), {"bias_ih_l0": slice(4, 8)}),
        (lambda: LSTMLayerNorm(input_size=3, hidden_size=2), {"bias": slice(2, 4)}),
        (lambda: nn.GRU(3, 4), {}),
        (lambda: nn.Linear(3, 4), {}),
    ],
)
def test_a_forget_bias_is_constant_and_all_else_is_torchs(make, forget):
    plain, biased = started(make), started(make, scheme=ForgetBiasWeights(2.0))
    for name, values in plain.named_parameters():
        other = biased.get_parameter(name).detach().clone()
        if name in forget:
            assert (other[forget[name]] == 2.0).all()
            other[forget[name]] = values.detach()[forget[name]]
        assert torch.equal(other, values)


def test_a_forget_bias_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="bias is nan; give a finite number"):
        ForgetBiasWeights(math.nan)
