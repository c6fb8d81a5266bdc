"""Several finished runs as one model: at each step, the mean of their probabilities."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_identity import difference
from decoderlab.contract import Decoder, Encoded, TokenSpace, ValueSpace, with_source
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.training.loading import LoadedRun
from decoderlab.training.module import EncoderDecoder

SAMPLED = 3  # tokens of a line by which it shows how tasks read it
FREE = ("data_seed", "metrics", "path", "source_path", "target_path")  # of a task, in an ensemble


class JointlyEncoded(Encoded):
    """What several encoders read: as an `Encoded`, that of the first."""

    members: Sequence[Encoded]


@dataclass(frozen=True)
class JointState:
    """The states of several decoders."""

    members: tuple[Any, ...]

    @property
    def attention_weights(self) -> Tensor | None:
        """The mean of what the members look at; None unless all of them look."""
        weights = [getattr(member, "attention_weights", None) for member in self.members]
        looked = [tensor for tensor in weights if tensor is not None]
        alike = len(looked) == len(weights) and len({tensor.shape for tensor in looked}) == 1
        return torch.stack(looked).mean(dim=0) if alike else None


class JointEncoder(nn.Module):
    """Reads a source with every encoder."""

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(encoders)
        self.shape = encoders[0].shape

    def forward(self, source: Tensor, source_lengths: Tensor) -> Encoded:
        """Encode a batch."""
        read = [with_source(member(source, source_lengths), source) for member in self.members]
        joint = JointlyEncoded(*read[0])
        joint.members = read
        return joint


class JointDecoder(nn.Module):
    """Writes the mean of the probabilities, or of the values, that its members write."""

    def __init__(self, decoders: Sequence[nn.Module], target_space: TokenSpace | ValueSpace):
        super().__init__()
        self.members = nn.ModuleList(decoders)
        self.target_space = target_space

    def forward(self, encoded: Encoded, target: Tensor) -> Tensor:
        """Return the outputs of all positions, given the target before each."""
        return self._mean([member(read, target) for member, read in self._pairs(encoded)])

    def start(self, encoded: Encoded) -> JointState:
        """Return the state before the first target position."""
        return JointState(tuple(member.start(read) for member, read in self._pairs(encoded)))

    def step(self, previous: Tensor, state: JointState) -> tuple[Tensor, JointState]:
        """Return the outputs of the next position and the state."""
        pairs = zip(self.members, state.members, strict=True)
        steps = [_decoder(member).step(previous, own) for member, own in pairs]
        return self._mean([outputs for outputs, _ in steps]), JointState(
            tuple(own for _, own in steps)
        )

    def reorder(self, state: JointState, index: Tensor) -> JointState:
        """Return the state of the batch rows `index` (N,)."""
        pairs = zip(self.members, state.members, strict=True)
        return JointState(tuple(_decoder(member).reorder(own, index) for member, own in pairs))

    def _pairs(self, encoded: Encoded) -> list[tuple[Any, Encoded]]:
        return list(zip(self.members, getattr(encoded, "members", ()), strict=True))

    def _mean(self, outputs: Sequence[Tensor]) -> Tensor:
        if isinstance(self.target_space, ValueSpace):
            size = self.target_space.size
            return torch.stack([output[..., :size] for output in outputs]).mean(dim=0)
        # Of all tokens, as in a member's own loss; what is never generated, a search leaves out.
        logs = [output.double().log_softmax(dim=-1) for output in outputs]
        return torch.stack(logs).logsumexp(dim=0) - math.log(len(logs))


def _decoder(module: nn.Module) -> Decoder:
    return module  # pyright: ignore[reportReturnType] - no type says that it keeps the contract too


def ensemble(runs: Sequence[LoadedRun]) -> LoadedRun:
    """Return runs as one, which predicts by the mean of their probabilities at each step.

    Task, config, result and search are those of the first; the greatest length is the longest.
    Where tasks or searches differ, that is warned of.

    Args:
        runs: from `load_run`, one at least; of one vocabulary on either side.

    Raises:
        ConfigError: if their vocabularies differ, or how they read a line and write a text.
    """
    first = runs[0]
    if len(runs) == 1:
        return first
    for number, other in enumerate(runs[1:], start=2):
        for side in ("source", "target"):
            _check_same(number, side, first, other)
        _check_alike(number, first, other)
    modules = [run.module for run in runs]
    module = EncoderDecoder(
        encoder=JointEncoder([member.get_submodule("encoder") for member in modules]),
        decoder=JointDecoder(
            [member.get_submodule("decoder") for member in modules], first.module.target_space
        ),
        target_space=first.module.target_space,
        max_target_length=max(member.max_target_length for member in modules),
        task=first.task,
        seed=first.config.seed,
        search=first.module.search,
    )
    if any(member.dtype == torch.float64 for member in modules):
        module = module.double()  # Lightning's own note of it too
    return first._replace(module=module.eval())


def _check_alike(number: int, first: LoadedRun, other: LoadedRun) -> None:
    """Refuse a run that reads or writes lines otherwise; warn of another task or search."""
    if _lines_of(first, first) != _lines_of(other, first):
        raise ConfigError(
            f"run {number} has the vocabulary of run 1, but reads or writes a line in another way "
            "(such as backwards), so that it would get sources that it was not trained on; give "
            "runs whose tasks have the same settings"
        )
    tasks = ({**run.config.task.to_dict(), **dict.fromkeys(FREE)} for run in (first, other))
    if mismatch := difference("task", *tasks):
        warnings.warn(f"run {number} was trained on another task: {mismatch}", stacklevel=3)
    searches = [replace(run.module.search, seed=0).signature for run in (first, other)]
    if searches[0] != searches[1]:
        what = f"run {number} was evaluated by {searches[1]}, run 1 by {searches[0]}"
        warnings.warn(f"{what}: the ensemble searches as run 1", stacklevel=3)


def _lines_of(run: LoadedRun, first: LoadedRun) -> list[Any]:
    """Return how the task of a run reads a line, and writes one, of a few tokens of the first."""
    task, lines = run.task, []
    for side in ("source", "target"):
        vocabulary = getattr(first.task.data, f"{side}_vocabulary")
        if not isinstance(vocabulary, Vocabulary):
            continue
        tokens = vocabulary.entries[:SAMPLED]
        try:
            if side == "target":
                lines.append(task.target_text(tokens))
            else:
                lines.append(list(task.source_tokens(first.task.source_text(tokens))))
        except Exception:  # it is no text of the task, whoever's it is
            lines.append(None)
    return lines


def _check_same(number: int, side: str, first: LoadedRun, other: LoadedRun) -> None:
    expected, actual = (getattr(run.task.data, f"{side}_vocabulary") for run in (first, other))
    same = expected.space == actual.space if hasattr(expected, "space") else expected == actual
    if isinstance(expected, Vocabulary) and isinstance(actual, Vocabulary):
        same = same and expected.entries == actual.entries
    elif same and isinstance(expected, Values) and isinstance(actual, Values):
        same = bool(
            (expected.mean == actual.mean).all() and (expected.deviation == actual.deviation).all()
        )
    if type(expected) is not type(actual) or not same:
        raise ConfigError(
            f"run {number} reads or writes another vocabulary than run 1 (the {side} side "
            "differs); an ensemble needs runs on the same data: give seeds of one study"
        )
