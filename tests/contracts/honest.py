"""An honest decoder and an honest encoder, made to be altered in one method."""

from __future__ import annotations

import re

import torch
from torch import nn

from decoderlab.contract import TokenSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.feedback import before_each
from decoderlab.encoders import RecurrentEncoder
from decoderlab.layers import GRU, LSTM
from decoderlab.testing import ENCODER_SHAPE, run_checks
from decoderlab.testing.decoder_checks import DECODER_CHECKS
from decoderlab.testing.encoder_checks import ENCODER_CHECKS
from decoderlab.testing.subjects import DecoderSubject, EncoderSubject
from tests import parts


class Honest(nn.Module):
    """A GRU with attention, and methods to alter: what is read, seen, kept and written at step t.

    Forward is the loop over step, so that what is altered is so in both.
    """

    def __init__(self, *, target_space, encoder_shape):
        super().__init__()
        self.space = target_space
        self.inner = RecurrentDecoder(
            target_space=target_space,
            encoder_shape=encoder_shape,
            cell=GRU,
            hidden_size=8,
            routes=["initial_state", "output"],
            bridge=parts.bridge("copy"),
            attention=parts.attention("dot"),
            embedding_size=4,
        )

    def read(self, encoded):
        return encoded

    def seen(self, previous, t):
        return previous

    def kept(self, inner, t):
        return inner

    def written(self, outputs, t):
        return outputs

    def forward(self, encoded, target):
        state, outputs = self.start(encoded), []
        for previous in self.before(target).unbind(dim=1):
            output, state = self.step(previous, state)
            outputs.append(output)
        return torch.stack(outputs, dim=1)

    def before(self, target):
        return before_each(target, self.space)

    def start(self, encoded):
        return self.inner.start(self.read(encoded)), 0

    def step(self, previous, state):
        inner, t = state
        outputs, inner = self.inner.step(self.seen(previous, t), self.kept(inner, t))
        return self.written(outputs, t), (inner, t + 1)

    def reorder(self, state, index):
        return self.inner.reorder(state[0], index), state[1]


class HonestEncoder(nn.Module):
    """An LSTM, and one method to alter: what becomes of its encoding."""

    def __init__(self, *, source_space):
        super().__init__()
        self.space = source_space
        self.inner = RecurrentEncoder(source_space=source_space, cell=LSTM, hidden_size=8)
        self.shape = self.inner.shape

    def altered(self, encoded, source, lengths):
        return encoded

    def forward(self, source, source_lengths):
        return self.altered(self.inner(source, source_lengths), source, source_lengths)


def outcomes(kind, *names, target_space=None, **settings):
    """Return the failures of a decoder class in some checks, or in all."""
    space = target_space or TokenSpace(9)
    spaces = {"target_space": space, "encoder_shape": ENCODER_SHAPE}
    subject = DecoderSubject(kind, spaces, settings, space, ENCODER_SHAPE)
    return _outcomes(DECODER_CHECKS, subject, names)


def encoder_outcomes(kind, *names, source_space=None, **settings):
    """Return the failures of an encoder class in some checks, or in all."""
    space = source_space or TokenSpace(11)
    subject = EncoderSubject(kind, {"source_space": space}, settings, space)
    return _outcomes(ENCODER_CHECKS, subject, names)


def _outcomes(checks, subject, names):
    chosen = [one for one in checks if not names or one.__name__ in names]
    assert len(chosen) >= len(names), f"no check of these names: {names}"
    return {one.check: one.seen for one in run_checks(chosen, subject) if hasattr(one, "check")}


def assert_reported(failures, check, seen):
    """Assert that a check is among the failures, and says what it has seen."""
    assert check in failures
    assert re.search(seen, failures[check])
    assert "Error" not in failures[check], "the check must see it, not stumble over it"
