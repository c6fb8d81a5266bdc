"""Heads: from what a step knows to its output, tokens or values."""

from decoderlab.decoders.heads.head import Head, SourceRead
from decoderlab.decoders.heads.hidden_heads import MaxoutHead, TanhHead
from decoderlab.decoders.heads.linear_head import LinearHead
from decoderlab.decoders.heads.pointer_head import PointerHead
from decoderlab.decoders.heads.value_distributions import (
    DISTRIBUTIONS,
    Categorical,
    Distribution,
    Gaussian,
    Point,
)

__all__ = [
    "DISTRIBUTIONS",
    "Categorical",
    "Distribution",
    "Gaussian",
    "Head",
    "LinearHead",
    "MaxoutHead",
    "Point",
    "PointerHead",
    "SourceRead",
    "TanhHead",
]
