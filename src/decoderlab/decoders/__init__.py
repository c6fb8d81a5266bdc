"""Decoders: modules that write a target. A variant exists when its YAML in conf/decoder exists."""

from decoderlab.decoders.feedforward_decoder import FeedforwardDecoder
from decoderlab.decoders.hard_attention_decoder import HardAttentionDecoder
from decoderlab.decoders.recurrent_decoder import RecurrentDecoder
from decoderlab.decoders.transformer_decoder import TransformerDecoder

__all__ = [
    "FeedforwardDecoder",
    "HardAttentionDecoder",
    "RecurrentDecoder",
    "TransformerDecoder",
]
