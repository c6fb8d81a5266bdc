from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from decoderlab.training import cost
from decoderlab.training.assembly import build_model


@pytest.mark.parametrize(("layers", "cell"), [(nn.LSTM, nn.LSTMCell), (nn.GRU, nn.GRUCell)])
def test_recurrent_operations_are_those_that_torch_counts_in_its_cells(layers, cell):
    rows, steps = 3, 4
    with FlopCounterMode(display=False) as counter:
        cell(5, 7)(torch.zeros(rows, 5))
    assert cost.recurrent_flops(layers(5, 7), rows, steps) == counter.get_total_flops() * steps
    deep = layers(5, 7, num_layers=2, bidirectional=True)
    first, second = layers(5, 7), layers(14, 7)
    assert cost.recurrent_flops(deep, rows, steps) == 2 * sum(
        cost.recurrent_flops(one, rows, steps) for one in (first, second)
    )


def test_operations_of_a_model_are_the_sum_of_its_parts(tiny):
    prepared = tiny("decoder=luong", "encoder.hidden_size=8", "decoder.hidden_size=8")
    model = build_model(prepared.config, prepared.task)
    batch = prepared.task.data.splits["train"].batch(torch.arange(5))
    rows, source, target = 5, batch.source.shape[1], batch.target.shape[1]
    hidden, vocabulary = 8, model.target_space.size
    general = 2 * rows * target * hidden * hidden
    scores_and_context = 2 * 2 * rows * target * source * hidden
    mix = 2 * rows * target * 2 * hidden * hidden
    head = 2 * rows * target * hidden * vocabulary
    recurrent = 2 * 4 * hidden * (4 + hidden) * rows * (target)
    lengths = int(batch.source_lengths.sum())
    recurrent += 2 * 4 * hidden * (4 + hidden) * lengths
    expected = general + scores_and_context + mix + head + recurrent
    assert cost.count_flops(model, batch) == expected


def test_parameters_are_counted_once_and_frozen_ones_not(tiny):
    prepared = tiny("decoder=initial_state_no_feedback")
    counts = cost.count_parameters(build_model(prepared.config, prepared.task))
    # 4 H (H + 2) of the decoder's LSTM without the frozen input weights, and its output layer.
    assert counts["decoder"] == 4 * 8 * (8 + 2) + (8 + 1) * 10
    assert counts["total"] == counts["encoder"] + counts["decoder"] == prepared.num_parameters


def test_peak_memory_is_a_plausible_number():
    cost.reset_peak_memory()
    before = cost.peak_memory()
    block = torch.ones(30_000_000)
    assert cost.peak_memory() - before >= 0.9 * block.numel() * 4
