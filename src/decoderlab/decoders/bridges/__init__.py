"""Bridges: from what the encoder read to the decoder's first state."""

from decoderlab.decoders.bridges.bridge import CELL_STATES, SOURCES, Bridge
from decoderlab.decoders.bridges.constant_bridges import LearnedBridge, ZeroBridge
from decoderlab.decoders.bridges.copy_all_bridge import CopyAllBridge
from decoderlab.decoders.bridges.copy_bridge import CopyBridge
from decoderlab.decoders.bridges.mapped_bridges import DenseBridge, MeanBridge

__all__ = [
    "CELL_STATES",
    "SOURCES",
    "Bridge",
    "CopyAllBridge",
    "CopyBridge",
    "DenseBridge",
    "LearnedBridge",
    "MeanBridge",
    "ZeroBridge",
]
