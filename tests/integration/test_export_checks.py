"""An export whose programs would write something else than the run is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from decoderlab.cli import export
from decoderlab.common.errors import ConfigError
from decoderlab.training.assembly import build_model
from decoderlab.usage import run_export
from decoderlab.usage.program_checks import check_predictions
from decoderlab.usage.programs import programs_of
from decoderlab.usage.run_export import BATCHES, CANNOT, export_run
from tests.conftest import variants

ROOT = Path(__file__).parents[2]
# The exporters of torch warn about their own deprecations.
pytestmark = pytest.mark.filterwarnings("ignore")
# Decoders with every kind of part that a state has.
DECODERS = (
    ("hard_monotonic",),
    ("hard_attention",),
    ("luong_input_feeding", "decoder/attention=location_aware"),
    ("softmax_feedback",),
    ("repeat_vector", "decoder/cell=stack"),
)


def untrained(tiny, decoder, *settings):
    """Return the task and a model whose weights are large enough that every part matters."""
    prepared = tiny(f"decoder={decoder}", *settings)
    model = build_model(prepared.config, prepared.task).eval()
    for weight in model.parameters():
        weight.data.mul_(2.0)
    return prepared.task, model


@pytest.mark.thinned(3)
@pytest.mark.parametrize("wrong", [None, "features", "start", "step", "reorder"])
@pytest.mark.parametrize("settings", DECODERS, ids=lambda settings: settings[0])
def test_programs_are_compared_with_the_model_itself(tiny, settings, wrong):
    task, model = untrained(tiny, *settings)
    programs = programs_of(model, task.data.source_space)

    def run(name, given):
        first, *others = programs[name].module(*given)
        if name == wrong == "reorder":
            return given[1:]  # the rows as they were
        return [first + 0.3 * (name == wrong), *others]

    if wrong is None:
        check_predictions(model, task.data.source_space, run, BATCHES)
        return
    with pytest.raises(ConfigError, match="would give other outputs than the run"):
        check_predictions(model, task.data.source_space, run, BATCHES)


# Their states have other shapes after each step, or count the steps.
NOT_EXPORTED = ("ctc", "feedforward", "feedforward_no_feedback", "transformer")
CELLS = [name for name in variants("decoder/cell") if name != "mlstm"]


@pytest.mark.thinned(5)
@pytest.mark.parametrize(
    "settings",
    [
        *((name,) for name in variants("decoder") if name not in NOT_EXPORTED),
        *(("luong", f"decoder/attention={name}") for name in variants("decoder/attention")),
        *(("repeat_vector", f"decoder/cell={name}") for name in CELLS),
    ],
    ids=" ".join,
)
def test_every_recurrent_decoder_has_programs_that_give_its_outputs(tiny, settings):
    try_programs(*untrained(tiny, *settings))


def try_programs(task, model):
    programs = programs_of(model, task.data.source_space)

    def run(name, given):
        return programs[name].module(*given)

    check_predictions(model, task.data.source_space, run, BATCHES)


@pytest.mark.parametrize("name", NOT_EXPORTED)
def test_what_cannot_be_exported_is_documented(tiny, name):
    given = untrained(tiny, name)
    if name != "ctc":  # whose axes are found out with ONNX, by two lengths
        with pytest.raises(ConfigError, match="the decoder's state"):
            programs_of(given[1], given[0].data.source_space)
    for text in ((ROOT / "docs/usage.md").read_text(), CANNOT, export.__doc__):
        assert name.removesuffix("_no_feedback") in text


class Eager:
    """A program that is not traced, which takes a minute."""

    def __init__(self, program):
        self.program = program

    def module(self):
        return self.program.module


class Late(nn.Module):
    """A decoder whose state has not the same parts before and after a step."""

    def __init__(self, late, size):
        super().__init__()
        self.late, self.head = late, nn.Linear(1, size)

    def start(self, encoded):
        hidden = encoded.summary[:, :1]
        return {
            "used": (hidden, None),
            "shown": (hidden, None),
            "nested": (hidden, None),
            "gone": (hidden, hidden),
        }[self.late]

    def step(self, previous, state):
        hidden, other = state
        if self.late == "used" and other is not None:
            hidden = hidden + other
        after = {"nested": (hidden, hidden), "gone": None}.get(self.late, previous[:, None] + 1.0)
        return self.head(hidden), (hidden, after)

    def reorder(self, state, index):
        return tuple(None if part is None else part[index] for part in state)


@pytest.mark.parametrize(
    ("late", "why"),
    [
        ("used", "None before it, and later steps depend on it"),
        ("nested", "other parts after a step"),
        ("gone", "other parts after a step"),
        ("shown", None),
    ],
)
def test_a_state_whose_parts_change_is_exported_only_where_nothing_depends_on_it(tiny, late, why):
    task, model = untrained(tiny, "luong")
    model.decoder = Late(late, model.target_space.size)
    space = task.data.source_space
    if why is None:
        programs = programs_of(model, space)
        check_predictions(model, space, lambda name, its: programs[name].module(*its), BATCHES)
        return
    with pytest.raises(ConfigError, match=why):
        programs_of(model, space)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_an_export_that_writes_something_else_is_refused(tiny, tmp_path, monkeypatch, part):
    task, model = untrained(tiny, "luong")
    other = copy.deepcopy(model)
    for weight in other.get_submodule(part).parameters():
        weight.data.mul_(1.5)
    monkeypatch.setattr(run_export, "programs_of", lambda scan, space: programs_of(other, space))
    monkeypatch.setattr(
        run_export, "_traced", lambda made: SimpleNamespace(module=lambda: made.module)
    )
    with pytest.raises(ConfigError, match="cannot be exported: its programs would give other out"):
        export_run(SimpleNamespace(module=model, task=task), tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_the_first_step_of_hard_attention_is_as_without_emissions(tiny):
    _, model = untrained(tiny, "hard_monotonic")
    encoded = model.encode(torch.tensor([[4, 5, 6]]), torch.tensor([3]))
    state = model.decoder.start(encoded)
    target = torch.tensor([[4, 5, 4]])
    together = model.decoder(encoded, target)
    for step, previous in enumerate((model.target_space.bos_id, 4, 5)):
        outputs, state = model.decoder.step(torch.tensor([previous]), state)
        torch.testing.assert_close(outputs, together[:, step])
