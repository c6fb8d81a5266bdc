"""A decoder may ask for source ids and their alignment, and bring an objective of its own."""

from __future__ import annotations

import pytest
import torch

from decoderlab.cli.check import main
from decoderlab.common.errors import ConfigError
from decoderlab.contract import Encoded, TokenSpace, with_source
from decoderlab.encoders import RecurrentEncoder
from decoderlab.layers import GRU
from decoderlab.testing import check_decoder, decoder_failures
from decoderlab.training.assembly import build_model
from decoderlab.training.loading import load_run
from decoderlab.training.prepared_run import prepare
from decoderlab.usage.outputs import predict_best
from tests.conftest import TASKS, TINY, composed, run, small
from tests.integration.cli import in_process
from tests.integration.copying import Pointer


def prepared(tmp_path, *overrides, task="echo", encoder="lstm", name="Pointer"):
    config = composed(
        *TASKS[task],
        *TINY,
        *small("encoder", encoder),
        "training.max_steps=2",
        "evaluation.every_steps=1",
        f"run.output_dir={tmp_path}",
        *overrides,
    )
    config.decoder = {"_target_": f"tests.integration.copying.{name}", "hidden_size": 8}
    return prepare(config, config.hydra.runtime.choices)


def test_a_pointer_trains_and_is_searched(tmp_path):
    made = prepared(tmp_path, "evaluation.beam_width=3")
    meta = made.networks[1]
    assert all(tensor.device.type == "meta" for tensor in (*meta.parameters(), meta.alignment))
    assert meta.alignment.shape == (made.task.data.source_space.size,)
    assert run(made) == "FINISHED"
    assert made.folder.result().steps == 2
    loaded = load_run(made.folder.path, trust=True)
    expected = loaded.task.data.alignment.target_ids
    assert torch.equal(loaded.module.decoder.alignment, expected)
    assert (expected >= 0).sum() == 6  # as many as there are values
    bare = load_run(made.folder.path, data=False, trust=True)
    assert torch.equal(bare.module.decoder.alignment, expected)
    best = predict_best(bare, ["1 2 3"], num_best=2)
    assert len(best[0]) == 2


def test_a_pointer_that_copies_alone_writes_tokens_of_its_source_in_a_beam(tmp_path):
    made = prepared(tmp_path, "evaluation.beam_width=3")
    model = build_model(made.config, made.task).eval()
    with torch.no_grad():
        model.decoder.gate.bias.fill_(30.0)
        model.decoder.gate.weight.zero_()
    batch = made.task.data.splits["test"].batch(torch.arange(8))
    copied = made.task.data.alignment.copied(batch.source)
    with torch.no_grad():
        generated = model(batch.source, batch.source_lengths)
    assert any(generated)
    for row, written in enumerate(generated):
        assert set(written) <= set(copied[row].tolist()), "another row's source after reorder"


def test_the_ids_of_the_source_stand_beside_what_was_encoded(tmp_path):
    made = prepared(tmp_path)
    model = build_model(made.config, made.task)
    batch = made.task.data.splits["test"].batch(torch.arange(3))
    encoded = model.encode(batch.source, batch.source_lengths)
    assert torch.equal(encoded.source, batch.source)
    assert Encoded(*encoded[:4]).source is None


@pytest.mark.parametrize("with_encoder", [False, True])
def test_a_pointer_passes_the_battery(with_encoder):
    space = TokenSpace(11)
    encoder = RecurrentEncoder(source_space=space, cell=GRU, hidden_size=5)
    check_decoder(Pointer, source_space=space, encoder=encoder if with_encoder else None)


def test_the_command_gives_a_pointer_what_it_asks_for(monkeypatch, capsys, tmp_path):
    (tmp_path / "decoder").mkdir()
    yaml = "_target_: tests.integration.copying.Pointer\nhidden_size: 8\n"
    (tmp_path / "decoder" / "pointer.yaml").write_text(yaml)
    given = ["encoder=gru", "decoder=pointer", "--config-dir", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["decoderlab-check", *given])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capsys.readouterr().out.count(" 0 failed") == 2


class CopiesOfAnotherRow(Pointer):
    def start(self, encoded):
        state = super().start(encoded)
        return state._replace(copied=state.copied.roll(1, dims=0))


class CopiesStay(Pointer):
    def reorder(self, state, index):
        return super().reorder(state, index)._replace(copied=state.copied[: len(index)])


class CopiesOfPadding(Pointer):
    def start(self, encoded):
        state = super().start(encoded)
        whole = torch.ones_like(encoded.memory_mask)
        return state._replace(copied=state.copied.clamp(min=4), mask=whole)


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (CopiesOfAnotherRow, "batch_mates_have_no_influence"),
        (CopiesStay, "reorder_moves_everything_a_row_knows"),
        (CopiesOfPadding, "masked_memory_has_no_influence"),
    ],
)
def test_a_pointer_that_copies_the_wrong_token_fails_by_name(wrong, check):
    assert check in [failure.check for failure in decoder_failures(wrong)]


class Rich(Encoded):
    """An encoding with an attribute of its own."""


def test_what_an_encoder_adds_to_its_encoding_stays():
    encoded = Rich(torch.ones(1, 2, 3), torch.ones(1, 2).bool(), torch.ones(1, 3), None)
    encoded.depth = 5
    beside = with_source(encoded, torch.tensor([[4, 5]]))
    assert (beside.depth, beside.source.tolist()) == (5, [[4, 5]])
    assert with_source(encoded, torch.ones(1, 2, 3)).source is None


def test_without_tokens_to_copy_it_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="nothing can be copied without tokens"):
        prepared(tmp_path, task="shapes", encoder="image_cnn")


def test_an_objective_of_the_decoders_own_is_used_in_training_alone(tmp_path):
    made = prepared(tmp_path, name="OwnObjective")
    model = build_model(made.config, made.task)
    batch = made.task.data.splits["train"].batch(torch.arange(4))
    with torch.no_grad():
        total, count = model.train().loss(batch)
        measured, same_count = model.eval().loss(batch)
    assert count == same_count
    assert float(total) == pytest.approx(float(measured) / 2, rel=1e-6)
    assert run(made) == "FINISHED"
    with pytest.raises(ConfigError, match="brings an objective of its own"):
        prepared(tmp_path, "training.objective.label_smoothing=0.1", name="OwnObjective")


def test_an_old_spelling_says_how_to_choose_now(monkeypatch, capsys, tmp_path):
    for given, advice in (
        ("training.optimizer=adam", "choose it: training/optimizer=adam"),
        ("training.schedule=linear", "choose it: training/schedule=linear"),
        ("training.label_smoothing=0.1", "training.objective.label_smoothing"),
    ):
        assert in_process(monkeypatch, given, f"run.output_dir={tmp_path}") == 2
        assert advice in capsys.readouterr().err
