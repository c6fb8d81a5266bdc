"""Which edits of the package make a run another one, and which runs."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import shutil
import sys
import types
from functools import cache
from pathlib import Path

import filelock
import pytest
from hydra.utils import get_object
from torch import nn

from decoderlab.common import process
from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import conf_dir
from decoderlab.common.part_building import targets_in
from decoderlab.config import code_identity
from decoderlab.config.code_identity import (
    PACKAGE,
    UNCOUNTED,
    code_of,
    definitions,
    foreign_code,
    own_name,
)
from decoderlab.config.run_config import PartSettings, RunConfig
from decoderlab.config.run_identity import run_id
from decoderlab.decoders import RecurrentDecoder
from decoderlab.training.code_changes import changes
from tests.conftest import composed, run
from tests.unit.edits import EDITS, RUNS


def targets(letter: str) -> frozenset[str]:
    """Return the names of the classes in a run's config."""
    config = RunConfig.from_composed(composed(*RUNS[letter]))
    return frozenset(name for _, name in targets_in(config.scientific()))


TARGETS = {letter: targets(letter) for letter in RUNS}


def all_of(package: Path) -> dict[str, dict[str, str]]:
    """Return the definitions of each run."""
    return {letter: definitions(TARGETS[letter], package) for letter in RUNS}


BEFORE = all_of(PACKAGE)
PARSE = cache(ast.parse)  # most files of a copy are the same as in the last one


@pytest.fixture
def copy(tmp_path: Path, monkeypatch) -> Path:
    """Copy the package."""
    monkeypatch.setattr(ast, "parse", PARSE)
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(PACKAGE, tmp_path / "copy" / PACKAGE.name, ignore=ignored))


def differing(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} has no {old!r} any more: write the edit anew"
    path.write_text(text.replace(old, new, 1))


def move(package: Path, old: str, new: str) -> None:
    """Move a module and rewrite all that import it, as a person would."""
    source, target = (package / f"{name.replace('.', '/')}.py" for name in (old, new))
    target.parent.mkdir(exist_ok=True)
    (target.parent / "__init__.py").touch()
    source.rename(target)
    for path in package.rglob("*.py"):
        text = path.read_text()
        path.write_text(text.replace(f"decoderlab.{old} import", f"decoderlab.{new} import"))


def test_these_edits_change_no_run(copy):
    harmless = [edit for edit in EDITS if not edit.runs]
    assert len(harmless) > 15
    for edit in harmless:
        replace(copy / edit.file, edit.old, edit.new)
    (copy / "layers/new.py").write_text("def negative_log_likelihood():\n    return 3\n")
    after = all_of(copy)
    assert {letter: differing(BEFORE[letter], after[letter]) for letter in RUNS} == {
        letter: set() for letter in RUNS
    }


@pytest.mark.thinned
@pytest.mark.long
@pytest.mark.parametrize("edit", [edit for edit in EDITS if edit.runs], ids=lambda edit: edit.what)
def test_an_edit_changes_the_runs_that_depend_on_it(copy, edit):
    replace(copy / edit.file, edit.old, edit.new)
    after = all_of(copy)
    assert "".join(letter for letter in RUNS if after[letter] != BEFORE[letter]) == edit.runs


@pytest.mark.long
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("decoders.heads.head", "decoders.output_layers"),
        ("decoders.recurrent_decoder", "decoders.recurrent.decoder"),
        ("training.objective", "objectives.likelihood"),
        ("tasks.echo", "data.echo"),
        ("training.train_and_test", "training.one_run"),
        ("contract", "common.contract"),
    ],
)
def test_a_file_may_move(copy, old, new):
    move(copy, old, new)
    assert all_of(copy) == BEFORE


def test_a_definition_may_move_to_another_file(copy):
    path = copy / "training/objective.py"
    text, marker = path.read_text(), "def num_positions("
    first, second = text.split(marker)
    path.write_text(
        first.replace("import torch\n", "import torch\nfrom .positions import num_positions\n", 1)
    )
    head = first[: first.index("def negative")]
    (copy / "training/positions.py").write_text(head + marker + second)
    replace(
        copy / "training/module.py",
        "from decoderlab.training.objective import Likelihood, negative_log_likelihood, "
        "num_positions",
        "from decoderlab.training import objective as losses\n"
        "from decoderlab.training.objective import Likelihood\n"
        "from decoderlab.training.objective import negative_log_likelihood as nats\n"
        "from decoderlab.training.positions import num_positions",
    )
    replace(copy / "training/module.py", "negative_log_likelihood(", "nats(")
    for old in ("num_positions(", "negative_log_likelihood("):
        text = (copy / "training/module.py").read_text()
        (copy / "training/module.py").write_text(text.replace(f" {old}", f" losses.{old}"))
    assert all_of(copy) == BEFORE


