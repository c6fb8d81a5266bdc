"""An encoder of one's own: the mean of the words, whatever their order."""

from __future__ import annotations

from torch import Tensor, nn

from decoderlab.contract import Encoded, EncoderShape, Space, TokenSpace
from decoderlab.layers.pooling import length_mask, masked_mean


class BagOfWords(nn.Module):
    """m_j = F x_j, c = mean of m over the real positions.

    Paper: Rush et al. 2015, section 3.2, enc_1 (https://arxiv.org/abs/1509.00685).
    Differs: none.

    Args:
        source_space: tokens.
        embedding_size: width of the embeddings F, of the memory and of the summary, at least 1.

    Shapes:
        source: (B, S) int64. Returns Encoded: memory (B, S, E), zeros at padding; summary (B, E);
        no state.

    Raises:
        ValueError: if the sources are not tokens.
    """

    def __init__(self, *, source_space: Space, embedding_size: int = 64) -> None:
        super().__init__()
        if not isinstance(source_space, TokenSpace):
            raise ValueError(f"the sources are {source_space.kind}, which are no words")
        self.embedding = nn.Embedding(
            source_space.size, embedding_size, padding_idx=source_space.pad_id
        )
        self.shape = EncoderShape(memory_size=embedding_size, summary_size=embedding_size)

    def forward(self, source: Tensor, source_lengths: Tensor) -> Encoded:
        """Encode a batch."""
        mask = length_mask(source_lengths, source.shape[1], source.device)
        memory = self.embedding(source).masked_fill(~mask.unsqueeze(-1), 0.0)
        return Encoded(memory, mask, masked_mean(memory, mask), None)
