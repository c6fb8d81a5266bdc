"""Several reads of the memory in a step: heads side by side, and hops one after the other.

Both are scores around copies of another score, and combine with every score, and with each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.common.part_choice import Choice
from decoderlab.contract import Space
from decoderlab.decoders.attention.attention_score import AttentionScore
from decoderlab.decoders.attention.queries import Read
from decoderlab.layers.equations import Equation, concatenation, count


class SeveralReads(AttentionScore):
    """A score around others that reads the memory itself: `read` gives weights and context.

    Args:
        scores: the others, alike but for their weights.
    """

    def __init__(self, scores: Iterable[AttentionScore]) -> None:
        super().__init__()
        self.scores = nn.ModuleList(scores)

    @property
    def carries(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - theirs
        """Whether the others depend on earlier steps."""
        return self.first.carries

    @property
    def sparse(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - theirs
        """Whether the others give some real positions exactly 0."""
        return self.first.sparse

    @property
    def first(self) -> AttentionScore:
        """The first of the others."""
        return self.own(0)

    def own(self, number: int) -> AttentionScore:
        """Return the score that comes as `number`, from 0."""
        # torch's list says only that it is of modules
        return cast("AttentionScore", self.scores[number])

    def keys(self, memory: Tensor) -> Tensor:
        """Return the keys of all scores; see `source_keys`."""
        return self.source_keys(memory, None)

    def of_one(self, keys: Tensor, number: int) -> Tensor:
        """Return the keys of one of the scores."""
        return keys[:, :, number]

    def begin(self, memory_mask: Tensor, keys: Tensor) -> Tensor | None:
        """Return what all carry into the first step, (B, number of scores, ...)."""
        return _side_by_side(
            self.own(number).begin(memory_mask, self.of_one(keys, number))
            for number in range(len(self.scores))
        )

    def read(
        self,
        query: Tensor,
        memory: Tensor,
        keys: Tensor,
        memory_mask: Tensor,
        carried: Tensor | None,
    ) -> Read:
        """Return the context, (B, T, M), weights for people, (B, T, S), and what is carried on."""
        raise NotImplementedError


class HeadsScore(SeveralReads):
    """K heads: each reads a part of its own of a projected memory, with a part of the query.

        [q^1; ...; q^K] = W_q q,    [m^1_j; ...; m^K_j] = W_m m_j
        a = [a^1; ...; a^K],    a^k = sum over j of softmax(score^k(q^k, m^k))_j m^k_j

    The context is as wide as with one head. The weights that are kept are the mean over heads.

    Paper: Vaswani et al. 2017, section 3.2.2 (https://arxiv.org/abs/1706.03762); additive heads in
        a recurrent decoder, Chen et al. 2018, section 3 (https://arxiv.org/abs/1804.09849).
    Differs: keys and values of a head are one projection; no projection follows, since what mixes
        or feeds the context has one.

    Args:
        heads: K, at least 2; the widths of query and memory are multiples of it.
        score: of each head.
        query_size: width of the query.
        memory_size: width of the memory.
        size: width of the hidden layers of all heads together, for a score that has one.
        source_space, alignment: for a score that takes them.

    Raises:
        ValueError: for a width that is no multiple of K.
    """

    def __init__(
        self,
        *,
        heads: int,
        score: Callable[..., AttentionScore],
        query_size: int,
        memory_size: int,
        size: int,
        source_space: Space | None = None,
        alignment: Tensor | None = None,
    ) -> None:
        require.at_least("attention.heads", heads, 2)
        chosen = Choice.of(score)
        widths = {"the decoder's hidden_size": query_size, "the encoder's memory": memory_size}
        if chosen.takes("size"):
            widths["attention.size"] = size
        for name, width in widths.items():
            if width % heads:
                raise ValueError(
                    f"attention.heads is {heads}, but {name} is {width} wide, which is no multiple "
                    "of it; take another number of heads, or another width"
                )
        own = {"query_size": query_size, "memory_size": memory_size, "size": size}
        sizes: dict[str, Any] = {name: width // heads for name, width in own.items()}
        sizes |= {"source_space": source_space, "alignment": alignment}
        super().__init__(chosen.build(**sizes) for _ in range(heads))
        self.split_query = nn.Linear(query_size, query_size, bias=False)
        self.split_memory = nn.Linear(memory_size, memory_size, bias=False)
        self.head_size = memory_size // heads

    def source_keys(self, memory: Tensor, source: Tensor | None) -> Tensor:
        """Return each head's part of the memory and its keys, (B, S, K, ...)."""
        parts = self.split_memory(memory).chunk(len(self.scores), dim=-1)
        keys = [
            torch.cat([part, self.own(number).source_keys(part, source)], dim=-1)
            for number, part in enumerate(parts)
        ]
        return torch.stack(keys, dim=2)

    def of_one(self, keys: Tensor, number: int) -> Tensor:
        """Return the keys of one head."""
        return keys[:, :, number, self.head_size :]

    def read(
        self,
        query: Tensor,
        memory: Tensor,
        keys: Tensor,
        memory_mask: Tensor,
        carried: Tensor | None,
    ) -> Read:
        """Return the contexts of all heads side by side, and the mean of their weights."""
        queries = self.split_query(query).chunk(len(self.scores), dim=-1)
        reads = [
            read_with(
                self.own(number),
                part,
                keys[:, :, number, : self.head_size],
                self.of_one(keys, number),
                memory_mask,
                None if carried is None else carried[:, number],
            )
            for number, part in enumerate(queries)
        ]
        return Read(
            torch.cat([read.context for read in reads], dim=-1),
            torch.stack([read.weights for read in reads]).mean(dim=0),
            _side_by_side(read.carried for read in reads),
        )

    def equations(self, query: str) -> list[Equation]:
        """Return parts, scores, weights and context; see `decoderlab.layers.equations`."""
        heads, part = len(self.scores), f"part l of {len(self.scores)} of"
        width = self.split_query.out_features // heads
        each = read_equations(self.first, "q_t", self.head_size)
        head = [
            Equation("q^l_t", f"{part} W_q {query}", width, count(self.split_query)),
            Equation("m^l_j", f"{part} W_m m_j", self.head_size, count(self.split_memory)),
            *(
                line._replace(parameters=line.parameters * heads)
                for line in raised(each, "l", also=("q", "m"))
            ),
        ]
        lines = [line._replace(left=f"{line.left}, l = 1..{heads}") for line in head]
        contexts = concatenation([f"a^{head}_t" for head in range(1, heads + 1)])
        return [*lines, Equation("a_t", contexts, self.head_size * heads)]


class HopsScore(SeveralReads):
    """Hops: the context of a read goes into the query of the next, whose context is the step's.

        q^1 = q,    a^i = sum over j of w^i_j m_j,    q^{i+1} = q^i + W_i a^i

    The weights that are kept are those of the last hop.

    Paper: Sukhbaatar et al. 2015, section 2.2, eq. 4 (https://arxiv.org/abs/1503.08895).
    Differs: each hop has a score of its own over one memory, where theirs embeds the memory anew;
        W, since a query may be wider than the memory, is theirs where it is the identity.

    Args:
        hops: at least 2.
        score: of each hop.
        query_size: width of the query.
        memory_size: width of the memory.
        size: width of the hidden layer of a score that has it.
        source_space, alignment: for a score that takes them.
    """

    def __init__(
        self,
        *,
        hops: int,
        score: Callable[..., AttentionScore],
        query_size: int,
        memory_size: int,
        size: int,
        source_space: Space | None = None,
        alignment: Tensor | None = None,
    ) -> None:
        require.at_least("attention.hops", hops, 2)
        sizes: dict[str, Any] = {"query_size": query_size, "memory_size": memory_size, "size": size}
        sizes |= {"source_space": source_space, "alignment": alignment}
        super().__init__(Choice.of(score).build(**sizes) for _ in range(hops))
        self.query_size, self.memory_size = query_size, memory_size
        self.further = nn.ModuleList(
            nn.Linear(memory_size, query_size, bias=False) for _ in range(hops - 1)
        )

    def source_keys(self, memory: Tensor, source: Tensor | None) -> Tensor:
        """Return the keys of all hops, (B, S, hops, ...)."""
        keys = [self.own(number).source_keys(memory, source) for number in range(len(self.scores))]
        return torch.stack(keys, dim=2)

    def read(
        self,
        query: Tensor,
        memory: Tensor,
        keys: Tensor,
        memory_mask: Tensor,
        carried: Tensor | None,
    ) -> Read:
        """Return the context and the weights of the last hop."""
        reads: list[Read] = []
        for number in range(len(self.scores)):
            if reads:
                query = query + self.further[number - 1](reads[-1].context)
            own = None if carried is None else carried[:, number]
            score, its_keys = self.own(number), self.of_one(keys, number)
            reads.append(read_with(score, query, memory, its_keys, memory_mask, own))
        return reads[-1]._replace(carried=_side_by_side(read.carried for read in reads))

    def equations(self, query: str) -> list[Equation]:
        """Return the lines of all hops; see `decoderlab.layers.equations`."""
        lines: list[Equation] = []
        for number in range(1, len(self.scores) + 1):
            if number > 1:
                further = self.further[number - 2]
                right = f"{query} + W_u a^{number - 1}_t"
                query = f"q^{number}_t"
                lines.append(Equation(query, right, self.query_size, count(further)))
            own = read_equations(self.own(number - 1), query, self.memory_size)
            lines += raised(own, str(number), but="a" if number == len(self.scores) else "")
        return lines


def read_with(
    score: AttentionScore,
    query: Tensor,
    memory: Tensor,
    keys: Tensor,
    memory_mask: Tensor,
    carried: Tensor | None,
) -> Read:
    """Return what a score reads of the memory; see `AttentionScore` for shapes."""
    if isinstance(score, SeveralReads):
        return score.read(query, memory, keys, memory_mask, carried)
    weights, carried = score.all_weights(query, keys, memory_mask, carried)
    return Read(weights @ memory, weights, carried)


def read_equations(score: AttentionScore, query: str, memory_size: int) -> list[Equation]:
    """Return scores, weights and context; see `decoderlab.layers.equations`."""
    lines = score.equations(query)
    if isinstance(score, SeveralReads):
        return lines
    return [*lines, Equation("a_t", "sum over j of w_tj m_j", memory_size)]


def raised(
    lines: Sequence[Equation], index: str, *, also: Sequence[str] = (), but: str = ""
) -> list[Equation]:
    """Return lines in which the letters that they compute have a further upper index.

    Args:
        lines: of one read.
        index: of this read.
        also: further letters that get it.
        but: a letter that does not.

    Example:
        >>> raised([Equation("w_t", "softmax over j of score_tj", "S")], "2")[0].left
        'w^2_t'
    """
    own = {line.left.partition("_")[0] for line in lines} | set(also)
    patterns = [re.escape(letter) for letter in sorted(own - {but})]
    patterns += [r"a\^\d+"] if "a^l" in own else []  # which stand side by side
    pattern = re.compile(rf"(?<![\w^])({'|'.join(patterns)})(?=_)")

    def with_index(match: re.Match[str]) -> str:
        base, upper, old = match[1].partition("^")
        return f"{base}^{{{index},{old}}}" if upper else f"{base}^{index}"

    return [
        Equation(pattern.sub(with_index, line.left), pattern.sub(with_index, line.right), *line[2:])
        for line in lines
    ]


def _side_by_side(carried: Iterable[Tensor | None]) -> Tensor | None:
    """Return what several scores carry as one, (B, number of scores, ...); None for nothing."""
    there = [state for state in carried if state is not None]
    return torch.stack(there, dim=1) if there else None
