# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Your own data
#
# Pairs of texts in a UTF-8 file, a tab between source and target, whose first line names the columns.

# %%
import random
from pathlib import Path

import decoderlab

letters = random.Random(0)
words = sorted({"".join(letters.choices("abcde", k=letters.randint(2, 4))) for _ in range(700)})
rows = "".join(f"{word}\t{word[::-1]}\n" for word in words)
Path("pairs.tsv").write_text("source\ttarget\n" + rows, encoding="utf-8")
print(rows[:24])

# %% [markdown]
# The file is split so that no source is in two splits. `task.tokens` says what a token is.

# %%
run = decoderlab.train(
    [
        "task=tsv",
        "task.path=pairs.tsv",
        "task.tokens=character",
        "decoder=luong",
        "encoder.hidden_size=32",
        "decoder.hidden_size=32",
        "training.max_steps=400",
        "training.learning_rate=0.01",
        "evaluation.every_steps=200",
        "run.output_dir=notebook_outputs",
        "logger=none",
    ]
)
print(run.result.metrics.test)

# %% [markdown]
# A line that cannot be used is an error with its number, so that nothing is left out in silence.

# %%
Path("broken.tsv").write_text("source\ttarget\nabc\tcba\nno tab here\n", encoding="utf-8")
try:
    decoderlab.train(["task=tsv", "task.path=broken.tsv", "run.output_dir=notebook_outputs"])
except decoderlab.ConfigError as error:
    print(error)

# %% [markdown]
# With `task.skip_bad_lines=true` such lines are left out, counted and named.
