"""Unknown words of a source are written, by a pointer above all: trained, tested, predicted."""

from __future__ import annotations

import json
import math

import pytest
import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from decoderlab import load_run
from decoderlab.common.errors import ConfigError
from decoderlab.generation import Search
from decoderlab.training.model_evaluation import evaluate, quiet
from decoderlab.usage.ensemble import ensemble
from decoderlab.usage.new_data import load_with
from decoderlab.usage.outputs import predict, predict_outputs
from decoderlab.usage.prefixed_outputs import with_prefix
from decoderlab.usage.run_export import export_run
from tests.conftest import composed, prepare, run

SIZES = (
    *("encoder.hidden_size=32", "encoder.embedding_size=16"),
    *("decoder=luong", "decoder.hidden_size=32", "decoder.embedding_size=16"),
)
TRAINING = (
    *("training.max_epochs=null", "training.batch_size=32", "training.learning_rate=0.02"),
    *("evaluation.every_steps=100", "logger=none"),
)
COPY = (
    *("task=copy", "task.num_values=5", "task.min_length=2", "task.max_length=3"),
    *("task.num_train=400", "task.num_validation=50", "task.num_test=100"),
    "task.unknown_share=0.4",
)


def trained(folder, *settings, steps=250):
    everything = (*SIZES, *TRAINING, f"training.max_steps={steps}", *settings)
    config = composed(*everything, f"run.output_dir={folder}")
    prepared = prepare(config, config.hydra.runtime.choices)
    assert run(prepared) == "FINISHED", prepared.folder.recorded_status()
    lines = prepared.folder.predictions.read_text().splitlines()
    return prepared.folder.path, prepared.folder.result(), [json.loads(line) for line in lines]


def unseen(text):
    """Return the integers of a text that no source of training has."""
    return [token for token in text.split() if token != "<unk>" and int(token) >= 10]


@pytest.mark.slow
def test_a_pointer_writes_integers_that_training_never_had(tmp_path):
    path, result, records = trained(tmp_path, *COPY, "decoder/head=pointer", "task.unknown_slots=3")
    assert result.metrics.test["exact_match"] > 0.9
    assert sum(bool(unseen(record["prediction"])) for record in records) > 50
    loaded = load_run(path, data=False)
    lines = ["77 4 88", "4 12345", "99 99"]
    assert predict(loaded, lines) == lines
    _, plain, records = trained(tmp_path, *COPY)
    assert plain.metrics.test["exact_match"] < 0.35
    assert not any(unseen(record["prediction"]) for record in records)
    whole = [record for record in records if not unseen(record["target"])]
    assert plain.metrics.test["exact_match"] <= len(whole) / len(records)


@pytest.fixture(scope="module")
def greeting(tmp_path_factory):
    """Train a run that greets names, most of which have less than two lines; return its folder."""
    folder = tmp_path_factory.mktemp("greeting")
    names = [f"name{number}" for number in range(240)]
    lines = [f"i am {name}\thello {name}" for name in names[:120]]
    lines += [f"{name} met {name}ina\t{name}ina met {name}" for name in names[120:]]
    (folder / "pairs.tsv").write_text("\n".join(["source\ttarget", *lines]) + "\n")
    path, result, _ = trained(
        folder,
        *("task=tsv", f"task.path={folder / 'pairs.tsv'}", "task.tokens=word"),
        *("task.minimum_count=2", "task.unknown_slots=3", "decoder/head=pointer"),
        "+metric@task.metrics.word_error_rate=word_error_rate",
        steps=300,
    )
    assert result.metrics.test["exact_match"] > 0.9
    assert result.metrics.test["word_error_rate"] < 0.1
    return path


LINES = ["i am Zadok", "Noam met Uz", "", "i am i", "Zadok met Zadok"]


def test_outputs_on_new_lines_have_their_words(greeting):
    loaded = load_run(greeting, data=False)
    texts = predict(loaded, LINES)
    assert texts[:3] == ["hello Zadok", "Uz met Noam", ""]
    searched = loaded._replace(module=loaded.module.with_settings(search=Search(beam_width=3)))
    by_line = predict_outputs(searched, LINES, num_best=3, details=True, attention=True)
    assert [outputs[0].text for outputs in by_line[:2]] == texts[:2]
    first = by_line[1][0]
    assert first.tokens == ["Uz", "met", "Noam"]
    assert first.log_probability == pytest.approx(
        sum(map(math.log, [*first.probabilities, first.end_probability])), abs=1e-6
    )
    (alone,) = predict_outputs(loaded, LINES[1:2], details=True)
    assert alone[0].tokens == first.tokens
    assert alone[0].probabilities == pytest.approx(first.probabilities, abs=1e-6)
    joint = ensemble([loaded, loaded])
    assert predict(joint, LINES) == texts
    with pytest.raises(ConfigError, match="'Uz' in a target.* and a prefix is for all"):
        with_prefix(loaded, "Uz met")


def test_a_new_file_is_tested_with_its_own_words(greeting, tmp_path):
    names = ["Ann", "Bo", "name3"]
    rows = "".join(f"i am {name}\thello {name}\n" for name in names)
    (tmp_path / "new.tsv").write_text(f"source\ttarget\n{rows}")
    new = load_with(greeting, [str(tmp_path / "new.tsv")])
    assert not new.moved
    assert new.trained_on in (0, 1)  # of a name that is trained on, not of all that greet one
    task = new.run.task
    assert evaluate(new.run.module, task, "test", new.run.config)["exact_match"] == 1
    assert [task.words_of("test", row) for row in range(3)] == [(name,) for name in names]
    again = load_with(greeting, [str(load_run(greeting).config.task.to_dict()["path"])])
    assert again.moved


def test_an_export_with_slots_is_refused_and_its_weights_are_not(greeting, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("safetensors")
    loaded = load_run(greeting, data=False)
    with pytest.raises(ConfigError, match="has 3 unknown_slots .* --weights-only"):
        export_run(loaded, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()
    files = export_run(loaded, tmp_path / "weights", weights_only=True)
    assert "model.safetensors" in [path.name for path in files]


def test_lightnings_predictions_have_the_words_of_their_examples(greeting):
    loaded = load_run(greeting)
    with quiet():
        trainer = pl.Trainer(
            logger=False,
            enable_progress_bar=False,
            accelerator="cpu",
            plugins=[LightningEnvironment()],
        )
        batches = trainer.predict(loaded.module, datamodule=loaded.task)
    texts = [text for batch in batches for text in batch]
    first = next(iter(loaded.task.test_dataloader()))
    alone = load_run(greeting).module.predict_step(first, 0)  # whose rows these are nobody says
    assert "name" not in "".join(alone)
    assert any("<unk>" in text for text in alone)
    order = [row for batch in loaded.task.test_dataloader() for row in batch.index.tolist()]
    right = [loaded.task.reference_texts("test", row)[0] for row in order]
    assert sum(text == wanted for text, wanted in zip(texts, right, strict=True)) > 20
