"""Decoders: modules that write a target. A variant exists when its YAML in conf/decoder exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderlab.common.lazy_names import names_of

if TYPE_CHECKING:
    from decoderlab.decoders.ctc_decoder import CTCDecoder
    from decoderlab.decoders.feedforward_decoder import FeedforwardDecoder
    from decoderlab.decoders.hard_attention_decoder import HardAttentionDecoder
    from decoderlab.decoders.recurrent_decoder import RecurrentDecoder
    from decoderlab.decoders.transformer_decoder import TransformerDecoder

__all__ = [
    "CTCDecoder",
    "FeedforwardDecoder",
    "HardAttentionDecoder",
    "RecurrentDecoder",
    "TransformerDecoder",
]
__getattr__ = names_of(
    __name__,
    {
        "ctc_decoder": ["CTCDecoder"],
        "feedforward_decoder": ["FeedforwardDecoder"],
        "hard_attention_decoder": ["HardAttentionDecoder"],
        "recurrent_decoder": ["RecurrentDecoder"],
        "transformer_decoder": ["TransformerDecoder"],
    },
)
