"""Tiny runs over all families of models, and what is observed of each.

A change that must not change results keeps them: `golden.json` has their losses, scores and
predictions, and `scripts/regenerate_golden.py` writes it anew where results change on purpose.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from tests.conftest import conf_dir, prepare, run

GOLDEN = Path(__file__).parent / "golden.json"

COMMON = (
    "training.batch_size=16",
    "training.max_steps=20",
    "training.max_epochs=null",
    "training.learning_rate=0.01",
    "evaluation.every_steps=10",
    "run.log_every_steps=1",
    "logger=none",
)
DRAWN = ("task.num_train=200", "task.num_validation=20", "task.num_test=20")
ECHO = ("task=echo", "task.num_values=6", "task.min_length=2", "task.max_length=4", *DRAWN)
TRANSLATION = (*ECHO, "task.order=sorted")
ENCODER = ("encoder.hidden_size=8", "encoder.embedding_size=4")
DECODER = ("decoder.hidden_size=8", "decoder.embedding_size=4")
SIZES = (*ENCODER, *DECODER)
DIRECTIONS = ("encoder=bilstm", "encoder.hidden_size=4", "encoder.embedding_size=4", *DECODER)
TRANSFORMER = (
    "encoder=transformer",
    "encoder.hidden_size=8",
    "encoder.num_heads=2",
    "decoder=transformer",
    "decoder.hidden_size=8",
    "decoder.num_heads=2",
)
SERIES = (
    "task=forecasting",
    "encoder.hidden_size=8",
    "encoder.embedding_size=null",
    "decoder.hidden_size=8",
    "decoder.embedding_size=null",
)

# By name, the settings of each run besides COMMON.
RUNS: dict[str, tuple[str, ...]] = {
    "repeat_vector": (*ECHO, "decoder=repeat_vector", *SIZES),
    "initial_state_no_feedback": (*ECHO, "decoder=initial_state_no_feedback", *SIZES),
    "all_routes_multiplied": (*ECHO, "decoder=all_routes", "decoder.combine=mul", *SIZES),
    "first_input_added_at_output": (
        *ECHO,
        "encoder=gru",
        "decoder=first_input",
        "decoder.routes=[first_input,output]",
        "decoder.combine=add",
        "decoder/cell=gru",
        *SIZES,
    ),
    "peek_two_layers_dropout": (
        *ECHO,
        "decoder=peek",
        "encoder.num_layers=2",
        "decoder.num_layers=2",
        "encoder.dropout=0.2",
        "decoder.dropout=0.2",
        "seed=3",
        *SIZES,
    ),
    "luong_general": (*TRANSLATION, "decoder=luong", *SIZES),
    "luong_input_feeding_bridge_mean": (
        *TRANSLATION,
        "decoder=luong_input_feeding",
        "decoder/attention=concat",
        "decoder/bridge=mean",
        "decoder.head.tied=true",
        *DIRECTIONS,
    ),
    "scaled_dot_deep_learned_bridge": (
        *TRANSLATION,
        "decoder=luong",
        "decoder.routes=[every_input]",
        "decoder/attention=scaled_dot",
        "decoder.attention.query=previous",
        "decoder.attention.mixing=deep",
        "decoder/bridge=learned",
        "decoder/head=tanh",
        *SIZES,
    ),
    "bahdanau2015_beam": (
        *TRANSLATION,
        "preset=bahdanau2015",
        "encoder.hidden_size=4",
        "encoder.embedding_size=4",
        "decoder.attention.size=8",
        "decoder.head.size=4",
        "evaluation.beam_width=3",
        *DECODER,
    ),
    "cho2014": (*ECHO, "preset=cho2014", "decoder.head.size=4", "decoder.head.rank=3", *SIZES),
    "luong2015_uniform_halving": (
        *ECHO,
        "preset=luong2015",
        "encoder.num_layers=2",
        "decoder.num_layers=2",
        *SIZES,
    ),
    "keras_addition": (
        "task=addition_2digits",
        *DRAWN,
        "preset=keras_addition",
        "encoder.hidden_size=8",
        "decoder.hidden_size=8",
    ),
    "scheduled_sampling": (
        *ECHO,
        "decoder=scheduled_sampling",
        "decoder.feedback.decay_steps=10",
        *SIZES,
    ),
    "free_running_dense_bridge": (
        *ECHO,
        "decoder=free_running",
        "decoder/bridge=dense",
        "decoder.bridge.cell=hidden",
        *DIRECTIONS,
    ),
    "softmax_feedback": (*ECHO, "decoder=softmax_feedback", *SIZES),
    "layer_norm_residual_nonlinear_bridge": (
        *ECHO,
        "encoder=lstm_layer_norm",
        "decoder=initial_state",
        "decoder/cell=lstm_layer_norm",
        "decoder/bridge=dense_nonlinear",
        "decoder.bridge.source=summary",
        *SIZES,
    ),
    "residual_encoder_pooled": (
        *ECHO,
        "encoder=lstm_residual",
        "encoder.summary=max",
        "decoder=every_input",
        "decoder/cell=rnn_tanh",
        *SIZES,
    ),
    "reset_gate_before": (
        *ECHO,
        "encoder=gru",
        "encoder/cell=gru_reset_before",
        "decoder=initial_state",
        "decoder/cell=gru_reset_before",
        *SIZES,
    ),
    "transformer_label_smoothing": (
        *TRANSLATION,
        *TRANSFORMER,
        "training.objective.label_smoothing=0.1",
        "training/optimizer=adamw",
        "training/schedule=inverse_sqrt",
        "training.warmup_steps=5",
    ),
    "cnn_feedforward_sampled": (
        *ECHO,
        "encoder=cnn",
        "encoder.hidden_size=8",
        "encoder.embedding_size=4",
        "decoder=feedforward",
        "evaluation.temperature=0.8",
        "training/optimizer=sgd",
        *DECODER,
    ),
    "images": (
        "task=shapes",
        "task.num_places=2",
        *DRAWN,
        "encoder=image_cnn",
        "encoder.hidden_size=8",
        "decoder=first_input",
        *DECODER,
    ),
    "values_gaussian": (
        *SERIES,
        "decoder=every_input",
        "decoder.head.distribution=gaussian",
    ),
    "values_point_attention": (*SERIES, "decoder=luong"),
}


def observed(name: str, folder: Path) -> dict[str, Any]:
    """Train one of `RUNS` below a folder; return what it left."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        overrides = [*COMMON, *RUNS[name], f"run.output_dir={folder}"]
        config = compose("train", overrides=overrides, return_hydra_config=True)
    prepared = prepare(config, config.hydra.runtime.choices)
    assert run(prepared) == "FINISHED", prepared.folder.recorded_status()
    metrics = [json.loads(line) for line in prepared.folder.metrics.read_text().splitlines()]
    predicted = prepared.folder.predictions.read_text().splitlines()
    result = prepared.folder.result()
    return {
        "parameters": result.parameters["total"],
        "best_step": result.best_step,
        "losses": [line["train/loss"] for line in metrics if "train/loss" in line],
        "validation": result.metrics.validation_last,
        "test": result.metrics.test,
        "predictions": [json.loads(line)["prediction"] for line in predicted[:20]],
    }
