"""What a feedback is: whether, when and how a decoder in training sees its own output."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from decoderlab.contract import TokenSpace, ValueSpace


class Feedback(nn.Module):
    """What a decoder sees in place of y_{t-1}; a feedback of your own is a subclass.

    As it stands, it is teacher forcing: the target's in training, what was generated in generation.
    A subclass changes one of these:

    * `inputs`, what training sees of the whole target at once, such as a target with noise;
    * with `samples`, `coins` and `choose`: which steps of training see the decoder's own output.
      Steps are then taken one by one;
    * with `sees_distribution`, `distribution`: the weights over tokens that a step sees in place of
      a token, in generation too. Steps are then taken one by one.

    The constructor takes `target_space` if it has a use for it, besides its own settings.

    Settings in `OPTIONAL` are those that a YAML may give to any feedback: one whose constructor has
    no such keyword is built without it.

    Attributes:
        sees_output: whether anything of the previous output enters the cell.
        sees_target: whether the target before a position reaches it, at least in evaluation.
        samples: whether training sees tokens or values that the decoder itself has chosen.
        sees_distribution: whether it sees a distribution over tokens.
        scope: with `samples`, whether a coin is thrown per `token` or per `sequence`; None for no
            coins. The battery checks it.
    """

    INJECTED: ClassVar[tuple[str, ...]] = ("target_space",)
    OPTIONAL: ClassVar[tuple[str, ...]] = (
        "scope",
        "schedule",
        "first_ratio",
        "last_ratio",
        "decay_steps",
    )
    sees_output: ClassVar[bool] = True
    sees_target: ClassVar[bool] = True
    samples: ClassVar[bool] = False
    sees_distribution: ClassVar[bool] = False
    scope: str | None = None

    def at_step(self, step: int, seed: int) -> None:
        """Say how many updates are done; `seed` is that of this update's coins."""
        return

    def inputs(self, before: Tensor) -> Tensor:
        """Return what all steps of training see, given the target before each (B, T)."""
        return before

    def coins(self, num_rows: int, num_steps: int) -> Tensor:
        """Return (B, T) bool on the CPU: where the previous token is the target's."""
        return torch.ones(num_rows, num_steps, dtype=torch.bool)

    def teacher_ratio(self, step: int) -> float:
        """Return the probability of seeing the target after `step` updates."""
        return float(self.sees_target)

    def choose(self, from_target: Tensor, before: Tensor, own: Tensor) -> Tensor:
        """Return what one step of training sees, with `samples`.

        Shapes:
            from_target: (B, 1) bool, of `coins`; before, own: (B, 1) or (B, 1, F), the target's
            and the decoder's most probable token, or mean. Returns the same shape.
        """
        return torch.where(
            from_target if before.dim() == 2 else from_target[..., None], before, own
        )

    def distribution(self, logits: Tensor) -> Tensor:
        """Return the weights (B, V) that the next step sees, with `sees_distribution`.

        Tokens that are never generated have logits of minus infinity.
        """
        return torch.softmax(logits, dim=-1)

    def meaning(self) -> str:
        """Return in words what stands for y_{t-1}."""
        return f"as {type(self).__name__} has it"


def before_each(target: Tensor, space: TokenSpace | ValueSpace) -> Tensor:
    """Return what comes before each position of a target: BOS or zeros, then the target.

    Example:
        >>> before_each(torch.tensor([[7, 8, 2]]), TokenSpace(9)).tolist()
        [[1, 7, 8]]
    """
    first = space.bos_id if isinstance(space, TokenSpace) else 0
    begin = torch.full_like(target[:, :1], first)
    return torch.cat([begin, target[:, :-1]], dim=1)
