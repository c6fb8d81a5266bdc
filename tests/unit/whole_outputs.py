"""A decoder with logits of its own for every prefix, and all outputs that it can write."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from decoderlab.contract import Batch, Encoded, TokenSpace

TOKENS = TokenSpace(6)
PAD, BOS, EOS, UNK = range(4)
ALLOWED = [EOS, 4, 5]


class Prefixes(nn.Module):
    """Logits that are parameters; the ids that are never generated look best."""

    def __init__(self, longest=4, seed=0):
        super().__init__()
        logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 0.3, size=(7**longest, 6)))
        logits[:, TOKENS.never_generated] += 3
        self.logits = nn.Parameter(logits)
        self.shown = []

    def key(self, key, token):
        return (key * 7 + token + 1) % len(self.logits)

    def forward(self, encoded, target):
        self.shown.append((target, self.training))
        key, keys = torch.zeros_like(target[:, 0]), []
        for step in range(target.shape[1]):
            keys.append(key)
            key = self.key(key, target[:, step])
        return self.logits[torch.stack(keys, dim=1)]

    def start(self, encoded):
        return None

    def step(self, previous, state):
        first = state is None
        state = torch.zeros_like(previous) if first else self.key(state, previous)
        return self.logits[state], state

    def reorder(self, state, index):
        return None if state is None else state[index]

    def log_p(self, output):
        """Return log p of an output among those that can be written, a NumPy number."""
        key, total = 0, 0.0
        for token in output:
            logits = self.logits[key].detach().numpy()[ALLOWED]
            total += logits[ALLOWED.index(token)] - np.log(np.exp(logits).sum())
            key = key * 7 + token + 1
        return total


def all_outputs(longest, prefix=()):
    """Yield every output of at most so many tokens, with its EOS where it has one."""
    if len(prefix) == longest:
        yield prefix
        return
    yield (*prefix, EOS)
    for token in (4, 5):
        yield from all_outputs(longest, (*prefix, token))


def edits(one, other):
    """Return the edit distance of two outputs, by its recursion."""
    if not one or not other:
        return len(one) + len(other)
    return min(
        edits(one[1:], other) + 1,
        edits(one, other[1:]) + 1,
        edits(one[1:], other[1:]) + (one[0] != other[0]),
    )


def error_rate(output, target):
    """Return the symbol error rate of an output."""
    plain = [tuple(token for token in one if token > UNK) for one in (output, target)]
    return edits(*plain) / max(len(plain[1]), 1)


def batch_of(*targets):
    """Return a batch of targets, and what stands for their sources."""
    width = max(map(len, targets))
    target = torch.tensor([[*one, *[PAD] * (width - len(one))] for one in targets])
    rows = torch.arange(len(targets))
    source = torch.ones(len(targets), 1, dtype=torch.int64)
    summary = torch.zeros(len(targets), 1)
    encoded = Encoded(summary[:, None], torch.ones(len(targets), 1).bool(), summary, None)
    return encoded, Batch(source, torch.ones_like(rows), target, rows)


def longest_of(target, ratio):
    """Return the tokens that an output may have."""
    return math.ceil(len(target) * ratio) if EOS in target else len(target)


def gradient(objective, decoder, targets):
    """Return the loss of targets, their number, and its gradient by the logits."""
    decoder.zero_grad()
    total, count = objective.sequence_loss(decoder, *batch_of(*targets))
    total.backward()
    return float(total.detach()), int(count), decoder.logits.grad.clone()


def slopes_agree(objective, decoder, targets, by=1e-5):
    """Whether the gradient by each logit that has any is the slope of the loss."""
    found = gradient(objective, decoder, targets)[2]
    places = found.nonzero().tolist()
    for place in map(tuple, places):
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                decoder.logits[place] += sign * by
                sides.append(objective.sequence_loss(decoder, *batch_of(*targets))[0])
                decoder.logits[place] -= sign * by
        if abs(float((sides[0] - sides[1]) / (2 * by) - found[place])) > 1e-8:
            return False
    return len(places) > 12


def expected_cost(decoder, target, ratio=1.0, cost=error_rate):
    """Return what an output is expected to cost, over all of them, with a gradient."""
    total = torch.zeros((), dtype=torch.float64)
    for output in all_outputs(longest_of(target, ratio)):
        outputs = decoder(None, torch.tensor([output]))[0]
        log_p = outputs[:, ALLOWED].log_softmax(dim=-1)
        own = [log_p[step, ALLOWED.index(token)] for step, token in enumerate(output)]
        total = total + torch.stack(own).sum().exp() * cost(output, target)
    return total
