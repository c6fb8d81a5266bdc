"""Blocks that encoders and decoders are built of; the recurrent cells are named here for YAMLs."""

from decoderlab.layers.fused_cells import GRU, LSTM, RNN
from decoderlab.layers.linear_cells import MinGRU, MinLSTM
from decoderlab.layers.unfused_cells import (
    GRUResetBefore,
    GRUResetSummary,
    LSTMLayerNorm,
    ScalarLSTM,
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUResetBefore",
    "GRUResetSummary",
    "LSTMLayerNorm",
    "MinGRU",
    "MinLSTM",
    "ScalarLSTM",
]
