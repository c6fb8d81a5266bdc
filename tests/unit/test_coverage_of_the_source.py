"""Coverage: the loss of See et al. 2017, and the penalty of Wu et al. 2016 in beam search."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import RunConfig
from decoderlab.contract import Batch, Encoded, EncoderShape, TokenSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.attention.coverage import coverage_loss
from decoderlab.generation import Search, beam
from decoderlab.layers import LSTM
from decoderlab.training.assembly import build_networks
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.objective import Likelihood
from tests import parts
from tests.conftest import composed

SPACE = TokenSpace(6)


def decoder_with(**attention) -> RecurrentDecoder:
    torch.manual_seed(0)
    return RecurrentDecoder(
        target_space=SPACE,
        encoder_shape=EncoderShape(3, 3),
        cell=LSTM,
        hidden_size=4,
        routes=["output"],
        attention=parts.attention("general", **attention),
    ).double()


def encoding() -> Encoded:
    mask = torch.tensor([[True, True, True], [True, True, False]])
    values = torch.Generator().manual_seed(1)
    memory = torch.randn(2, 3, 3, generator=values, dtype=torch.double)
    return Encoded(memory, mask, memory[:, 0], None)


TARGET = torch.tensor([[4, 5, 4, 2], [5, 2, 0, 0]])


@pytest.mark.parametrize("settings", [{}, {"query": "between"}, {"heads": 1, "hops": 2}], ids=str)
def test_the_loss_is_the_papers_and_no_padding_counts(settings):
    decoder, encoded = decoder_with(coverage_loss=0.7, **settings), encoding()
    outputs, term = decoder.with_further_loss(encoded, TARGET)
    torch.testing.assert_close(outputs, decoder(encoded, TARGET), rtol=0, atol=1e-12)
    state, previous, rows = decoder.start(encoded), torch.full((2,), SPACE.bos_id), []
    for step in range(TARGET.shape[1]):
        _, state = decoder.step(previous, state)
        rows.append(state.attention_weights.detach().numpy())
        previous = TARGET[:, step]
    expected = 0.0
    for row, length in enumerate((4, 2)):
        coverage = np.zeros(3)
        for step in range(length):
            expected += np.minimum(rows[step][row], coverage).sum()
            coverage = coverage + rows[step][row]
    np.testing.assert_allclose(float(term.detach()), 0.7 * expected, rtol=0, atol=1e-10)


def test_its_gradient_is_that_of_the_numbers():
    weights = torch.rand(2, 4, 3, dtype=torch.double).softmax(dim=-1).requires_grad_()
    assert torch.autograd.gradcheck(lambda one: coverage_loss(one, TARGET, SPACE), weights)


class Read(torch.nn.Module):
    """An encoder that returns what it was given."""

    shape = EncoderShape(3, 3)

    def forward(self, source: Tensor, lengths: Tensor) -> Encoded:
        """Return the same for any source."""
        return encoding()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_training_adds_it_to_any_objective_and_validation_does_not(smoothing):
    losses = {}
    for factor in (0.0, 2.0):
        module = EncoderDecoder(
            encoder=Read(),
            decoder=decoder_with(coverage_loss=factor),
            target_space=SPACE,
            max_target_length=4,
            objective=Likelihood(target_space=SPACE, label_smoothing=smoothing),
        )
        batch = Batch(TARGET, torch.tensor([4, 2]), TARGET, torch.tensor([0, 1]))
        losses[factor] = [
            float(module.train(mode).loss(batch)[0].detach()) for mode in (True, False)
        ]
    _, term = decoder_with(coverage_loss=2.0).with_further_loss(encoding(), TARGET)
    assert math.isclose(losses[2.0][0] - losses[0.0][0], float(term.detach()), rel_tol=1e-9)
    assert losses[2.0][1] == losses[0.0][1]
    assert decoder_with().with_further_loss is None


class Looked(NamedTuple):
    """Of each row the source and the prefix, and what was read at the last step."""

    rows: Tensor
    attention_weights: Tensor | None = None


class Looking:
    """Random logits and random sparse attention for every prefix."""

    def start(self, encoded: Encoded) -> Looked:
        """Return the state before the first step."""
        return Looked(encoded.summary.long())

    def seen(self, row: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return logits and weights after what was written so far, BOS included."""
        generator = np.random.default_rng(row)
        length = 3 - row[0] % 2
        weights = np.pad(generator.dirichlet(np.full(length, 0.3)), (0, 3 - length))
        return generator.normal(size=SPACE.size), weights

    def step(self, previous: Tensor, state: Looked) -> tuple[Tensor, Looked]:
        """Take what came before; return logits and the state."""
        rows = torch.cat([state.rows, previous[:, None]], dim=1)
        logits, weights = zip(*map(self.seen, rows.tolist()), strict=True)
        read = torch.from_numpy(np.stack(weights))
        return torch.from_numpy(np.stack(logits)), Looked(rows, read)

    def reorder(self, state: Looked, index: Tensor) -> Looked:
        """Return rows of the state."""
        return Looked(*(one if one is None else one[index] for one in state))


