"""Real values in and out: training, rolling forward, and the likelihood that is made small."""

from __future__ import annotations

import math

import pytest
import torch

from decoderlab.contract import ValueSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.encoders import RecurrentEncoder
from decoderlab.generation import roll_forward
from decoderlab.layers import GRU, LSTM
from decoderlab.training.objective import negative_log_likelihood
from tests import parts

VALUES = ValueSpace(1)


def waves(number: int, seed: int):
    """Return sines of any phase, cut into (B, 12, 1) to read and (B, 8, 1) to say."""
    generator = torch.Generator().manual_seed(seed)
    phase = 2 * math.pi * torch.rand(number, 1, generator=generator)
    series = torch.sin(phase + torch.arange(20) * math.pi / 6).unsqueeze(-1)
    return series[:, :12], series[:, 12:]


@parts.some_quick(
    feedback=["none", "teacher_forcing", "scheduled_sampling", "free_running"],
    distribution=["point", "gaussian"],
)
def test_a_forecast_is_learnt_and_rolled_forward(feedback, distribution):
    torch.manual_seed(0)
    encoder = RecurrentEncoder(source_space=VALUES, cell=LSTM, hidden_size=24)
    decoder = RecurrentDecoder(
        target_space=VALUES,
        encoder_shape=encoder.shape,
        cell=LSTM,
        hidden_size=24,
        routes=["initial_state", "every_input"],
        bridge=parts.bridge("copy"),
        feedback=parts.feedback(feedback),
        head=parts.head("linear", distribution=distribution),
    )
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    lengths = torch.full((64,), 12)
    for step in range(250):
        source, target = waves(64, step)
        decoder.at_step(step, step)
        total, count = negative_log_likelihood(
            decoder(encoder(source, lengths), target), target, VALUES
        )
        optimizer.zero_grad()
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    source, target = waves(64, 10_000)
    decoder.eval()
    with torch.no_grad():
        encoded = encoder(source, lengths)
        forecast = roll_forward(decoder, encoded, values=VALUES, num_steps=8)
    error = (forecast - target).square().mean().sqrt()
    persistence = (source[:, -1:] - target).square().mean().sqrt()
    assert error < 0.2 * persistence


def test_a_gradient_passes_through_ones_own_values():
    torch.manual_seed(0)
    encoder = RecurrentEncoder(source_space=VALUES, cell=GRU, hidden_size=4)
    chosen = {"cell": GRU, "hidden_size": 4, "routes": ["first_input"]}
    head = parts.head("linear", distribution="point")
    decoder = RecurrentDecoder(
        target_space=VALUES,
        encoder_shape=encoder.shape,
        feedback=parts.feedback("free_running"),
        head=head,
        **chosen,
    )
    source, target = waves(2, 0)
    outputs = decoder(encoder(source, torch.tensor([12, 12])), target)
    first = outputs[:, 0].sum()
    (gradient,) = torch.autograd.grad(
        outputs[:, 1].sum(), decoder.head.output.bias, retain_graph=True
    )
    (direct,) = torch.autograd.grad(first, decoder.head.output.bias)
    # The bias of the head reaches the second value directly and through the first one.
    assert float(gradient) != pytest.approx(float(direct), abs=1e-6)


def test_the_likelihood_of_means_alone_is_half_the_squared_error():
    outputs, target = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[2.0], [1.0]]])
    total, count = negative_log_likelihood(outputs, target, VALUES)
    assert int(count) == 2
    assert float(total) == pytest.approx((1 + 4) / 2 + 2 * math.log(2 * math.pi) / 2)
