"""Attention: which parts of the memory matter now, and what they say."""

from decoderlab.decoders.attention.additive_scores import AdditiveScore, ConcatScore
from decoderlab.decoders.attention.attention import MIXINGS, QUERIES, Attention, NoAttention
from decoderlab.decoders.attention.attention_score import Score, masked_softmax
from decoderlab.decoders.attention.product_scores import DotScore, GeneralScore, ScaledDotScore

__all__ = [
    "MIXINGS",
    "QUERIES",
    "AdditiveScore",
    "Attention",
    "ConcatScore",
    "DotScore",
    "GeneralScore",
    "NoAttention",
    "ScaledDotScore",
    "Score",
    "masked_softmax",
]
