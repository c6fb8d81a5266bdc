"""A small decoder with parts that can be made in other ways."""

from __future__ import annotations

import torch
from torch import nn

from decoderlab.decoders.feedback import before_each


class Plain(nn.Module):
    """A GRU cell with an embedding, attention and a head, each to be made in another way."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__()
        self.space, width = target_space, encoder_shape.memory_size
        self.embedding = self.make_embedding(target_space.size, width)
        self.cell = nn.GRUCell(2 * width, width)
        self.head = self.make_head(2 * width, target_space.size)

    def make_embedding(self, size, width):
        return nn.Embedding(size, width)

    def make_head(self, width, size):
        return nn.Linear(width, size)

    def embed(self, token):
        return self.embedding(token)

    def attend(self, hidden, state):
        scores = (state["memory"] @ hidden.unsqueeze(-1)).squeeze(-1)
        weights = scores.masked_fill(~state["mask"], -torch.inf).softmax(dim=-1)
        return (weights.unsqueeze(1) @ state["memory"]).squeeze(1)

    def outputs(self, features, state):
        return self.head(features)

    def start(self, encoded):
        return {
            "memory": encoded.memory,
            "mask": encoded.memory_mask,
            "hidden": encoded.summary,
            "step": 0,
        }

    def step(self, previous, state):
        context = self.attend(state["hidden"], state)
        hidden = self.cell(torch.cat([self.embed(previous), context], dim=-1), state["hidden"])
        outputs = self.outputs(torch.cat([hidden, context], dim=-1), state)
        return outputs, state | {"hidden": hidden, "step": state["step"] + 1}

    def forward(self, encoded, target):
        state, outputs = self.start(encoded), []
        for previous in before_each(target, self.space).unbind(dim=1):
            output, state = self.step(previous, state)
            outputs.append(output)
        return torch.stack(outputs, dim=1)

    def reorder(self, state, index):
        return {
            key: value[index] if isinstance(value, torch.Tensor) else value
            for key, value in state.items()
        }
