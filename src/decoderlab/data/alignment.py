"""Which target token is the same as a source token: what a decoder that copies needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from decoderlab.data.vocabulary import SPECIAL, Vocabulary


@dataclass(frozen=True)
class Alignment:
    """Source tokens and the target tokens that are spelt the same.

    Args:
        source_tokens, target_tokens: of each id, the special ones among them.
        target_ids: (source vocabulary) int64, of each source id the target id of the same token;
            -1 for a token that targets lack, and for padding, BOS, EOS and the unknown token, of
            which nothing can be copied.

    Example:
        >>> alignment = Alignment.of(Vocabulary(["a", "b"]), Vocabulary(["b", "c"]))
        >>> alignment.target_ids.tolist()
        [-1, -1, -1, -1, -1, 4]
    """

    source_tokens: tuple[str, ...]
    target_tokens: tuple[str, ...]
    target_ids: Tensor

    @classmethod
    def of(cls, source: Vocabulary, target: Vocabulary) -> Alignment:
        """Align two vocabularies."""
        sources, targets = (
            tuple(vocabulary.decode(range(len(vocabulary)))) for vocabulary in (source, target)
        )
        ids = {token: number for number, token in enumerate(targets) if token not in SPECIAL}
        return cls(sources, targets, torch.tensor([ids.get(token, -1) for token in sources]))

    def copied(self, source: Tensor) -> Tensor:
        """Return source ids as target ids, -1 for those that targets lack.

        Args:
            source: ids of any shape, int64.
        """
        return self.target_ids.to(source.device)[source]
