from __future__ import annotations

import ast
import re
import subprocess
import sys
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest

from decoderlab.common.errors import ConfigError
from decoderlab.data.batches import TrainingBatches
from decoderlab.data.curriculum import BLOCK, CURRICULA, Curriculum, CurriculumBatches
from decoderlab.data.task_data import TaskData
from decoderlab.tasks.learning_to_execute import (
    KINDS,
    LearningToExecuteTask,
    integer_drawer,
    printed,
    random_program,
)

SETTINGS = {
    "kind": "program",
    "length": 3,
    "nesting": 2,
    "num_train": 60,
    "num_validation": 20,
    "num_test": 30,
}


def make(**settings) -> LearningToExecuteTask:
    settings = SETTINGS | settings
    if settings["kind"] != "program":
        settings["nesting"] = 1
    return LearningToExecuteTask(**settings)


def rows(task: LearningToExecuteTask, split: str) -> list[tuple[str, str]]:
    accepted = range(len(task.data.splits[split]))
    return [
        (task.shown_source(split, row), task.text_of(task.accepted(split, row)[0]))
        for row in accepted
    ]


def programs(length: int, nesting: int, number: int) -> list[str]:
    draw = integer_drawer(np.random.default_rng(0))
    return [random_program(draw, length, nesting) for _ in range(number)]


def interpreted(program: str) -> str:
    """Return what a program prints: an interpreter of its syntax tree, without exec."""
    values: dict[str, int] = {}
    shown = []

    def value(node: ast.expr) -> int:
        match node:
            case ast.Constant(value=int(number)):
                return number
            case ast.Name(id=name):
                return values[name]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return value(left) + value(right)
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return value(left) - value(right)
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return value(left) * value(right)
            case ast.IfExp(test=ast.Compare(left=left, ops=[sign], comparators=[right])):
                one, other = value(left), value(right)
                true = one < other if isinstance(sign, ast.Lt) else one > other
                return value(node.body if true else node.orelse)
        raise AssertionError(ast.dump(node))

    def run(node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=given):
                values[name] = value(given)
            case ast.AugAssign(target=ast.Name(id=name), op=sign, value=given):
                values[name] += value(given) * (1 if isinstance(sign, ast.Add) else -1)
            case ast.For(iter=ast.Call(func=ast.Name(id="range"), args=[rounds]), body=[inner]):
                for _ in range(value(rounds)):
                    run(inner)
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=[given])):
                shown.append(value(given))
            case _:
                raise AssertionError(ast.dump(node))

    for node in ast.parse(program.replace(";", "\n")).body:
        run(node)
    assert len(shown) == 1
    return str(shown[0])


@pytest.mark.parametrize(("length", "nesting"), [(1, 1), (3, 1), (2, 4), (15, 20)])
def test_the_target_is_what_an_interpreter_of_the_tree_prints(length, nesting):
    for program in programs(length, nesting, 100):
        assert printed(program) == interpreted(program)


def test_the_target_is_what_python_prints():
    found = programs(3, 3, 100)
    script = "\n".join(found).replace(";", "\n")
    ran = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == [printed(program) for program in found]


def test_a_program_is_as_long_and_as_nested_as_it_says():
    seen, places = set(), set()
    for program in programs(2, 3, 300):
        tree = ast.parse(program.replace(";", "\n"))
        nodes = list(ast.walk(tree))
        loops = [node for node in nodes if isinstance(node, ast.For)]
        kinds = (ast.BinOp, ast.IfExp)
        # An operation is a sum, a product, a condition or a loop; a variable is named for a sum.
        assert sum(isinstance(node, kinds) for node in nodes) + len(loops) == 3
        limit = 4 * 2
        assert all(1 <= loop.iter.args[0].value <= limit for loop in loops)
        constants = [node.value for node in nodes if isinstance(node, ast.Constant)]
        assert all(1 <= one <= 99 for one in constants)
        for node in nodes:
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
                sides = [one for one in (node.left, node.right) if isinstance(one, ast.Constant)]
                assert min(one.value for one in sides) <= limit
            if isinstance(node, ast.IfExp):
                parts = [node.body, node.test.left, node.test.comparators[0], node.orelse]
                places |= {i for i, one in enumerate(parts) if not isinstance(one, ast.Constant)}
        seen |= {type(node).__name__ for node in nodes}
    assert {"For", "IfExp", "Mult", "Add", "Sub", "Lt", "Gt", "AugAssign"} <= seen
    assert places == {0, 1, 2, 3}, "what was made before can be any operand"


