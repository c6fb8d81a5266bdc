"""The head that generates a token, or copies what attention reads of the source."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.common import require
from decoderlab.contract import Space, TokenSpace, ValueSpace
from decoderlab.decoders.heads.head import OutputHead, SourceRead
from decoderlab.layers.equations import Equation, count


class PointerHead(OutputHead):
    """log(g P(y) + (1 - g) sum of w_tj over the source positions j that hold y).

    P = softmax(W f + b) and g = sigmoid(v . f + d), f being the features of a step and w_tj the
    weights of attention. A source token that targets lack is held to be the unknown one.

    Paper: See et al. 2017, eq. 8 and 9 (https://arxiv.org/abs/1704.04368); copying beside
        generating is of Gu et al. 2016 (https://arxiv.org/abs/1603.06393), whose two kinds of
        scores share a softmax in place of a gate.
    Differs: the gate reads what W does, so that it sees context, state and previous output with
        `attention.mixing=none` and `sees_previous`. Each example of See et al. has ids of its own
        for its source's unknown tokens. Here the data have them, in the slots of
        `decoderlab.data.unknown_slots`: a slot is copied like any token, but it has an embedding
        and can be generated too, so that P shares its mass with the slots. Without slots all
        unknown tokens are one, whose probability is the sum of theirs, and are never written.

    Args:
        features_size: width of the features.
        target_space: tokens.
        embedding_size: width of the embeddings; None where there is no table.
        source_space: tokens.
        alignment: of each source id the target id of the same token, -1 for none; None where
            nobody knows.
        sees_previous: see `Head`.
        state: see `Head`.
        rank: see `OutputHead`.
        tied: see `OutputHead`.

    Shapes:
        as in `Head`; returns log-probabilities.

    Raises:
        ValueError: if sources or targets are no tokens, or memory and source are not of one length.
    """

    sees_source = True
    target_ids: Tensor

    def __init__(
        self,
        *,
        features_size: int,
        target_space: TokenSpace | ValueSpace,
        embedding_size: int | None,
        source_space: Space | None = None,
        alignment: Tensor | None = None,
        sees_previous: bool = False,
        state: str = "current",
        rank: int | None = None,
        tied: bool = False,
    ) -> None:
        both = isinstance(source_space, TokenSpace) and isinstance(target_space, TokenSpace)
        if not isinstance(target_space, TokenSpace) or not both or alignment is None:
            source = "unknown" if source_space is None else source_space.kind
            raise ValueError(
                f"the head copies tokens of a known source, but the source is {source} and the "
                f"targets are {target_space.kind}; take decoder/head=linear, or a task with tokens "
                "on both sides"
            )
        super().__init__(
            width=features_size,
            target_space=target_space,
            embedding_size=embedding_size,
            sees_previous=sees_previous,
            state=state,
            rank=rank,
            tied=tied,
            distribution=None,
        )
        self.gate = nn.Linear(features_size, 1)
        ids = torch.where(alignment < 0, target_space.unk_id, alignment)
        self.register_buffer("target_ids", ids, persistent=False)

    def forward(
        self, features: Tensor, table: Tensor | None = None, *, read: SourceRead | None = None
    ) -> Tensor:
        """Return the log-probabilities.

        Raises:
            ValueError: if memory and source are not of one length.
        """
        read = require.given("what attention read of the source", read)
        if read.weights.shape[-1] != read.source.shape[1]:
            raise ValueError(
                f"the memory has {read.weights.shape[-1]} positions for a source of "
                f"{read.source.shape[1]}, so that nobody knows which token stands where; take an "
                "encoder with one memory position for each token, or decoder/head=linear"
            )
        generated = torch.log_softmax(self._output(features, table), dim=-1)
        index = self.target_ids[read.source].unsqueeze(1).expand_as(read.weights)
        copied = torch.zeros_like(generated).scatter_add(-1, index, read.weights.to(generated))
        log_copied = copied.clamp(min=torch.finfo(copied.dtype).tiny).log()
        gate = self.gate(features)
        return torch.logaddexp(  # eq. 9
            functional.logsigmoid(gate) + generated, functional.logsigmoid(-gate) + log_copied
        )

    def equations(self, features: str) -> list[Equation]:
        """Return the gate, what is generated and what is copied, and their mixture."""
        *narrow, output = self._output_equations(features)
        size = self.output_size
        return [
            *narrow,
            output._replace(left="o_t"),
            Equation("g_t", f"sigmoid(v_g . {features} + d_g)", 1, count(self.gate)),
            Equation("v_t", "sum of w_tj over the positions j that hold y_t", size),
            Equation("logits_t", "log(g_t softmax(o_t) + (1 - g_t) v_t)", size),
        ]
