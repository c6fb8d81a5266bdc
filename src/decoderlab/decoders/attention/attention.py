"""Attention in a decoder: a score, when it is asked, and who sees what it read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

from torch import Tensor

from decoderlab.common import require
from decoderlab.common.part_choice import Choice
from decoderlab.contract import Encoded, Space
from decoderlab.decoders.attention.attention_score import AttentionScore
from decoderlab.decoders.attention.mixings import MIXINGS, Mixing
from decoderlab.decoders.attention.queries import (
    Attend,
    BetweenQuery,
    CurrentQuery,
    PreviousQuery,
    PreviousQueryFed,
    Read,
    done,
)
from decoderlab.decoders.attention.several_reads import (
    HeadsScore,
    HopsScore,
    read_equations,
    read_with,
)
from decoderlab.layers.equations import Equation, count

TIMINGS = {"current": CurrentQuery, "previous": PreviousQuery, "between": BetweenQuery}
QUERIES = tuple(TIMINGS)


class Attention:
    """A score, and its three switches.

    It is no module itself: the decoder registers `score` and `mix`, which it holds, as its own.

    Args:
        score: a `AttentionScore` class; None for no attention at all.
        query_size: width of the query, the decoder's hidden size.
        memory_size: width M of the memory.
        embedded_size: width of the previous output's embedding, 0 without.
        query: the state that asks: `current`, s_t (Luong et al. 2015), `previous`, s_{t-1}
            (Bahdanau et al. 2015), or `between`, s'_t of a first cell, from which a second one
            goes on with the context (Sennrich et al. 2017). They are a closed set, since a step has
            no other state. What the score makes of it is the score's own.
        input_feeding: whether the cell sees what attention read. With query `current` or `between`
            that is the attentional vector of the step before (the context, with mixing `none`);
            with query `previous`, this step's context, as in Bahdanau et al. 2015. The second cell
            of `between` sees this step's context in any case.
        mixing: how context and state reach the head: `none`, side by side; `tanh`, Luong's
            attentional vector tanh(W [a_t; s_t]); `deep`, tanh(W [a_t; s_t; e(y_{t-1})]); or a
            class, see `Mixing`.
        size: width of the hidden layer of a score that has it; None for `query_size`.
        heads: reads side by side, at least 1, see `HeadsScore`.
        coverage_loss: factor of `coverage.coverage_loss` in the training objective, at least 0.
        hops: reads one after the other, at least 1, see `HopsScore`; each has all heads.
        source_space, alignment: for a score that takes them, see the contract of decoders.

    Raises:
        ValueError: for an unknown switch, or whatever the score refuses.

    Example:
        >>> import torch
        >>> from decoderlab.decoders.attention import DotScore
        >>> attention = Attention(score=DotScore, query_size=2, memory_size=2, mixing="none")
        >>> memory, mask = torch.ones(1, 3, 2), torch.tensor([[True, True, False]])
        >>> keys = attention.score.keys(memory)
        >>> attention.read(torch.ones(1, 1, 2), memory, keys, mask, None).weights.tolist()
        [[[0.5, 0.5, 0.0]]]
    """

    INJECTED: ClassVar[tuple[str, ...]] = (
        "query_size",
        "memory_size",
        "embedded_size",
        "source_space",
        "alignment",
    )
    OPTIONAL: ClassVar[tuple[str, ...]] = (
        "query",
        "input_feeding",
        "mixing",
        "size",
        "heads",
        "hops",
        "coverage_loss",
    )

    def __init__(
        self,
        *,
        score: Callable[..., AttentionScore] | None,
        query_size: int,
        memory_size: int,
        embedded_size: int = 0,
        query: str = "current",
        input_feeding: bool = False,
        mixing: str | Callable[..., Mixing] = "tanh",
        size: int | None = None,
        heads: int = 1,
        hops: int = 1,
        coverage_loss: float = 0.0,
        source_space: Space | None = None,
        alignment: Tensor | None = None,
    ) -> None:
        require.choice("attention.query", query, QUERIES)
        mix = Choice.named("decoder.attention.mixing", mixing, MIXINGS)
        if size is not None:
            require.at_least("attention.size", size, 1)
        require.at_least("attention.heads", heads, 1)
        require.at_least("attention.hops", hops, 1)
        require.at_least("attention.coverage_loss", coverage_loss, 0)
        score = require.given("attention.score", score)
        sizes = {"query_size": query_size, "memory_size": memory_size}
        if heads > 1:
            score = partial(HeadsScore, heads=heads, score=score)
        if hops > 1:
            score = partial(HopsScore, hops=hops, score=score)
        self.score: AttentionScore = Choice.of(score).build(
            **sizes, size=size or query_size, source_space=source_space, alignment=alignment
        )
        self.memory_size, self.coverage_loss = memory_size, coverage_loss
        self.timing = TIMINGS[query]()
        self.between = query == "between"
        if input_feeding and query == "previous":
            self.timing = PreviousQueryFed()
        self.mix: Mixing = mix.build(**sizes, embedded_size=embedded_size)
        self.features_size = self.mix.size
        self.fed_later = input_feeding and query != "previous"
        fed_size = self.features_size if self.fed_later and self.mix.mixes else memory_size
        self.fed_size = fed_size if input_feeding else 0

    def keys(self, encoded: Encoded) -> Tensor:
        """Return what the score compares queries with."""
        return self.score.source_keys(encoded.memory, encoded.source)

    def read(
        self,
        query: Tensor,
        memory: Tensor,
        keys: Tensor,
        memory_mask: Tensor,
        carried: Tensor | None,
    ) -> Read:
        """Return the context and the weights of each query; see `AttentionScore` for shapes."""
        return read_with(self.score, query, memory, keys, memory_mask, carried)

    def before_cell(self, attend: Attend, latest: Tensor) -> Read | None:
        """Read before the cell, where the cell sees it."""
        return self.timing.before_cell(attend, latest)

    def after_cell(
        self, attend: Attend, latest: Tensor, states: Tensor, read: Read | None
    ) -> Read | None:
        """Read after the cell, unless it was done."""
        return self.timing.after_cell(attend, latest, states, read)

    def features(self, states: Tensor, read: Read | None, embedded: Tensor | None) -> Tensor:
        """Return what goes to the head: (B, T, features_size)."""
        return self.mix(done(read).context, states, embedded if self.mix.sees_embedded else None)

    def fed(self, features: Tensor, read: Read | None) -> Tensor | None:
        """Return what the next step's cell sees, (B, F)."""
        if not self.fed_later:
            return None
        return (features if self.mix.mixes else done(read).context)[:, -1]

    def equations(self) -> list[Equation]:
        """Return scores, weights and context; see `decoderlab.layers.equations`."""
        return read_equations(self.score, self.timing.query, self.memory_size)

    def fed_name(self) -> str | None:
        """Return the letter of what the cell sees."""
        if self.fed_later:
            return "h_{t-1}" if self.mix.mixes else "a_{t-1}"
        return "a_t" if self.fed_size else None

    def features_equation(self, state: str, embedded: str | None) -> tuple[str, list[Equation]]:
        """Return the letter of what goes to the head, and the line that computes it."""
        right = self.mix.right_side(state, embedded)
        if not self.mix.mixes:
            return right, []
        return "h_t", [Equation("h_t", right, self.features_size, count(self.mix))]


class NoAttention:
    """No attention: the memory is not read, and the head sees the state alone."""

    score = mix = None
    fed_size, fed_later, between, coverage_loss = 0, False, False, 0.0

    def __init__(self, *, query_size: int) -> None:
        self.features_size = query_size

    def keys(self, encoded: Encoded) -> Tensor | None:
        """Return nothing."""
        return None

    def before_cell(self, attend: Attend, latest: Tensor) -> Read | None:
        """Return nothing."""
        return None

    def after_cell(
        self, attend: Attend, latest: Tensor, states: Tensor, read: Read | None
    ) -> Read | None:
        """Return nothing."""
        return None

    def features(self, states: Tensor, read: Read | None, embedded: Tensor | None) -> Tensor:
        """Return the states."""
        return states

    def fed(self, features: Tensor, read: Read | None) -> Tensor | None:
        """Return nothing."""
        return None

    def equations(self) -> list[Equation]:
        """Return no line."""
        return []

    def fed_name(self) -> str | None:
        """Return nothing."""
        return None

    def features_equation(self, state: str, embedded: str | None) -> tuple[str, list[Equation]]:
        """Return the letter of the state."""
        return state, []
