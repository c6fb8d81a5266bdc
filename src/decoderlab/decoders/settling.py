"""What a recurrent decoder's settings come to: what has no effect is set back, the rest must agree.

A sweep changes one setting at a time, and then others lose their meaning: without the route
initial_state no bridge is in force, without feedback there is no embedding. Such settings do no
harm, but two configs that differ in them are one model, and must be one run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from decoderlab.decoders.attention import AttentionSettings
from decoderlab.decoders.bridges import BridgeSettings
from decoderlab.decoders.feedback import FeedbackSettings
from decoderlab.decoders.heads import HeadSettings
from decoderlab.decoders.routes import ROUTES


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Settings of a `RecurrentDecoder` that depend on each other; see there."""

    routes: frozenset[str]
    cell: str
    combine: str
    bridge: BridgeSettings
    feedback: FeedbackSettings
    attention: AttentionSettings
    head: HeadSettings
    embedding_size: int | None


def settle(given: Settled) -> Settled:
    """Return the settings with whatever has no effect at its default.

    Raises:
        ValueError: where two settings contradict each other, naming both, and what to do.
    """
    attention, routes = given.attention.settled(), given.routes
    sees_output = given.feedback.kind != "none"
    bridge = given.bridge
    if "initial_state" not in routes and bridge.carries:
        bridge = BridgeSettings(kind="zero")
    if not given.cell.startswith("lstm"):
        bridge = replace(bridge, cell="encoder")
    meets_input = "every_input" in routes and (sees_output or attention.input_feeding)
    meets = meets_input or "output" in routes
    settled = replace(
        given,
        bridge=bridge.settled(),
        feedback=given.feedback.settled(),
        attention=attention,
        head=given.head.settled(),
        combine=given.combine if meets else "concat",
        embedding_size=given.embedding_size if sees_output else None,
    )
    _refuse_contradictions(settled, sees_output)
    return settled


def _refuse_contradictions(settled: Settled, sees_output: bool) -> None:
    routes, bridge = settled.routes, settled.bridge
    attention, head = settled.attention, settled.head
    if not routes and attention.score is None:
        raise ValueError(
            "routes is empty and attention is null, so nothing of the source reaches the decoder; "
            f"name at least one of {', '.join(ROUTES)}, or an attention score"
        )
    if "initial_state" in routes and not bridge.carries:
        raise ValueError(
            f"routes has initial_state but bridge is {bridge.kind!r}, which carries nothing; "
            "take bridge=copy, dense, dense_nonlinear or mean, or leave initial_state out"
        )
    if not sees_output and (head.sees_previous or attention.mixing == "deep"):
        raise ValueError(
            "feedback is none, but head.sees_previous or attention.mixing=deep asks for the "
            "previous output; take feedback=teacher_forcing, or leave them out"
        )
    if not sees_output and head.tied:
        raise ValueError(
            "head.tied is true, but without feedback there is no table of embeddings; take "
            "feedback=teacher_forcing, or head.tied=false"
        )
    if head.state == "previous" and attention.score and attention.mixing != "none":
        raise ValueError(
            f"head.state is 'previous', but with attention.mixing={attention.mixing} the head sees "
            "an attentional vector; take attention.mixing=none, or head.state=current"
        )
    gated = settled.cell == "gru_reset_summary"
    if gated and ("every_input" not in routes or settled.combine != "concat"):
        raise ValueError(
            "cell is 'gru_reset_summary', whose reset gate scales the summary at every input; take "
            "the route every_input with combine=concat, or cell=gru_reset_before"
        )
