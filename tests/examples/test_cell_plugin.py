"""The example of a cell of one's own: its state is a matrix."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from decoderlab.contract import Encoded, TokenSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.encoders import RecurrentEncoder
from decoderlab.layers.equations import count
from decoderlab.layers.recurrent_stack import RecurrentLayers
from decoderlab.records.run_folder import RunFolder
from decoderlab.testing import check_cell, check_decoder, check_encoder
from decoderlab.training.loading import load_run
from tests import parts
from tests.integration.cli import in_process, tiny_arguments

FOLDER = Path(__file__).parents[2] / "examples/plugins/cell"
NAME = "matrix_memory"


@pytest.fixture
def cell(monkeypatch):
    """Return the class; forget it and its folder afterwards."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    from matrix_memory import MatrixMemory

    yield MatrixMemory
    sys.modules.pop(NAME, None)


def test_it_passes_the_battery_of_cells(cell):
    check_cell(cell)


@pytest.mark.parametrize(
    "bidirectional",
    [
        pytest.param(False, id="one direction"),
        pytest.param(True, id="both", marks=pytest.mark.slow),
    ],
)
def test_an_encoder_of_it_passes_the_battery(cell, bidirectional):
    settings = {"hidden_size": 3, "num_layers": 2, "bidirectional": bidirectional}
    check_encoder(RecurrentEncoder, cell=cell, **settings)
    encoder = RecurrentEncoder(source_space=TokenSpace(9), cell=cell, **settings)
    width = 3 * (1 + bidirectional)
    assert encoder.shape.further_shapes == ((width, 3), (width,))
    state = encoder(torch.tensor([[4, 5, 6], [7, 0, 0]]), torch.tensor([3, 1])).state
    assert [tuple(part.shape) for part in state.further] == [(2, 2, width, 3), (2, 2, width)]


@pytest.mark.parametrize(
    "attention", [None, parts.attention("general")], ids=["no attention", "attention"]
)
def test_a_decoder_of_it_passes_the_battery(cell, attention):
    settings = {"hidden_size": 8, "num_layers": 2, "attention": attention}
    settings["bridge"] = parts.bridge("copy")
    check_decoder(RecurrentDecoder, cell=cell, routes=["initial_state"], **settings)


def test_its_matrix_begins_at_zero_and_moves_with_the_rows_of_a_beam(cell):
    encoder = RecurrentEncoder(source_space=TokenSpace(9), cell=cell, hidden_size=4)
    decoder = RecurrentDecoder(
        target_space=TokenSpace(9),
        encoder_shape=encoder.shape,
        cell=cell,
        hidden_size=4,
        routes=["every_input"],
    )
    encoded: Encoded = encoder(torch.tensor([[4, 5], [6, 7]]), torch.tensor([2, 2]))
    state = decoder.start(encoded)
    assert not any(part.any() for part in state.recurrent.further)
    _, state = decoder.step(torch.tensor([1, 4]), state)
    matrix = state.recurrent.further[0]
    assert matrix.abs().sum() > 0
    moved = decoder.reorder(state, torch.tensor([1, 1, 0])).recurrent.further[0]
    assert torch.equal(moved, matrix[:, [1, 1, 0]])


def test_a_start_of_its_own_is_used(cell):
    class Full(cell):
        def start(self, state):
            return tuple(part + 1 for part in super().start(state))

    inputs, sizes = torch.randn(2, 3, 5), {"input_size": 5, "hidden_size": 4, "num_layers": 2}
    layers = RecurrentLayers(cell=Full, **sizes)
    outputs, last = layers(inputs)
    zeros = torch.zeros(2, 2, 4)
    begun = layers.begin(last._replace(hidden=zeros, further=()))
    assert all((part == 1).all() for part in begun.further)
    assert torch.equal(layers(inputs, begun)[0], outputs)
    plain = RecurrentLayers(cell=cell, **sizes)
    plain.load_state_dict(layers.state_dict())
    assert not torch.allclose(plain(inputs)[0], outputs)


def test_without_an_input_its_input_weights_are_frozen(cell):
    layers = RecurrentLayers(cell=cell, input_size=0, hidden_size=4)
    frozen = [name for name, one in layers.named_parameters() if not one.requires_grad]
    assert frozen == ["layers.0.cells.0.weight_ih.weight"]
    (*_, last) = layers.equations("s", "x_t")
    assert (last.left, last.parameters) == ("s_t", 0)
    assert layers.equations("s", "x_t")[0].parameters == count(layers) == 18 * (1 + 4)


@pytest.mark.usefixtures("cell")
def test_two_updates_of_training_with_it_in_encoder_and_decoder(monkeypatch, tmp_path, capsys):
    names = ("--config-dir", str(FOLDER), f"encoder/cell={NAME}", f"decoder/cell={NAME}")
    steps = ("training.max_steps=2", "evaluation.every_steps=1", "evaluation.beam_width=2")
    run = partial(in_process, monkeypatch)
    assert run(*tiny_arguments(tmp_path, *names, *steps)) == 0
    (path,) = (tmp_path / "runs").iterdir()
    assert RunFolder(path).result().parameters["total"] > 0
    loaded = load_run(path, trust=True)
    assert type(loaded.module.encoder.rnn.cell_of(0, 0)).__name__ == "MatrixMemory"
    assert run(*tiny_arguments(tmp_path, *names, *steps, "decoder.cell.forget=1")) == 2
    assert "forget" in capsys.readouterr().err
