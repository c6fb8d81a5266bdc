"""Usual slips in classes of one's own change no number: draws from shared generators, metrics."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from decoderlab import evaluate, load_run, results, train
from decoderlab.common.errors import ConfigError
from decoderlab.metrics import MetricScore, TaskMetric
from decoderlab.records.run_folder import RunFolder
from decoderlab.training.from_python import RunFailed
from decoderlab.training.interruption import Interrupted
from decoderlab.usage.outputs import predict_outputs
from tests.conftest import TINY, run
from tests.integration.cli import OWN_DECODER, SIZES, in_process
from tests.interrupting import interrupt_at

# Draws from Python's generator and NumPy's, as tutorials do.
TUTORIAL = (
    """import random
import numpy as np
import torch
"""
    + OWN_DECODER
    + """
        self.register_buffer("mask", torch.tensor(np.random.rand(4)))

    def forward(self, encoded, target):
        factor = 1 + random.random() * float(self.mask.mean())
        return super().forward(encoded, target) * factor + np.random.rand()

    def step(self, previous, state):
        outputs, state = super().step(previous, state)
        return outputs * (0.5 + random.random()), state
"""
)
# Vectors that are read once, a mask, and a layer, at the top of the module.
VECTORS = (
    """import numpy as np
import torch
READ = np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 4)
MASK = torch.linspace(1, 0.5, 8)
LAYER = torch.nn.Linear(4, 8)
"""
    + OWN_DECODER
    + """
        self.vectors = torch.nn.Embedding.from_pretrained(torch.from_numpy(READ), freeze=False)
        self.layer = LAYER

    def forward(self, encoded, target):
        added = self.layer(self.vectors.weight) * MASK
        return super().forward(encoded, target) * added.mean()
