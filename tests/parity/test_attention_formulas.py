"""Scores that look at positions and at earlier steps, against their papers' formulas in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import entmax as reference
import numpy as np
import pytest
import torch

from decoderlab.decoders.attention.sparse_scores import entmax
from decoderlab.testing.attention_score_subjects import weights_of
from tests import parts

LENGTHS, STEPS, QUERY, MEMORY = (6, 4, 1), 5, 5, 7
Named = dict[str, np.ndarray]


def softmax(values: np.ndarray) -> np.ndarray:
    """Return the softmax of a vector; -inf gets 0."""
    exponentials = np.exp(values - values.max())
    return exponentials / exponentials.sum()


def softplus(values: np.ndarray) -> np.ndarray:
    """Return log(1 + exp(.))."""
    return np.log1p(np.exp(values))


def sigmoid(value: float) -> float:
    """Return 1 / (1 + exp(-.))."""
    return 1 / (1 + np.exp(-value))


def location_aware(p: Named, queries: np.ndarray, memory: np.ndarray) -> list[np.ndarray]:
    """Chorowski et al. 2015, eq. 8 and 9."""
    filters = p["filters.weight"][:, 0]
    half, last, rows = filters.shape[1] // 2, np.zeros(len(memory)), []
    for query in queries:
        padded = np.pad(last, half)
        scores = []
        for j, vector in enumerate(memory):
            seen = filters @ padded[j : j + filters.shape[1]]
            hidden = p["project_query.weight"] @ query + p["project_query.bias"]
            hidden = hidden + p["project_memory.weight"] @ vector
            hidden = np.tanh(hidden + p["project_filtered.weight"] @ seen)
            scores.append(p["score_vector.weight"][0] @ hidden)
        last = softmax(np.array(scores))
        rows.append(last)
    return rows


def coverage(p: Named, queries: np.ndarray, memory: np.ndarray) -> list[np.ndarray]:
    """See et al. 2017, eq. 10 and 11."""
    covered, rows = np.zeros(len(memory)), []
    for query in queries:
        hidden = p["project_query.weight"] @ query + p["project_query.bias"]
        hidden = hidden + memory @ p["project_memory.weight"].T
        hidden = hidden + np.outer(covered, p["project_coverage.weight"][:, 0])
        rows.append(softmax(np.tanh(hidden) @ p["score_vector.weight"][0]))
        covered = covered + rows[-1]
    return rows


def location(p: Named, queries: np.ndarray, memory: np.ndarray) -> list[np.ndarray]:
    """Luong et al. 2015, eq. 9; positions beyond the fourth are not read."""
    rows = []
    for query in queries:
        weights = softmax((p["position.weight"] @ query)[: len(memory)])
        rows.append(np.pad(weights, (0, max(len(memory) - 4, 0))))
    return rows


def general(p: Named, query: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """Luong et al. 2015, eq. 8."""
    return memory @ p["content.project_query.weight"] @ query


def local_monotonic(p: Named, queries: np.ndarray, memory: np.ndarray) -> list[np.ndarray]:
    """Luong et al. 2015, section 3.2, local-m with D = 2, positions from 1."""
    positions, rows = np.arange(1, len(memory) + 1), []
    for step, query in enumerate(queries, 1):
        centre = min(step, len(memory))
        inside = np.abs(positions - centre) <= 2
        rows.append(softmax(np.where(inside, general(p, query, memory), -np.inf)))
    return rows


def local_predicted(p: Named, queries: np.ndarray, memory: np.ndarray) -> list[np.ndarray]:
    """Luong et al. 2015, eq. 9 and 10, local-p with D = 2, normalised after the Gaussian."""
    positions, rows = np.arange(1, len(memory) + 1), []
    for query in queries:
        hidden = np.tanh(p["project_position.weight"] @ query)
        centre = len(memory) * sigmoid(p["position_vector.weight"][0] @ hidden)
        inside = np.abs(positions - centre) <= 2
        aligned = softmax(np.where(inside, general(p, query, memory), -np.inf))
        aligned = aligned * np.exp(-((positions - centre) ** 2) / (2 * 1.0**2))
        rows.append(aligned / aligned.sum())
    return rows


def monotonic(p: Named, queries: np.ndarray, memory: np.ndarray) -> list[np.ndarray]:
    """Two readers, from the front and from the back, and contents, mixed."""
    positions, readers, rows = np.arange(len(memory)), np.array([-1.0, len(memory)]), []
    for query in queries:
        steps = softplus(p["step.weight"] @ query + p["step.bias"])
        deviations = 0.27 + softplus(p["deviation.weight"] @ query + p["deviation.bias"])
        readers = readers + steps * np.array([1, -1])
        located = [
            softmax(-((positions - reader) ** 2) / (2 * deviation**2))
            for reader, deviation in zip(readers, deviations, strict=True)
        ]
        readers = np.array([weights @ positions for weights in located])
        gates = softmax(p["gate.weight"] @ query + p["gate.bias"])
        rows.append(gates @ np.stack([softmax(general(p, query, memory)), *located]))
    return rows


FORMULAS: dict[str, tuple[Callable[..., list[np.ndarray]], dict[str, Any]]] = {
    "location_aware": (location_aware, {"num_filters": 3, "filter_width": 3}),
    "coverage": (coverage, {}),
    "location": (location, {"num_positions": 4}),
    "local_monotonic": (local_monotonic, {"half_width": 2}),
    "local_predicted": (local_predicted, {"half_width": 2}),
    "monotonic": (monotonic, {}),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_score_is_its_formula(name):
    formula, settings = FORMULAS[name]
    chosen = parts.chosen("attention", name)
    chosen["score"] = {**chosen["score"], **settings}
    torch.manual_seed(1)
    attention = parts.maker("attention", chosen)(query_size=QUERY, memory_size=MEMORY, size=3)
    score = attention.score.double()
    for parameter in score.parameters():
        torch.nn.init.normal_(parameter)
    queries = torch.randn(len(LENGTHS), STEPS, QUERY, dtype=torch.double)
    memory = torch.randn(len(LENGTHS), max(LENGTHS), MEMORY, dtype=torch.double)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    with torch.no_grad():
        result = weights_of(score, queries, memory, mask).numpy()
    values = {key: value.numpy() for key, value in score.state_dict().items()}
    for row, length in enumerate(LENGTHS):
        expected = formula(values, queries[row].numpy(), memory[row, :length].numpy())
        np.testing.assert_allclose(result[row, :, :length], np.stack(expected), rtol=0, atol=1e-10)
        assert not result[row, :, length:].any()


REFERENCES = {
    1.0: torch.softmax,
    1.5: reference.entmax15,
    2.0: reference.sparsemax,
}


@pytest.mark.parametrize("alpha", REFERENCES)
@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])
def test_entmax_is_that_of_its_authors(alpha, spread):
    torch.manual_seed(3)
    scores = (spread * torch.randn(50, 9, dtype=torch.double)).requires_grad_()
    scores_too = scores.detach().clone().requires_grad_()
    weights, expected = entmax(scores, alpha), REFERENCES[alpha](scores_too, dim=-1)
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-10)
    outward = torch.randn_like(weights)
    (weights * outward).sum().backward()
    (expected * outward).sum().backward()
    torch.testing.assert_close(scores.grad, scores_too.grad, rtol=0, atol=1e-8)
    # What is masked gets exactly 0, and the others what they get without it.
    masked = torch.cat([scores.detach(), scores.new_full((50, 3), float("-inf"))], dim=-1)
    with torch.no_grad():
        padded = entmax(masked, alpha)
    assert not padded[:, 9:].any()
    torch.testing.assert_close(padded[:, :9], weights.detach(), rtol=0, atol=1e-12)
