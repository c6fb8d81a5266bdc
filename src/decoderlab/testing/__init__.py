"""The contract battery: does an encoder or decoder, ours or yours, do what the interface promises?

    from decoderlab.testing import check_decoder
    check_decoder(MyDecoder, hidden_size=8)

raises `ContractViolation` with the name of every check that failed and what was seen;
`decoderlab-check decoder=mine --config-dir my_conf` does the same for a YAML. The checks take about
a second at small sizes. Each module has the checks of one question: `target_checks`, what a decoder
sees of the target; `source_checks`, what it sees of the source; `state_checks`, what it remembers;
`decoder_checks`, what it feeds back; `encoder_checks`. The parts of a decoder, metrics and
objectives have batteries of their own: `check_cell`, `check_attention_score`, `check_bridge`,
`check_head`, `check_feedback`, `check_combination`, `check_mixing`, `check_pooling`,
`check_decay`, `check_metric`, `check_objective`.

Inputs are what real batches hold: targets that end, are padded and have unknowns, long and short
sources in one batch, ties in length, many rows, sources of length 1, sources with unknowns. With
`encoder`, a decoder reads the encodings of that encoder, in its own type and with all their fields.

Randomness: evaluation draws nothing. In training dropout and other noise on features may come from
torch's own generator. What is drawn per batch, row or position is a coin, and needs `at_step`.

What the checks need to know of a decoder beyond the contract it may declare, as ours do:

* `routes`: where the summary enters, a set of names; then what they say of gradients is checked;
  `bridge.reads`, one of state, summary and memory, makes that sharper.
* `surrogate_gradients`: True where the gradient is no derivative on purpose, such as that of a
  straight-through estimator; then it is not compared with finite differences. Encoders and parts
  may declare it too.
* `feedback`: a `decoderlab.decoders.feedback.Feedback`; then its coins are checked, and that the
  decoder's own output is its most probable one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import nn

from decoderlab.contract import Encoder, EncoderShape, Space, TokenSpace, ValueSpace
from decoderlab.testing.checked_modules import of_decoders, of_encoders
from decoderlab.testing.decoder_checks import DECODER_CHECKS
from decoderlab.testing.encoder_checks import ENCODER_CHECKS
from decoderlab.testing.failures import (
    ContractViolation,
    Failure,
    failures_of,
    raise_for,
    run_checks,
)
from decoderlab.testing.part_checks import (
    cell_failures,
    check_attention_score,
    check_bridge,
    check_cell,
    check_combination,
    check_decay,
    check_feedback,
    check_head,
    check_metric,
    check_mixing,
    check_objective,
    check_pooling,
)
from decoderlab.testing.subjects import DecoderSubject, EncoderSubject, known_to_decoders

__all__ = [
    "ENCODER_SHAPE",
    "ContractViolation",
    "Failure",
    "cell_failures",
    "check_bridge",
    "check_cell",
    "check_combination",
    "check_decay",
    "check_decoder",
    "check_encoder",
    "check_feedback",
    "check_head",
    "check_metric",
    "check_mixing",
    "check_objective",
    "check_pooling",
    "check_attention_score",
    "decoder_failures",
    "encoder_failures",
    "run_checks",
]

ENCODER_SHAPE = EncoderShape(8, 8, state_size=8, state_num_layers=1, has_cell=True)


def check_decoder(
    make: Callable[..., nn.Module],
    *,
    target_space: TokenSpace | ValueSpace | None = None,
    encoder_shape: EncoderShape | None = None,
    encoder: nn.Module | None = None,
    source_space: Space | None = None,
    **settings: Any,
) -> None:
    """Run every check on a decoder class.

    Args:
        make: the class, or anything that is called like it.
        target_space: what it writes; nine tokens unless given.
        encoder_shape: what it reads; 8 wide, with the state of an LSTM layer, unless given.
        encoder: whose encodings it reads; random ones of `encoder_shape` unless given.
        source_space: what that encoder reads; eleven tokens unless given.
        settings: the class's own.

    Raises:
        ContractViolation: naming each check that failed.
    """
    failures = decoder_failures(
        make,
        target_space=target_space,
        encoder_shape=encoder_shape,
        encoder=encoder,
        source_space=source_space,
        **settings,
    )
    raise_for(make, failures)


def check_encoder(
    make: Callable[..., nn.Module], *, source_space: Space | None = None, **settings: Any
) -> None:
    """Run every check on an encoder class.

    Args:
        make: the class, or anything that is called like it.
        source_space: what it reads; eleven tokens unless given.
        settings: the class's own.

    Raises:
        ContractViolation: naming each check that failed.
    """
    failures = encoder_failures(make, source_space=source_space, **settings)
    raise_for(make, failures)


def decoder_failures(
    make: Callable[..., nn.Module],
    *,
    target_space: TokenSpace | ValueSpace | None = None,
    encoder_shape: EncoderShape | None = None,
    encoder: nn.Module | None = None,
    source_space: Space | None = None,
    **settings: Any,
) -> list[Failure]:
    """Return the checks that a decoder class fails; see `check_decoder`."""
    shape = encoder_shape or (ENCODER_SHAPE if encoder is None else cast("Encoder", encoder).shape)
    space, source_space = target_space or TokenSpace(9), source_space or TokenSpace(11)
    spaces = known_to_decoders(make, space, shape, source_space)
    subject = DecoderSubject(
        of_decoders(make), spaces, settings, space, shape, encoder, source_space
    )
    return failures_of(DECODER_CHECKS, subject)


def encoder_failures(
    make: Callable[..., nn.Module], *, source_space: Space | None = None, **settings: Any
) -> list[Failure]:
    """Return the checks that an encoder class fails; see `check_encoder`."""
    space = source_space or TokenSpace(11)
    subject = EncoderSubject(of_encoders(make), {"source_space": space}, settings, space)
    return failures_of(ENCODER_CHECKS, subject)
