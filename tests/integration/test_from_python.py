"""decoderlab from Python: folders of one's own classes, runs that stay as they are, pickles."""

from __future__ import annotations

import copy
import json
import pickle
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import decoderlab
from decoderlab.common import process
from decoderlab.common.errors import ConfigError
from decoderlab.data.task_data import TaskData
from decoderlab.training.assembly import build_task, rules_beside
from decoderlab.usage.outputs import with_limit
from tests.conftest import run, same
from tests.integration.cli import in_process, tiny_arguments

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "examples/plugins"
# Of each folder, what chooses its class in a tiny run.
CHOSEN = {"objective": ["training/objective=focal"], "encoder": ["encoder=bag_of_words"]}


def id_in(output_dir: Path) -> str:
    (folder,) = (output_dir / "runs").iterdir()
    return json.loads((folder / "manifest.json").read_text())["run_id"]


def arguments_of(kind: str, output_dir: Path) -> list[str]:
    chosen = CHOSEN[kind]
    plain = [
        word
        for word in tiny_arguments(output_dir)
        if kind != "encoder" or not re.match(r"encoder\W", word) or "embedding_size" in word
    ]
    return [*plain, *chosen]


@pytest.fixture
def forgetful(monkeypatch):
    """Call what a command line would leave behind in this process, and forget it."""

    def forget() -> None:
        for path in PLUGINS.rglob("*.py"):
            sys.modules.pop(path.stem, None)

    def command(*arguments: str) -> int:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", list(sys.path))
            patch.setattr(process, "user_config_dir", None)
            code = in_process(patch, *arguments)
        forget()
        return code

    forget()
    yield command
    forget()


def test_classes_of_ones_own_train_as_on_the_command_line(tmp_path, forgetful):
    path, before = list(sys.path), process.user_config_dir
    loaded = {}
    for kind in CHOSEN:  # one after the other, with different folders
        loaded[kind] = decoderlab.train(
            arguments_of(kind, tmp_path / kind), config_dir=PLUGINS / kind
        )
        assert (sys.path, process.user_config_dir) == (path, before)
        assert not GlobalHydra.instance().is_initialized()
    for kind, ran in loaded.items():
        (folder,) = (tmp_path / kind / "runs").iterdir()
        opened = decoderlab.load_run(folder, trust=True, config_dir=str(PLUGINS / kind))
        assert same(opened.module.state_dict(), ran.module.state_dict())
        given = arguments_of(kind, tmp_path / f"{kind}-cli")
        assert forgetful("--config-dir", str(PLUGINS / kind), *given) == 0
        assert id_in(tmp_path / f"{kind}-cli") == id_in(tmp_path / kind) == ran.result.run_id
    assert (sys.path, process.user_config_dir) == (path, before)


def test_a_config_of_ones_own_classes_is_composed_and_trained(tmp_path, forgetful):
    given = arguments_of("objective", tmp_path)
    config = decoderlab.compose_config(given, config_dir=PLUGINS / "objective")
    assert config.training.objective.target == "focal.Focal"
    with pytest.raises(ConfigError, match=r"focal"):  # nothing of the folder is left
        decoderlab.compose_config(given)
    assert decoderlab.train(config, config_dir=PLUGINS / "objective").result.run_id


def test_a_folder_that_is_not_there_is_said_before_anything_else(tmp_path):
    for call in (decoderlab.train, decoderlab.compose_config):
        with pytest.raises(ConfigError, match="config_dir is 'nowhere', which is missing; give"):
            call(["decoder=lunog"], config_dir="nowhere")
    with pytest.raises(ConfigError, match="config_dir is 'nowhere', which is missing; give"):
        decoderlab.load_run(tmp_path, trust=True, config_dir="nowhere")
    with pytest.raises(ConfigError, match="built without trust; give trust=True"):
        decoderlab.load_run(tmp_path, config_dir=tmp_path)


