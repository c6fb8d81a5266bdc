"""The batteries of a decoder's parts, metrics and objectives: a function of each kind.

    from decoderlab.testing import check_attention_score
    check_attention_score(MyScore, temperature=2.0)

A part that is right by itself makes a decoder right only with the rest: `check_decoder` looks at
the whole.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from decoderlab.decoders.attention import AttentionScore, Mixing
from decoderlab.decoders.bridges import Bridge
from decoderlab.decoders.combinations import Combination
from decoderlab.decoders.feedback import Decay, Feedback
from decoderlab.decoders.heads import Head
from decoderlab.layers.cells import Cell
from decoderlab.layers.pooling import Pooling
from decoderlab.testing.attention_score_checks import SCORE_CHECKS
from decoderlab.testing.attention_score_subjects import ScoreSubject
from decoderlab.testing.bridge_checks import BRIDGE_CHECKS, BridgeSubject
from decoderlab.testing.cell_checks import CELL_CHECKS, SIZES, CellSubject
from decoderlab.testing.differences import Seen
from decoderlab.testing.failures import ContractViolation, Failure, failures_of, raise_for
from decoderlab.testing.feedback_checks import FEEDBACK_CHECKS, FeedbackSubject
from decoderlab.testing.head_checks import HEAD_CHECKS, HeadSubject
from decoderlab.testing.metric_checks import METRIC_CHECKS, MetricSubject
from decoderlab.testing.objective_checks import OBJECTIVE_CHECKS
from decoderlab.testing.objective_subjects import ObjectiveSubject
from decoderlab.testing.tensor_part_checks import (
    DECAY_CHECKS,
    INPUTS,
    TENSOR_PART_CHECKS,
    DecaySubject,
    TensorPartSubject,
)

Battery = tuple[Callable[[Callable[..., Any], Mapping[str, Any]], Any], Sequence[Callable]]
# Of each kind of part: what makes a subject of a class and its settings, and the checks.
BATTERIES: dict[str, Battery] = {
    "cell": (lambda make, settings: CellSubject(make, dict(SIZES), dict(settings)), CELL_CHECKS),
    "attention_score": (ScoreSubject.made, SCORE_CHECKS),
    "bridge": (BridgeSubject.made, BRIDGE_CHECKS),
    "head": (HeadSubject.made, HEAD_CHECKS),
    "feedback": (FeedbackSubject.made, FEEDBACK_CHECKS),
    "metric": (lambda make, settings: MetricSubject(make, dict(settings)), METRIC_CHECKS),
    "objective": (ObjectiveSubject.made, OBJECTIVE_CHECKS),
    "decay": (lambda make, settings: DecaySubject(make, dict(settings)), DECAY_CHECKS),
    **{
        kind: (functools.partial(TensorPartSubject.made, kind), TENSOR_PART_CHECKS)
        for kind in INPUTS
    },
}


def part_failures(kind: str, make: Callable[..., Any], **settings: Any) -> list[Failure]:
    """Return the checks that a part fails.

    Args:
        kind: one of `BATTERIES`.
        make: the class, or anything that is called like it.
        settings: the class's own.
    """
    try:
        subject = subject_of(kind, make, settings)
    except ContractViolation as violation:
        return violation.failures
    return failures_of(BATTERIES[kind][1], subject)


def subject_of(kind: str, make: Callable[..., Any], settings: Mapping[str, Any]) -> Any:
    """Return what the checks of a kind are run on; see `part_failures`.

    Raises:
        ContractViolation: if it cannot be built at all.
    """
    try:
        return BATTERIES[kind][0](make, settings)
    except Seen as seen:
        failure = Failure("it_is_built", str(seen))
    except Exception as error:  # whatever somebody's constructor raises is what was seen
        failure = Failure("it_is_built", f"{type(error).__name__}: {error}")
    raise ContractViolation(getattr(make, "__name__", str(make)), [failure])


def check_cell(make: Callable[..., Cell], **settings: Any) -> None:
    """Run every check on a recurrent cell class.

    Args:
        make: the class, or anything that is called like it.
        settings: the class's own.

    Raises:
        ContractViolation: naming each check that failed.
    """
    raise_for(make, cell_failures(make, **settings))


def cell_failures(make: Callable[..., Cell], **settings: Any) -> list[Failure]:
    """Return the checks that a recurrent cell class fails; see `check_cell`."""
    return part_failures("cell", make, **settings)


def check_attention_score(make: Callable[..., AttentionScore], **settings: Any) -> None:
    """Run every check on an attention score class; see `check_cell`."""
    raise_for(make, part_failures("attention_score", make, **settings))


def check_bridge(make: Callable[..., Bridge], **settings: Any) -> None:
    """Run every check on a bridge class, for 1 to 3 layers and all encoders; see `check_cell`."""
    raise_for(make, part_failures("bridge", make, **settings))


def check_head(make: Callable[..., Head], **settings: Any) -> None:
    """Run every check on a head class, over tokens and values; see `check_cell`."""
    raise_for(make, part_failures("head", make, **settings))


def check_feedback(make: Callable[..., Feedback], **settings: Any) -> None:
    """Run every check on a feedback class, by itself and in a decoder; see `check_cell`."""
    raise_for(make, part_failures("feedback", make, **settings))


def check_metric(make: Callable[..., Any], **settings: Any) -> None:
    """Run every check on a metric class; see `check_cell`."""
    raise_for(make, part_failures("metric", make, **settings))


def check_objective(make: Callable[..., Any], **settings: Any) -> None:
    """Run every check on an objective class, over tokens and values; see `check_cell`."""
    raise_for(make, part_failures("objective", make, **settings))


def check_combination(make: Callable[..., Combination], **settings: Any) -> None:
    """Run every check on a class that brings the summary in; see `check_cell`."""
    raise_for(make, part_failures("combination", make, **settings))


def check_mixing(make: Callable[..., Mixing], **settings: Any) -> None:
    """Run every check on a class that mixes context and state; see `check_cell`."""
    raise_for(make, part_failures("mixing", make, **settings))


def check_pooling(make: Callable[..., Pooling], **settings: Any) -> None:
    """Run every check on a class that makes a summary of the memory; see `check_cell`."""
    raise_for(make, part_failures("pooling", make, **settings))


def check_decay(make: Callable[..., Decay], **settings: Any) -> None:
    """Run every check on a decay class of scheduled sampling; see `check_cell`."""
    raise_for(make, part_failures("decay", make, **settings))
