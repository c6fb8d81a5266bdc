"""Planted defects of parts that show in large batches, after many calls, or in equal lengths."""

from __future__ import annotations

import pytest
import torch

from decoderlab.decoders.attention import GeneralScore, TanhMixing, masked_softmax
from decoderlab.decoders.bridges import DenseBridge
from decoderlab.decoders.combinations import Addition
from decoderlab.decoders.heads import LinearHead
from decoderlab.layers import GRUResetBefore
from decoderlab.layers.pooling import MeanPooling
from decoderlab.testing.part_checks import part_failures

ROWS = {
    "attention_score": "rows_of_a_score_have_no_influence_on_each_other",
    "bridge": "rows_of_a_bridge_have_no_influence_on_each_other",
    "cell": "a_cells_batch_mates_have_no_influence",
    "combination": "rows_have_no_influence_on_each_other_nor_steps",
    "head": "rows_and_steps_have_no_influence_on_each_other",
    "mixing": "rows_have_no_influence_on_each_other_nor_steps",
    "pooling": "rows_have_no_influence_on_each_other_nor_steps",
}
RIGHT = {
    "attention_score": GeneralScore,
    "bridge": DenseBridge,
    "cell": GRUResetBefore,
    "combination": Addition,
    "head": LinearHead,
    "mixing": TanhMixing,
    "pooling": MeanPooling,
}


def mixed_in_large_batches(values: torch.Tensor, rows: int, calls: int) -> torch.Tensor:
    return values + 0.1 * values.mean(dim=0) if rows > 8 else values


def other_after_fifteen_calls(values: torch.Tensor, rows: int, calls: int) -> torch.Tensor:
    return values * (1 + (calls > 15))


def wrong(kind, change):
    """Return a part of a kind whose outputs (B, ...) are what `change` makes of them."""

    class Wrong(RIGHT[kind]):
        calls = 0

        def forward(self, *inputs):
            self.calls += 1
            outputs = super().forward(*inputs)
            if kind == "bridge":
                hidden = outputs.hidden.transpose(0, 1)
                hidden = change(hidden, len(hidden), self.calls).transpose(0, 1)
                return outputs._replace(hidden=hidden)
            return change(outputs, len(outputs), self.calls)

        def advance(self, projected, state):  # of a cell
            self.calls += 1
            after = super().advance(projected, state)
            return after._replace(hidden=change(after.hidden, len(after.hidden), self.calls))

    return Wrong


def equal(mask):
    real = mask.sum(1)
    return bool((real == real[0]).all())


class ScoreOfEqualLengths(GeneralScore):
    def weights(self, query, keys, memory_mask, carried):
        if len(memory_mask) > 1 and equal(memory_mask):
            memory_mask = torch.ones_like(memory_mask)
        return masked_softmax(self(query, keys), memory_mask), carried


class PoolingOfEqualLengths(MeanPooling):
    def forward(self, memory, memory_mask):
        return memory.mean(1) if equal(memory_mask) else super().forward(memory, memory_mask)


@pytest.mark.thinned
@pytest.mark.parametrize("kind", RIGHT)
@pytest.mark.parametrize("change", [mixed_in_large_batches, other_after_fifteen_calls])
def test_large_batches_and_many_calls_are_looked_at(kind, change):
    assert not part_failures(kind, RIGHT[kind])
    assert ROWS[kind] in {failure.check for failure in part_failures(kind, wrong(kind, change))}


@pytest.mark.parametrize(
    ("kind", "part", "check"),
    [
        ("attention_score", ScoreOfEqualLengths, "length_of_the_padding_has_no_influence"),
        ("pooling", PoolingOfEqualLengths, "padding_does_not_count_in_a_summary"),
    ],
)
def test_rows_that_are_equally_long_may_be_padded_too(kind, part, check):
    (failure,) = [one for one in part_failures(kind, part) if one.check == check]
    assert "equally long" in failure.seen


def test_the_weights_of_a_cell_are_named_by_what_they_multiply():
    class Swapped(GRUResetBefore):
        from_input, from_state = "weight_hh", "weight_ih"

    (failure,) = part_failures("cell", Swapped)
    assert failure.check == "weights_are_named_by_what_they_multiply"
    assert "from_input says that weight_hh multiplies the inputs" in failure.seen
