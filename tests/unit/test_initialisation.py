from __future__ import annotations

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from decoderlab.config.run_config import PartSettings
from decoderlab.config.run_identity import run_id
from decoderlab.contract import TokenSpace
from decoderlab.layers import GRU, LSTM, RNN, GRUResetBefore, LSTMLayerNorm
from decoderlab.layers.attention_blocks import ScaledEmbedding
from decoderlab.layers.drawn_weights import initialise, watched
from decoderlab.layers.recurrent_stack import RecurrentLayers
from decoderlab.testing import ENCODER_SHAPE, initial_weights
from decoderlab.testing.differences import Seen
from decoderlab.testing.subjects import DecoderSubject
from decoderlab.training.assembly import build_model
from tests.conftest import CELLS, variants


@pytest.mark.long
def test_all_variants_of_a_seed_share_every_weight_they_have_in_common(tiny):
    models, cells = {}, {}
    for decoder in variants("decoder"):
        prepared = tiny(f"decoder={decoder}")
        cells[decoder] = prepared.config.decoder.to_dict().get("cell")
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
        same_cell = cells[name] == cells["repeat_vector"]
        assert ("decoder.rnn.layers.0.weight_hh_l0" in shared) == same_cell
        assert all(torch.equal(first[key], parameters[key]) for key in shared), name


def started(make, seed=0, **settings):
    """Return what training starts from."""
    with watched() as drawn:
        model = make()
    initialise(model, drawn, seed, **settings)
    return model


def test_another_seed_gives_other_weights():
    models = [started(lambda: nn.Linear(3, 3), seed) for seed in (0, 0, 1)]
    assert torch.equal(models[0].weight, models[1].weight)
    assert not torch.equal(models[0].weight, models[2].weight)


@pytest.mark.parametrize(
    ("make", "bound"),
    [
        (lambda: nn.Linear(40, 50), 1 / math.sqrt(40)),
        (lambda: nn.LSTM(7, 60), 1 / math.sqrt(60)),
        (lambda: GRU(input_size=7, hidden_size=60), 1 / math.sqrt(60)),
        (lambda: GRUResetBefore(input_size=7, hidden_size=60), 1 / math.sqrt(60)),
    ],
)
def test_the_distributions_are_torchs_own(make, bound):
    module = started(make)
    values = torch.cat([p.detach().flatten() for p in module.parameters()])
    assert values.abs().max() <= bound
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_embeddings_are_normal_and_padding_stays_zero():
    embedding = started(lambda: nn.Embedding(500, 20, padding_idx=0))
    assert (embedding.weight[0] == 0).all()
    assert embedding.weight.detach()[1:].std() == pytest.approx(1, rel=0.05)


def test_uniform_range_holds_for_every_parameter():
    def make():
        return nn.Sequential(nn.Embedding(9, 4), nn.LSTM(4, 5), nn.Linear(5, 2), nn.Conv1d(2, 2, 3))

    model = started(make, uniform_range=0.08)
    assert all(p.abs().max() <= 0.08 and p.abs().max() > 0 for p in model.parameters())


def test_layer_normalisation_begins_with_ones_and_zeros_all_the_same():
    norm = started(lambda: nn.LayerNorm(5), uniform_range=0.08)
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()


def test_modules_of_torchs_that_are_not_known_use_their_own_reset(monkeypatch):
    torch.manual_seed(1)
    # That would seed generators of other devices, which nobody restores.
    monkeypatch.setattr(torch, "manual_seed", lambda _: pytest.fail("all devices are seeded"))
    with watched() as drawn:
        one, other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
    nn.init.constant_(other.bias, 7.0)
    before = torch.get_rng_state()
    for module in (one, other):
        initialise(module, drawn, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.weight, other.weight)
    assert one.bias.abs().max() < 1
    assert (other.bias == 7).all()


TRAINED = torch.arange(12.0).reshape(3, 4)


def copied(linear):
    with torch.no_grad():
        linear.weight.copy_(TRAINED)


def assigned(linear):
    linear.weight = nn.Parameter(TRAINED.clone())


def in_its_data(linear):
    linear.weight.data *= 0.1


def closed(linear):
    nn.init.zeros_(linear.weight)


def xavier(linear):
    nn.init.xavier_uniform_(linear.weight)


def loaded(linear):
    linear.load_state_dict({"weight": TRAINED, "bias": linear.bias.detach()})


def tied(linear):
    linear.weight = nn.Embedding.from_pretrained(TRAINED, freeze=False).weight


def orthogonal(linear):
    linear.apply(lambda module: nn.init.orthogonal_(module.weight))


