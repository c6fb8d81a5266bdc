# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # A report in pandas
#
# A study writes `results.csv`, a row a run. This reads that of a sweep of two decoders, two seeds.
# Only what is empty is missing: a variant or a level may be called `None` or `null`.

# %%
import subprocess
import sys

import pandas as pd

import decoderlab

command = [sys.executable, "-m", "decoderlab.cli.train", "-m", "task=echo", "seed=0,1"]
command += ["decoder=repeat_vector,initial_state", "study.name=pandas", "logger=none"]
command += ["encoder.hidden_size=16", "decoder.hidden_size=16", "training.max_steps=100"]
command += [
    "training.learning_rate=0.02",
    "evaluation.every_steps=50",
    "task.num_train=500",
    "run.output_dir=notebook_outputs",
]
command += ["hydra/launcher=basic"]
subprocess.run(command, check=True, capture_output=True)

# %%
path = "notebook_outputs/studies/pandas/results.csv"
runs = pd.read_csv(path, keep_default_na=False, na_values="")
print(runs.columns.tolist())

# %% [markdown]
# Seeds in columns make the pairs visible.

# %%
table = runs.pivot(index="variant", columns="seed", values="test_exact_match")
print(table)
print(table.mean(axis=1).sort_values(ascending=False))

# %% [markdown]
# `decoderlab.results` gives the same rows without the file. The report's own numbers, with intervals,
# tests and verdicts, are what `decoderlab-report pandas --json` prints.

# %%
rows = decoderlab.results("pandas", output_dir="notebook_outputs")
print(rows[["variant", "seed", "status", "parameters", "train_seconds"]])
