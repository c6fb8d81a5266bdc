# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # A first comparison
#
# Two decoders on a small task, three seeds each, from Python. One repeats the summary at every step
# (Keras's RepeatVector), the other starts from it.

# %%
import decoderlab

SETTINGS = [
    "task=echo",
    "task.num_values=10",
    "task.min_length=2",
    "task.max_length=4",
    "task.num_train=2000",
    "encoder.hidden_size=32",
    "decoder.hidden_size=32",
    "training.max_steps=200",
    "training.learning_rate=0.01",
    "evaluation.every_steps=100",
    "run.output_dir=notebook_outputs",
    "logger=none",
]

# %% [markdown]
# `train` takes the settings of a command line. It trains a run, or opens it if it is finished.

# %%
scores = {}
for decoder in ("repeat_vector", "initial_state"):
    for seed in range(3):
        run = decoderlab.train([*SETTINGS, f"decoder={decoder}", f"seed={seed}"])
        scores[decoder, seed] = run.result.metrics.test["exact_match"]

# %%
for (decoder, seed), score in scores.items():
    print(f"{decoder:15} seed {seed}: exact match {score:.3f}")

# %% [markdown]
# With one seed you see two numbers, with three you see how much they vary. Seeds are paired: both
# decoders begin, seed by seed, with the same encoder weights and see the same batches.

# %%
differences = [scores["initial_state", seed] - scores["repeat_vector", seed] for seed in range(3)]
print("initial_state - repeat_vector, seed by seed:", [f"{value:+.3f}" for value in differences])

# %% [markdown]
# A table with intervals, an exact test and a verdict is made by a sweep:
# `decoderlab-train -m task=echo decoder=repeat_vector,initial_state 'seed=range(0,8)'`.
