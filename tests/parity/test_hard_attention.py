"""Exact hard attention is the sum over all alignments, written out in NumPy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from decoderlab.contract import Encoded, EncoderShape, State, TokenSpace
from decoderlab.decoders import HardAttentionDecoder
from decoderlab.decoders.hard_attention_decoder import LOG_ZERO, moved_on
from tests import parts
from tests.parity.test_attention_formulas import softmax

SPACE, SIZE, MEMORY, LENGTHS, STEPS = TokenSpace(6), 3, 4, (4, 2, 1), 3


@pytest.mark.parametrize("monotonic", [False, True])
def test_a_targets_probability_is_the_sum_over_all_alignments(monotonic):
    torch.manual_seed(1)
    decoder = HardAttentionDecoder(
        target_space=SPACE,
        encoder_shape=EncoderShape(MEMORY, 5, SIZE, has_cell=True),
        hidden_size=SIZE,
        monotonic=monotonic,
        embedding_size=2,
    ).double()
    rows, longest = len(LENGTHS), max(LENGTHS)
    memory = torch.randn(rows, longest, MEMORY, dtype=torch.double)
    mask = torch.arange(longest) < torch.tensor(LENGTHS).unsqueeze(1)
    first = torch.randn(2, 1, rows, SIZE, dtype=torch.double)
    encoded = Encoded(memory, mask, memory.new_ones(rows, 5), State(first[0], first[1]))
    target = torch.tensor([[4, 5, 3], [5, 5, 4], [3, 4, 4]])
    with torch.no_grad():
        outputs = decoder(encoded, target)
        previous = torch.cat([target.new_full((rows, 1), SPACE.bos_id), target[:, :-1]], dim=1)
        states, _ = decoder.rnn(decoder.embedding(previous), encoded.state)
    p = {name: value.numpy() for name, value in decoder.state_dict().items()}
    for row, length in enumerate(LENGTHS):
        read = memory[row, :length].numpy()
        positions, emissions = [], []
        for state in states[row].numpy():
            positions.append(read @ p["score.project_query.weight"] @ state)
            hidden = np.tanh(read @ p["of_memory.weight"].T + p["of_state.weight"] @ state)
            logits = hidden @ p["head.weight"].T + p["head.bias"]
            emissions.append(np.stack([softmax(one) for one in logits]))
        for upto in range(1, STEPS + 1):
            total = 0.0
            for alignment in product(range(length), repeat=upto):
                probability, last = 1.0, 0
                for step, position in enumerate(alignment):
                    start = last if monotonic else 0
                    if position < start:
                        probability = 0.0
                        break
                    chances = softmax(positions[step][start:])
                    probability *= chances[position - start]
                    probability *= emissions[step][position, target[row, step]]
                    last = position
                total += probability
            steps = outputs[row, :upto].gather(1, target[row, :upto].unsqueeze(1))
            np.testing.assert_allclose(float(steps.sum()), np.log(total), rtol=0, atol=1e-10)


def means_of_positions(seed: int, monotonic: bool) -> list[float]:
    """Return the expected position of each of twelve steps."""
    torch.manual_seed(seed)
    decoder = HardAttentionDecoder(
        target_space=SPACE,
        encoder_shape=EncoderShape(MEMORY, 5, SIZE, has_cell=True),
        hidden_size=SIZE,
        monotonic=monotonic,
    )
    zeros = State(torch.zeros(1, 1, SIZE), torch.zeros(1, 1, SIZE))
    memory = 5 * torch.randn(1, 5, MEMORY)
    encoded = Encoded(memory, torch.ones(1, 5).bool(), torch.ones(1, 5), zeros)
    state, means = decoder.start(encoded), []
    with torch.no_grad():
        for token in torch.randint(3, 6, (12, 1)):
            _, state = decoder.step(token, state)
            assert state.attention_weights.sum() == pytest.approx(1)
            means.append(float((state.attention_weights * torch.arange(5)).sum()))
    return means


def test_a_free_reader_moves_back():
    assert any((means := means_of_positions(seed, False)) != sorted(means) for seed in range(5))


@pytest.mark.parametrize("seed", range(5))
def test_a_monotonic_reader_gives_no_weight_to_what_is_behind_it(seed):
    torch.manual_seed(seed)
    scores, mask = 3 * torch.randn(2, 6), torch.ones(2, 6).bool()
    at_third = torch.full((2, 6), LOG_ZERO).index_fill(1, torch.tensor([2]), 0.0)
    weights = moved_on(at_third, scores, mask).exp()
    assert not weights[:, :2].any()
    torch.testing.assert_close(weights[:, 2:], scores[:, 2:].softmax(dim=1))


@pytest.mark.parametrize("score", ["local_predicted", "coverage", "sparsemax"])
def test_a_score_with_weights_of_its_own_is_refused(score):
    with pytest.raises(ValueError, match="take a score of the contents alone"):
        HardAttentionDecoder(
            target_space=SPACE,
            encoder_shape=EncoderShape(MEMORY, 5, SIZE, has_cell=True),
            hidden_size=SIZE,
            score=parts.attention(score).keywords["score"],
        )
