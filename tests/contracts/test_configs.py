"""Every YAML composes, explains itself, and trains."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import conf_dir
from decoderlab.config.run_config import RunConfig
from decoderlab.studies.design.grid import GridCell, grid
from decoderlab.training.loading import load_run
from decoderlab.usage.outputs import predict
from tests.conftest import composed, run, small, variants
from tests.contracts.pairs import REFUSED, all_pairs, task_of
from tests.drawing import no_drawing
from tests.integration.cli import in_process

YAMLS = sorted(conf_dir().rglob("*.yaml"))


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(conf_dir())))
def test_a_yaml_begins_with_what_it_is(path: Path):
    text = path.read_text()
    assert text.startswith("# ")
    if path.parent.name in ("encoder", "decoder", "task", "study", "debug"):
        assert "decoderlab-train" in text, "a command that runs it"
        assert f"{path.parent.name}={path.stem}" in text or path.stem == "adhoc"


# Each encoder and each decoder is in some of these; the batteries have each decoder with an encoder
# of each shape.
QUICK = all_pairs()[::41]
SLOW = [pair for pair in all_pairs()[::5] if pair not in QUICK]


@pytest.mark.parametrize(
    ("encoder", "decoder"), QUICK + [pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW]
)
def test_a_pair_trains_generates_and_predicts_the_same_again(tiny, encoder, decoder):
    pair = [f"encoder={encoder}", f"decoder={decoder}", "training.max_steps=2"]
    prepared = tiny(*pair, task=task_of(encoder))
    assert run(prepared) == "FINISHED"
    assert prepared.folder.result().steps == 2
    records = [json.loads(line) for line in prepared.folder.predictions.read_text().splitlines()]
    before = [record["prediction"] for record in records]
    # Once as a person would, from text; once with the data, which is how images come.
    loaded = load_run(prepared.folder.path)
    batch = loaded.task.data.splits["test"].batch(torch.arange(len(records)))
    decode = loaded.task.data.target_vocabulary.decode
    generated = loaded.module(batch.source, batch.source_lengths)
    assert [loaded.task.target_text(decode(row)) for row in generated] == before
    if task_of(encoder) == "echo":
        bare = load_run(prepared.folder.path, data=False)
        assert predict(bare, [record["source"] for record in records]) == before
    else:
        with pytest.raises(ConfigError, match="the image .* cannot be read"):
            predict(loaded, ["square"])


@pytest.mark.parametrize(("encoder", "task"), sorted(REFUSED))
def test_what_makes_no_sense_is_refused_with_the_reason(tiny, encoder, task):
    assert encoder in variants("encoder")
    with pytest.raises(ConfigError, match=REFUSED[encoder, task]):
        tiny(f"encoder={encoder}", task=task)


def of_task(name: str) -> DictConfig:
    """Return the config of a task."""
    return composed(f"task={name}").task


# Their data take long to make.
LONG_MADE = ("conversation", "g2p_de", "learning_to_execute", "scan", "spelling")
TASKS = [
    pytest.param(name, marks=[pytest.mark.slow] if name in LONG_MADE else [])
    for name in variants("task")
]


@pytest.mark.thinned(4)
@pytest.mark.parametrize("task", TASKS)
def test_a_task_trains_with_its_own_settings(monkeypatch, capfd, tmp_path, task):
    if OmegaConf.missing_keys(of_task(task)):
        pytest.skip("reads a file of one's own")
    images = get_class(of_task(task)._target_).reads == "images"
    # The settings of the task are its own; the model is small.
    model = small("encoder", "image_cnn" if images else "lstm") + small("decoder", "repeat_vector")
    arguments = [f"task={task}", *model, f"run.output_dir={tmp_path}", "training.max_steps=2"]
    if task == "g2p":
        arguments += ["task.num_train=500", "task.num_validation=50", "task.num_test=50"]
    code = in_process(monkeypatch, *arguments, "run.evaluation_batch_size=500")
    told = capfd.readouterr().err
    if "which is not installed" in told:
        assert code == 2
        pytest.skip(told)
    assert code == 0, told
    (result,) = (json.loads(path.read_text()) for path in tmp_path.glob("runs/*/result.json"))
    metric = result["selected_by"]
    assert metric in result["metrics"]["test"]
    assert any(metric in rule for rule in result["data"]["baselines"].values())


STUDIES = [name for name in variants("study") if name != "adhoc"]


def with_few_examples(name: str) -> list[str]:
    """Return what makes a study quick: one seed, one of its tasks, few examples."""
    given, named = ["seed=0", "training.max_steps=2", "evaluation.every_steps=2"], []
    study = composed(f"study={name}").study
    tasks = (study.factors or {}).get("task") or []
    if isinstance(tasks, Mapping):  # tasks with names of their own
        first, *others = tasks
        given.append(f"study.exclude=[{{task:[{','.join(others)}]}}]")
        named = [f"task={task}" for key, task in tasks[first].items() if key == "task"]
    elif tasks:
        given.append(f"task={min(tasks, key=lambda task: task != 'addition_2digits')}")
    task = composed(f"study={name}", *given, *named).task
    for split, few in (("train", 500), ("validation", 20), ("test", 20)):
        number = task.get(f"num_{split}")
        if isinstance(number, int) and number > few:
            given.append(f"task.num_{split}={few}")
    if study.tuning:
        one_of_each = ",".join(f"{key}:[{min(some)}]" for key, some in study.tuning.space.items())
        given += [f"study.tuning.space={{{one_of_each}}}"]
        given += ["study.tuning.trials=1", "study.tuning.seeds=[100]"]
    return given


@pytest.mark.parametrize(
    "name",
    [
        name if name == "first_look" else pytest.param(name, marks=pytest.mark.slow)
        for name in STUDIES
    ],
)
def test_a_study_declares_its_question_and_plans(monkeypatch, capfd, tmp_path, name):
    study = composed(f"study={name}").study  # whole, since some stand on another one
    assert study.name == name
    assert study.question.endswith("?")
    assert study.baseline is None or study.minimum_effect > 0
    monkeypatch.setattr("decoderlab.common.process.plan_only", True)
    given = [*with_few_examples(name), f"run.output_dir={tmp_path}"]
    code = in_process(monkeypatch, f"study={name}", *given)
    told = "".join(capfd.readouterr())
    if "which is not installed" in told:
        assert code == 2
        pytest.skip(told)
    assert code == 0, told  # every model was built and met a batch
    assert re.search(r"\b([1-9]\d*) of \1 runs to do", told)


# One of each kind: factors, attention and named tasks; images; real values; tuning; settings of the
# search that share a training; values of a paper. The first three have every kind of picture.
DRAWN = ("context_routes", "task_captioning", "task_forecasting")
TRAINED = (*DRAWN, "copying", "beam_and_mode", "claim_translation")


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_study_of_each_kind_trains_and_has_its_report(monkeypatch, capfd, tmp_path, name):
    study = composed(f"study={name}").study
    given = [*with_few_examples(name), "hydra/launcher=basic"]
    with nullcontext() if name in DRAWN else no_drawing():
        code = in_process(monkeypatch, f"study={name}", f"run.output_dir={tmp_path}", *given)
    assert code == 0, capfd.readouterr().err
    report = (tmp_path / "studies" / name / "report.md").read_text()
    assert study.question in report
    assert f"{study.baseline} (baseline)" in report.replace("\\", "")


def grid_of(name: str) -> list[GridCell]:
    """Return the cells of a study of ours."""
    study = RunConfig.from_composed(composed(f"study={name}")).study
    return grid(study, {}, [], OverridesParser.create().parse_overrides)


def test_context_routes_varies_route_and_feedback_and_nothing_else():
    cells = [cell for cell in grid_of("context_routes") if cell.levels]
    routes = {cell.levels["route"]: cell.given["decoder.routes"] for cell in cells}
    assert routes == {
        "every_input": "[every_input]",
        "initial_state": "[initial_state]",
        "both": "[initial_state,every_input]",
        "first_input": "[first_input]",
        "output": "[output]",
    }
    assert {cell.given["decoder/feedback"] for cell in cells} == {"none", "teacher_forcing"}
    assert {cell.given["task"] for cell in cells} == {"echo", "addition_2digits", "g2p"}
    assert len(cells) == 5 * 2 * 3 * 10
    free = {"decoder.routes", "decoder/feedback", "task", "seed"}
    assert all(set(cell.given) == free for cell in cells)
    assert sum(cell.variant == "attention" for cell in grid_of("context_routes")) == 3 * 10
    whole = composed("study=context_routes").decoder
    bridge = (whole.bridge._target_.rpartition(".")[2], whole.bridge.source)
    assert bridge == ("DenseBridge", "summary"), (
        "every route carries the same vector, through a map of its own"
    )


def test_echo_attention_varies_four_things_and_has_the_articles_model_beside():
    cells = grid_of("echo_attention")
    assert len(cells) == (2**4 + 1) * 10
    article = next(cell for cell in cells if cell.variant)
    ours = composed("study=echo_attention", *article.overrides)
    theirs = composed("preset=brownlee2017_attention")
    mine, other = RunConfig.from_composed(ours), RunConfig.from_composed(theirs)
    assert mine.decoder == other.decoder
    # The study was run with torch's two biases per gate; Keras's encoder has one.
    keras_cell = {"_target_": "decoderlab.layers.LSTM", "bias": "single"}
    assert other.encoder.to_dict() == mine.encoder.to_dict() | {"cell": keras_cell}
    # It was run with torch's Adam too, which adds epsilon elsewhere.
    keras_adam = {"optimizer": theirs.training.optimizer}
    assert keras_adam["optimizer"]._target_.endswith(".KerasAdam")
    assert ours.training.optimizer._target_ == "torch.optim.Adam"
    assert dict(ours.training) | keras_adam == dict(theirs.training)
    assert ours.evaluation == theirs.evaluation
    assert ours.task.data_seed == 0
    assert {key: ours.task[key] for key in theirs.task} == dict(theirs.task)
    first = composed("study=echo_attention", *cells[0].overrides)
    assert list(first.decoder.routes) == ["every_input"]
    assert first.decoder.feedback._target_.endswith(".NoFeedback")


def test_source_reversal_is_the_declared_grid():
    cells = grid_of("source_reversal")
    assert len(cells) == 3 * 2 * 2 * 10
    assert {cell.levels["source"] for cell in cells} == {"forward", "backward"}
    assert {cell.given["decoder"] for cell in cells} == {"repeat_vector", "initial_state", "luong"}


def missing(given: object, completed: object, path: str) -> list[str]:
    """Return the settings of our classes that a config gets from a default, and a YAML lacks."""
    if not isinstance(completed, dict) or not isinstance(given, dict):
        return []
    ours = str(completed.get("_target_", "")).startswith("decoderlab.")
    lacks = [f"{path}.{key}" for key in completed if ours and key not in given]
    return lacks + [
        one for key in given for one in missing(given[key], completed.get(key), f"{path}.{key}")
    ]


# What has YAMLs of its own: a cell by its name, metrics by theirs, a file of one's own as a task.
GIVEN_BY_OTHERS = {
    f"{part}.cell.{name}" for part in ("encoder", "decoder") for name in ("bias", "nonlinearity")
}
GIVEN_BY_OTHERS |= {f"task.{name}" for name in ("metrics", "path", "columns", "target_columns")}
# What a part asks for beside itself.
NEEDS = {"decoder/head=pointer": ("decoder/attention=general",)}


@pytest.mark.thinned
@pytest.mark.parametrize(
    ("group", "name"),
    [
        *(("decoder", name) for name in variants("decoder")),
        *(("encoder", name) for name in variants("encoder")),
        *(("task", name) for name in variants("task")),
        *(("decoder/attention", name) for name in variants("decoder/attention")),
        *(("decoder/bridge", name) for name in variants("decoder/bridge")),
        *(("decoder/cell", name) for name in variants("decoder/cell")),
        *(("decoder/feedback", name) for name in variants("decoder/feedback")),
        *(("decoder/head", name) for name in variants("decoder/head")),
        *(("encoder/cell", name) for name in variants("encoder/cell")),
    ],
)
def test_every_setting_of_a_class_of_ours_can_be_given(group, name):
    config = composed(f"{group}={name}", *NEEDS.get(f"{group}={name}", ()))
    part = group.partition("/")[0]
    if OmegaConf.missing_keys(config[part]):
        pytest.skip("reads a file of one's own")
    given = OmegaConf.to_container(config[part], resolve=True)
    completed = getattr(RunConfig.from_composed(config), part).to_dict()
    assert set(missing(given, completed, part)) <= GIVEN_BY_OTHERS
