from __future__ import annotations

import pytest
from torch import nn

from decoderlab.contract import EncoderShape, TokenSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.layers import LSTM
from decoderlab.layers.equations import as_text, count, equations_of
from decoderlab.testing import ENCODER_SHAPE
from tests import parts
from tests.conftest import variants
from tests.contracts.pairs import settings, source_space
from tests.contracts.test_routes import ATTENTIONS, ROUTE_SETS, makes_sense

CHO = """
s_0        = tanh(W_0 c + b_0)                                            8   72
y_{t-1}    = in training the target's, in generation what was generated
e(y_{t-1}) = row y_{t-1} of a table (9, 4)                                4   36
x_t        = [e(y_{t-1}); c]                                             12
r, z       = sigmoid(W x_t + U s_{t-1} + b)                               8  504
g          = tanh(W_g x_t without c + b_g + r * (U_g s_{t-1} + C c))      8
s_t        = z * s_{t-1} + (1 - z) * g                                    8
f_t        = [s_t; c; e(y_{t-1})]                                        20
u_t        = max(V f_t + d, in pairs)                                     8  336
logits_t   = W_o u_t + b_o                                                9   81
"""


def decoder(name: str, **more):
    target, chosen = settings("decoder", name)
    return target(target_space=TokenSpace(9), encoder_shape=ENCODER_SHAPE, **chosen | more)


@pytest.mark.long
@pytest.mark.parametrize("name", variants("decoder"))
def test_every_parameter_of_a_decoder_stands_in_one_line(name):
    made = decoder(name)
    equations = equations_of(made)
    assert sum(one.parameters for one in equations) == count(made) > 0
    assert "no equations" not in as_text(equations)


@pytest.mark.long
@pytest.mark.parametrize("name", variants("encoder"))
def test_every_parameter_of_an_encoder_stands_in_one_line(name):
    target, chosen = settings("encoder", name)
    made = target(source_space=source_space(name), **chosen)
    equations = equations_of(made)
    assert sum(one.parameters for one in equations) == count(made) > 0
    assert "no equations" not in as_text(equations)
    assert equations[-1].left == "c"


def test_chos_equations_are_those_of_the_paper():
    assert as_text(equations_of(decoder("cho2014"))) == CHO.strip()


@pytest.mark.slow
def test_variants_that_compute_differently_have_different_equations():
    texts = {name: as_text(equations_of(decoder(name))) for name in variants("decoder")}
    assert len(set(texts.values())) == len(texts)
    everything = [
        (tuple(routes), feedback, attention and tuple(attention.values()))
        for routes in ROUTE_SETS
        for feedback in ("none", "teacher_forcing", "free_running")
        for attention in ATTENTIONS
        if makes_sense(routes, feedback, attention)
    ]
    seen = {}
    for routes, feedback, attention in everything:
        named = attention and dict(
            zip(("name", "query", "input_feeding", "mixing"), attention, strict=True)
        )
        made = RecurrentDecoder(
            target_space=TokenSpace(9),
            encoder_shape=EncoderShape(8, 8, 8, 1, True),
            cell=LSTM,
            hidden_size=8,
            routes=routes,
            bridge=parts.bridge("copy" if "initial_state" in routes else "zero"),
            feedback=parts.feedback(feedback),
            attention=named and parts.attention(**named),
            embedding_size=3,
        )
        text = as_text(made.equations())
        assert text not in seen, (routes, feedback, attention, seen[text])
        seen[text] = (routes, feedback, attention)


def test_a_class_without_equations_is_shown_by_its_parts():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 2)
            self.scale = nn.Parameter(self.inner.bias.detach().clone())

    equations = equations_of(Own())
    assert [(one.left, one.parameters) for one in equations] == [("Own", 2), ("inner", 8)]
    assert "no equations() of its own" in as_text(equations)


def line(equations, left: str) -> str:
    return next(one.right for one in equations if one.left == left)


def test_a_reversed_source_is_said_where_it_is_read_and_where_it_is_kept():
    target, chosen = settings("encoder", "lstm", "encoder.reverse_source=true")
    equations = equations_of(target(source_space=TokenSpace(9), **chosen))
    assert line(equations, "x_j").startswith("row source_{S+1-j}")
    assert line(equations, "m_j") == "h_{S+1-j}"


def test_what_stands_side_by_side_is_bracketed_once():
    more = {"combine": "add", "head": parts.head("linear", sees_previous=True)}
    more |= {"routes": ["initial_state", "every_input", "output"]}
    equations = equations_of(
        decoder("luong", attention=parts.attention("dot", mixing="none"), **more)
    )
    assert line(equations, "x_t") == "e(y_{t-1}) + W_i c"
    assert line(equations, "f_t") == "[[s_t; a_t] + W_f c; e(y_{t-1})]"
    equations = equations_of(decoder("luong", **more | {"combine": "concat"}))
    assert line(equations, "f_t") == "[h_t; c; e(y_{t-1})]"


def test_upper_layers_of_chos_decoder_have_no_summary():
    equations = equations_of(decoder("cho2014", num_layers=2))
    assert "C c = 0" in line(equations, "layers 2..2")
