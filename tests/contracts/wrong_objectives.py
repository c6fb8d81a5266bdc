"""Objectives with a planted defect and what catches each; and right ones of unusual kinds."""

from __future__ import annotations

import random

import torch
from torch import nn
from torch.nn import functional

from decoderlab.training.minimum_risk import MinimumRisk
from decoderlab.training.objective import Likelihood


def surprisal(outputs, target):
    """Return -log p of every token of the target, padding's too."""
    return functional.cross_entropy(outputs.transpose(1, 2), target, reduction="none")


def tokens_alone(space):
    """Refuse targets of values."""
    if space.kind != "tokens":
        raise ValueError(f"targets are {space.kind}; take a task that writes tokens")


def values_alone(space):
    """Refuse targets of tokens."""
    if space.kind == "tokens":
        raise ValueError("targets are tokens; take a task that writes values")


class OfTokens(Likelihood):
    """The likelihood, of tokens alone."""

    def __init__(self, *, target_space):
        tokens_alone(target_space)
        super().__init__(target_space=target_space)


class PaddingCounts(OfTokens):
    def __call__(self, outputs, batch):
        _, count = super().__call__(outputs, batch)
        return surprisal(outputs, batch.target).sum(), count


class CountsPadding(Likelihood):
    def __call__(self, outputs, batch):
        total, _ = super().__call__(outputs, batch)
        return total, torch.tensor(batch.target.numel())