def test_of_two_definitions_with_the_same_name_it_matters_which_is_used(copy):
    text = (copy / "generation/greedy_search.py").read_text()
    (copy / "generation/other.py").write_text(text.replace("INFINITY = ", "INFINITY = 2 * "))
    both = "from decoderlab.generation import other\n\nBOTH = other.INFINITY\n"
    replace(copy / "generation/sampling.py", "\n\n\n@", f"\n{both}\n\n@")
    replace(copy / "generation/sampling.py", "INFINITY)", "INFINITY, BOTH)")
    before = all_of(copy)["R"]
    assert "+" in before["INFINITY"]
    again = shutil.copytree(copy, copy.parent / "again" / copy.name)
    replace(
        again / "generation/beam_search.py",
        "greedy_search import INFINITY,",
        "greedy_search import",
    )
    line = "from decoderlab.generation.other import INFINITY\n"
    replace(again / "generation/beam_search.py", "from decoderlab", f"{line}from decoderlab")
    after = all_of(again)["R"]
    assert set(before) == set(after)
    assert differing(before, after) == {"beam", "_highest", "_without_rest"}


def test_the_definitions_that_changed_are_named(copy):
    replace(copy / "decoders/heads/head.py", "space.size * made", "space.size + made")
    replace(copy / "training/objective.py", "nats.sum()", "nats.mean()")
    before, after = ({"code": code, "versions": {}} for code in (BEFORE["R"], all_of(copy)["R"]))
    assert changes(before, after) == ["OutputHead", "negative_log_likelihood"]
    other = {"code": BEFORE["T"], "versions": {}}
    assert changes(before, other)[-1].endswith("more definitions")


def test_a_file_of_data_counts_beside_the_module_that_is_used(copy):
    (copy / "tasks/words.txt").write_text("a\n")
    (copy / "studies/words.txt").write_text("a\n")
    first = all_of(copy)
    assert all(first[letter]["words.txt"] for letter in RUNS)
    again = shutil.copytree(copy, copy.parent / "again" / copy.name)
    (again / "studies/words.txt").write_text("b\n")
    (again / "tasks/py.typed").touch()
    assert all_of(again) == first
    third = shutil.copytree(again, copy.parent / "third" / copy.name)
    (third / "tasks/words.txt").write_text("b\n")
    assert all_of(third)["R"]["words.txt"] != first["R"]["words.txt"]


def test_whatever_the_rule_names_exists():
    for name in UNCOUNTED:
        path = PACKAGE / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), name
    assert {"build_task", "train_and_test", "Training", "Evaluation"} == set(code_identity.ROOTS)
    for letter, names in TARGETS.items():
        assert len(names) > 3
        ours = {name for name in names if name.startswith("decoderlab.")}
        assert {name.rpartition(".")[2] for name in ours} <= set(BEFORE[letter])
    assert {"EncoderDecoder", "Recorder", "initialise", "Training"} <= set(BEFORE["F"])
    assert not {"RecurrentDecoder", "EchoTask"} & set(BEFORE["F"])
    for name in (
        "equations",
        "RunFolder",
        "execute",
        "say",
        "load_run",
        "build_report",
        "probe",
        "step_arrays",
        "count_flops",
    ):
        assert not any(name in code for code in BEFORE.values()), name


def test_a_root_that_is_gone_is_missed(copy):
    replace(copy / "training/assembly.py", "def build_task(", "def make_task(")
    with pytest.raises(ValueError, match="names build_task, which is defined 0 times"):
        all_of(copy)


def test_the_classes_of_all_configs_have_names_of_their_own():
    texts = [path.read_text() for path in conf_dir().glob("*/*.yaml")]
    names = {name for text in texts for name in re.findall(r"_target_: (decoderlab\S+)", text)}
    classes = {get_object(name) for name in names}
    assert len(classes) > 20
    assert len({own_name(one) for one in classes}) == len(classes)


