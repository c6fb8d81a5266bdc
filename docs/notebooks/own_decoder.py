# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Your own decoder
#
# A decoder is any module with `forward`, `start`, `step` and `reorder`. Its class lies in a file of
# yours, and a YAML gives it a name.

# %%
from pathlib import Path

import decoderlab

folder = Path("my_conf")
(folder / "decoder").mkdir(parents=True, exist_ok=True)
(folder / "summary_decoder.py").write_text('''
import torch
from torch import nn


class SummaryDecoder(nn.Module):
    """Sees nothing but the summary and the previous token."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__()
        self.bos_id = target_space.bos_id
        self.embedding = nn.Embedding(target_space.size, encoder_shape.summary_size)
        self.head = nn.Linear(encoder_shape.summary_size, target_space.size)

    def forward(self, encoded, target):
        before = torch.cat([torch.full_like(target[:, :1], self.bos_id), target[:, :-1]], dim=1)
        return self.head(torch.tanh(encoded.summary.unsqueeze(1) + self.embedding(before)))

    def start(self, encoded):
        return encoded.summary

    def step(self, token, state):
        return self.head(torch.tanh(state + self.embedding(token))), state

    def reorder(self, state, index):
        return state[index]
''')
(folder / "decoder" / "summary_only.yaml").write_text("_target_: summary_decoder.SummaryDecoder\n")

# %% [markdown]
# The battery checks what every decoder has to keep: that the future does not leak, that padding does
# not count, that all weights get a gradient, and more.

# %%
import sys

sys.path.insert(0, str(folder))
from summary_decoder import SummaryDecoder  # noqa: E402

from decoderlab.testing import check_decoder  # noqa: E402

check_decoder(SummaryDecoder)
print("it keeps the contract")

# %% [markdown]
# Then it is a decoder as any other, in `decoderlab-train --config-dir my_conf` too.

# %%
settings = ["task=echo", "task.num_train=1000", "training.max_steps=100", "logger=none"]
settings += ["evaluation.every_steps=100", "encoder.hidden_size=32"]
settings += ["run.output_dir=notebook_outputs"]
run = decoderlab.train([*settings, "decoder=summary_only"], config_dir=folder)
print(run.result.metrics.test)
