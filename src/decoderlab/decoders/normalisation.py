"""What a recurrent decoder's settings come to: what has no effect is set back, the rest must agree.

A sweep changes one setting at a time, and then others lose their meaning: without the route
initial_state no bridge is in force, without feedback there is no embedding. Such settings do no
harm, but two configs that differ in them are one model, and must be one run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from decoderlab.common import require
from decoderlab.common.part_choice import Choice
from decoderlab.decoders.attention import MIXINGS
from decoderlab.decoders.bridges import ZeroBridge
from decoderlab.decoders.combinations import COMBINATIONS, Concatenation
from decoderlab.decoders.route_settings import ROUTES, Normalised, Part


def normalise(
    *,
    routes: Sequence[str],
    cell: Callable | Mapping[str, Any],
    combine: str | Part,
    bridge: Part,
    feedback: Part,
    attention: Part | None,
    head: Part,
    embedding_size: int | None,
) -> Normalised:
    """Return the settings of a `RecurrentDecoder` with whatever has no effect at its default.

    Raises:
        ValueError: for an unknown name, or where two settings contradict each other, naming both,
            and what to do.
    """
    Choice.named("decoder.combine", combine, COMBINATIONS)
    where = require.subset("routes", routes, ROUTES)
    attends, fed_back, start = _attention(attention), Choice.of(feedback), Choice.of(bridge)
    sees_output = fed_back.stated("sees_output")
    if "initial_state" not in where and start.stated("needs_route")(start.settings):
        start = Choice(ZeroBridge)
    if not getattr(Choice.of(cell).target, "has_cell", True):
        start = start.with_default("cell")
    feeds = attends is not None and attends.get("input_feeding")
    meets_input = "every_input" in where and (sees_output or feeds)
    normalised = Normalised(
        routes=where,
        cell=cell,
        combine=combine if meets_input or "output" in where else "concat",
        bridge=start,
        feedback=fed_back,
        attention=attends,
        head=Choice.of(head),
        embedding_size=embedding_size if sees_output else None,
    )
    _refuse_contradictions(normalised, sees_output)
    return normalised


def normalised_decoder(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a `RecurrentDecoder`, of which those in `normalise` are normalised."""
    names = [field.name for field in fields(Normalised)]
    if not settings.keys() >= set(names):  # somebody's subclass, with a constructor of its own
        return dict(settings)
    normalised = normalise(**{name: settings[name] for name in names})
    return {**settings, **normalised.as_settings()}


def _attention(attention: Part | None) -> Choice | None:
    """Return attention, None where it has no score."""
    if attention is None:
        return None
    attends = Choice.of(attention)
    score = attends.get("score")
    if attends.takes("score") and score is None:
        return None
    if score is not None and not Choice.of(score).takes("size"):
        attends = attends.with_default("size")
    return attends


def _mixing(attention: Choice) -> Choice | None:
    """Return how context and state are mixed, None where they stay side by side."""
    if (given := attention.get("mixing")) is None:  # a class of a user's own, without that
        return None
    chosen = Choice.named("decoder.attention.mixing", given, MIXINGS)
    return chosen if chosen.stated("mixes") else None


def asks(head: Choice, name: str) -> bool:
    """Whether a head asks for something by a setting, or by an attribute of its class."""
    return bool(head.get(name) or getattr(head.target, name, False))


def _refuse_contradictions(normalised: Normalised, sees_output: bool) -> None:
    routes, bridge = normalised.routes, normalised.bridge
    attention, head = normalised.attention, normalised.head
    mixing = None if attention is None else _mixing(attention)
    if not routes and attention is None:
        raise ValueError(
            "routes is empty and attention is none, so that nothing of the source reaches the "
            f"decoder; name at least one of {', '.join(ROUTES)}, or a score: "
            "decoder/attention=general"
        )
    if asks(head, "sees_source") and attention is None:
        raise ValueError(
            f"the head, {head.target.__name__}, copies what attention reads of the source, but "
            "attention is none; take a score: decoder/attention=general"
        )
    if "initial_state" in routes and not bridge.stated("needs_route")(bridge.settings):
        raise ValueError(
            f"routes has initial_state but the bridge, {bridge.target.__name__}, carries nothing "
            "of the summary; take decoder/bridge=copy, dense, dense_nonlinear or mean, with "
            "decoder.bridge.source=state or summary, or leave the route out"
        )
    for setting, is_asked in (
        ("head.sees_previous=true", asks(head, "sees_previous")),
        ("head.tied=true", asks(head, "tied")),
        ("attention.mixing=deep", mixing is not None and mixing.stated("sees_embedded")),
    ):
        if is_asked and not sees_output:
            raise ValueError(
                f"feedback is none, but {setting} asks for the previous output's embedding; take "
                f"decoder/feedback=teacher_forcing, or leave decoder.{setting} out"
            )
    if head.get("state") == "previous" and mixing is not None:
        raise ValueError(
            f"head.state is 'previous', but with attention.mixing={mixing.name} the head sees "
            "an attentional vector; take decoder.attention.mixing=none, or "
            "decoder.head.state=current"
        )
    combine = Choice.named("decoder.combine", normalised.combine, COMBINATIONS).target
    reads_summary = Choice.of(normalised.cell).takes("summary_size")
    if reads_summary and attention is not None and attention.get("query") == "between":
        raise ValueError(
            "attention.query is 'between', but the cell reads the summary at the end of every "
            "input, and that of a second cell is the context alone; take another cell, such as "
            "decoder/cell=gru_reset_before, or decoder.attention.query=current"
        )
    if reads_summary and ("every_input" not in routes or combine is not Concatenation):
        raise ValueError(
            "the cell reads the summary at the end of every input; take the route every_input with "
            "decoder.combine=concat, or another cell, such as decoder/cell=gru_reset_before"
        )
