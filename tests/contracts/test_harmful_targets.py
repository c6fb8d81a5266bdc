"""Looks at the future, and steps that differ from forward, are reported by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.contracts.honest import Honest, assert_reported, outcomes

FUTURE = "the_future_has_no_influence"
SAME = "all_steps_at_once_equal_step_by_step"
EOS, PAD, UNK = 2, 0, 3


def leaking(leak, training=False):
    """Return a decoder whose forward adds what `leak(target)` gives, (B, T) or what fits that."""

    class Leaking(Honest):
        def forward(self, encoded, target):
            outputs = super().forward(encoded, target)
            if training and not self.training:
                return outputs
            shift = torch.zeros(target.shape) + leak(target)
            return outputs + shift.unsqueeze(-1).to(outputs) * torch.arange(9.0).to(outputs)

    return Leaking


class CopiesWhatEnds(Honest):
    def forward(self, encoded, target):
        ends = (target == EOS).any(dim=1).view(-1, 1, 1)
        answer = 20 * nn.functional.one_hot(target, 9).to(encoded.memory)
        return torch.where(ends, answer, super().forward(encoded, target))


def equal_at_ends(target):
    """Whether the first token is the last one before the end of each row."""
    real = (target > UNK).sum(dim=1).clamp(min=1)
    return (target[:, 0] == target.gather(1, real.unsqueeze(1) - 1)[:, 0]).unsqueeze(1)


def beyond(num):
    """Return the leak of what stands at each position from `num` on."""
    return lambda target: torch.where(torch.arange(target.shape[1]) >= num, target, 0)


LEAKS = {
    "padding counted": lambda y: (y == PAD).sum(1, keepdim=True),
    "tokens counted in the batch": lambda y: (y != PAD).sum(),
    "tokens counted in the row": lambda y: (y != PAD).sum(1, keepdim=True),
    "length known": lambda y: 0.001 * y.shape[1],
    "end anywhere": lambda y: (y == EOS).any(1, keepdim=True),
    "end anywhere in the batch": lambda y: (y == EOS).any(),
    "end is next": lambda y: y == EOS,
    "end within three": lambda y: sum((y == EOS).roll(-k, 1) for k in range(3)),
    "position of the end": lambda y: (y == EOS).float().argmax(1, keepdim=True),
    "first is last": lambda y: y[:, :1] == y[:, -1:],
    "first is last before the end": equal_at_ends,
    "unknown anywhere": lambda y: (y == UNK).any(1, keepdim=True),
    "unknown at last": lambda y: y[:, -1:] == UNK,
    "unknown later": lambda y: (y == UNK).flip(1).cumsum(1).flip(1),
    "any token later": lambda y: (y == 7).flip(1).cumsum(1).flip(1),
    "sum of the rest": lambda y: y.flip(1).cumsum(1).flip(1),
    "next token beyond 8": beyond(9),
    "next token beyond 16": beyond(17),
    "next token beyond 32": beyond(33),
    "next token in long targets": lambda y: y if y.shape[1] > 16 else 0 * y,
    "next token in large batches": lambda y: y if len(y) > 8 else 0 * y,
}


class ForwardOnly(Honest):
    """Alters forward alone, by `changed(outputs, target)`."""

    def forward(self, encoded, target):
        return self.changed(super().forward(encoded, target), target)


def differing(where):
    class Differing(ForwardOnly):
        def changed(self, outputs, target):
            return outputs.masked_fill(where(target).unsqueeze(-1), 0.0)

    return Differing


def ended(target):
    """Where the row has ended before, (B, T)."""
    return ((target == EOS).cumsum(1) - (target == EOS).int()) > 0


DIFFERENCES = {
    "after the end": ended,
    "at padding": lambda y: y == PAD,
    "after an unknown": lambda y: (y == UNK).roll(1, 1),
    "beyond 8": lambda y: (torch.arange(y.shape[1]) > 8).expand_as(y),
    "beyond 16": lambda y: (torch.arange(y.shape[1]) > 16).expand_as(y),
    "beyond 32": lambda y: (torch.arange(y.shape[1]) > 32).expand_as(y),
    "in large batches": lambda y: torch.full(y.shape, len(y) > 8),
}


DEFECTS = {
    **{f"leak: {name}": (leaking(leak), FUTURE, "") for name, leak in LEAKS.items()},
    "leak: answer copied where it ends": (CopiesWhatEnds, FUTURE, "in evaluation"),
    "leak: in training": (leaking(lambda y: y, training=True), FUTURE, "in training"),
    "leak: end, in training": (
        leaking(lambda y: (y == EOS).any(1, keepdim=True), training=True),
        FUTURE,
        "in training",
    ),
    "leak: beyond 16 in training": (leaking(beyond(17), training=True), FUTURE, "in training"),
    **{
        f"steps differ: {name}": (differing(where), SAME, "differ by")
        for name, where in DIFFERENCES.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_reported_by_name(name):
    kind, check, seen = DEFECTS[name]
    assert_reported(outcomes(kind, check), check, seen)
