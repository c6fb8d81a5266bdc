"""Heads: from what a step knows to its output, tokens or values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.common import require
from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.layers.equations import Equation, count

HEADS = ("linear", "tanh", "maxout")
DISTRIBUTIONS = ("categorical", "point", "gaussian")


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """The output layer.

    Args:
        kind: see `Head`.
        size: width of the hidden layer of tanh and maxout (for maxout, after pooling); None for
            the decoder's hidden_size.
        sees_previous: whether the previous output's embedding enters too, as in a deep output.
        state: which state enters: `current`, s_t, or `previous`, s_{t-1}, as in the formulas of
            Bahdanau et al. 2015, A.2.2.
        rank: of the output matrix, written as the product of two; None for a full matrix.
        tied: whether the output matrix is the table of embeddings.
        distribution: `categorical` for tokens; for values `point` (the mean alone) or `gaussian`
            (means, then logarithms of standard deviations); None for `categorical` or `point`,
            whichever fits.
    """

    kind: str
    size: int | None = None
    sees_previous: bool = False
    state: str = "current"
    rank: int | None = None
    tied: bool = False
    distribution: str | None = None

    def __post_init__(self) -> None:
        require.choice("head.kind", self.kind, HEADS)
        require.choice("head.state", self.state, ("current", "previous"))
        if self.distribution is not None:
            require.choice("head.distribution", self.distribution, DISTRIBUTIONS)
        for name in ("size", "rank"):
            if getattr(self, name) is not None:
                require.at_least(f"head.{name}", getattr(self, name), 1)
        if self.tied and self.rank is not None:
            raise ValueError(
                f"head.tied is true and head.rank is {self.rank}; a tied matrix has the rank of "
                "the embeddings, so leave head.rank out"
            )

    def settled(self) -> HeadSettings:
        """Return the settings with what has no effect at its default."""
        return replace(self, size=None) if self.kind == "linear" else self


class Head(nn.Module):
    """The output layer, f being the features of a step.

        linear  W f + b
        tanh    W tanh(V f + d) + b
        maxout  W max(V f + d, in pairs) + b

    With `rank`, W is the product of two matrices. With `tied`, W is E P / sqrt(width of E), E the
    embeddings and P a projection to their width (left out where the widths are equal).

    Paper: maxout, Cho et al. 2014, A.1.2 (https://arxiv.org/abs/1406.1078), and Bahdanau et al.
        2015, A.2.2, after Goodfellow et al. 2013; deep outputs, Pascanu et al. 2014
        (https://arxiv.org/abs/1312.6026); rank, Cho et al. 2014, section 4.1.1; tied, Press and
        Wolf 2017 (https://arxiv.org/abs/1608.05859).
    Differs: there are biases; tied logits are divided by the root of the width, since embeddings
        begin with a variance of 1.

    Args:
        settings: which of them.
        features_size: width of the features.
        hidden_size: the decoder's, the default of `settings.size`.
        space: of the targets.
        embedding_size: width of the embeddings, for `tied`; None where there is no table.

    Shapes:
        features: (..., features_size); table: (V, E), with `tied`.
        Returns (..., V) logits, (..., F) means, or (..., 2F) means and log standard deviations.

    Raises:
        ValueError: where distribution and space contradict each other, or tied has no table.
    """

    def __init__(
        self,
        *,
        settings: HeadSettings,
        features_size: int,
        hidden_size: int,
        space: TokenSpace | ValueSpace,
        embedding_size: int | None,
    ) -> None:
        super().__init__()
        distribution = settings.distribution
        if distribution is None:
            distribution = "categorical" if isinstance(space, TokenSpace) else "point"
        _check_distribution(distribution, space)
        if settings.tied and embedding_size is None:
            raise ValueError(
                "head.tied is true, but there is no table of embeddings; give an embedding_size "
                "and a feedback, or take head.tied=false"
            )
        self.kind, self.tied = settings.kind, settings.tied
        self.features_size = features_size
        width = features_size
        if self.kind != "linear":
            size = settings.size or hidden_size
            self.hidden = nn.Linear(width, size if self.kind == "tanh" else 2 * size)
            width = size
        output_size = space.size * (2 if distribution == "gaussian" else 1)
        narrow = embedding_size if self.tied else settings.rank
        self.width, self.table_size, self.output_size = width, embedding_size, output_size
        self.output_name = {
            "categorical": "logits_t",
            "point": "mean_t",
            "gaussian": "[mean_t; log deviation_t]",
        }[distribution]
        self.narrow = None
        if narrow is not None and not (self.tied and narrow == width):
            self.narrow = nn.Linear(width, narrow, bias=False)
        if self.tied:
            self.bias = nn.Parameter(torch.zeros(output_size))
        else:
            self.output = nn.Linear(narrow or width, output_size)

    def equations(self, features: str) -> list[Equation]:
        """Return the output and the features' hidden layer; see `decoderlab.layers.equations`."""
        lines = []
        if self.kind != "linear":
            inner = f"V {features} + d"
            right = f"tanh({inner})" if self.kind == "tanh" else f"max({inner}, in pairs)"
            lines.append(Equation("u_t", right, self.width, count(self.hidden)))
            features = "u_t"
        if self.narrow is not None:
            lines.append(
                Equation("n_t", f"P {features}", self.narrow.out_features, count(self.narrow))
            )
            features = "n_t"
        if self.tied:
            right = f"E {features} / sqrt({self.table_size}) + b, E the table of e"
            own = count(self.bias)
        else:
            right, own = f"W_o {features} + b_o", count(self.output)
        return [*lines, Equation(self.output_name, right, self.output_size, own)]

    def forward(self, features: Tensor, table: Tensor | None = None) -> Tensor:
        """Return the outputs."""
        if self.kind == "tanh":
            features = torch.tanh(self.hidden(features))
        elif self.kind == "maxout":
            features = self.hidden(features).unflatten(-1, (-1, 2)).amax(dim=-1)
        if self.narrow is not None:
            features = self.narrow(features)
        if self.tied:
            return functional.linear(features / math.sqrt(table.shape[1]), table, self.bias)
        return self.output(features)


def _check_distribution(distribution: str, space: TokenSpace | ValueSpace) -> None:
    over_tokens = isinstance(space, TokenSpace)
    if over_tokens != (distribution == "categorical"):
        raise ValueError(
            f"head.distribution is {distribution!r}, but the targets are "
            + (
                "tokens; take decoder.head.distribution=categorical"
                if over_tokens
                else "real values; take decoder.head.distribution=point or gaussian"
            )
        )
