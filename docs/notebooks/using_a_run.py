# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Using a trained run
#
# A finished run is a folder. `load_run` opens it; nothing is written into it.

# %%
from pathlib import Path

import decoderlab

settings = ["task=echo", "task.num_values=10", "task.min_length=2", "task.max_length=4"]
settings += ["decoder=luong", "encoder.hidden_size=32", "decoder.hidden_size=32", "logger=none"]
settings += ["training.max_steps=200", "training.learning_rate=0.01", "evaluation.every_steps=100"]
settings += ["task.num_train=2000", "run.output_dir=notebook_outputs"]
decoderlab.train(settings)
(folder,) = Path("notebook_outputs/runs").glob("echo-lstm-luong-*")
run = decoderlab.load_run(folder)

# %% [markdown]
# A prediction per line; with details, probabilities of tokens and weights of attention.

# %%
print(decoderlab.predict(run, ["1 2 3", "5 4"]))
((output,),) = decoderlab.predict_outputs(run, ["1 2 3"], details=True, attention=True)
for token, probability, weights in zip(
    output.tokens, output.probabilities, output.attention, strict=True
):
    print(token, f"{probability:.3f}", [round(weight, 2) for weight in weights])

# %% [markdown]
# The same run with a beam, and its scores on a split.

# %%
wider = decoderlab.search_with(run, beam_width=4)
print(decoderlab.predict_best(wider, ["1 2 3"], 3)[0])
print(decoderlab.evaluate(run.module, run.task, "validation", run.config))

# %% [markdown]
# The encoder alone is a feature extractor.

# %%
batch = next(iter(run.task.test_dataloader()))
print(run.module.encoder(batch.source, batch.source_lengths).summary.shape)
