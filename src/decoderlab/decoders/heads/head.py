"""What a head is, and the output layer that ours share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.common import require
from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.decoders.heads.value_distributions import Distribution, build_distribution
from decoderlab.layers.equations import Equation, count

STATES = ("current", "previous")


class SourceRead(NamedTuple):
    """What attention reads of the source, for a head with `sees_source`.

    Shapes:
        source: (B, S) int64, ids of the source; weights: (B, T, S), attention_weights of each
            step, exactly 0 at padding.
    """

    source: Tensor
    weights: Tensor


class Head(nn.Module):
    """The output layer, from the features of a step; a head of your own is a subclass.

    It needs `forward` and, to be printed, `equations`. The constructor takes those of these
    keywords that it has a use for, besides its own settings: `features_size`, the width of the
    features; `hidden_size`, the decoder's; `target_space`; `embedding_size`, the width of the table
    of embeddings, None where there is none; `source_space` and `alignment`, what the source is of
    and which target token each of its symbols is, see the contract of decoders.

    The decoder asks for the attributes `sees_previous`, `state` and `tied` below; ours set them
    from settings of the same names. Over tokens a head may return log-probabilities that it
    normalised itself.

    Settings in `OPTIONAL` are those that a YAML may give to any head: one whose constructor has no
    such keyword is built without it.

    Attributes:
        sees_previous: whether the previous output's embedding is among the features, as in a deep
            output.
        state: which state is: `current`, s_t, or `previous`, s_{t-1}, as in the formulas of
            Bahdanau et al. 2015, A.2.2. The two are a closed set, since a step has no other.
        tied: whether `forward` gets the table of embeddings.
        sees_source: whether `forward` gets, besides, the keyword `read`: the source, and what
            attention reads of it. It needs a decoder with attention, and sources of tokens.
        distribution: of real values; None for tokens, and for F means or F means and F logarithms
            of standard deviations.

    Shapes:
        features: (..., features_size); table: (V, E), with `tied`.
        Returns (..., V) logits, (..., F) means, or as many numbers as the distribution has, the
        means first.
    """

    INJECTED: ClassVar[tuple[str, ...]] = (
        "features_size",
        "hidden_size",
        "target_space",
        "embedding_size",
        "source_space",
        "alignment",
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
    sees_source: ClassVar[bool] = False
    distribution: Distribution | None = None

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
        distribution: `categorical` for tokens; for values `point` (the mean alone), `gaussian`
            (means, then logarithms of standard deviations) or a class, see `Distribution`; None for
            `categorical` or `point`, whichever fits.
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
        distribution: str | Callable[..., Distribution] | None,
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
        made = build_distribution(distribution, target_space)
        self.distribution = made if isinstance(target_space, ValueSpace) else None
        self.sees_previous, self.state, self.tied = sees_previous, state, tied
        self.table_size = embedding_size
        self.output_size = target_space.size * made.numbers
        self.output_name = made.letter
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
            lines.append(Equation("narrow_t", f"P {values}", size, own))
            values = "narrow_t"
        if self.tied:
            right = f"E {values} / sqrt({self.table_size}) + b, E the table of e"
            own = count(self.bias)
        else:
            right, own = f"W_o {values} + b_o", count(self.output)
        return [*lines, Equation(self.output_name, right, self.output_size, own)]
