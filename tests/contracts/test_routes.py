"""Every combination of routes, feedback and attention gives its inputs and nothing else."""

from __future__ import annotations

from itertools import combinations, product

import pytest
import torch

from decoderlab.contract import Encoded, EncoderShape, State, TokenSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.attention import MIXINGS, QUERIES
from decoderlab.decoders.route_settings import ROUTES
from decoderlab.layers import LSTM
from decoderlab.testing.encoder_outputs import parts_of
from tests import parts
from tests.conftest import variants

FEEDBACKS = variants("decoder/feedback")
SCORES = [name for name in variants("decoder/attention") if name != "none"]
ATTENTIONS = [None] + [
    {"name": score, "query": query, "input_feeding": feeding, "mixing": mixing}
    for score, query, feeding, mixing in product(SCORES, QUERIES, (False, True), MIXINGS)
]
ROUTE_SETS = [list(some) for n in range(5) for some in combinations(ROUTES, n)]


def makes_sense(routes, feedback, attention) -> bool:
    if feedback == "none" and attention and attention["mixing"] == "deep":
        return False
    return attention is not None or bool(routes)


def tiny(routes, feedback, attention, embedding_size=2) -> RecurrentDecoder:
    torch.manual_seed(0)
    return RecurrentDecoder(
        target_space=TokenSpace(6),
        encoder_shape=EncoderShape(3, 3, state_size=3, state_num_layers=1, has_cell=True),
        cell=LSTM,
        hidden_size=3,
        embedding_size=embedding_size,
        routes=routes,
        feedback=parts.feedback(feedback),
        bridge=parts.bridge("dense" if "initial_state" in routes else "zero"),
        attention=attention and parts.attention(**attention),
    ).double()


def encoding() -> Encoded:
    generator = torch.Generator().manual_seed(2)

    def values(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    mask = torch.tensor([[True, True, True], [True, True, False]])
    return Encoded(values(2, 3, 3), mask, values(2, 3), State(values(1, 2, 3), values(1, 2, 3)))


def carries(*values) -> bool:
    return any(value.grad is not None and value.grad.abs().sum() > 0 for value in values)


@pytest.mark.parametrize("embedding_size", [None, 2])
def test_softmax_feedback_is_the_distribution_before_and_passes_the_gradient(embedding_size):
    decoder, encoded = tiny(["every_input"], "softmax", None, embedding_size), encoding()
    target = torch.tensor([[4, 5, 4], [5, 5, 2]])
    outputs = decoder(encoded, target)
    table = torch.eye(6).double() if embedding_size is None else decoder.embedding.weight
    state, seen = decoder.start(encoded).recurrent, torch.zeros(2, 6).double()
    for t in range(3):
        inputs = torch.cat([seen @ table, encoded.summary], dim=-1).unsqueeze(1)
        features, state = decoder.rnn(inputs, state)
        logits = decoder.head(features, None).squeeze(1)
        assert torch.allclose(logits, outputs[:, t])
        seen = (logits + decoder.excluded).softmax(dim=-1)
    # The logit of one token at the third step depends on the head's bias for another at the first.
    bias = dict(decoder.head.named_parameters())
    (name,) = (one for one in bias if one.endswith("bias"))
    (gradient,) = torch.autograd.grad(outputs[:, 2, 4].sum(), bias[name])
    assert gradient[5] != 0


@parts.some_quick(routes=ROUTE_SETS, feedback=FEEDBACKS)
def test_every_route_with_every_feedback(routes, feedback):
    check_routes(routes, feedback, some_attentions(routes, feedback))


def some_attentions(routes, feedback) -> list[dict | None]:
    """Return none and every fourteenth, so that each attention stands beside each route."""
    start = (ROUTE_SETS.index(routes) + FEEDBACKS.index(feedback)) % 14
    return [None, *ATTENTIONS[1 + start :: 14]]


def check_routes(routes, feedback, attentions) -> None:
    target = torch.tensor([[4, 5, 4], [5, 5, 2]])
    for attention in attentions:
        if not makes_sense(routes, feedback, attention):
            with pytest.raises(ValueError, match=r"routes is empty|previous output's embedding"):
                tiny(routes, feedback, attention)
            continue
        decoder, encoded = tiny(routes, feedback, attention), encoding()
        told = f"{routes} {feedback} {attention}"

        # Exactly what is on carries gradient: the state has no other way in than the bridge, the
        # summary none but the other three routes.
        decoder(encoded, target).square().sum().backward()
        assert carries(*parts_of(encoded.state)) == ("initial_state" in routes), told
        assert carries(encoded.summary) == bool(set(routes) - {"initial_state"}), told
        assert carries(encoded.memory) == (attention is not None), told

        def outputs(memory, summary, hidden, cell, decoder=decoder, mask=encoded.memory_mask):
            decoder.at_step(0, 3)
            return decoder(Encoded(memory, mask, summary, State(hidden, cell)), target)

        inputs = (encoded.memory, encoded.summary, *parts_of(encoded.state))
        assert torch.autograd.gradcheck(outputs, inputs, fast_mode=True), told
        decoder.eval()
        state, previous, stepped = decoder.start(encoded), torch.tensor([1, 1]), []
        for t in range(3):
            output, state = decoder.step(previous, state)
            stepped.append(output)
            previous = target[:, t]
        gap = decoder(encoded, target) - torch.stack(stepped, dim=1)
        assert gap.abs().max() <= 1e-10, told


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("reads", [{"heads": 3}, {"hops": 2}, {"heads": 3, "hops": 2}], ids=str)
def test_several_reads_have_their_gradients_and_steps(query, reads):
    attentions = [
        {"name": score, "query": query, "input_feeding": True, "mixing": "none", **reads}
        for score in ("additive", "sparsemax", "coverage")
    ]
    check_routes(["initial_state"], "teacher_forcing", attentions)
    decoder, encoded = tiny(["output"], "teacher_forcing", attentions[-1]), encoding()
    _, state = decoder.step(torch.tensor([4, 5]), decoder.start(encoded))
    assert (state.attention_weights[~encoded.memory_mask] == 0).all()
    state = decoder.reorder(state, torch.tensor([1, 0, 1]))
    assert len(state.keys) == len(state.carried) == 3


def test_attention_weights_are_exactly_zero_at_masked_positions():
    for attention in ATTENTIONS[1:]:
        decoder, encoded = tiny(["initial_state"], "teacher_forcing", attention), encoding()
        _, state = decoder.step(torch.tensor([4, 5]), decoder.start(encoded))
        weights = state.attention_weights
        assert (weights[~encoded.memory_mask] == 0).all()
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2).double())
