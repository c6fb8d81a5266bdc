"""A recurrent decoder's own equations, in the order in which a step computes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderlab.layers.equations import Equation, concatenation, count, embedding_equation

if TYPE_CHECKING:
    from decoderlab.decoders.recurrent_decoder import RecurrentDecoder


def recurrent_equations(decoder: RecurrentDecoder) -> list[Equation]:
    """Return what is computed at step t, y the target; see `decoderlab.layers.equations`."""
    attends, rnn, lines = decoder.attends, decoder.rnn, decoder.bridge.equations()
    if "first_input" in decoder.routes:
        size = decoder.first_input.out_features
        # Where the cell reads c in its input, it takes the end of this input for it.
        reads_summary = any("C c" in line.right for line in rnn.equations("s", "x_t"))
        ends = f", its last {decoder.first_input.in_features} numbers as c" if reads_summary else ""
        lines.append(Equation("x_0", "W_x c + b_x", size, count(decoder.first_input)))
        lines.append(
            Equation(
                "s_0",
                f"a step of the cell from s_0 with x_0{ends}, its output dropped",
                rnn.hidden_size,
            )
        )
    embedded = "e(y_{t-1})" if decoder.sees_output else None
    if decoder.sees_output:
        lines.append(Equation("y_{t-1}", decoder.feedback.settings.told()))
        embedding = decoder.embedding
        line = embedding_equation("e(y_{t-1})", "y_{t-1}", embedding, decoder.embedded_size)
        if decoder.sees_softmax:  # y is no token, but a distribution over them
            shape = f"rows of a table {tuple(embedding.weight.shape)}" if line.parameters else ""
            line = line._replace(right=f"{shape}, weighted by y_{{t-1}}" if shape else "y_{t-1}")
        lines.append(line)
    attention, context = [], None
    mixed = decoder.mix is not None
    if attends is not None:
        query = "s_t" if attends.query == "current" else "s_{t-1}"
        attention, context = decoder.attention.equations(query), "a_t"
    fed = None
    if decoder.fed_size:
        fed = "a_t" if attends.query == "previous" else "h_{t-1}" if mixed else "a_{t-1}"
        if fed != "a_t":
            lines.append(Equation(fed.replace("{t-1}", "0"), "0", decoder.fed_size))
    inputs = concatenation([embedded, fed])
    if decoder.combine_input is not None:
        inputs = decoder.combine_input.equation(inputs, "W_i")
    elif "every_input" in decoder.routes:
        inputs = "c"
    first, second = (attention, []) if fed == "a_t" else ([], attention)
    lines += first
    if rnn.input_size:
        lines.append(Equation("x_t", inputs, rnn.input_size, count(decoder.combine_input)))
    lines += rnn.equations("s", "x_t")
    lines += second
    state = "s_t" if decoder.head_settings.state == "current" else "s_{t-1}"
    features = concatenation([state, context])
    if mixed:
        parts = ["a_t", state, embedded if attends.mixing == "deep" else None]
        right = f"tanh(W_h {concatenation(parts)})"
        lines.append(Equation("h_t", right, rnn.hidden_size, count(decoder.mix)))
        features = "h_t"
    if decoder.combine_output is not None:
        features = decoder.combine_output.equation(features, "W_f")
    if decoder.head_settings.sees_previous:
        features = concatenation([features, embedded])
    if features not in ("s_t", "s_{t-1}", "h_t"):
        own = count(decoder.combine_output)
        lines.append(Equation("f_t", features, decoder.head.features_size, own))
        features = "f_t"
    return lines + decoder.head.equations(features)