def test_sums_and_memorised_digits_are_right():
    task = make(kind="addition", length=4)
    for source, target in rows(task, "test") + rows(task, "validation"):
        one, other = source.removeprefix("print(").removesuffix(")").split("+")
        assert len(one) == len(other) == 4
        assert int(one) + int(other) == int(target)
    task = make(kind="memorisation", length=9)
    for source, target in rows(task, "test"):
        assert source == target
        assert len(source) == 9


@pytest.mark.parametrize("kind", KINDS)
def test_training_has_all_levels_in_order_and_the_others_the_target(kind):
    task = make(kind=kind, length=2)
    assert task.levels == [(1, 1), (2, 1), (1, 2), (2, 2)][: len(task.levels)]
    train = rows(task, "train")
    assert len(train) == 60 * len(task.levels)
    for number, level in enumerate(task.levels):
        assert level_of(train[60 * number : 60 * (number + 1)]) == level
    assert level_of(rows(task, "test")) == level_of(rows(task, "validation")) == task.levels[-1]


def level_of(some: list[tuple[str, str]]) -> tuple[int, int]:
    """Return the digits of the longest constant, and the most operations of a program."""
    if "(" not in some[0][0]:
        return max(len(source) for source, _ in some), 1
    trees = [ast.parse(source.replace(";", "\n")) for source, _ in some]
    nodes = [list(ast.walk(tree)) for tree in trees]
    constants = [node.value for one in nodes for node in one if isinstance(node, ast.Constant)]
    kinds = (ast.BinOp, ast.IfExp, ast.For)
    operations = [sum(isinstance(node, kinds) for node in one) for one in nodes]
    assert len(set(operations)) == 1
    return len(str(max(constants))), operations[0]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_held_out_is_trained_on_even_under_other_names(kind):
    task = make(kind=kind, length=3 if kind == "memorisation" else 2, nesting=1, num_train=2000)

    def kept(split: str) -> set[str]:
        sources = [source for source, _ in rows(task, split)]
        if kind == "addition":
            return {"+".join(sorted(source[6:-1].split("+"))) for source in sources}
        # The names of variables are the only single letters but x.
        return {re.sub(r"\b[a-wyz]\b", "v", source) for source in sources}

    validation, test, train = kept("validation"), kept("test"), kept("train")
    assert len(validation) == 20
    assert len(test) == 30
    assert not train & (validation | test)
    assert not validation & test
    assert task.data.counts["dropped_held_out"] > 0


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("double", [False, True])
def test_a_source_is_read_backwards_and_twice(reverse, double):
    variant = {"reverse_source": reverse, "double_source": double}
    plain, task = make(kind="memorisation"), make(kind="memorisation", **variant)
    assert rows(task, "test") == rows(plain, "test")
    text = "12;3"
    once = "3;21" if reverse else text
    assert task.source_tokens(f" {text}\n") == (f"{once}|{once}" if double else once)
    assert task.source_text(list(task.source_tokens(text))) == text
    task = make(**variant)
    for row, (source, _) in enumerate(rows(task, "test")):
        read = task.data.source_vocabulary.decode(task.data.splits["test"].source[row])
        assert list(task.source_tokens(source)) == read
        assert task.data.source_vocabulary.space.unk_id not in task.data.splits["test"].source[row]


def test_the_data_are_the_same_for_all_curricula_and_depend_on_the_data_seed():
    fingerprints = {make(curriculum=one).data.fingerprint for one in CURRICULA}
    assert len(fingerprints) == 1
    assert make(data_seed=1).data.fingerprint not in fingerprints
    assert rows(make(num_train=90), "test") == rows(make(), "test")


