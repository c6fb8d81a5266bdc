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
            f"name at least one of {', '.join(ROUTES)}, or a score: decoder.attention.score=general"
        )
    if "initial_state" in routes and not bridge.carries:
        raise ValueError(
            f"routes has initial_state but bridge is {bridge.kind!r}, which carries nothing; "
            "take decoder.bridge.kind=copy, dense, dense_nonlinear or mean, or leave the route out"
        )
    for setting, asks in (
        ("head.sees_previous=true", head.sees_previous),
        ("head.tied=true", head.tied),
        ("attention.mixing=deep", attention.mixing == "deep"),
    ):
        if asks and not sees_output:
            raise ValueError(
                f"feedback is none, but {setting} asks for the previous output's embedding; take "
                f"decoder.feedback.kind=teacher_forcing, or leave decoder.{setting} out"
            )
    if head.state == "previous" and attention.score and attention.mixing != "none":
        raise ValueError(
            f"head.state is 'previous', but with attention.mixing={attention.mixing} the head sees "
            "an attentional vector; take decoder.attention.mixing=none, or "
            "decoder.head.state=current"
        )
    gated = settled.cell == "gru_reset_summary"
    if gated and ("every_input" not in routes or settled.combine != "concat"):
        raise ValueError(
            "cell is 'gru_reset_summary', whose reset gate scales the summary at every input; take "
            "the route every_input with decoder.combine=concat, or decoder.cell=gru_reset_before"
        )
