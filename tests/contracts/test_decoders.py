"""Every decoder YAML, with every encoder, and every combination of switches keep the contract."""

from __future__ import annotations

from functools import cache
from itertools import combinations, product

import pytest
import torch

from decoderlab.common.completion import build, complete
from decoderlab.config.run_config import INJECTED
from decoderlab.contract import Encoded, EncoderShape, State, TokenSpace, ValueSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.attention import MIXINGS, QUERIES
from decoderlab.decoders.bridges import CELL_STATES
from decoderlab.decoders.feedback import SCHEDULES
from decoderlab.decoders.routes import COMBINATIONS, ROUTES
from decoderlab.layers import GRU, LSTM, GRUResetSummary
from decoderlab.testing import ENCODER_SHAPE, check_decoder
from decoderlab.testing.encodings import parts_of
from tests import parts
from tests.conftest import CELLS, variants
from tests.contracts.pairs import all_pairs, settings, shape_of

BRIDGES, FEEDBACKS = variants("decoder/bridge"), variants("decoder/feedback")
HEADS = variants("decoder/head")
# Without a state, of another depth and width, without a cell: what a decoder may meet.
OTHER_SHAPES = [EncoderShape(8, 8), EncoderShape(5, 7, 6, state_num_layers=3, has_cell=False)]


@pytest.mark.parametrize(("encoder", "decoder"), all_pairs())
def test_it_passes_the_battery_with_every_encoder(encoder, decoder):
    check_with(decoder, shape_of(encoder))


@cache
def check_with(decoder: str, encoder_shape: EncoderShape) -> None:
    """Check a decoder once with all encoders of one shape, which is all that it knows of them."""
    target, chosen = settings("decoder", decoder)
    check_decoder(target, encoder_shape=encoder_shape, **chosen)


def recurrent(**chosen):
    check_decoder(RecurrentDecoder, **{"cell": LSTM, "hidden_size": 8, **chosen})


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("routes", [["initial_state"], ["every_input"], ["first_input", "output"]])
def test_every_cell_passes_it_with_two_layers(cell, routes):
    bridge = parts.bridge("copy" if "initial_state" in routes else "learned")
    recurrent(cell=CELLS[cell], routes=routes, bridge=bridge, num_layers=2, embedding_size=3)


@pytest.mark.parametrize("encoder_shape", [ENCODER_SHAPE, *OTHER_SHAPES], ids=str)
@pytest.mark.parametrize("kind", [kind for kind in BRIDGES if kind != "zero"])
@pytest.mark.parametrize("cell_state", CELL_STATES)
@pytest.mark.parametrize("source", ["state", "summary"])
def test_every_bridge_passes_it_with_every_cell_state(kind, cell_state, source, encoder_shape):
    more = {"cell": cell_state}
    if kind in ("mean", "learned"):
        if source == "summary":
            return  # they read neither
    else:
        more["source"] = source
    width = encoder_shape.state_size if source == "state" else encoder_shape.summary_size
    recurrent(
        encoder_shape=encoder_shape,
        hidden_size=width or encoder_shape.summary_size,
        routes=["every_input"] if kind == "learned" else ["initial_state"],
        bridge=parts.bridge(kind, **more),
        num_layers=2,
    )


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("combine", COMBINATIONS)
@pytest.mark.parametrize("state", ["current", "previous"])
@pytest.mark.parametrize("extra", [{}, {"rank": 3}, {"tied": True}], ids=str)
def test_every_head_passes_it_with_every_combination(kind, combine, state, extra):
    head = parts.head(kind, sees_previous=True, state=state, **extra)
    recurrent(routes=["every_input", "output"], combine=combine, head=head, embedding_size=4)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("scope", ["token", "sequence"])
@pytest.mark.parametrize("space", [TokenSpace(9), ValueSpace(2)], ids=str)
def test_scheduled_sampling_passes_it(schedule, scope, space):
    more = {"first_ratio": 0.5} if schedule == "constant" else {"decay_steps": 50}
    feedback = parts.feedback("scheduled_sampling", schedule=schedule, scope=scope, **more)
    over = "point" if isinstance(space, ValueSpace) else "categorical"
    head = parts.head("linear", distribution=over)
    recurrent(routes=["every_input"], target_space=space, feedback=feedback, head=head, dropout=0.3)


OF_VALUES = [feedback for feedback in FEEDBACKS if feedback != "softmax"]


@pytest.mark.parametrize("distribution", ["point", "gaussian"])
@pytest.mark.parametrize("feedback", OF_VALUES)
@pytest.mark.parametrize("embedding_size", [None, 4])
@pytest.mark.parametrize(
    "attention", [("none", {}), ("additive", {}), ("dot", {"input_feeding": True})]
)
def test_values_are_written_like_tokens(distribution, feedback, embedding_size, attention):
    recurrent(
        target_space=ValueSpace(2),
        routes=["initial_state", "every_input"],
        bridge=parts.bridge("copy"),
        feedback=parts.feedback(feedback),
        attention=parts.attention(attention[0], **attention[1]),
        head=parts.head("tanh", distribution=distribution),
        embedding_size=embedding_size,
    )


def test_values_have_no_softmax_to_feed_back():
    with pytest.raises(ValueError, match="real values, which have none; take .*free_running"):
        RecurrentDecoder(
            target_space=ValueSpace(2),
            encoder_shape=EncoderShape(3, 3),
            cell=LSTM,
            hidden_size=3,
            routes=["every_input"],
            feedback=parts.feedback("softmax"),
            head=parts.head("linear", distribution="point"),
        )


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


@pytest.mark.parametrize("feedback", FEEDBACKS)
@pytest.mark.parametrize("routes", ROUTE_SETS, ids=str)
def test_every_route_with_every_feedback_and_attention(routes, feedback):
    target = torch.tensor([[4, 5, 4], [5, 5, 2]])
    for attention in ATTENTIONS:
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


def test_attention_weights_are_exactly_zero_at_masked_positions():
    for attention in ATTENTIONS[1:]:
        decoder, encoded = tiny(["initial_state"], "teacher_forcing", attention), encoding()
        _, state = decoder.step(torch.tensor([4, 5]), decoder.start(encoded))
        weights = state.attention_weights
        assert (weights[~encoded.memory_mask] == 0).all()
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2).double())


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
        ({"attention": "dot"}, "'dot' is no part; give a class"),
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
    return RecurrentDecoder.canonical(completed)


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


@pytest.mark.parametrize("name", variants("decoder"))
def test_loss_falls_on_one_batch(name):
    target, chosen = settings("decoder", name)
    torch.manual_seed(0)
    decoder = target(target_space=TokenSpace(9), encoder_shape=ENCODER_SHAPE, **chosen)
    generator = torch.Generator().manual_seed(1)
    encoded = Encoded(
        torch.randn(4, 5, 8, generator=generator),
        torch.ones(4, 5).bool(),
        torch.randn(4, 8, generator=generator),
        State(*torch.randn(2, 1, 4, 8, generator=generator)),
    )
    wanted = torch.randint(4, 9, (4, 4), generator=generator)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.03)
    losses = []
    for _ in range(150):
        outputs = decoder(encoded, wanted)
        loss = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 3