def test_rules_that_calculate_nothing_are_right_in_conditions_alone():
    task = make(length=2, nesting=1, num_train=500, num_test=300)
    found, rules = task.baselines(), task.baseline_predictions()
    assert set(found) == {"the most frequent target", "the first number", "the last number"}
    branches = {"the first number": 0, "the last number": -1}
    for name, place in branches.items():
        assert 0.02 < found[name]["exact_match"] < 0.25
        for (source, target), ids in zip(rows(task, "test"), rules[name], strict=True):
            number = re.findall(r"\d+", source)[place]
            assert task.text_of(ids) == number
            if number == target and "x" not in source:
                assert " if " in source or "*" in source
    target = [text for _, text in rows(task, "train")[500:]]
    assert task.text_of(rules["the most frequent target"][0]) == max(target, key=target.count)
    memorisation = make(kind="memorisation").baselines()
    assert memorisation["the source"]["exact_match"] == 1.0
    assert memorisation["the most frequent target"]["exact_match"] < 0.5
    assert set(make(kind="addition").baselines()) == {"the most frequent target"}


def test_naive_rises_mix_is_uniform_combined_is_between_and_baseline_the_target():
    def levels(name: str, seed: int = 0, **settings) -> np.ndarray:
        curriculum = Curriculum(name, num_levels=4, num_steps=1000, **settings)
        return np.concatenate([curriculum.levels(seed, block) for block in range(4)])

    naive, mix = levels("naive"), levels("mix")
    assert np.bincount(naive[:1000]).tolist() == [250] * 4
    assert (np.diff(naive) >= 0).all()
    assert (naive[1000:] == 3).all()
    assert (np.abs(np.bincount(mix) / len(mix) - 0.25) < 0.03).all()
    assert (mix[:BLOCK] != mix[BLOCK : 2 * BLOCK]).any()
    assert (mix != levels("mix", seed=1)).any()
    assert (levels("baseline") == 3).all()
    combined = levels("combined", mix_ratio=0.4)
    # Where mix was taken, it took the level of naive in one of four cases all the same.
    assert np.mean(combined != naive) == pytest.approx(0.4 * 0.75, abs=0.03)
    assert (levels("combined", mix_ratio=0) == naive).all()
    assert (levels("combined", mix_ratio=1) == mix).all()


def stream(curriculum: str, first_step: int, seed: int = 0) -> CurriculumBatches:
    task = make(length=2, nesting=2, num_train=30, curriculum=curriculum, curriculum_steps=1500)
    task.batch_size, task.seed = 8, seed
    task.trainer = SimpleNamespace(global_step=first_step, accumulate_grad_batches=1)  # resumed
    return task.train_dataloader()


@pytest.mark.parametrize("curriculum", CURRICULA)
def test_a_run_that_is_resumed_sees_the_batches_it_would_have_seen(curriculum):
    last = BLOCK + 60
    whole = [batch.index.tolist() for batch in islice(stream(curriculum, 0), last)]
    for first in (1, 29, BLOCK - 1, BLOCK, BLOCK + 1):
        rest = islice(stream(curriculum, first), min(last - first, 40))
        assert [batch.index.tolist() for batch in rest] == whole[first : first + 40]
    others = [batch.index.tolist() for batch in islice(stream(curriculum, 0, seed=1), last)]
    assert others != whole


