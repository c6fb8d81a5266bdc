"""Blocks that encoders and decoders are built of; the recurrent cells are named here for YAMLs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderlab.common.lazy_names import names_of

if TYPE_CHECKING:
    from decoderlab.layers.fused_cells import GRU, LSTM, RNN
    from decoderlab.layers.linear_cells import MinGRU, MinLSTM
    from decoderlab.layers.matrix_cell import MatrixLSTM
    from decoderlab.layers.stack_cell import StackRNN
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
    "MatrixLSTM",
    "MinGRU",
    "MinLSTM",
    "ScalarLSTM",
    "StackRNN",
]
__getattr__ = names_of(
    __name__,
    {
        "fused_cells": ["GRU", "LSTM", "RNN"],
        "linear_cells": ["MinGRU", "MinLSTM"],
        "matrix_cell": ["MatrixLSTM"],
        "stack_cell": ["StackRNN"],
        "unfused_cells": ["GRUResetBefore", "GRUResetSummary", "LSTMLayerNorm", "ScalarLSTM"],
    },
)
