"""Attention scores of rare kinds pass the battery; rare defects are reported by name."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from decoderlab.decoders.attention import AttentionScore, GeneralScore
from decoderlab.testing import check_attention_score
from decoderlab.testing.part_checks import part_failures
from tests.contracts.wrong_parts import LastWeights


class Gaussian(AttentionScore):
    """-|W q - m_j|^2 / (2 sigma^2)."""

    def __init__(self, *, query_size, memory_size):
        super().__init__()
        self.project = nn.Linear(query_size, memory_size)
        self.log_width = nn.Parameter(torch.zeros(()))

    def forward(self, query, keys):
        squares = torch.cdist(self.project(query), keys).square()
        return -squares / (2 * self.log_width.exp().square())


class DistanceBias(GeneralScore):
    """Raffel et al. 2020: a learned bias of the distance between step and position."""

    carries = True

    def __init__(self, *, query_size, memory_size):
        super().__init__(query_size=query_size, memory_size=memory_size)
        self.bias = nn.Embedding(17, 1)

    def begin(self, memory_mask, keys):
        return torch.zeros(len(memory_mask), dtype=torch.int64)

    def weights(self, query, keys, memory_mask, carried):
        distance = (carried.unsqueeze(1) - torch.arange(keys.shape[1])).clamp(-8, 8) + 8
        scores = self(query, keys) + self.bias(distance).transpose(1, 2)
        scores = scores.masked_fill(~memory_mask.unsqueeze(1), -torch.inf)
        return scores.softmax(dim=-1), carried + 1


class Perceptron(AttentionScore):
    """Two hidden layers of query and memory."""

    def __init__(self, *, query_size, memory_size, size):
        super().__init__()
        first, last = nn.Linear(query_size + memory_size, size), nn.Linear(size, 1, bias=False)
        self.layers = nn.Sequential(first, nn.ReLU(), nn.Linear(size, size), nn.GELU(), last)

    def forward(self, query, keys):
        queries = query.unsqueeze(2).expand(-1, -1, keys.shape[1], -1)
        memories = keys.unsqueeze(1).expand(-1, query.shape[1], -1, -1)
        return self.layers(torch.cat([queries, memories], dim=-1)).squeeze(-1)


class ReluKernel(AttentionScore):
    """Katharopoulos et al. 2020: products of features, divided by their sum; some are 0."""

    def __init__(self, *, query_size, memory_size, size):
        super().__init__()
        self.of_query, self.of_memory = nn.Linear(query_size, size), nn.Linear(memory_size, size)

    def keys(self, memory):
        return self.of_memory(memory).relu()

    def weights(self, query, keys, memory_mask, carried):
        products = self.of_query(query).relu() @ keys.transpose(1, 2) + 1e-3
        products = products * memory_mask.unsqueeze(1)
        return products / products.sum(dim=-1, keepdim=True), carried


class Forward(GeneralScore):
    """Zhang et al. 2018: stays or moves on by one from where it was before."""

    carries = True

    def __init__(self, *, query_size, memory_size):
        super().__init__(query_size=query_size, memory_size=memory_size)
        self.stays = nn.Linear(query_size, 1)

    def begin(self, memory_mask, keys):
        first = torch.arange(memory_mask.shape[1]) == 0
        return first.to(keys).expand(len(keys), -1)

    def weights(self, query, keys, memory_mask, carried):
        contents = super().weights(query, keys, memory_mask, None)[0][:, 0]
        share = self.stays(query[:, 0]).sigmoid()
        moved = share * carried + (1 - share) * functional.pad(carried, (1, 0))[:, :-1]
        weights = (moved + 1e-8) * contents
        weights = weights / weights.sum(dim=-1, keepdim=True)
        return weights.unsqueeze(1), weights


class BestTwo(GeneralScore):
    """The softmax of the two largest scores."""

    sparse = True

    def weights(self, query, keys, memory_mask, carried):
        scores = self(query, keys).masked_fill(~memory_mask.unsqueeze(1), -torch.inf)
        least = scores.topk(min(2, scores.shape[-1]), dim=-1).values[..., -1:]
        return scores.masked_fill(scores < least, -torch.inf).softmax(dim=-1), carried


RIGHT = [Gaussian, DistanceBias, Perceptron, ReluKernel, Forward, BestTwo]


@pytest.mark.parametrize("kind", RIGHT, ids=lambda kind: kind.__name__)
def test_what_is_right_in_a_rare_way_passes(kind):
    check_attention_score(kind)


class FarUnread(GeneralScore):
    def forward(self, query, keys):
        far = torch.arange(keys.shape[1]) >= 8
        return super().forward(query, keys).masked_fill(far, 0.0)


class LateQueriesLookAhead(GeneralScore):
    def forward(self, query, keys):
        late = (torch.arange(query.shape[1]) >= 4).view(-1, 1)
        return super().forward(query + late * query.roll(-1, 1), keys)


class LateDetached(GeneralScore):
    def forward(self, query, keys):
        late = (torch.arange(query.shape[1]) >= 4).view(-1, 1)
        return super().forward(torch.where(late, query.detach(), query), keys)


class LateCarriedInTheModule(LastWeights):
    """From the fifth step on, what is carried is in the module."""

    def begin(self, memory_mask, keys):
        self.step, self.kept = 0, super().begin(memory_mask, keys)
        return self.kept

    def weights(self, query, keys, memory_mask, carried):
        if self.step > 3 and self.kept.shape == carried.shape:
            carried = self.kept
        weights, self.kept = super().weights(query, keys, memory_mask, carried)
        self.step += 1
        return weights, self.kept


class Coin(GeneralScore):
    def forward(self, query, keys):
        scores = super().forward(query, keys)
        return scores * (torch.rand(len(scores), 1, 1) < 0.5) if self.training else scores


class Seeds(GeneralScore):
    def forward(self, query, keys):
        torch.manual_seed(0)
        return super().forward(query, keys)


class Trains(GeneralScore):
    def forward(self, query, keys):
        self.train()
        return super().forward(query, keys)


class LastBatchSaved(GeneralScore):
    def __init__(self, *, query_size, memory_size):
        super().__init__(query_size=query_size, memory_size=memory_size)
        self.register_buffer("last", torch.zeros(memory_size))

    def keys(self, memory):
        if not self.training:
            return memory
        changed = memory * (1 + self.last)
        self.last.copy_(memory.detach().mean(dim=(0, 1)))
        return changed


class AllRowsNormed(GeneralScore):
    def __init__(self, *, query_size, memory_size):
        super().__init__(query_size=query_size, memory_size=memory_size)
        self.norm = nn.BatchNorm1d(memory_size)

    def keys(self, memory):
        return self.norm(memory.transpose(1, 2)).transpose(1, 2)


RANDOM = "all_that_is_random_in_the_score_is_declared"
READ = "the_query_and_the_memory_have_influence"
DEFECTS = {
    FarUnread: (READ, r"of 13 positions of the memory, \[8, 9, 10, 11, 12\]"),
    LateQueriesLookAhead: ("queries_at_once_are_queries_in_turn", "one by one"),
    LateDetached: ("the_scores_gradients_are_right", "the query"),
    LateCarriedInTheModule: ("rows_that_are_reordered_go_on", "after 6 steps"),
    Coin: (RANDOM, "a coin"),
    Seeds: (RANDOM, "of torch itself"),
    Trains: ("nothing_stays_in_the_score", "training mode"),
    LastBatchSaved: ("training_keeps_nothing_of_the_memory_before", "another batch before"),
    AllRowsNormed: ("rows_of_a_score_have_no_influence_on_each_other", "in training, other rows"),
}


@pytest.mark.parametrize("kind", DEFECTS, ids=lambda kind: kind.__name__)
def test_a_rare_defect_is_reported_by_name(kind):
    check, seen = DEFECTS[kind]
    failures = {failure.check: failure.seen for failure in part_failures("attention_score", kind)}
    assert re.search(seen, failures[check])
