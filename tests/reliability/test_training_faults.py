"""Faults in training: gradients, operations that are not deterministic, budgets."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from decoderlab.decoders import RecurrentDecoder
from decoderlab.training.gradient_watch import ZEROS
from decoderlab.training.module import EncoderDecoder
from tests.conftest import run


@pytest.mark.fault(29)
def test_a_gradient_that_stays_at_zero_is_said_once(tiny, monkeypatch, capfd):
    prepared = tiny("training.max_steps=25")
    real = EncoderDecoder.training_step
    monkeypatch.setattr(
        EncoderDecoder, "training_step", lambda self, *given: 0.0 * real(self, *given)
    )
    assert run(prepared) == "FINISHED"
    said = capfd.readouterr().err
    assert said.count("the gradient has been zero") == 1
    assert f"warning: at update {ZEROS} the gradient" in said.replace("\n", " ")
    assert "clipped" not in said


@pytest.mark.fault(29)
def test_it_is_said_how_often_a_gradient_was_clipped(tiny, capfd):
    prepared = tiny("training.gradient_clip_norm=0.05", "training.learning_rate=0.01")
    assert run(prepared) == "FINISHED"
    said = " ".join(capfd.readouterr().err.split())
    lines = map(json.loads, prepared.folder.metrics.read_text().splitlines())
    norms = [line["train/gradient_norm"] for line in lines if "train/gradient_norm" in line]
    clipped = sum(norm > 0.05 for norm in norms)
    assert len(norms) == 12
    assert clipped > 0
    assert f"clipped at {clipped} of 12 recorded updates (its largest norm {max(norms):.3g}" in said
    assert "the gradient has been zero" not in said


@pytest.mark.fault(38)
def test_an_operation_that_is_not_deterministic_is_named(tiny, monkeypatch):
    real = RecurrentDecoder.start

    def start(self, encoded):
        table = torch.zeros(4)
        table.put_(torch.tensor([0, 1]), torch.ones(2))  # which of two wins is not defined
        return real(self, encoded)

    monkeypatch.setattr(RecurrentDecoder, "start", start)
    strict, free = tiny("+trainer.deterministic=true"), tiny()
    assert run(strict) == "FAILED"
    reason = strict.folder.status()["reason"]
    assert reason.startswith("RuntimeError: put_ does not have a deterministic implementation")
    assert run(free) == "FINISHED"  # and the demand ends with the run that made it
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.fault(41)
def test_all_variants_stop_at_the_budget_that_stands_in_their_results(tiny):
    results = []
    for decoder in ("repeat_vector", "luong", "transformer"):
        prepared = tiny(f"decoder={decoder}", "training.max_steps=7")
        assert run(prepared) == "FINISHED"
        results.append(prepared.folder.result())
    assert {result.steps for result in results} == {7}
    assert len({result.examples_seen for result in results}) == 1
    assert all(result.budget.match == "updates" for result in results)
    assert replace(results[0].budget) == results[1].budget == results[2].budget
