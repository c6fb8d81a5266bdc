from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from decoderlab.contract import TokenSpace
from decoderlab.layers.attention_blocks import ScaledEmbedding
from decoderlab.layers.initialisation import initialise
from decoderlab.layers.recurrent_stack import RecurrentLayers
from decoderlab.training.assembly import build_model
from tests.conftest import CELLS, variants


def test_all_variants_of_a_seed_share_every_weight_they_have_in_common(tiny):
    models = {}
    for decoder in variants("decoder"):
        prepared = tiny(f"decoder={decoder}")
        models[decoder] = dict(build_model(prepared.config, prepared.task).named_parameters())
    first = models.pop("repeat_vector")
    for name, parameters in models.items():
        # A bias is drawn as wide as its matrix wants it: it is shared if the matrix is.
        matrices = {key: key.replace("bias", "weight") for key in first}
        shared = [
            key
            for key, matrix in matrices.items()
            if key in parameters and first[matrix].shape == parameters[matrix].shape
        ]
        assert sum(key.startswith("encoder.") for key in shared) == 5, name
        same_cell = "decoder.rnn.layers.0.weight_ih_l0" in parameters
        assert ("decoder.rnn.layers.0.weight_hh_l0" in shared) == same_cell
        assert all(torch.equal(first[key], parameters[key]) for key in shared), name


def test_another_seed_gives_other_weights():
    models = [nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        initialise(model, seed)
    assert torch.equal(models[0].weight, models[1].weight)
    assert not torch.equal(models[0].weight, models[2].weight)


@pytest.mark.parametrize(
    ("module", "bound"),
    [
        (nn.Linear(40, 50), 1 / math.sqrt(40)),
        (nn.LSTM(7, 60), 1 / math.sqrt(60)),
        (nn.GRU(7, 60), 1 / math.sqrt(60)),
    ],
)
def test_the_distributions_are_torchs_own(module, bound):
    initialise(module, 0)
    values = torch.cat([p.detach().flatten() for p in module.parameters()])
    assert values.abs().max() <= bound
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_embeddings_are_normal_and_padding_stays_zero():
    embedding = nn.Embedding(500, 20, padding_idx=0)
    initialise(embedding, 0)
    assert (embedding.weight[0] == 0).all()
    assert embedding.weight.detach()[1:].std() == pytest.approx(1, rel=0.05)


def test_uniform_range_holds_for_every_parameter():
    model = nn.Sequential(nn.Embedding(9, 4), nn.LSTM(4, 5), nn.Linear(5, 2))
    initialise(model, 0, uniform_range=0.08)
    assert all(p.abs().max() <= 0.08 and p.abs().max() > 0 for p in model.parameters())


def test_layer_normalisation_begins_with_ones_and_zeros_all_the_same():
    norm = nn.LayerNorm(5)
    nn.init.normal_(norm.weight)
    initialise(norm, 0, uniform_range=0.08)
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()


def test_unknown_modules_use_their_own_reset():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

        def reset_parameters(self):
            nn.init.normal_(self.weight, mean=5)

    one, other = Own(), Own()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    initialise(one, 0)
    assert torch.equal(torch.get_rng_state(), before)
    initialise(other, 0)
    assert torch.equal(one.weight, other.weight)
    assert one.weight.mean() > 2


def test_the_vector_of_padding_stays_zero_in_every_table():
    for table in (
        nn.Embedding(9, 4, padding_idx=0),
        ScaledEmbedding(space=TokenSpace(9), size=4),
    ):
        for uniform_range in (None, 0.1):
            initialise(table, 0, uniform_range)
            assert (table.weight[0] == 0).all()
            assert (table.weight[1:].abs().sum(dim=-1) > 0).all()


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_without_an_input_only_the_first_layers_input_weights_are_frozen(cell):
    layers = RecurrentLayers(cell=CELLS[cell], input_size=0, hidden_size=1, num_layers=2)
    frozen = [name for name, one in layers.named_parameters() if not one.requires_grad]
    assert frozen == ["layers.0.weight_ih_l0" if cell == "lstm" else "layers.0.cells.0.weight_ih"]


def test_kerass_scheme_is_kerass():
    """Each distribution beside what Keras 3 says of its own layers' defaults."""
    lstm, dense, table = nn.LSTM(7, 60), nn.Linear(40, 50), nn.Embedding(9, 5, padding_idx=0)
    for module in (lstm, dense, table):
        initialise(module.requires_grad_(False), 0, scheme="keras")
    limit = math.sqrt(6 / (7 + 4 * 60))  # Keras's kernel has the shape (7, 240)
    assert 0.98 * limit < lstm.weight_ih_l0.abs().max() <= limit
    square = lstm.weight_hh_l0.T @ lstm.weight_hh_l0
    assert torch.allclose(square, torch.eye(60), atol=1e-5)
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
    assert bias.tolist() == [0.0] * 60 + [1.0] * 60 + [0.0] * 120
    assert dense.weight.abs().max() <= math.sqrt(6 / 90)
    assert dense.weight.std() == pytest.approx(math.sqrt(2 / 90), rel=0.05)
    assert not dense.bias.any()
    assert 0 < table.weight[1:].abs().max() <= 0.05
    gru = nn.GRU(3, 4)
    initialise(gru, 0, scheme="keras")
    assert not gru.bias_ih_l0.any()
    with pytest.raises(ValueError, match="scheme is 'kears'.*Did you mean keras"):
        initialise(dense, 0, scheme="kears")