# What is done with a run leaves it as it was.


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run."""
    output_dir = tmp_path_factory.mktemp("finished")
    decoderlab.train(list(tiny_arguments(output_dir, "decoder=luong")))
    (folder,) = (output_dir / "runs").iterdir()
    return folder


def contents(module) -> dict:
    """Return all attributes of a module; those that hold others with what they hold."""
    held = {
        name: (value, copy.copy(value) if isinstance(value, dict | list) else None)
        for name, value in vars(module).items()
    }
    return held | {"weights": {k: v.clone() for k, v in module.state_dict().items()}}


def check_same(before: dict, after: dict) -> None:
    assert before.keys() == after.keys()
    assert same(before.pop("weights"), after.pop("weights"))
    for name, (value, held) in before.items():
        assert after[name][0] is value or after[name][0] == value, name
        assert held is None or after[name][1] == held, name


def test_other_settings_make_another_run_and_leave_this_one(finished):
    loaded = decoderlab.load_run(finished)
    tokens = loaded.task.data.source_vocabulary.entries
    lines = [" ".join(tokens[-3:]), tokens[-1]]
    first = decoderlab.predict(loaded, lines)
    decoderlab.evaluate(loaded.module, loaded.task, "test", loaded.config)
    before, metrics = contents(loaded.module), copy.deepcopy(loaded.module.metrics)
    wider = decoderlab.search_with(loaded, beam_width=3)
    shorter = with_limit(wider, 1)
    decoderlab.predict_best(wider, lines, 3)
    assert all(len(text.split()) <= 1 for text in decoderlab.predict(shorter, lines))
    scores = decoderlab.evaluate(shorter.module, shorter.task, "validation", shorter.config)
    assert scores != loaded.module.scores
    check_same(before, contents(loaded.module))
    assert loaded.module.metrics.compute() == metrics.compute()
    assert decoderlab.predict(loaded, lines) == first
    assert [one.module.search.beam_width for one in (loaded, wider, shorter)] == [1, 3, 3]
    weights = {id(parameter) for parameter in loaded.module.parameters()}
    assert {id(parameter) for parameter in shorter.module.parameters()} == weights


@pytest.mark.parametrize("data", [True, False])
def test_a_module_can_be_pickled_and_goes_on(finished, data):
    module = decoderlab.load_run(finished, data=data).module
    again = pickle.loads(pickle.dumps(module))
    source, lengths = torch.tensor([[4, 5, 6], [5, 4, 4]]), torch.tensor([3, 3])
    with torch.no_grad():
        assert again(source, lengths) == module(source, lengths)
        encoded = [one.encode(source, lengths).summary for one in (again, module)]
    assert torch.equal(*encoded)
    optimizers = [one.make_optimizer(one.parameters())[0] for one in (again, module)]
    assert [type(one) for one in optimizers] == [torch.optim.Adam] * 2
    assert optimizers[0].defaults == optimizers[1].defaults


def test_runs_with_the_same_data_cannot_change_each_others(finished):
    first, second = (decoderlab.load_run(finished) for _ in range(2))
    expected = copy.deepcopy(second.task.baselines())
    first.task.baselines()["the most frequent target"]["exact_match"] = -1.0
    first.task.data.baselines["mine"] = {}
    first.task.data.counts["mine"] = 1
    del first.task.data.splits["train"]
    for other in (second, decoderlab.load_run(finished)):
        assert other.task.baselines() == expected
        assert "mine" not in other.task.data.counts
        assert other.task.data.splits.keys() == {"train", "validation", "test"}


def test_baselines_are_computed_once_for_the_runs_of_a_process(tiny, monkeypatch):
    first, second = (tiny("decoder=luong", f"seed={seed}") for seed in (0, 1))
    assert run(first) == "FINISHED"
    expected = rules_beside(first.config, first.task)
    expected["mine"] = {}  # which is nobody else's
    monkeypatch.setattr(type(second.task), "baselines", lambda _: pytest.fail("computed again"))
    again = build_task(second.config)
    assert {**rules_beside(second.config, again), "mine": {}} == expected
    assert rules_beside(second.config, again).keys() == expected.keys() - {"mine"}


def test_data_without_examples_stay_so_when_they_are_copied(finished):
    data = decoderlab.load_run(finished, data=False).task.data
    assert isinstance(data, TaskData)
    with pytest.raises(ValueError, match="opened without its data"):
        data.copied().splits["test"]


def test_the_reference_names_all_that_is_public():
    page = (ROOT / "docs/reference/python.md").read_text()
    (members,) = re.findall(r"automodule:: decoderlab\n +:members: (.*)", page)
    assert sorted(members.split(", ")) == sorted(decoderlab.__all__)


def test_an_edited_task_of_ones_own_makes_its_data_anew(tmp_path, forgetful):
    (tmp_path / "own" / "task").mkdir(parents=True)
    yaml = (ROOT / "conf/task/echo.yaml").read_text()
    yaml = yaml.replace("decoderlab.tasks.EchoTask", "its_task.Mine")
    (tmp_path / "own/task/mine.yaml").write_text(yaml)
    source = tmp_path / "own" / "its_task.py"
    text = (
        "from decoderlab.tasks import EchoTask\n\n\nclass Mine(EchoTask):\n"
        "    def examples(self):\n        splits, counts = super().examples()\n"
        "        return {name: rows[::STEP] for name, rows in splits.items()}, counts\n"
    )
    data = {}
    given = [*tiny_arguments(tmp_path), "task=mine"]
    for step in ("1", "-1"):
        source.write_text(text.replace("STEP", step))
        ran = decoderlab.train(given, config_dir=tmp_path / "own")
        data[step] = (ran.result.run_id, ran.result.data.fingerprint)
    sys.modules.pop("its_task", None)
    assert len({run for run, _ in data.values()}) == 2
    assert len({fingerprint for _, fingerprint in data.values()}) == 2


def test_an_edited_class_of_ones_own_is_told_wherever_its_run_is_used(tmp_path, capsys):
    own = tmp_path / "own"
    (own / "decoder").mkdir(parents=True)
    yaml = (ROOT / "conf/decoder/feedforward.yaml").read_text()
    (own / "decoder/mine.yaml").write_text(
        yaml.replace("decoderlab.decoders.FeedforwardDecoder", "its_decoder.Mine")
    )
    text = (
        "from its_factor import FACTOR\nfrom decoderlab.decoders import FeedforwardDecoder\n\n\n"
        "class Mine(FeedforwardDecoder):\n"
        "    def forward(self, encoded, target):\n"
        "        return FACTOR * super().forward(encoded, target)\n"
    )
    (own / "its_decoder.py").write_text(text)
    (own / "its_factor.py").write_text("FACTOR = 1.0\n")
    given = [word for word in tiny_arguments(tmp_path) if not word.startswith("decoder")]
    given += ["decoder=mine", "decoder.hidden_size=8"]
    decoderlab.train(given, config_dir=own)
    (first,) = (tmp_path / "runs").iterdir()
    assert decoderlab.load_run(first, trust=True, config_dir=own).code_changes == []
    assert "other code" not in capsys.readouterr().err
    (own / "its_factor.py").write_text("FACTOR = 5.0\n")
    opened = decoderlab.load_run(first, trust=True, config_dir=own)
    assert opened.code_changes == ["its_decoder.Mine"]
    assert f"{first} was made by other code: its_decoder.Mine" in capsys.readouterr().err
    more = [f"training.from_run={first}", "training.max_steps=14"]
    child = decoderlab.train([*given, *more], config_dir=own)
    assert child.result.code_changes == ["its_decoder.Mine"]
    for name in ("its_decoder", "its_factor"):
        sys.modules.pop(name, None)


def test_the_feature_extractor_of_the_docs_works(tiny):
    prepared = tiny()
    assert run(prepared) == "FINISHED"
    text = (ROOT / "docs/keras.md").read_text()
    (block,) = re.findall(r"```python\n(import decoderlab\n.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(block.replace("outputs/runs/RUN", str(prepared.folder.path)), names)
    size = prepared.config.encoder["hidden_size"]
    assert names["summary"].shape == (len(names["batch"].source), size)


def test_threads_of_a_process_take_turns(tmp_path):
    """Otherwise dropout and new weights of one run would draw from the numbers of the other."""

    def scores(seeds, folder):
        def train(seed):
            given = ("decoder.dropout=0.5", "training.max_steps=40", f"seed={seed}")
            result = decoderlab.train(tiny_arguments(folder, *given)).result
            return result.run_id, result.metrics.test

        with ThreadPoolExecutor(len(seeds)) as pool:
            return list(pool.map(train, seeds))

    together = scores((0, 1, 2), tmp_path / "together")
    assert together == [scores((seed,), tmp_path / "alone")[0] for seed in (0, 1, 2)]
