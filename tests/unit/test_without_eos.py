"""Training without EOS: the loss by its formula, what it is refused with, and a run of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import RunConfig
from decoderlab.config.scientific import scientific_of
from decoderlab.contract import Batch, TokenSpace, ValueSpace
from decoderlab.training.assembly import _check_own_objective, build_task
from decoderlab.training.objective import Likelihood
from tests.conftest import composed, run, same, weights
from tests.interrupting import interrupted

SPACE = TokenSpace(6)
TARGET = torch.tensor([[4, 5, 4, 2], [5, 3, 2, 0], [2, 0, 0, 0]])
BATCH = Batch(TARGET, torch.tensor([4, 3, 1]), TARGET, torch.arange(3))
WITHOUT = ("training.objective.without_eos=true", "evaluation.oracle_length=true")


def outputs() -> torch.Tensor:
    made = np.random.default_rng(1).normal(size=(*TARGET.shape, SPACE.size))
    return torch.from_numpy(made).requires_grad_()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_the_tokens_before_the_end(smoothing):
    given = outputs()
    objective = Likelihood(target_space=SPACE, label_smoothing=smoothing, without_eos=True)
    total, count = objective(given, BATCH)
    logits, expected = given.detach().numpy(), 0.0
    for row, tokens in enumerate(TARGET.tolist()):
        for step, token in enumerate(tokens):
            if token in (SPACE.pad_id, SPACE.eos_id):
                continue
            logs = logits[row, step] - np.log(np.exp(logits[row, step]).sum())
            expected -= (1 - smoothing) * logs[token] + smoothing * logs.mean()
    assert float(total.detach()) == pytest.approx(expected)
    assert int(count) == 8  # as with EOS, so that means are over the same
    total.backward()
    left_out = (TARGET == SPACE.eos_id) | (TARGET == SPACE.pad_id)
    assert not given.grad[left_out].any()
    assert given.grad[~left_out].abs().sum(dim=-1).all()


def test_with_the_end_it_is_larger_by_the_end_alone():
    given = outputs().detach()
    totals = [
        Likelihood(target_space=SPACE, without_eos=without)(given, BATCH)[0]
        for without in (False, True)
    ]
    ends = given.log_softmax(dim=-1)[..., SPACE.eos_id][TARGET == SPACE.eos_id]
    assert float(totals[0] - totals[1]) == pytest.approx(-float(ends.sum()))


def test_real_values_have_no_end():
    with pytest.raises(ValueError, match="real values, which have no end"):
        Likelihood(target_space=ValueSpace(2), without_eos=True)


def config(*settings: str) -> RunConfig:
    return RunConfig.from_composed(composed("task=echo", *settings))


def test_it_names_a_run_only_where_it_is_true():
    plain, without = config().to_dict(), config(*WITHOUT).to_dict()
    assert "without_eos" not in scientific_of(plain)["training"]["objective"]
    assert scientific_of(without)["training"]["objective"]["without_eos"] is True
    plain["training"]["objective"]["_target_"] = "mine.Likelihood"
    assert scientific_of(plain)["training"]["objective"]["without_eos"] is False


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.objective.without_eos=true"], "but evaluation.oracle_length is false"),
        (
            [*WITHOUT, "task=addition", "task.padding=right", "evaluation.oracle_length=false"],
            "without_eos is true, but the targets of this task have no end",
        ),
    ],
)
def test_what_would_never_end_and_what_has_no_end_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_task(config(*settings))


def test_beside_an_objective_of_the_decoder_it_is_refused():
    _check_own_objective(config())
    with pytest.raises(ConfigError, match="brings an objective of its own"):
        _check_own_objective(config(*WITHOUT))


def test_objectives_of_whole_outputs_do_not_have_it():
    with pytest.raises(ConfigError, match="without_eos"):
        build_task(config("training/objective=minimum_risk", f"+{WITHOUT[0]}", WITHOUT[1]))


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(tiny, tmp_path, monkeypatch):
    one, other = (tiny(*WITHOUT, output_dir=tmp_path / name) for name in ("one", "other"))
    assert run(one) == "FINISHED"
    interrupted(other, monkeypatch, 3)
    assert run(other) == "FINISHED"
    assert same(weights(one), weights(other))
    assert one.folder.predictions.read_bytes() == other.folder.predictions.read_bytes()
    lines = one.folder.predictions.read_text().splitlines()
    assert all(json.loads(line)["length_given"] for line in lines)
