"""Attention: which parts of the memory matter now, and what they say."""

from decoderlab.decoders.attention.additive_scores import AdditiveScore, ConcatScore
from decoderlab.decoders.attention.attention import QUERIES, Attention, NoAttention
from decoderlab.decoders.attention.attention_score import AttentionScore, masked_softmax
from decoderlab.decoders.attention.carried_scores import (
    CoverageScore,
    LocationAwareScore,
    MonotonicScore,
)
from decoderlab.decoders.attention.local_scores import (
    LocalMonotonicScore,
    LocalPredictedScore,
    LocationScore,
)
from decoderlab.decoders.attention.mixings import (
    MIXINGS,
    DeepMixing,
    Mixing,
    SideBySide,
    TanhMixing,
)
from decoderlab.decoders.attention.product_scores import DotScore, GeneralScore, ScaledDotScore
from decoderlab.decoders.attention.several_reads import HeadsScore, HopsScore
from decoderlab.decoders.attention.sparse_scores import EntmaxScore

__all__ = [
    "MIXINGS",
    "QUERIES",
    "AdditiveScore",
    "Attention",
    "ConcatScore",
    "DeepMixing",
    "CoverageScore",
    "DotScore",
    "EntmaxScore",
    "GeneralScore",
    "HeadsScore",
    "HopsScore",
    "Mixing",
    "LocalMonotonicScore",
    "LocalPredictedScore",
    "LocationAwareScore",
    "LocationScore",
    "MonotonicScore",
    "NoAttention",
    "ScaledDotScore",
    "SideBySide",
    "TanhMixing",
    "AttentionScore",
    "masked_softmax",
]