def test_a_moved_class_keeps_its_runs():
    config = RunConfig.from_composed(composed("task=echo"))

    def identity(target: str) -> str:
        decoder = PartSettings(config.decoder.to_dict() | {"_target_": target})
        return run_id(dataclasses.replace(config, decoder=decoder), "data")

    before = identity("decoderlab.decoders.RecurrentDecoder")
    assert identity(f"{RecurrentDecoder.__module__}.RecurrentDecoder") == before
    assert identity("decoderlab.decoders.TransformerDecoder") != before


def test_a_run_goes_on_after_a_docstring_and_not_after_a_formula(tiny, copy, monkeypatch):
    prepared = tiny("decoder=luong")
    assert run(prepared) == "FINISHED"

    def go_on() -> str:
        definitions.cache_clear()
        code_identity._package.cache_clear()
        prepared.folder.result_file.unlink(missing_ok=True)  # so that it is tested again
        return run(prepared)

    monkeypatch.setattr(code_identity, "PACKAGE", copy)
    attention = copy / "decoders/attention/attention.py"
    replace(attention, "A score, and its three", "The score, and three")
    replace(copy / "decoders/transformer_decoder.py", "self.norm(", "abs(")
    assert go_on() == "FINISHED"
    assert prepared.folder.result().code_changes == []
    replace(attention, "size or query_size", "size or 8")
    with pytest.raises(ConfigError, match=r"was made by other code: Attention; delete that folder"):
        go_on()


MINE = """from decoderlab.decoders import FeedforwardDecoder

TYPE_CHECKING = True
if TYPE_CHECKING:
    PLUS = 1
if __name__ != "__main__":
    SCALE = 7


class Mine(FeedforwardDecoder):
    kept: int = 3

    def forward(self, x):
        return self.equations(x * 2)

    def equations(self, x):
        try:
            raise StopIteration(x * 4)
        except StopIteration as found:
            return found.value * 5
"""


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("class Mine", "# Mine.\nclass Mine", True),
        ("    kept", '    """Decode."""\n\n    kept', True),
        ("forward(self, x)", "forward(self, x: int)", False),
        ("x * 2", "x * 3", False),
        ("x * 4", "x * 3", False),
        ("value * 5", "value * 3", False),
        ("kept: int = 3", "kept: str = 3", False),
        ("PLUS = 1", "PLUS = 2", False),
        ("SCALE = 7", "SCALE = 2", False),
        ("Mine", "Yours", False),
        ("decoders import", "contract import", False),
    ],
)
def test_of_a_foreign_class_the_code_counts(tmp_path, monkeypatch, old, new, same):
    monkeypatch.setattr(process, "user_config_dir", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    mine = importlib.import_module("mine").Mine

    def code() -> str | None:
        return code_identity._code_in(code_identity._foreign_files(mine, str(tmp_path)))

    before = code()
    (tmp_path / "notes.txt").write_text("other files do not count")
    replace(path, old, new)
    assert (code() == before) is same


def test_what_a_foreign_class_takes_from_ours_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "user_config_dir", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(MINE)
    code = code_of(frozenset([importlib.import_module("mine").Mine]))
    assert "FeedforwardDecoder" in code
    assert "RecurrentDecoder" not in code
    (tmp_path / "python2.py").write_text("print 3\n")  # a file that cannot be parsed may lie there
    assert foreign_code(sys.modules["mine"].Mine)


def test_what_is_versioned_has_no_source_and_what_is_installed_has():
    assert foreign_code(nn.Linear) is None
    assert foreign_code(dict) is None
    assert foreign_code(RecurrentDecoder) is None
    assert foreign_code(filelock.FileLock) is not None


def test_a_class_without_a_file_is_refused(monkeypatch):
    module = types.ModuleType("typed_in")
    exec("class Mine:\n    def value(self):\n        return 1\n", module.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, "typed_in", module)
    with pytest.raises(ConfigError, match="typed_in.Mine stands in no file"):
        foreign_code(module.Mine)
    with pytest.raises(ConfigError, match="stands in no file"):
        code_of(frozenset([module.Mine]))
