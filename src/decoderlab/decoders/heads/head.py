"""What a head is, and the output layer that ours share."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.common import require
from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.layers.equations import Equation, count

DISTRIBUTIONS = ("categorical", "point", "gaussian")
STATES = ("current", "previous")


class Head(nn.Module):
    """The output layer, from the features of a step; a head of your own is a subclass.

    It needs `forward` and, to be printed, `equations`. The constructor takes those of these
    keywords that it has a use for, besides its own settings: `features_size`, the width of the
    features; `hidden_size`, the decoder's; `target_space`; `embedding_size`, the width of the table
    of embeddings, None where there is none.

    The decoder asks for the attributes `sees_previous`, `state` and `tied` below; ours set them
    from settings of the same names. Over tokens a head may return log-probabilities that it
    normalised itself.

    Settings in `OPTIONAL` are those that a YAML may give to any head: one whose constructor has no
    such keyword is built without it.

    Attributes:
        sees_previous: whether the previous output's embedding is among the features, as in a deep
            output.
        state: which state is: `current`, s_t, or `previous`, s_{t-1}, as in the formulas of
            Bahdanau et al. 2015, A.2.2.
        tied: whether `forward` gets the table of embeddings.

    Shapes:
        features: (..., features_size); table: (V, E), with `tied`.
        Returns (..., V) logits, (..., F) means, or (..., 2F) means and log standard deviations.
    """

    INJECTED: ClassVar[tuple[str, ...]] = (
        "features_size",
        "hidden_size",
        "target_space",
        "embedding_size",
    )
    OPTIONAL: ClassVar[tuple[str, ...]] = (
        "size",
        "sees_previous",
        "state",
        "rank",
        "tied",
        "distribution",
    )
    sees_previous: bool = False
    state: str = "current"
    tied: bool = False

    def forward(self, features: Tensor, table: Tensor | None = None) -> Tensor:
        """Return the outputs."""
        raise NotImplementedError

    def equations(self, features: str) -> list[Equation]:
        """Return the output; see `decoderlab.layers.equations`."""
        return [Equation("o_t", f"{type(self).__name__}({features})", "", count(self))]


class OutputHead(Head):
    """A head that ends in a matrix: W f + b. What comes before it is a subclass's.

    With `rank`, W is the product of two matrices. With `tied`, W is E P / sqrt(width of E), E the
    embeddings and P a projection to their width (left out where the widths are equal).

    Paper: rank, Cho et al. 2014, section 4.1.1 (https://arxiv.org/abs/1406.1078); tied, Press and
        Wolf 2017 (https://arxiv.org/abs/1608.05859).
    Differs: tied logits are divided by the root of the width, since embeddings begin with a
        variance of 1.

    Args:
        width: of what the matrix gets.
        target_space: tokens or values.
        embedding_size: width of the embeddings, for `tied`; None where there is no table.
        sees_previous: see `Head`.
        state: see `Head`.
        rank: of the output matrix, at least 1; None for a full matrix.
        tied: whether the output matrix is the table of embeddings.
        distribution: `categorical` for tokens; for values `point` (the mean alone) or `gaussian`
            (means, then logarithms of standard deviations); None for `categorical` or `point`,
            whichever fits.
        hidden: what comes before the matrix, registered under this name.

    Raises:
        ValueError: where distribution and space contradict each other, or tied has no table.
    """

    def __init__(
        self,
        *,
        width: int,
        target_space: TokenSpace | ValueSpace,
        embedding_size: int | None,
        sees_previous: bool,
        state: str,
        rank: int | None,
        tied: bool,
        distribution: str | None,
        hidden: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if hidden is not None:
            self.hidden = hidden
        require.choice("head.state", state, STATES)
        if rank is not None:
            require.at_least("head.rank", rank, 1)
        if tied and rank is not None:
            raise ValueError(
                f"head.tied is true and head.rank is {rank}; a tied matrix has the rank of "
                "the embeddings, so leave head.rank out"
            )
        if tied and embedding_size is None:
            raise ValueError(
                "head.tied is true, but there is no table of embeddings; give an embedding_size "
                "and a feedback, or take head.tied=false"
            )
        distribution = checked_distribution(distribution, target_space)
        self.sees_previous, self.state, self.tied = sees_previous, state, tied
        self.table_size = embedding_size
        self.output_size = target_space.size * (2 if distribution == "gaussian" else 1)
        self.output_name = {
            "categorical": "logits_t",
            "point": "mean_t",
            "gaussian": "[mean_t; log deviation_t]",
        }[distribution]
        narrow = embedding_size if tied else rank
        self.narrow = None
        if narrow is not None and not (tied and narrow == width):
            self.narrow = nn.Linear(width, narrow, bias=False)
        if tied:
            self.bias = nn.Parameter(torch.zeros(self.output_size))
        else:
            self.output = nn.Linear(narrow or width, self.output_size)

    def _output(self, values: Tensor, table: Tensor | None) -> Tensor:
        if self.narrow is not None:
            values = self.narrow(values)
        if self.tied:
            table = require.given("the table of embeddings", table)
            return functional.linear(values / math.sqrt(table.shape[1]), table, self.bias)
        return self.output(values)

    def _output_equations(self, values: str) -> list[Equation]:
        lines = []
        if self.narrow is not None:
            size, own = self.narrow.out_features, count(self.narrow)
            lines.append(Equation("n_t", f"P {values}", size, own))
            values = "n_t"
        if self.tied:
            right = f"E {values} / sqrt({self.table_size}) + b, E the table of e"
            own = count(self.bias)
        else:
            right, own = f"W_o {values} + b_o", count(self.output)
        return [*lines, Equation(self.output_name, right, self.output_size, own)]


def checked_distribution(distribution: str | None, target_space: TokenSpace | ValueSpace) -> str:
    """Return the distribution, the space's usual one for None.

    Raises:
        ValueError: where it is unknown or contradicts the space.
    """
    over_tokens = isinstance(target_space, TokenSpace)
    if distribution is None:
        return "categorical" if over_tokens else "point"
    require.choice("head.distribution", distribution, DISTRIBUTIONS)
    if over_tokens != (distribution == "categorical"):
        raise ValueError(
            f"head.distribution is {distribution!r}, but the targets are "
            + (
                "tokens; take decoder.head.distribution=categorical"
                if over_tokens
                else "real values; take decoder.head.distribution=point or gaussian"
            )
        )
    return distribution