class MeanOverRows(OfTokens):
    """The mean of each row, so that tokens of short rows weigh more."""

    def __call__(self, outputs, batch):
        real = batch.target != 0
        means = (surprisal(outputs, batch.target) * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
        return means.sum(), torch.tensor(len(means))


class DividedAlready(Likelihood):
    def __call__(self, outputs, batch):
        total, count = super().__call__(outputs, batch)
        return total / count.clamp(min=1), count


class NumberAlone(Likelihood):
    def __call__(self, outputs, batch):
        total, count = super().__call__(outputs, batch)
        return total / count


class SquaresAveraged:
    """Squared errors of values, of which torch takes the mean by itself."""

    def __init__(self, *, target_space):
        values_alone(target_space)

    def __call__(self, outputs, batch):
        count = torch.tensor(batch.target.shape[0] * batch.target.shape[1])
        return functional.mse_loss(outputs, batch.target), count


class InPlace(Likelihood):
    def __call__(self, outputs, batch):
        with torch.no_grad():
            outputs -= outputs.amax(dim=-1, keepdim=True)
        return super().__call__(outputs, batch)


class TargetInPlace(Likelihood):
    def __call__(self, outputs, batch):
        result = super().__call__(outputs, batch)
        batch.target[:, 0] = 0
        return result


class Detached(Likelihood):
    def __call__(self, outputs, batch):
        return super().__call__(outputs.detach(), batch)


class WrongSign(Likelihood):
    def __call__(self, outputs, batch):
        total, count = super().__call__(outputs, batch)
        return -total, count


class StubbornGradient(Likelihood):
    """The sum is right, and its gradient goes the other way."""

    def __call__(self, outputs, batch):
        return super().__call__(2 * outputs.detach() - outputs, batch)


class NextToken(OfTokens):
    """Output t is compared with the token after that of t."""

    def __call__(self, outputs, batch):
        _, count = super().__call__(outputs, batch)
        later = functional.pad(batch.target[:, 1:], (0, 1), value=0)
        return super().__call__(outputs, batch._replace(target=later))[0], count


class IgnoresTheLastToken(Likelihood):
    def __call__(self, outputs, batch):
        _, count = super().__call__(outputs, batch)
        shorter = batch._replace(target=batch.target[:, :-1])
        return super().__call__(outputs[:, :-1], shorter)[0], count


class NormalisedOverTheBatch(Likelihood):
    def __call__(self, outputs, batch):
        return super().__call__(outputs - outputs.mean(dim=0), batch)


class GradientOverTheBatch(Likelihood):
    """The sum is right, and a row's gradient has something of the others'."""

    def __call__(self, outputs, batch):
        mean = outputs.mean(dim=0)
        return super().__call__(outputs - mean + mean.detach(), batch)


class Noisy(Likelihood):
    def __call__(self, outputs, batch):
        return super().__call__(outputs + 0.1 * torch.randn_like(outputs), batch)


class Remembers(Likelihood):
    before = 0.0

    def __call__(self, outputs, batch):
        total, count = super().__call__(outputs, batch)
        self.before, total = float(total.detach()), total + 0.1 * self.before
        return total, count


class LogarithmOfSoftmax(OfTokens):
    def __call__(self, outputs, batch):
        chosen = outputs.softmax(dim=-1).gather(2, batch.target.unsqueeze(-1)).squeeze(-1)
        real = batch.target != 0
        return -chosen.log()[real].sum(), real.sum()


class Swallows(Likelihood):
    def __init__(self, *, target_space, **settings):
        super().__init__(target_space=target_space)


class PlainTensor(Likelihood):
    """Its weights stay where they are, and in the type that they have."""

    def __init__(self, *, target_space):
        super().__init__(target_space=target_space)
        self.weights = torch.ones(target_space.size)


class Weighted(nn.Module):
    """A likelihood with weights of tokens, all of them 1; tokens alone."""

    def __init__(self, *, target_space):
        super().__init__()
        tokens_alone(target_space)
        self.pad_id = target_space.pad_id
        self.register_buffer("weights", torch.ones(target_space.size))

    def forward(self, outputs, batch):
        real = batch.target != self.pad_id
        worth = self.weights[batch.target] * surprisal(outputs, batch.target)
        return worth[real].sum(), real.sum()


class SpareWeight(Weighted):
    def __init__(self, *, target_space):
        super().__init__(target_space=target_space)
        self.spare = nn.Parameter(torch.ones(2))


class NotSaved(Weighted):
    def __init__(self, *, target_space):
        super().__init__(target_space=target_space)
        self.scale = 1 + random.random()

    def forward(self, outputs, batch):
        return super().forward(self.scale * outputs, batch)


UNSEEDED = torch.Generator()


class DrawnByItself(Weighted):
    def __init__(self, *, target_space):
        super().__init__(target_space=target_space)
        self.temperature = nn.Parameter(1 + torch.rand((), generator=UNSEEDED))

    def forward(self, outputs, batch):
        return super().forward(outputs / self.temperature, batch)


class LearnedTemperature(Weighted):
    """Right: logits are divided by a temperature that is trained."""

    def __init__(self, *, target_space, temperature: float = 1.5):
        super().__init__(target_space=target_space)
        self.log_temperature = nn.Parameter(torch.tensor(temperature).log())

    def forward(self, outputs, batch):
        return super().forward(outputs * torch.exp(-self.log_temperature), batch)


class LearnedWeights(Weighted):
    """Right: a layer, whose weights are drawn, reads the logits before the loss is taken."""

    def __init__(self, *, target_space):
        super().__init__(target_space=target_space)
        self.layer = nn.Linear(target_space.size, target_space.size)

    def forward(self, outputs, batch):
        return super().forward(outputs + 0.1 * self.layer(outputs), batch)


class DetachedFocus:
    """Right: focal weights through which no gradient goes, of tokens alone."""

    def __init__(self, *, target_space, focus: float = 2.0):
        tokens_alone(target_space)
        self.pad_id, self.focus = target_space.pad_id, focus

    def __call__(self, outputs, batch):
        nats, real = surprisal(outputs, batch.target), batch.target != self.pad_id
        weights = (1 - torch.exp(-nats.detach())) ** self.focus
        return (weights * nats)[real].sum(), real.sum()


class UnigramSmoothing(Weighted):
    """Right: a share of the target's probability goes to tokens by a table of their own."""

    def __init__(self, *, target_space, share: float = 0.2):
        super().__init__(target_space=target_space)
        self.share = share
        self.register_buffer("prior", torch.arange(1.0, target_space.size + 1).softmax(dim=0))

    def forward(self, outputs, batch):
        real = batch.target != self.pad_id
        spread = -(self.prior * outputs.log_softmax(dim=-1)).sum(dim=-1)
        nats = (1 - self.share) * surprisal(outputs, batch.target) + self.share * spread
        return nats[real].sum(), real.sum()


class Margin:
    """Right: a hinge on the best wrong token, without a keyword for the targets' space."""

    def __call__(self, outputs, batch):
        right = outputs.gather(2, batch.target.unsqueeze(-1))
        wrong = outputs.scatter(2, batch.target.unsqueeze(-1), float("-inf"))
        real = batch.target != 0
        return functional.relu(1 + wrong.amax(-1) - right.squeeze(-1))[real].sum(), real.sum()


class Huber:
    """Right: values alone, and of the outputs means alone."""

    def __init__(self, *, target_space, width: float = 1.0):
        values_alone(target_space)
        self.width = width

    def __call__(self, outputs, batch):
        count = torch.tensor(batch.target.shape[0] * batch.target.shape[1])
        total = functional.huber_loss(outputs, batch.target, reduction="sum", delta=self.width)
        return total, count


UNUSUAL = (
    DetachedFocus,
    UnigramSmoothing,
    LearnedTemperature,
    LearnedWeights,
    Weighted,
    Margin,
    Huber,
)


class DrawsAnywhere(MinimumRisk):
    """Its draws are of a seed of its own at every call."""

    def sequence_loss(self, decoder, encoded, batch):
        self.seed = random.getrandbits(62)
        return super().sequence_loss(decoder, encoded, batch)


class CountsMates(MinimumRisk):
    """A row's draws depend on its place in the batch."""

    def sequence_loss(self, decoder, encoded, batch):
        placed = batch._replace(index=torch.arange(len(batch.index)))
        return super().sequence_loss(decoder, encoded, placed)


class AsLongAsTheBatch(MinimumRisk):
    """Outputs are worth as much as the longest target of the batch is long, padding included."""

    def sequence_loss(self, decoder, encoded, batch):
        total, count = super().sequence_loss(decoder, encoded, batch)
        return total * batch.target.shape[1], count


NUMBER = "the_loss_is_a_finite_number_and_its_count_that_of_the_positions"
FALLS = "it_falls_when_what_is_right_becomes_likelier"
REACHES = "a_finite_gradient_reaches_every_position"
OBJECTIVE_DEFECTS = [
    ("objective", CountsPadding, {}, NUMBER),
    ("objective", MeanOverRows, {}, NUMBER),
    ("objective", NumberAlone, {}, NUMBER),
    ("objective", Swallows, {}, "unknown_settings_are_refused"),
    ("objective", PlainTensor, {}, "its_tensors_are_parameters_or_buffers"),
    ("objective", PaddingCounts, {}, "padding_has_no_influence_on_the_loss"),
    ("objective", Detached, {}, REACHES),
    ("objective", IgnoresTheLastToken, {}, REACHES),
    ("objective", LogarithmOfSoftmax, {}, REACHES),
    ("objective", DividedAlready, {}, "rows_add_up"),
    ("objective", SquaresAveraged, {}, "rows_add_up"),
    ("objective", NormalisedOverTheBatch, {}, "rows_add_up"),
    (
        "objective",
        GradientOverTheBatch,
        {},
        "rows_of_an_objective_have_no_influence_on_each_other",
    ),
    ("objective", WrongSign, {}, FALLS),
    ("objective", StubbornGradient, {}, FALLS),
    ("objective", NextToken, {}, FALLS),
    ("objective", Noisy, {}, "the_same_is_worth_the_same_at_every_call"),
    ("objective", DrawsAnywhere, {}, "the_same_is_worth_the_same_at_every_call"),
    ("objective", CountsMates, {}, "rows_add_up"),
    ("objective", AsLongAsTheBatch, {}, "padding_has_no_influence_on_the_loss"),
    ("objective", Remembers, {}, "the_same_is_worth_the_same_at_every_call"),
    ("objective", InPlace, {}, "what_an_objective_is_given_stays_as_it_is"),
    ("objective", TargetInPlace, {}, "what_an_objective_is_given_stays_as_it_is"),
    ("objective", SpareWeight, {}, "every_weight_of_the_objective_gets_a_finite_gradient"),
    ("objective", NotSaved, {}, "the_objective_saved_and_loaded_is_the_same"),
    (
        "objective",
        DrawnByItself,
        {},
        "what_the_objectives_constructor_sets_is_what_training_starts_from",
    ),
]
