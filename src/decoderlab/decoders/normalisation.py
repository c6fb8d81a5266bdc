"""What a recurrent decoder's settings come to: what has no effect is set back, the rest must agree.

A sweep changes one setting at a time, and then others lose their meaning: without the route
initial_state no bridge is in force, without feedback there is no embedding. Such settings do no
harm, but two configs that differ in them are one model, and must be one run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from decoderlab.common import require
from decoderlab.common.parts import class_of, part
from decoderlab.decoders.attention import AttentionSettings
from decoderlab.decoders.bridges import BridgeSettings
from decoderlab.decoders.feedback import FeedbackSettings
from decoderlab.decoders.heads import HeadSettings
from decoderlab.decoders.routes import COMBINATIONS, ROUTES
from decoderlab.layers.cells import takes


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Settings of a `RecurrentDecoder` that depend on each other; see there."""

    routes: frozenset[str]
    cell: Callable | Mapping[str, Any]
    combine: str
    bridge: BridgeSettings
    feedback: FeedbackSettings
    attention: AttentionSettings
    head: HeadSettings
    embedding_size: int | None


def settle(
    *,
    routes: Sequence[str],
    cell: Callable | Mapping[str, Any],
    combine: str,
    bridge: Any,
    feedback: Any,
    attention: Any,
    head: Any,
    embedding_size: int | None,
) -> Settled:
    """Return the settings of a `RecurrentDecoder` with whatever has no effect at its default.

    Raises:
        ValueError: for an unknown name, or where two settings contradict each other, naming both,
            and what to do.
    """
    require.choice("combine", combine, COMBINATIONS)
    where = require.subset("routes", routes, ROUTES)
    attends = part("attention", AttentionSettings, attention).settled()
    fed_back = part("feedback", FeedbackSettings, feedback).settled()
    start = part("bridge", BridgeSettings, bridge)
    sees_output = fed_back.kind != "none"
    if "initial_state" not in where and start.needs_route:
        start = BridgeSettings(kind="zero")
    if not getattr(class_of(cell), "has_cell", True):
        start = replace(start, cell="encoder")
    meets_input = "every_input" in where and (sees_output or attends.input_feeding)
    settled = Settled(
        routes=where,
        cell=cell,
        combine=combine if meets_input or "output" in where else "concat",
        bridge=start.settled(),
        feedback=fed_back,
        attention=attends,
        head=part("head", HeadSettings, head).settled(),
        embedding_size=embedding_size if sees_output else None,
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
    if "initial_state" in routes and not bridge.needs_route:
        raise ValueError(
            f"routes has initial_state but bridge is {bridge.kind!r}, which carries nothing of "
            "the summary; take decoder.bridge.kind=copy, dense, dense_nonlinear or mean, with "
            "decoder.bridge.source=state or summary, or leave the route out"
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
    reads_summary = takes(class_of(settled.cell), "summary_size")
    if reads_summary and ("every_input" not in routes or settled.combine != "concat"):
        raise ValueError(
            "the cell reads the summary at the end of every input; take the route every_input with "
            "decoder.combine=concat, or another cell, such as decoder/cell=gru_reset_before"
        )