"""
)
LEARNING = ("training.learning_rate=0.03", "decoder=luong")


@pytest.mark.fault(35)
def test_what_is_drawn_from_shared_generators_is_the_same_again(tmp_path, monkeypatch):
    conf = tmp_path / "conf"
    (conf / "decoder").mkdir(parents=True)
    (conf / "tutorial.py").write_text(TUTORIAL)
    (conf / "decoder/tutorial.yaml").write_text("_target_: tutorial.Own\n")
    settings = ["task=echo", *TINY, "encoder.hidden_size=8", "decoder=tutorial"]
    results = []
    for number, name in enumerate(("whole", "again", "broken")):
        random.seed(number)  # as others in this process leave them
        np.random.seed(number)  # noqa: NPY002
        given = [*settings, f"run.output_dir={tmp_path / name}"]
        if name == "broken":
            with monkeypatch.context() as patch:
                interrupt_at(patch, 7)
                with pytest.raises(Interrupted):
                    train(given, config_dir=conf)
            random.seed(99)
        results.append(train(given, config_dir=conf).result)
    assert results[0].metrics == results[1].metrics
    assert results[0].metrics == results[2].metrics
    assert results[2].restarts == 1
    (folder,) = (tmp_path / "whole/runs").iterdir()
    loaded = load_run(folder, config_dir=conf, trust=True)
    lines = [loaded.task.shown_source("test", row) for row in range(20)]
    before = random.getstate()
    told = [predict_outputs(loaded, lines, details=True) for _ in range(2)]
    assert told[0] == told[1]
    assert random.getstate() == before


@pytest.mark.parametrize("launcher", ["pool", "basic"])
def test_what_stands_at_the_top_of_a_module_has_values_and_is_not_trained(
    tmp_path, monkeypatch, launcher
):
    conf, outputs = tmp_path / "conf", tmp_path / "outputs"
    (conf / "decoder").mkdir(parents=True)
    file = f"vectors_{launcher}"
    (conf / f"{file}.py").write_text(VECTORS)
    (conf / "decoder/vectors.yaml").write_text(f"_target_: {file}.Own\n")
    given = ["task=echo", *TINY, "encoder.hidden_size=8", "decoder=vectors", "seed=0,1"]
    words = ["--config-dir", str(conf), "-m", *given, "study.name=s", "training.learning_rate=0.1"]
    more = ["hydra.launcher.jobs=1"] if launcher == "pool" else ["hydra/launcher=basic"]
    assert in_process(monkeypatch, *words, *more, f"run.output_dir={outputs}") == 0
    both = results("s", outputs).set_index("seed")
    assert list(both["status"]) == ["FINISHED"] * 2
    single = [*given[:-1], "seed=1", "training.learning_rate=0.1"]
    alone = train([*single, f"run.output_dir={tmp_path / 'alone'}"], config_dir=conf).result
    assert both.loc[1, "test_loss"] == alone.metrics.test["loss"]


def score(name: str) -> tuple[MetricScore, ...]:
    return (MetricScore(name=name, better="max", low=0, high=1, worst=0, unit="share"),)


class Plain(TaskMetric):
    """Counts in attributes that no reset knows."""

    scores = score("plain")

    def __init__(self) -> None:
        super().__init__()
        self.right = self.number = 0

    def update(self, predictions, references) -> None:
        self.number += len(predictions)
        pairs = zip(predictions, references, strict=True)
        self.right += sum(tuple(one) in set(map(tuple, right)) for one, right in pairs)

    def compute(self) -> float:
        return self.right / self.number


class InPlace(Plain):
    """Changes what it is given."""

    scores = score("in_place")

    def update(self, predictions, references) -> None:
        super().update(predictions, references)
        for one in predictions:
            one.clear()


class Worst(TaskMetric):
    """Takes the difference in place, of values."""

    scores = (MetricScore(name="worst", better="min", low=0, high=1e9, worst=1e9, unit="units"),)
    reads = "values"

    def __init__(self) -> None:
        super().__init__()
        self.add_state("largest", torch.zeros(()), dist_reduce_fx="max")

    def update(self, predictions, targets) -> None:
        self.largest = torch.maximum(self.largest, predictions.sub_(targets).abs_().max())

    def compute(self):
        return self.largest


def metric(kind: type) -> str:
    return f"+task.metrics.{kind.__name__.lower()}._target_={__name__}.{kind.__name__}"


@pytest.mark.parametrize("kind", [Plain, InPlace])
def test_a_metric_keeps_nothing_of_other_evaluations_and_changes_nothing(tiny, tmp_path, kind):
    alone = tiny(*LEARNING, output_dir=tmp_path / "alone")
    beside = tiny(*LEARNING, metric(kind), output_dir=tmp_path / "beside")
    assert (run(alone), run(beside)) == ("FINISHED", "FINISHED")
    result = RunFolder(beside.folder.path).result()
    for scores in (result.metrics.validation, result.metrics.test):
        assert scores[kind.scores[0].name] == scores["exact_match"]
    loaded = load_run(beside.folder.path, trust=True)
    again = evaluate(loaded.module, loaded.task, "test", loaded.config)
    assert again[kind.scores[0].name] == again["exact_match"] == result.metrics.test["exact_match"]
    assert alone.folder.predictions.read_bytes() == beside.folder.predictions.read_bytes()


def test_a_metric_of_values_changes_no_prediction(tiny, tmp_path):
    runs = [
        tiny(*more, task="forecasting_sunspots", output_dir=tmp_path / name)
        for name, more in (("alone", ()), ("beside", (metric(Worst),)))
    ]
    assert [run(one) for one in runs] == ["FINISHED"] * 2
    texts = [one.folder.predictions.read_bytes() for one in runs]
    assert texts[0] == texts[1]


# A task whose batches are drawn anew each time, and one whose stream cannot begin in its middle.
AUGMENTED = """import numpy as np
import torch
from decoderlab.tasks import EchoTask


