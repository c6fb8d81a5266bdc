"""An objective with parameters of its own is seeded, trained, saved and loaded like the rest."""

from __future__ import annotations

import pytest
import torch

from decoderlab.training.assembly import build_model
from decoderlab.training.loading import load_run
from decoderlab.training.prepared_run import prepare
from tests.conftest import TASKS, TINY, composed, run, small

MODULE = "tests.contracts.wrong_objectives"


def prepared(tmp_path, name: str, *overrides: str):
    """Return a tiny run with an objective that stands in no YAML."""
    config = composed(
        *TASKS["echo"],
        *TINY,
        *small("encoder", "lstm"),
        *small("decoder", "initial_state"),
        "training.max_steps=2",
        "evaluation.every_steps=1",
        f"run.output_dir={tmp_path}",
        *overrides,
    )
    config.training.objective = {"_target_": f"{MODULE}.{name}"}
    return prepare(config, config.hydra.runtime.choices)


def weights(made) -> dict[str, torch.Tensor]:
    """Return the initial weights of the objective."""
    model = build_model(made.config, made.task)
    return {name: value.detach() for name, value in model.objective.named_parameters()}


def test_its_weights_are_drawn_from_the_seed_of_the_run_alone(tmp_path):
    first = prepared(tmp_path, "LearnedWeights")
    expected = weights(first)
    torch.rand(5)
    again, other = weights(first), weights(prepared(tmp_path, "LearnedWeights", "seed=1"))
    for name, value in expected.items():
        assert torch.equal(again[name], value)
        assert not torch.equal(other[name], value)


def test_the_range_of_initial_weights_holds_for_it_and_a_constant_stays(tmp_path):
    narrow = prepared(tmp_path, "LearnedWeights", "training.uniform_range=0.01")
    assert all(0 < value.abs().max() <= 0.01 for value in weights(narrow).values())
    (start,) = weights(prepared(tmp_path, "LearnedTemperature")).values()
    assert float(start.exp()) == pytest.approx(1.5)


def test_it_leaves_the_weights_of_the_networks_as_they_are(tmp_path):
    models = [
        build_model(made.config, made.task)
        for made in (prepared(tmp_path, name) for name in ("LearnedWeights", "Margin"))
    ]
    own, other = (dict(model.named_parameters()) for model in models)
    assert other.keys() < own.keys()
    assert all(torch.equal(value, own[name]) for name, value in other.items())


def test_it_is_trained_saved_and_loaded(tmp_path):
    made = prepared(tmp_path, "LearnedTemperature")
    (start,) = weights(made).values()
    assert run(made) == "FINISHED"
    (loaded,) = load_run(made.folder.path, trust=True).module.objective.parameters()
    assert not torch.equal(loaded, start)
