"""Autoencoding: whatever a task reads is written again."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from omegaconf import OmegaConf

from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.config.strangers import refuse_foreign
from decoderlab.tasks import AutoencoderTask, EchoTask
from decoderlab.training.loading import load_run
from decoderlab.usage.outputs import predict
from tests.conftest import run

ECHO = {
    "_target_": "decoderlab.tasks.EchoTask",
    "num_values": 9,
    "min_length": 2,
    "max_length": 5,
    "num_train": 30,
    "num_validation": 8,
    "num_test": 8,
}
SHAPES = {
    "_target_": "decoderlab.tasks.ShapesTask",
    "num_places": 2,
    "num_train": 6,
    "num_validation": 2,
    "num_test": 2,
}


@pytest.mark.parametrize("reverse", [False, True])
def test_tokens_are_written_again(reverse):
    data = AutoencoderTask(of=ECHO, reverse_target=reverse).data
    assert data.source_vocabulary is data.target_vocabulary
    for split in data.splits.values():
        for row in range(len(split)):
            source, (*target, end) = split.source[row], split.target[row]
            assert end == 2
            assert target == (source[::-1] if reverse else source)


def test_a_text_is_split_on_both_sides_as_its_task_does(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("source\ttarget\n" + "".join(f"a b{n}\t{n}\n" for n in range(20)))
    of = {"_target_": "decoderlab.tasks.TSVTask", "path": str(path), "tokens": "word"}
    task = AutoencoderTask(of=of)
    row = task.data.splits["train"].target[0][:-1]
    assert task.data.target_vocabulary.decode(row)[0] == "a"
    assert task.target_text(["a", "b1"]) == "a b1"


def test_a_source_of_two_splits_stays_in_the_test_alone(tmp_path):
    path = tmp_path / "talk.tsv"
    lines = [f"hello\t{n}\t{n}\nhello {'you ' * n}\t{n}\t{n}\n" for n in range(1, 11)]
    path.write_text("source\ttarget\twho\n" + "".join(lines))
    of = {
        "_target_": "decoderlab.tasks.TSVTask",
        "path": str(path),
        "group_column": "who",
        "tokens": "word",
    }
    task = AutoencoderTask(of=of)
    assert task.data.counts["repeated_sources"] == 9
    texts = {
        name: [task.shown_source(name, row) for row in range(len(split))]
        for name, split in task.data.splits.items()
    }
    assert "hello" in texts["test"]
    assert not set(texts["test"]) & set(texts["train"])


def test_recordings_of_a_file_are_written_again(tiny, tmp_path):
    path = tmp_path / "moves.tsv"
    lines = "".join(f"{n},1 {n * n % 7},{2 * n}\tgo\n" for n in range(30))
    path.write_text("source\ttarget\n" + lines)
    prepared = tiny(
        "task@task.of=tsv",
        f"task.of.path={path}",
        "task.of.sources=values",
        "task.of.source_size=2",
        task="autoencoder",
    )
    assert prepared.config.evaluation.select == "mean_absolute_error"
    assert prepared.config.decoder["head"]["distribution"] == "point"


@pytest.mark.parametrize("reverse", [False, True])
def test_images_are_written_column_by_column(reverse):
    task = AutoencoderTask(of=SHAPES, reverse_target=reverse)
    split = task.data.splits["test"]
    for row in range(len(split)):
        image = split.source.values[row, 0].numpy()
        columns = task.data.target_vocabulary.decode(split.target[row]).T
        columns = columns[:, ::-1] if reverse else columns
        assert columns == pytest.approx(image, abs=1e-5)


def test_values_of_many_lengths_come_back_in_their_own_length(tiny, tmp_path):
    path = tmp_path / "wave.csv"
    path.write_text("x\n" + "".join(f"{np.sin(n / 3)}\n" for n in range(300)))
    prepared = tiny(
        "task@task.of=forecasting_file",
        f"task.of.path={path}",
        "task.of.source_length=6",
        "task.of.target_length=2",
        "training.max_steps=2",
        task="autoencoder",
    )
    assert prepared.config.evaluation.select == "mean_absolute_error"
    assert prepared.config.task["of"]["stride"] == 1  # in full, for the run id
    assert run(prepared) == "FINISHED"
    loaded = load_run(prepared.folder.path, data=False)
    with pytest.warns(UserWarning, match="6 positions, but here are some with 1, 2, 3"):
        written = predict(loaded, ["1 2 3", "4", "", "5 6"])
    assert [len(text.split()) for text in written] == [3, 1, 0, 2]
    assert loaded.result.data.baselines["the mean of training"]["mean_absolute_error"] > 0


def test_recordings_beside_texts_in_pieces_come_back(tmp_path):
    path = tmp_path / "moves.tsv"
    lines = "".join(f"{n},{n % 3} {n + 1},{n % 5}\tmove number {n}\n" for n in range(30))
    path.write_text("source\ttarget\n" + lines)
    of = {"_target_": "decoderlab.tasks.TSVTask", "path": str(path), "tokens": "subword"}
    of |= {"vocabulary_size": 40, "sources": "values", "source_size": 2, "minimum_count": 50}
    data = AutoencoderTask(of=of).data
    assert (len(data.splits["train"]), data.target_space.size) == (24, 2)


def test_what_is_wrong_with_the_other_task_is_said(tiny):
    for setting, message in [
        ("+task.of.nope=1", "task.of.nope is not a setting"),
        ("task.of.num_values=0", "task.of: num_values is 0"),
        ("task.of._target_=null", "task.of is .*names no class; choose it: task@task.of=NAME"),
    ]:
        with pytest.raises(ConfigError, match=message):
            tiny(setting, task="autoencoder")


@pytest.mark.parametrize("curriculum", ["naive", "mix", "combined"])
@pytest.mark.parametrize("task", ["learning_to_execute", "memorisation"])
def test_a_curriculum_of_the_other_task_is_refused(tiny, task, curriculum):
    settings = (f"task@task.of={task}", f"task.of.curriculum={curriculum}")
    message = f"task.of: curriculum is '{curriculum}'.* make it baseline"
    with pytest.raises(ConfigError, match=message):
        tiny(*settings, task="autoencoder")


def test_without_a_curriculum_the_target_level_alone_is_written_again(tiny):
    settings = ("task.of.length=6", "task.of.num_train=50", "task.of.curriculum=baseline")
    prepared = tiny("task@task.of=memorisation", *settings, task="autoencoder")
    train = prepared.task.data.splits["train"]
    assert set(train.source.lengths.tolist()) == {6}
    assert 40 < len(train) <= 50


class BatchesOfItsOwn(EchoTask):
    """A task with another order of its examples."""

    def train_dataloader(self):
        """Return batches of another order."""
        return super().train_dataloader()


class BatchesForOthers(BatchesOfItsOwn):
    """Such a task, which says what it trains on."""

    def evenly_trained(self, train):
        """Return half of the examples."""
        return train[::2]


def test_batches_of_the_other_task_are_not_left_out_without_a_word():
    settings = {key: value for key, value in ECHO.items() if key != "_target_"}
    with pytest.raises(ValueError, match=r"task\.of: BatchesOfItsOwn has a train_dataloader"):
        AutoencoderTask(of=partial(BatchesOfItsOwn, **settings))
    half = AutoencoderTask(of=partial(BatchesForOthers, **settings)).data
    assert half.counts["train"] == 15


def test_code_within_the_other_task_needs_trust_too(tiny):
    prepared = tiny("training.max_steps=1", task="autoencoder")
    assert run(prepared) == "FINISHED"
    config = OmegaConf.load(prepared.folder.config)
    config.task.of._target_ = "os.system"
    OmegaConf.save(config, prepared.folder.config)
    with pytest.raises(Invalid, match=r"task.of._target_ is 'os.system'"):  # not what was sealed
        load_run(prepared.folder.path)
    with pytest.raises(ConfigError, match=r"task.of._target_ 'os.system'.*--trust"):
        refuse_foreign(OmegaConf.to_container(config), prepared.folder.config)
