"""Every decoder YAML, with every encoder, and every part of a decoder keep the contract."""

from __future__ import annotations

import pytest
import torch

from decoderlab.contract import Encoded, EncoderShape, State, TokenSpace, ValueSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.bridges import CELL_STATES
from decoderlab.decoders.combinations import COMBINATIONS
from decoderlab.decoders.feedback import SCHEDULES
from decoderlab.layers import LSTM
from decoderlab.testing import ENCODER_SHAPE, check_decoder
from tests import parts
from tests.conftest import CELLS, variants
from tests.contracts.pairs import of_each_shape, settings, shape_of

BRIDGES, FEEDBACKS = variants("decoder/bridge"), variants("decoder/feedback")
HEADS = variants("decoder/head")
# Without a state, of another depth and width, without a cell: what a decoder may meet.
OTHER_SHAPES = [EncoderShape(8, 8), EncoderShape(5, 7, 6, state_num_layers=3, has_cell=False)]


@parts.some_quick(encoder=list(of_each_shape().values()), decoder=variants("decoder"))
def test_it_passes_the_battery_with_encoders_of_every_shape(encoder, decoder):
    target, chosen = settings("decoder", decoder)
    check_decoder(target, encoder_shape=shape_of(encoder), **chosen)


def recurrent(**chosen):
    check_decoder(RecurrentDecoder, **{"cell": LSTM, "hidden_size": 8, **chosen})


@parts.some_quick(
    cell=CELLS, routes=[["initial_state"], ["every_input"], ["first_input", "output"]]
)
def test_every_cell_passes_it_with_two_layers(cell, routes):
    bridge = parts.bridge("copy" if "initial_state" in routes else "learned")
    recurrent(cell=CELLS[cell], routes=routes, bridge=bridge, num_layers=2, embedding_size=3)


@parts.some_quick(
    source=["state", "summary"],
    cell_state=CELL_STATES,
    kind=[kind for kind in BRIDGES if kind not in ("zero", "copy_all")],  # it reads one shape
    encoder_shape=[ENCODER_SHAPE, *OTHER_SHAPES],
)
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


@parts.some_quick(
    kind=HEADS,
    combine=COMBINATIONS,
    state=["current", "previous"],
    extra=[{}, {"rank": 3}, {"tied": True}],
)
def test_every_head_passes_it_with_every_combination(kind, combine, state, extra):
    head = parts.head(kind, sees_previous=True, state=state, **extra)
    attention = parts.attention("dot", mixing="none") if kind == "pointer" else None
    recurrent(
        routes=["every_input", "output"],
        combine=combine,
        attention=attention,
        head=head,
        embedding_size=4,
    )


@parts.some_quick(
    schedule=SCHEDULES, scope=["token", "sequence"], space=[TokenSpace(9), ValueSpace(2)]
)
def test_scheduled_sampling_passes_it(schedule, scope, space):
    more = {"first_ratio": 0.5} if schedule == "constant" else {"decay_steps": 50}
    feedback = parts.feedback("scheduled_sampling", schedule=schedule, scope=scope, **more)
    over = "point" if isinstance(space, ValueSpace) else "categorical"
    head = parts.head("linear", distribution=over)
    recurrent(routes=["every_input"], target_space=space, feedback=feedback, head=head, dropout=0.3)


OF_VALUES = [feedback for feedback in FEEDBACKS if feedback != "softmax"]


@parts.some_quick(
    distribution=["point", "gaussian"],
    feedback=OF_VALUES,
    embedding_size=[None, 4],
    attention=[("none", {}), ("additive", {}), ("dot", {"input_feeding": True})],
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


@pytest.mark.thinned
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
