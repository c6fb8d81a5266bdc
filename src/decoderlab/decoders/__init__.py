"""Decoders: modules that write a target. A variant exists when its YAML in conf/decoder exists."""

from decoderlab.decoders.feedforward import FeedforwardDecoder
from decoderlab.decoders.recurrent import RecurrentDecoder
from decoderlab.decoders.transformer import TransformerDecoder

__all__ = ["FeedforwardDecoder", "RecurrentDecoder", "TransformerDecoder"]