@pytest.mark.parametrize("curriculum", CURRICULA)
def test_a_batch_is_of_the_level_of_its_step_and_of_one_length(curriculum):
    batches = stream(curriculum, 0)
    split = batches.split
    levels = np.concatenate([batches.curriculum.levels(0, block) for block in (0, 1)])
    for batch, level in zip(islice(batches, 1100), levels, strict=False):
        assert set((batch.index // 30).tolist()) == {level}
        assert len(set(batch.source_lengths.tolist())) == 1
        assert 1 <= len(batch.index) <= 8
        assert batch.source[0].tolist() == split.source[int(batch.index[0])]


def test_each_level_is_seen_once_before_it_is_seen_again():
    batches = stream("mix", 0)
    seen: dict[int, list[int]] = {}
    for batch in islice(batches, 200):
        seen.setdefault(int(batch.index[0]) // 30, []).extend(batch.index.tolist())
    assert set(seen) == {0, 1, 2, 3}
    for level, index in seen.items():
        assert sorted(index[:30]) == list(range(30 * level, 30 * level + 30))
        assert sorted(index[30:60]) == sorted(index[:30])


def test_without_a_curriculum_the_stream_is_that_of_the_target_level_alone():
    batches = stream("baseline", 0)
    part = batches.parts[-1]
    generic = TrainingBatches(part.split, batch_size=8, seed=0, first_step=lambda: 0)
    assert batches.batches_per_epoch == generic.batches_per_epoch
    for ours, theirs in islice(zip(batches, generic, strict=True), 60):
        assert (ours.index - 90).tolist() == theirs.index.tolist()
        assert ours.source.tolist() == theirs.source.tolist()
    assert stream("mix", 0).batches_per_epoch == sum(one.batches_per_epoch for one in batches.parts)


def test_a_run_opened_without_its_data_still_builds():
    task = make(curriculum="mix")
    record = task.data.record()
    task.adopt(TaskData.recorded(record))
    assert task.train_dataloader().batches_per_epoch == 0
    assert task.data.source_vocabulary.encode("if")[0] > 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "programs"}, "Did you mean program"),
        ({"length": 0}, "length is 0; it must be between 1 and 15"),
        ({"length": 16}, "length is 16"),
        ({"kind": "memorisation", "length": 0}, "length is 0; it must be at least 1"),
        ({"nesting": 21}, "between 1 and 20"),
        ({"num_train": 0}, "num_train is 0"),
        ({"curriculum": "combine"}, "Did you mean combined"),
        ({"curriculum_steps": 0}, "curriculum_steps is 0"),
        ({"mix_ratio": 1.5}, "mix_ratio is 1.5"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_nesting_without_programs_is_refused():
    with pytest.raises(ValueError, match="has no nesting; make it 1"):
        LearningToExecuteTask(**SETTINGS | {"kind": "addition"})


def test_more_than_there_is_is_refused():
    with pytest.raises(ValueError, match="num_validation . num_test is 50, but among 1000 sources"):
        _ = make(kind="memorisation", length=1).data
    with pytest.raises(ValueError, match="num_train is 60, but among 1200 sources of length 1"):
        _ = make(kind="memorisation", length=1, num_validation=4, num_test=6).data


EXECUTE = ("task.length=2", "task.nesting=1")


@pytest.mark.thinned(8)
@pytest.mark.parametrize(
    ("curriculum", "setting", "same"),
    [
        ("baseline", "task.curriculum_steps=7", True),
        ("baseline", "task.mix_ratio=0.5", True),
        ("mix", "task.curriculum_steps=7", True),
        ("mix", "task.mix_ratio=0.5", True),
        ("naive", "task.curriculum_steps=7", False),
        ("naive", "task.mix_ratio=0.5", True),
        ("combined", "task.curriculum_steps=7", False),
        ("combined", "task.mix_ratio=0.5", False),
    ],
)
def test_a_setting_that_a_curriculum_does_not_use_makes_no_other_run(
    tiny, curriculum, setting, same
):
    given = (*EXECUTE, f"task.curriculum={curriculum}")
    plain = tiny(*given, task="learning_to_execute")
    other = tiny(*given, setting, task="learning_to_execute")
    assert (plain.folder.path == other.folder.path) == same


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("task.curriculum_steps=0", "curriculum_steps is 0; it must be at least 1"),
        ("task.mix_ratio=2", "mix_ratio is 2.0; it must be between 0 and 1"),
        ("task.curriculum=mixed", "Did you mean mix"),
    ],
)
def test_wrong_settings_without_effect_are_refused_too(tiny, setting, message):
    with pytest.raises(ConfigError, match=message):
        tiny(*EXECUTE, "task.curriculum=baseline", setting, task="learning_to_execute")
