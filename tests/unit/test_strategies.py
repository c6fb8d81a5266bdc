"""Feedback schedules, combinations, heads and mixings against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from decoderlab.common.part_choice import Choice
from decoderlab.contract import Encoded, EncoderShape, State, TokenSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.combinations import COMBINATIONS
from decoderlab.decoders.feedback import FreeRunning, ScheduledSampling, TeacherForcing
from decoderlab.decoders.heads import Head
from decoderlab.layers import GRU
from tests import parts

SPACE = TokenSpace(9)


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        ("linear", lambda i, n: 1 - i / n),
        ("exponential", lambda i, n: math.exp(-1 / n) ** i),  # k^i with k = exp(-1/n)
        ("inverse_sigmoid", lambda i, n: n / (n + math.exp(i / n))),  # with k = n
    ],
)
def test_the_schedules_are_those_of_bengio_2015(schedule, formula):
    chosen = {"schedule": schedule, "decay_steps": 50}
    settings = ScheduledSampling(**chosen, first_ratio=0.8, last_ratio=0.1)
    for step in (0, 1, 10, 49, 120, 250, 10**6):
        expected = max(0.8 * formula(step, 50), 0.1) if step < 10**6 else 0.1
        assert settings.teacher_ratio(step) == pytest.approx(expected, rel=1e-9)
    constant = ScheduledSampling(schedule="constant", first_ratio=0.3)
    assert constant.teacher_ratio(0) == constant.teacher_ratio(10**6) == 0.3
    assert TeacherForcing().teacher_ratio(5) == 1
    assert FreeRunning().teacher_ratio(5) == 0


def test_coins_are_drawn_from_the_seed_of_the_update():
    feedback = ScheduledSampling(schedule="constant", first_ratio=0.5)
    drawn = []
    for seed in (1, 2, 1):
        feedback.at_step(3, seed)
        torch.rand(seed)  # the generator that dropout draws from is another one
        drawn.append(feedback.coins(20, 10))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


def test_the_summary_is_concatenated_added_or_multiplied():
    values, summary = torch.randn(2, 3, 4), torch.randn(2, 3, 5)
    concat = COMBINATIONS["concat"](size=4, summary_size=5)
    assert torch.equal(concat(values, summary), torch.cat([values, summary], dim=-1))
    assert concat.size == 9
    for kind, expected in (("add", torch.add), ("mul", torch.mul)):
        made = COMBINATIONS[kind](size=4, summary_size=5)
        projected = summary @ made.project.weight.T
        assert made.size == 4
        torch.testing.assert_close(made(values, summary), expected(values, projected))


def head(name: str, **settings) -> Head:
    torch.manual_seed(0)
    sizes = {"features_size": 6, "hidden_size": 4, "target_space": SPACE, "embedding_size": 3}
    return Choice.of(parts.head(name, **settings)).build(**sizes)


def test_the_heads_are_their_formulas():
    features = torch.randn(2, 5, 6)
    linear, tanh, maxout = (head(name) for name in ("linear", "tanh", "maxout"))
    inner = features @ tanh.hidden.weight.T + tanh.hidden.bias
    expected = inner.tanh() @ tanh.output.weight.T + tanh.output.bias
    torch.testing.assert_close(tanh(features), expected)
    expected = features @ linear.output.weight.T + linear.output.bias
    torch.testing.assert_close(linear(features), expected)
    inner = features @ maxout.hidden.weight.T + maxout.hidden.bias
    pooled = torch.maximum(inner[..., 0::2], inner[..., 1::2])
    expected = pooled @ maxout.output.weight.T + maxout.output.bias
    torch.testing.assert_close(maxout(features), expected)


def test_a_rank_makes_the_matrix_a_product_of_two():
    made, features = head("linear", rank=2), torch.randn(2, 5, 6)
    matrix = made.output.weight @ made.narrow.weight
    assert torch.linalg.matrix_rank(matrix) == 2
    torch.testing.assert_close(made(features), features @ matrix.T + made.output.bias)


def test_a_tied_head_has_the_table_of_embeddings_as_its_matrix():
    made, table, features = head("tanh", tied=True), torch.randn(9, 3), torch.randn(2, 5, 6)
    hidden = (features @ made.hidden.weight.T + made.hidden.bias).tanh() @ made.narrow.weight.T
    expected = hidden @ table.T / math.sqrt(3) + made.bias
    torch.testing.assert_close(made(features, table), expected)
    assert not hasattr(made, "output")


def test_a_tied_table_is_trained_from_both_ends():
    decoder = RecurrentDecoder(
        target_space=SPACE,
        encoder_shape=EncoderShape(4, 4),
        cell=GRU,
        hidden_size=4,
        routes=["every_input"],
        head=parts.head("linear", tied=True),
        embedding_size=4,
    )
    encoded = Encoded(torch.randn(1, 2, 4), torch.ones(1, 2).bool(), torch.randn(1, 4), None)
    decoder(encoded, torch.tensor([[5, 6]]))[..., 7].sum().backward()
    touched = decoder.embedding.weight.grad.abs().sum(dim=-1) > 0
    # BOS (1) and 5 as inputs, 7 as an output.
    assert touched.nonzero().flatten().tolist() == [1, 5, 7]


@pytest.mark.parametrize("mixing", ["none", "tanh", "deep"])
def test_context_and_state_are_mixed_as_the_name_says(mixing):
    torch.manual_seed(0)
    decoder = RecurrentDecoder(
        target_space=SPACE,
        encoder_shape=EncoderShape(4, 4, 4, 1, False),
        cell=GRU,
        hidden_size=4,
        routes=["initial_state"],
        bridge=parts.bridge("copy"),
        attention=parts.attention("dot", mixing=mixing),
        embedding_size=3,
    )
    state = State(torch.randn(1, 2, 4), None)
    encoded = Encoded(torch.randn(2, 3, 4), torch.ones(2, 3).bool(), torch.randn(2, 4), state)
    token = torch.tensor([4, 5])
    outputs, after = decoder.step(token, decoder.start(encoded))
    s = after.recurrent.hidden[-1]
    weights = torch.softmax(torch.einsum("bh,bsh->bs", s, encoded.memory), dim=-1)
    context = torch.einsum("bs,bsh->bh", weights, encoded.memory)
    embedded = decoder.embedding(token)
    features = {
        "none": lambda: torch.cat([s, context], dim=-1),
        "tanh": lambda: (torch.cat([context, s], dim=-1) @ decoder.mix.weight.T).tanh(),
        "deep": lambda: (torch.cat([context, s, embedded], -1) @ decoder.mix.weight.T).tanh(),
    }[mixing]()
    torch.testing.assert_close(outputs, decoder.head(features))


PLACES = {
    # Whether the summary reaches the first state, each input of the cell, and the head directly.
    "initial_state": (False, False, False),  # the bridge reads the state, not the summary
    "first_input": (True, False, False),
    "every_input": (False, True, False),
    "output": (False, False, True),
}


@pytest.mark.parametrize("route", PLACES)
@pytest.mark.parametrize("feedback", ["none", "teacher_forcing"])
def test_each_route_enters_where_it_says_and_nowhere_else(route, feedback):
    torch.manual_seed(0)
    decoder = RecurrentDecoder(
        target_space=SPACE,
        encoder_shape=EncoderShape(4, 4, 4, 1, False),
        cell=GRU,
        hidden_size=4,
        routes=[route],
        bridge=parts.bridge("copy"),
        feedback=parts.feedback(feedback),
        embedding_size=3,
    )
    state = State(torch.randn(1, 2, 4, requires_grad=True), None)
    summary = torch.randn(2, 4, requires_grad=True)
    encoded = Encoded(torch.randn(2, 3, 4), torch.ones(2, 3).bool(), summary, state)
    seen = {}

    def before(module, inputs):
        seen["inputs"], seen["state"] = inputs[0], inputs[1].hidden
        return inputs

    def after(module, inputs, outputs):
        return outputs[0].detach(), outputs[1]  # what reaches the head does so directly

    started = decoder.start(encoded)
    decoder.rnn.register_forward_pre_hook(before)
    decoder.rnn.register_forward_hook(after)
    logits, *_ = decoder._advance(torch.tensor([[1, 4, 5], [1, 6, 4]]), started)

    def reaches(values, leaf) -> bool:
        if not values.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(values.sum(), leaf, retain_graph=True, allow_unused=True)
        return gradient is not None and bool(gradient.abs().sum() > 0)

    at_first, at_inputs, at_head = PLACES[route]
    assert reaches(seen["state"], state.hidden) == (route == "initial_state")
    assert reaches(seen["state"], summary) == at_first
    assert [reaches(one, summary) for one in seen["inputs"].unbind(dim=1)] == [at_inputs] * 3
    assert [reaches(one, summary) for one in logits.unbind(dim=1)] == [at_head] * 3