class Own(nn.Module):
    """A class whose constructor sets its own weights, beside one that torch's own draws."""

    def __init__(self, set_weights, keep):
        super().__init__()
        self.own, self.plain = nn.Linear(4, 3), nn.Linear(4, 3)
        set_weights(self.own)
        keep.append(self.own.weight.detach().clone())


SETTINGS = [{}, {"uniform_range": 0.1}, {"scheme": "keras"}]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(
    "set_weights", [copied, assigned, in_its_data, closed, xavier, loaded, tied, orthogonal]
)
def test_what_a_constructor_sets_is_kept(set_weights, settings):
    kept = []
    torch.manual_seed(7)
    model = started(lambda: Own(set_weights, kept), **settings)
    assert torch.equal(model.own.weight, kept[0])
    # The rest is left to chance, and drawn by name whatever stands beside it.
    plain = started(lambda: Own(lambda linear: None, []), **settings)
    assert torch.equal(model.plain.weight, plain.plain.weight)
    assert torch.equal(model.own.bias, plain.own.bias)
    assert not torch.equal(model.own.weight, plain.own.weight)


def test_a_table_that_was_trained_is_kept():
    table = started(lambda: nn.Embedding.from_pretrained(TRAINED))
    assert torch.equal(table.weight, TRAINED)


def test_a_class_with_a_distribution_of_its_own_keeps_it():
    class Ownly(nn.Linear):
        def reset_parameters(self):
            nn.init.normal_(self.weight, mean=5)
            nn.init.constant_(self.bias, 2.0)

    model = started(lambda: Ownly(30, 30))
    assert model.weight.mean().item() == pytest.approx(5, abs=0.2)
    assert (model.bias == 2).all()


def test_tied_weights_are_drawn_once_as_what_drew_them():
    def make():
        model = nn.Sequential(nn.Embedding(50, 40), nn.Linear(40, 50))
        model[1].weight = model[0].weight
        return model

    model, alone = started(make), started(lambda: nn.Sequential(nn.Embedding(50, 40)))
    assert model[1].weight is model[0].weight
    assert torch.equal(model[0].weight, alone[0].weight)


def test_watching_leaves_torch_as_it_was():
    before = nn.Linear.reset_parameters
    with watched():
        assert nn.Linear.reset_parameters is not before
    assert nn.Linear.reset_parameters is before
    with pytest.raises(TypeError), watched():
        nn.Linear("three", 3)
    assert nn.Linear.reset_parameters is before


def test_the_decoders_own_draws_do_not_depend_on_the_encoder(tiny):
    # A decoder of torch's attention draws in a way that is not known here.
    def start(encoder):
        prepared = tiny("decoder=transformer", f"encoder={encoder}")
        return dict(build_model(prepared.config, prepared.task).decoder.named_parameters())

    one, other = start("lstm"), start("transformer")
    shared = [name for name in one if one[name].shape == other[name].shape]
    assert len(shared) > 10
    assert all(torch.equal(one[name], other[name]) for name in shared)


def test_the_vector_of_padding_stays_zero_in_every_table():
    for make in (
        lambda: nn.Embedding(9, 4, padding_idx=0),
        lambda: ScaledEmbedding(space=TokenSpace(9), size=4),
    ):
        for uniform_range in (None, 0.1):
            table = started(make, uniform_range=uniform_range).requires_grad_(False)
            assert (table.weight[0] == 0).all()
            assert (table.weight[1:].abs().sum(dim=-1) > 0).all()


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_without_an_input_only_the_first_layers_input_weights_are_frozen(cell):
    layers = RecurrentLayers(cell=CELLS[cell], input_size=0, hidden_size=1, num_layers=2)
    frozen = [name for name, one in layers.named_parameters() if not one.requires_grad]
    assert frozen == ["layers.0.weight_ih_l0" if cell == "lstm" else "layers.0.cells.0.weight_ih"]


@pytest.mark.parametrize("bias", ["double", "single"])
def test_kerass_scheme_is_kerass(bias):
    """Each distribution beside what Keras 3 says of its own layers' defaults."""
    lstm, dense, table = (
        started(make, scheme="keras").requires_grad_(False)
        for make in (
            lambda: LSTM(input_size=7, hidden_size=60, bias=bias),
            lambda: nn.Linear(40, 50),
            lambda: nn.Embedding(9, 5, padding_idx=0),
        )
    )
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
    assert not lstm.bias_hh_l0.any()
    gru = started(lambda: GRU(input_size=3, hidden_size=4), scheme="keras")
    assert not gru.bias_ih_l0.any()
    with pytest.raises(ValueError, match="initial_weights is 'kears'.*Did you mean keras"):
        started(lambda: nn.Linear(2, 2), scheme="kears")