def exhaustive(source: int, max_length: int, length_penalty: float, coverage_penalty: float):
    """Return the best hypothesis and its score, of all that there are (Wu et al. 2016, eq. 14)."""
    ends, allowed = SPACE.eos_id, [SPACE.eos_id, 4, 5]
    whole = [
        (*middle, last)
        for length in range(1, max_length + 1)
        for middle in itertools.product([4, 5], repeat=length - 1)
        for last in (allowed if length == max_length else [ends])
    ]
    best = (-math.inf, ())
    for hypothesis in whole:
        log_probability, covered, prefix = 0.0, np.zeros(3 - source % 2), [source, SPACE.bos_id]
        for token in hypothesis:
            logits, weights = Looking().seen(prefix)
            chances = np.exp(logits[allowed])
            log_probability += math.log(np.exp(logits[token]) / chances.sum())
            covered += weights[: len(covered)]
            prefix.append(token)
        score = log_probability / ((5 + len(hypothesis)) / 6) ** length_penalty
        score += coverage_penalty * np.log(np.clip(covered, 1e-10, 1)).sum()
        best = max(best, (score, hypothesis))
    return best


@pytest.mark.parametrize("early_stop", [True, False])
@pytest.mark.parametrize("coverage_penalty", [0.0, 0.2, 3.0])
@pytest.mark.parametrize("length_penalty", [0.0, 0.6])
def test_a_beam_that_holds_everything_finds_the_best(length_penalty, coverage_penalty, early_stop):
    sources = torch.tensor([[0.0], [1.0], [2.0]])
    mask = torch.tensor([[True, True, True], [True, True, False], [True, True, True]])
    result = beam(
        Looking(),
        Encoded(torch.zeros(3, 3, 1), mask, sources, None),
        tokens=SPACE,
        max_length=4,
        beam_width=40,
        length_penalty=length_penalty,
        coverage_penalty=coverage_penalty,
        early_stop=early_stop,
    )
    for row in range(3):
        score, hypothesis = exhaustive(row, 4, length_penalty, coverage_penalty)
        assert math.isclose(float(result.scores[row, 0]), score, abs_tol=1e-9)
        assert tuple(result.tokens[row, 0][: len(hypothesis)].tolist()) == hypothesis


def test_a_penalty_changes_what_is_found():
    found = {exhaustive(row, 4, 0.0, penalty)[1] for row in range(3) for penalty in (0.0, 3.0)}
    assert len(found) > 3


def test_a_decoder_without_attention_is_refused_before_training():
    settings = ["evaluation.beam_width=3", "evaluation.coverage_penalty=0.2"]
    build_networks(RunConfig.from_composed(composed("decoder=luong", *settings)), SPACE, SPACE)
    for name in ("initial_state", "transformer", "feedforward"):
        config = RunConfig.from_composed(composed(f"decoder={name}", *settings))
        with pytest.raises(ConfigError, match="shows no attention_weights"):
            build_networks(config, SPACE, SPACE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"coverage_penalty": 0.2}, "coverage_penalty is 0.2; it is allowed only with a wider"),
        ({"coverage_penalty": -1, "beam_width": 2}, "coverage_penalty is -1"),
        ({"coverage_penalty": 1, "beam_width": 2, "exact_steps": 9}, "has no coverage_penalty"),
    ],
    ids=str,
)
def test_penalties_without_effect_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Search(**settings)


def test_the_record_of_a_search_names_the_penalty_where_there_is_one():
    assert Search(beam_width=2).signature == "beam:2|length_penalty:0.0"
    named = Search(beam_width=2, coverage_penalty=0.2).signature
    assert named == "beam:2|length_penalty:0.0|coverage_penalty:0.2"
