"""Heads: from what a step knows to its output, tokens or values."""

from decoderlab.decoders.heads.head import DISTRIBUTIONS, Head
from decoderlab.decoders.heads.hidden_heads import MaxoutHead, TanhHead
from decoderlab.decoders.heads.linear_head import LinearHead

__all__ = ["DISTRIBUTIONS", "Head", "LinearHead", "MaxoutHead", "TanhHead"]
