"""Which settings of a recurrent decoder cannot stand together, and why."""

from __future__ import annotations

from decoderlab.decoders.attention import AttentionSettings
from decoderlab.decoders.bridges import BridgeSettings
from decoderlab.decoders.heads import HeadSettings
from decoderlab.decoders.routes import ROUTES


def refuse_contradictions(
    *,
    routes: frozenset[str],
    sees_output: bool,
    cell: str,
    combine: str,
    bridge: BridgeSettings,
    attends: AttentionSettings | None,
    head: HeadSettings,
) -> None:
    """Raise ValueError where two settings of a recurrent decoder contradict each other.

    The message names both, and what to do. Arguments as in `RecurrentDecoder`.
    """
    if not routes and attends is None:
        raise ValueError(
            "routes is empty and attention is null, so nothing of the source reaches the decoder; "
            f"name at least one of {', '.join(ROUTES)}, or an attention score"
        )
    if "initial_state" in routes and not bridge.carries:
        raise ValueError(
            f"routes has initial_state but bridge is {bridge.kind!r}, which carries nothing; "
            "take bridge=copy, dense, dense_nonlinear or mean, or leave initial_state out"
        )
    if "initial_state" not in routes and bridge.carries:
        raise ValueError(
            f"bridge is {bridge.kind!r} but routes has no initial_state; "
            "take bridge=zero or learned, or add initial_state to routes"
        )
    if not sees_output and routes <= {"output"} and attends is None:
        raise ValueError(
            "feedback is none and the summary enters at the output only, so every step would "
            "give the same logits; add another route, or take feedback=teacher_forcing"
        )
    if not sees_output and (head.sees_previous or (attends and attends.mixing == "deep")):
        raise ValueError(
            "feedback is none, but head.sees_previous or attention.mixing=deep asks for the "
            "previous output; take feedback=teacher_forcing, or leave them out"
        )
    if head.state == "previous" and attends and attends.mixing != "none":
        raise ValueError(
            f"head.state is 'previous', but with attention.mixing={attends.mixing} the head sees "
            "an attentional vector; take attention.mixing=none, or head.state=current"
        )
    fed = sees_output or bool(attends and attends.input_feeding)
    if combine != "concat" and "output" not in routes and not ("every_input" in routes and fed):
        raise ValueError(
            f"combine is {combine!r}, but the summary stands alone wherever it enters; take "
            "combine=concat, or the route output"
        )
    if cell == "gru_reset_summary" and ("every_input" not in routes or combine != "concat"):
        raise ValueError(
            "cell is 'gru_reset_summary', whose reset gate scales the summary at every input; take "
            "the route every_input with combine=concat, or cell=gru_reset_before"
        )