@pytest.mark.parametrize(
    ("torchs", "ours"),
    [
        (lambda: nn.LSTM(3, 4), lambda: LSTM(input_size=3, hidden_size=4)),
        (lambda: nn.GRU(3, 4), lambda: GRU(input_size=3, hidden_size=4)),
        (lambda: nn.RNN(3, 4), lambda: RNN(input_size=3, hidden_size=4)),
    ],
)
def test_torchs_own_layers_get_kerass_weights_as_ours_do(torchs, ours):
    one, other = started(torchs, scheme="keras"), started(ours, scheme="keras")
    for name, values in one.named_parameters():
        assert torch.equal(values, other.get_parameter(name))


def test_the_layer_norm_lstm_forgets_little_in_kerass_scheme():
    cell = started(lambda: LSTMLayerNorm(input_size=3, hidden_size=2), scheme="keras")
    assert cell.bias.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    square = cell.weight_hh.T @ cell.weight_hh
    torch.testing.assert_close(square, torch.eye(2))


WITH_WEIGHTS = """
from decoderlab.encoders import RecurrentEncoder
from decoderlab.layers import LSTM
import torch


class Trained(RecurrentEncoder):
    def __init__(self, *, source_space, weights_path: str):
        super().__init__(source_space=source_space, cell=LSTM, hidden_size=8)
        self.load_state_dict(torch.load(weights_path))
"""


def test_trained_weights_are_what_training_starts_from_and_count_in_the_runs_id(
    tiny, monkeypatch, tmp_path
):
    (tmp_path / "trained_encoder.py").write_text(WITH_WEIGHTS)
    monkeypatch.syspath_prepend(tmp_path)
    plain = tiny("encoder.embedding_size=null")
    trained = build_model(plain.config, plain.task).encoder.state_dict()
    for values in trained.values():
        values += 1
    found = {}
    for name, change in (("one.pt", 0), ("other.pt", 1)):
        weights = {key: values + change for key, values in trained.items()}
        torch.save(weights, tmp_path / name)
    shutil.copy(tmp_path / "one.pt", tmp_path / "the same, elsewhere.pt")
    for name, change in (("one.pt", 0), ("the same, elsewhere.pt", 0), ("other.pt", 1)):
        path = tmp_path / name
        chosen = {"_target_": "trained_encoder.Trained", "weights_path": str(path)}
        config = replace(plain.config, encoder=PartSettings(chosen))
        started_from = build_model(config, plain.task).encoder.state_dict()
        for key, values in trained.items():
            assert torch.equal(started_from[key], values + change)
        found[name] = run_id(config, "data")
    assert found["one.pt"] == found["the same, elsewhere.pt"]
    assert found["one.pt"] != found["other.pt"]
    absent = PartSettings(chosen | {"weights_path": "nowhere.pt"})
    missing = replace(plain.config, encoder=absent)
    assert run_id(missing, "data") not in found.values()


def subject_of(make):
    spaces = {"target_space": TokenSpace(9), "encoder_shape": ENCODER_SHAPE}
    return DecoderSubject(make, spaces, {}, TokenSpace(9), ENCODER_SHAPE)


class WithAGate(nn.Module):
    """A decoder, as far as this check looks at it."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__()
        self.gate, self.plain = nn.Linear(3, 3), nn.Linear(3, 3)
        nn.init.zeros_(self.gate.weight)


class DrawnByNumpy(WithAGate):
    def __init__(self, **spaces):
        super().__init__(**spaces)
        values = np.random.default_rng().normal(size=(3, 3))
        self.plain.weight.data.copy_(torch.from_numpy(values))


def test_the_battery_looks_at_what_training_starts_from(monkeypatch):
    check = initial_weights.what_the_constructor_sets_is_what_training_starts_from
    check(subject_of(WithAGate))
    with pytest.raises(Seen, match="plain.weight differs between two models of one seed"):
        check(subject_of(DrawnByNumpy))

    def drawing_all_anew(model, drawn, seed):
        torch.manual_seed(seed)
        model.gate.reset_parameters()

    monkeypatch.setattr(initial_weights, "initialise", drawing_all_anew)
    with pytest.raises(Seen, match="the constructor sets gate.weight, but"):
        check(subject_of(WithAGate))


@pytest.mark.parametrize("name", CELLS)
def test_every_weight_of_our_cells_is_drawn_by_its_name(name):
    def make():
        return CELLS[name](input_size=3, hidden_size=4)

    torch.manual_seed(1)
    one = started(make, uniform_range=0.01)
    torch.manual_seed(2)
    other = started(make, uniform_range=0.01)
    for (key, values), same in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(values, same), key
        assert "norm" in key or values.abs().max() <= 0.01, key