class Stream:
    def __init__(self, stream, change):
        self.stream, self.change = stream, change
        self.batches_per_epoch = stream.batches_per_epoch

    def __iter__(self):
        return map(self.change, self.stream)


class Augmented(EchoTask):
    def train_dataloader(self):
        def change(batch):
            hidden = torch.rand(batch.source.shape) < 0.2 + 0.1 * np.random.rand()
            return batch._replace(source=batch.source.masked_fill(hidden, 4))

        return Stream(super().train_dataloader(), change)


class FromTheStart(EchoTask):
    def train_dataloader(self):
        chance = np.random.default_rng(self.seed)

        def change(batch):
            hidden = torch.from_numpy(chance.random(batch.source.shape)) < 0.2
            return batch._replace(source=batch.source.masked_fill(hidden, 4))

        return Stream(super().train_dataloader(), change)
"""


def test_batches_that_a_task_draws_are_the_same_again_or_refused(tmp_path, monkeypatch):
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "augmented.py").write_text(AUGMENTED)
    whole, broken = (
        [
            "task=echo",
            *TINY,
            *SIZES,
            "task._target_=augmented.Augmented",
            f"run.output_dir={folder}",
        ]
        for folder in (tmp_path / "whole", tmp_path / "broken")
    )
    np.random.seed(5)  # noqa: NPY002
    first = train(whole, config_dir=conf).result
    torch.manual_seed(99)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        with pytest.raises(Interrupted):
            train(broken, config_dir=conf)
    second = train(broken, config_dir=conf).result
    assert second.restarts == 1
    assert first.metrics == second.metrics
    other = [*whole[:-1], f"run.output_dir={tmp_path / 'other'}"]
    other[other.index("task._target_=augmented.Augmented")] = "task._target_=augmented.FromTheStart"
    with pytest.raises(
        ConfigError, match="FromTheStart.train_dataloader are others when it begins"
    ):
        train(other, config_dir=conf)
    assert not (tmp_path / "other").exists()


# A generator at the top of a module goes on from run to run of a process.
GENERATOR = (
    """import numpy as np
DRAWS = np.random.default_rng(0)
"""
    + OWN_DECODER
    + """
    def forward(self, encoded, target):
        return super().forward(encoded, target) * (1 + DRAWS.random())
"""
)
# The target is shifted where it stands.
SHIFTING = (
    OWN_DECODER
    + """
    def forward(self, encoded, target):
        target[:, 1:] = target[:, :-1].clone()
        return super().forward(encoded, target)
"""
)


def own_decoder(tmp_path, name: str, text: str) -> list[str]:
    conf = tmp_path / "conf"
    (conf / "decoder").mkdir(parents=True)
    (conf / f"{name}.py").write_text(text)
    (conf / f"decoder/{name}.yaml").write_text(f"_target_: {name}.Own\n")
    return ["task=echo", *TINY, "encoder.hidden_size=8", f"decoder={name}"]


def test_what_goes_on_from_run_to_run_of_a_worker_changes_no_run(tmp_path, monkeypatch):
    given = own_decoder(tmp_path, "generating", GENERATOR)
    losses = {}
    for name, seeds in (("both", "0,1"), ("second", "1")):
        words = ["-m", *given, f"seed={seeds}", "hydra.launcher.jobs=1", f"study.name={name}"]
        outputs = tmp_path / name
        words += ["--config-dir", str(tmp_path / "conf"), f"run.output_dir={outputs}"]
        assert in_process(monkeypatch, *words) == 0
        losses[name] = results(name, outputs).set_index("seed").loc[1, "test_loss"]
    assert losses["both"] == losses["second"]


def test_a_batch_that_is_changed_in_place_fails_the_run(tmp_path):
    given = own_decoder(tmp_path, "shifting", SHIFTING)
    with pytest.raises(RunFailed, match="changes the target in place"):
        train([*given, f"run.output_dir={tmp_path / 'o'}"], config_dir=tmp_path / "conf")
