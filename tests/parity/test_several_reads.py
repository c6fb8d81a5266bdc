"""Heads and hops of attention against their formulas in NumPy, with scores of every kind."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from tests import parts
from tests.parity.test_attention_formulas import FORMULAS, Named, softmax

LENGTHS, STEPS, QUERY, MEMORY, HEADS = (6, 4, 1), 4, 6, 8, 2


def additive(p: Named, queries: np.ndarray, memory: np.ndarray) -> list[np.ndarray]:
    """Bahdanau et al. 2015, A.1.2."""
    of_memory = memory @ p["project_memory.weight"].T
    return [
        softmax(
            np.tanh(of_memory + p["project_query.weight"] @ query) @ p["score_vector.weight"][0]
        )
        for query in queries
    ]


def scaled_dot(p: Named, queries: np.ndarray, memory: np.ndarray) -> list[np.ndarray]:
    """Vaswani et al. 2017, eq. 1."""
    return [softmax(memory @ query / np.sqrt(memory.shape[1])) for query in queries]


SCORES = {
    "additive": (additive, {}),
    "scaled_dot": (scaled_dot, {}),
    "coverage": FORMULAS["coverage"],
    "local_monotonic": FORMULAS["local_monotonic"],
    "monotonic": FORMULAS["monotonic"],
}


def of(p: Named, room: str) -> Named:
    """Return the weights of a part, by their names in it."""
    return {name.removeprefix(room): value for name, value in p.items() if name.startswith(room)}


def heads(score, p: Named, queries: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, ...]:
    """Vaswani et al. 2017, section 3.2.2; also the mean of the heads' weights."""
    contexts, weights = [], []
    queries, memory = queries @ p["split_query.weight"].T, memory @ p["split_memory.weight"].T
    for head in range(HEADS):
        width, size = queries.shape[1] // HEADS, memory.shape[1] // HEADS
        own = memory[:, head * size : (head + 1) * size]
        of_head = queries[:, head * width : (head + 1) * width]
        weights.append(np.stack(score(of(p, f"scores.{head}."), of_head, own)))
        contexts.append(weights[-1] @ own)
    return np.concatenate(contexts, axis=1), np.mean(weights, axis=0)


def single(score, p: Named, queries: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, ...]:
    """A single read."""
    weights = np.stack(score(p, queries, memory))
    return weights @ memory, weights


def hops(read, score, p: Named, queries: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sukhbaatar et al. 2015, section 2.2, three hops."""
    for hop in range(3):
        context, weights = read(score, of(p, f"scores.{hop}."), queries, memory)
        if hop < 2:
            queries = queries + context @ p[f"further.{hop}.weight"].T
    return context, weights


@pytest.mark.parametrize(("name", "num_heads", "num_hops"), [
    (name, *numbers) for name, numbers in product(SCORES, [(HEADS, 1), (1, 3), (HEADS, 3)])
])  # fmt: skip
def test_several_reads_are_their_formula(name, num_heads, num_hops):
    score, settings = SCORES[name]
    query_size = MEMORY if name == "scaled_dot" else QUERY
    chosen = parts.chosen("attention", name, heads=num_heads, hops=num_hops)
    chosen["score"] = {**chosen["score"], **settings}
    torch.manual_seed(1)
    build = parts.maker("attention", chosen)
    attention = build(query_size=query_size, memory_size=MEMORY, size=4)
    module = attention.score.double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    queries = torch.randn(len(LENGTHS), STEPS, query_size, dtype=torch.double)
    memory = torch.randn(len(LENGTHS), max(LENGTHS), MEMORY, dtype=torch.double)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    with torch.no_grad():
        keys = module.source_keys(memory, None)
        carried, reads = module.begin(mask, keys), []
        for step in range(STEPS):
            query = queries[:, step : step + 1]
            reads.append(attention.read(query, memory, keys, mask, carried))
            carried = reads[-1].carried
    assert module.carries == (carried is not None)
    values = {key: value.numpy() for key, value in module.state_dict().items()}
    read = heads if num_heads > 1 else single
    for row, length in enumerate(LENGTHS):
        given = (values, queries[row].numpy(), memory[row, :length].numpy())
        context, weights = hops(read, score, *given) if num_hops > 1 else read(score, *given)
        for step, one in enumerate(reads):
            np.testing.assert_allclose(one.context[row, 0], context[step], rtol=0, atol=1e-10)
            seen = one.weights[row, 0].numpy()
            np.testing.assert_allclose(seen[:length], weights[step], rtol=0, atol=1e-10)
            assert not seen[length:].any()


def test_one_head_and_one_hop_are_no_wrapper():
    attention = parts.attention("general", heads=1, hops=1)(query_size=4, memory_size=4)
    plain = parts.attention("general")(query_size=4, memory_size=4)
    assert type(attention.score) is type(plain.score)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 3}, "no multiple of it"),
        ({"heads": 0}, "attention.heads"),
        ({"hops": 0}, "attention.hops"),
        ({"heads": 2, "size": 5}, "attention.size is 5 wide"),
    ],
    ids=str,
)
def test_numbers_of_reads_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        parts.attention("additive", **settings)(query_size=4, memory_size=4)
