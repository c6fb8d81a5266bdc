"""A recurrent decoder's own equations, in the order in which a step computes them."""

from __future__ import annotations

import re
from typing import Protocol

from torch import Tensor, nn

from decoderlab.decoders.attention import Attention, NoAttention
from decoderlab.decoders.bridges import Bridge
from decoderlab.decoders.combinations import Combination
from decoderlab.decoders.feedback import Feedback
from decoderlab.decoders.heads import Head
from decoderlab.layers.equations import Equation, Letters, concatenation, count, embedding_equation
from decoderlab.layers.recurrent_stack import RecurrentLayers


class EquationParts(Protocol):
    """What the equations are written from."""

    routes: frozenset[str]
    bridge: Bridge
    first_input: nn.Linear
    feedback: Feedback
    embedding: nn.Module | None
    embedded_size: int
    attends: Attention | NoAttention
    combine_input: Combination | None
    rnn: RecurrentLayers
    second_rnn: RecurrentLayers | None
    combine_output: Combination | None
    features_size: int
    head: Head

    @property
    def table(self) -> Tensor | None:
        """The weights of the embedding, None where it has none."""
        ...


def recurrent_equations(decoder: EquationParts) -> list[Equation]:
    """Return what is computed at step t, y the target; see `decoderlab.layers.equations`."""
    attends, rnn = decoder.attends, decoder.rnn
    lines = [*first_state_equations(decoder.bridge, rnn), *_first_input(decoder)]
    embedded = None
    if decoder.embedding is not None:
        embedded = "e(y_{t-1})"
        line = embedding_equation(embedded, "y_{t-1}", decoder.embedding, decoder.embedded_size)
        lines += [Equation("y_{t-1}", decoder.feedback.meaning()), _weighted(decoder, line)]
    fed = attends.fed_name()
    if fed is not None and fed != "a_t":
        lines.append(Equation(fed.replace("{t-1}", "0"), "0", attends.fed_size))
    inputs = concatenation([embedded, fed])
    if decoder.combine_input is not None:
        inputs = decoder.combine_input.equation(inputs, "W_i")
    elif "every_input" in decoder.routes:
        inputs = "c"
    before_cell = fed == "a_t"
    lines += attends.equations() if before_cell else []
    if rnn.input_size:
        lines.append(Equation("x_t", inputs, rnn.input_size, count(decoder.combine_input)))
    first = rnn.equations("s", "x_t", repeated=decoder.second_rnn is not None)
    if decoder.second_rnn is None:
        lines += first
    else:
        lines += [Equation(_primed(line.left), _primed(line.right), *line[2:]) for line in first]
    lines += [] if before_cell else attends.equations()
    if decoder.second_rnn is not None:
        again = "a step of another such cell from s'_t with a_t"
        lines.append(Equation("s_t", again, rnn.hidden_size, count(decoder.second_rnn)))
    state = "s_t" if decoder.head.state == "current" else "s_{t-1}"
    features, mixed = attends.features_equation(state, embedded)
    return lines + mixed + _output(decoder, features, embedded)


def first_state_equations(bridge: Bridge, rnn: RecurrentLayers) -> list[Equation]:
    """Return the lines of the state before the first step, with all that the cells keep."""
    further = rnn.further_equations("s_0")
    if bridge.carries_further:
        carried = [f"the encoder's last {line.left.removesuffix('_0')}" for line in further]
        further = [line._replace(right=r) for line, r in zip(further, carried, strict=True)]
    return [*bridge.equations(), *further]


def _primed(text: str) -> str:
    """Return a side of an equation in which the state after the first of two cells has a prime."""
    return re.sub(r"\b([a-z])_t(?<!x_t)(?!\w)", r"\1'_t", text)


def _first_input(decoder: EquationParts) -> list[Equation]:
    if "first_input" not in decoder.routes:
        return []
    size, own = decoder.first_input.out_features, count(decoder.first_input)
    # Where the cell reads c in its input, it takes the end of this input for it.
    reads_summary = any("C c" in line.right for line in decoder.rnn.equations("s", "x_t"))
    ends = f", its last {decoder.first_input.in_features} numbers as c" if reads_summary else ""
    dropped = f"a step of the cell from s_0 with x_0{ends}, its output dropped"
    return [
        Equation("x_0", "W_x c + b_x", size, own),
        Equation("s_0", dropped, decoder.rnn.hidden_size),
    ]


def _weighted(decoder: EquationParts, line: Equation) -> Equation:
    """Return the line of the embedding; of a distribution, y is no token."""
    if not decoder.feedback.sees_distribution:
        return line
    if decoder.table is None:
        return line._replace(right="y_{t-1}")
    rows = f"rows of a table {tuple(decoder.table.shape)}"
    return line._replace(right=f"{rows}, weighted by y_{{t-1}}")


def _output(decoder: EquationParts, features: str, embedded: str | None) -> list[Equation]:
    if decoder.combine_output is not None:
        features = decoder.combine_output.equation(features, "W_f")
    if decoder.head.sees_previous:
        features = concatenation([features, embedded])
    if features in ("s_t", "s_{t-1}", "h_t"):
        return decoder.head.equations(features)
    own = count(decoder.combine_output)
    line = Equation("f_t", features, decoder.features_size, own)
    return [line, *decoder.head.equations("f_t")]


def recurrent_letters() -> Letters:
    """Return which parameter a letter of the equations is; see `decoderlab.layers.equations`."""
    output = {
        "W_o": "head.output.weight",
        "b_o": "head.output.bias",
        "E": "embedding.weight",
        "b": "head.bias",
    }
    return {
        "s_0": {
            "W_0": "bridge.hidden.{l}.weight",
            "b_0": "bridge.hidden.{l}.bias",
            "constant": "bridge.hidden",
        },
        "k_0": {
            "W_k": "bridge.cell.{l}.weight",
            "b_k": "bridge.cell.{l}.bias",
            "constant": "bridge.cell",
        },
        "x_0": {"W_x": "first_input.weight", "b_x": "first_input.bias"},
        "e(y_{t-1})": {
            "table": "embedding.weight",
            "W_e": "embedding.weight",
            "b_e": "embedding.bias",
        },
        "x_t": {"W_i": "combine_input.project.weight"},
        "score_tj": {
            "W_a": "attention.project_query.weight",
            "U_a": "attention.project_memory.weight",
            "v": "attention.score_vector.weight",
            "b_a": "attention.project_query.bias",
            "V_a": "attention.project_filtered.weight",
            "u_a": "attention.project_coverage.weight",
        },
        "q_t": {"W_q": "attention.split_query.weight", "W_u": "attention.further.{hop}.weight"},
        "m_j": {"W_m": "attention.split_memory.weight"},
        "f_tj": {"F": "attention.filters.weight"},
        "p_t": {
            "v_p": "attention.position_vector.weight",
            "W_p": "attention.project_position.weight",
        },
        "r_t": {"W_r": "attention.step.weight", "b_r": "attention.step.bias"},
        "sigma_t": {"W_d": "attention.deviation.weight", "b_d": "attention.deviation.bias"},
        "gate_t": {"W_g": "attention.gate.weight", "b_g": "attention.gate.bias"},
        "h_t": {"W_h": "mix.weight"},
        "f_t": {"W_f": "combine_output.project.weight"},
        "u_t": {"V": "head.hidden.weight", "d": "head.hidden.bias"},
        "narrow_t": {"P": "head.narrow.weight"},
        "logits_t": output,
        "o_t": output,
        "g_t": {"v_g": "head.gate.weight", "d_g": "head.gate.bias"},
        "mean_t": output,
        "[mean_t; log deviation_t]": output,
    }
