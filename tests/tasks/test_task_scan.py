"""SCAN against an interpreter of its own, and against what is known of the published files."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hydra.utils import instantiate

from decoderlab.tasks.scan import (
    ScanTask,
    commands,
    other_way_round,
    template_split,
    trained_at_random,
)
from tests.conftest import composed

VERBS = ("walk", "look", "run", "jump")


def interpret(command: str) -> list[str]:
    """Carry out a command by the rules of the paper's supplement; KeyError for any other text."""
    for word, order in (("and", 1), ("after", -1)):
        parts = command.split(f" {word} ")
        if len(parts) == 2:
            return [action for part in parts[::order] for action in interpret(part)]
    words = command.split()
    if words[-1] in ("twice", "thrice"):
        times = {"twice": 2, "thrice": 3}[words.pop()]
        return interpret(" ".join(words)) * times
    match words:
        case [verb, "around", direction]:
            return interpret(f"{verb} {direction}") * 4
        case [verb, "opposite", direction]:
            return interpret(f"turn {direction}") + interpret(f"{verb} {direction}")
        case ["turn", direction]:
            return [{"left": "I_TURN_LEFT", "right": "I_TURN_RIGHT"}[direction]]
        case [verb, direction]:
            return interpret(f"turn {direction}") + interpret(verb)
        case [verb]:
            return [{one: f"I_{one.upper()}" for one in VERBS}[verb]]
    raise KeyError(command)


def file_characters(names) -> int:
    """Return how long a published file of these commands is."""
    actions = commands()
    return sum(len(f"IN: {name} OUT: {' '.join(actions[name])}\n") for name in names)


def sources(task: ScanTask, split: str) -> list[str]:
    data = task.data
    part = data.splits[split]
    decode = data.source_vocabulary.decode
    return [task.source_text(decode(part.source[row])) for row in range(len(part))]


def targets(task: ScanTask, split: str) -> list[str]:
    return [task.text_of(task.accepted(split, row)[0]) for row in range(len(sources(task, split)))]


def test_all_commands_are_there_and_carried_out_right():
    actions = commands()
    # 34 phrases: 4 verbs, and 5 with 2 directions in 3 ways; each 1 to 3 times; alone or in twos.
    sentences = (4 + 5 * 2 * 3) * 3
    assert len(actions) == sentences + 2 * sentences**2 == 20910
    for command, expected in actions.items():
        assert interpret(command) == list(expected)
    assert max(map(len, actions.values())) == 48
    assert 23 not in set(map(len, actions.values()))


@pytest.mark.parametrize(
    ("command", "actions"),
    [
        ("jump around right", "RTURN JUMP RTURN JUMP RTURN JUMP RTURN JUMP"),
        ("turn left twice", "LTURN LTURN"),
        ("jump opposite left and walk thrice", "LTURN LTURN JUMP WALK WALK WALK"),
        (
            "jump opposite left after walk around left",
            "LTURN WALK LTURN WALK LTURN WALK LTURN WALK LTURN LTURN JUMP",
        ),
    ],
)
def test_examples_of_the_authors(command, actions):
    names = {"LTURN": "I_TURN_LEFT", "RTURN": "I_TURN_RIGHT"}
    assert list(commands()[command]) == [names.get(one, f"I_{one}") for one in actions.split()]


@pytest.mark.thinned(2)
@pytest.mark.parametrize(
    ("split", "train", "test"),
    [
        ("simple", 16728, 4182),
        ("length", 16990, 3920),
        ("add_jump", 14670, 7706),
        ("turn_left", 21890, 1208),
    ],
)
def test_splits_have_the_published_sizes_and_nothing_in_common(split, train, test):
    task = ScanTask(split=split, num_validation=500)
    assert {name: task.data.counts[name] for name in ("train", "validation", "test")} == {
        "train": train - 500,
        "validation": 500,
        "test": test,
    }
    found = {name: set(sources(task, name)) for name in task.data.splits}
    assert len(found["validation"]) == 500
    assert set.union(*found.values()) == set(commands())
    assert sum(map(len, found.values())) == 20910
    for name in found:
        assert targets(task, name) == [" ".join(interpret(one)) for one in sources(task, name)]
    assert task.data.max_target_length == 49  # EOS included


def test_length_tests_what_is_longer_than_all_of_training():
    task = ScanTask(split="length", num_validation=500)
    lengths = {name: [len(one.split()) for one in targets(task, name)] for name in task.data.splits}
    assert max(lengths["train"]) == max(lengths["validation"]) == 22
    assert (min(lengths["test"]), max(lengths["test"])) == (24, 48)


@pytest.mark.parametrize(
    ("split", "primitive", "times"), [("add_jump", "jump", 1467), ("turn_left", "turn left", 2189)]
)
def test_a_primitive_is_trained_on_alone_and_tested_in_company(split, primitive, times):
    task = ScanTask(split=split, num_validation=500)
    train = Counter(sources(task, "train"))
    assert train.pop(primitive) == times == task.data.counts["repetitions_of_the_primitive"]
    assert set(train.values()) == {1}
    for name in (*train, *sources(task, "validation")):
        assert primitive not in name
    assert all(primitive in name and name != primitive for name in sources(task, "test"))


def test_files_would_be_as_long_as_the_published_ones():
    # Sizes of tasks_{train,test}_addprim_turn_left.txt, and of the two files of 1 % together.
    task = ScanTask(split="turn_left", num_validation=500)
    trained = sources(task, "train") + sources(task, "validation")
    assert file_characters(trained) == 3_974_537
    assert file_characters(sources(task, "test")) == 173_679
    assert file_characters(commands()) == 38_788 + 4_041_600


@pytest.mark.parametrize(("share", "train"), [(0.01, 209), (0.02, 418), (0.64, 13382)])
def test_a_share_of_the_commands(share, train):
    settings = {"split": "simple", "num_validation": 50}
    whole = ScanTask(**settings)
    task = ScanTask(**settings, train_share=share)
    assert task.data.counts["train"] + 50 == train
    assert task.data.counts["test"] == 20910 - train
    assert set(sources(task, "train")) <= set(sources(whole, "train"))
    assert sources(task, "validation") == sources(whole, "validation")
    few = ScanTask(**settings, train_share=share, num_test=1000)
    assert set(sources(few, "test")) <= set(sources(whole, "test"))
    assert len(few.data.splits["test"]) == 1000
    assert task.data.counts["test_unknown_source_tokens"] == 0
    assert task.data.counts["test_unknown_target_tokens"] == 0


def test_splits_depend_on_the_data_seed_alone():
    def fingerprint(**settings) -> str:
        return ScanTask(**{"split": "add_jump", "num_validation": 50} | settings).data.fingerprint

    assert fingerprint() == fingerprint()
    others = [{"data_seed": 1}, {"num_validation": 51}, {"split": "turn_left"}, {"num_test": 99}]
    assert len({fingerprint(), *(fingerprint(**one) for one in others)}) == 5


def test_a_rule_looks_up_the_other_way_round():
    task = ScanTask(split="simple", num_validation=100, train_share=0.4, num_test=600)
    trained = set(sources(task, "train"))
    expected = sum(other_way_round(one) in trained for one in sources(task, "test")) / 600
    found = task.baselines()
    assert set(found) == {"the most frequent target", "the other way round"}
    assert found["the other way round"]["exact_match"] == pytest.approx(expected)
    assert 0.3 < expected < 0.5
    jump = ScanTask(split="add_jump", num_validation=100, num_test=200)
    assert set(jump.baselines()) == {"the most frequent target"}


def test_the_other_way_round_asks_for_the_same():
    asked = [one for one in commands() if " and " in one or " after " in one]
    assert len(asked) == 20910 - 102
    for one in asked[::7]:
        assert interpret(other_way_round(one)) == interpret(one)
        assert other_way_round(other_way_round(one)) == one


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "jump"}, "split is 'jump'; it must be one of simple, published"),
        ({"num_validation": 0}, "num_validation is 0"),
        ({"num_test": 0}, "num_test is 0"),
        ({"train_share": 1.0}, "train_share is 1.0; it must be at least 0 and below 1"),
        ({"split": "length", "train_share": 0.5}, "only the splits at random"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ScanTask(**{"split": "simple", "num_validation": 10} | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_share": 0.01, "num_validation": 209}, "only 209 different commands"),
        ({"split": "turn_left", "num_test": 1209}, "only 1208 commands to test on"),
    ],
)
def test_more_commands_than_there_are_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        _ = ScanTask(**{"split": "simple", "num_validation": 10} | settings).data


def test_text_makes_the_round_trip():
    task = instantiate(composed("task=scan").task, num_test=10)
    vocabulary = task.data.source_vocabulary
    assert len(vocabulary.entries) == 13
    assert len(task.data.target_vocabulary.entries) == 6
    text = "turn opposite left twice after jump around right"
    ids = vocabulary.encode(task.source_tokens(text))
    assert vocabulary.space.unk_id not in ids
    assert task.source_text(vocabulary.decode(ids)) == text
    assert vocabulary.encode(task.source_tokens("fly")) == [vocabulary.space.unk_id]


@pytest.mark.parametrize(
    ("share", "counts"),
    [
        ("0.01", (209, 20701)),
        ("0.04", (836, 20074)),
        ("0.64", (13382, 7528)),
        (None, (16728, 4182)),
    ],
)
def test_the_published_random_splits_have_the_sizes_of_their_files(share, counts):
    task = ScanTask(
        split="published", num_validation=9, train_share=None if share is None else float(share)
    )
    known = {
        task.source_text(task.decoded_source(name, row))
        for name in ("train", "validation")
        for row in range(len(task.data.splits[name]))
    }
    assert (len(known), task.data.counts["test"]) == counts
    assert known == trained_at_random(share or "0.8")


def test_a_published_split_has_the_shares_of_its_files_alone():
    with pytest.raises(ValueError, match=r"train_share is '0\.03'; it must be one of 0\.01, 0\.02"):
        ScanTask(split="published", num_validation=9, train_share=0.03)


@pytest.mark.parametrize(
    ("split", "tested", "numbers"),
    [
        ("right", r"(walk|look|run|jump) right", (15225, 4476)),
        ("opposite_right", r"(walk|look|run|jump) opposite right", (15225, 4476)),
        ("around_right", r"(walk|look|run|jump) around right", (15225, 4476)),
        ("jump_around_right", r"jump around right", (18528, 1173)),
    ],
)
def test_a_template_split_tests_what_has_the_template_and_trains_on_none(split, tested, numbers):
    known, held_out = template_split(split)
    assert (len(known), len(held_out)) == numbers
    assert all(re.search(tested, name) for name in held_out)
    turned = tested.split(")")[-1].removeprefix("jump").strip()
    assert not any(re.search(tested, name) or f"turn {turned}" in name for name in known)
    task = ScanTask(split=split, num_validation=100, num_test=50)
    assert task.data.counts["train"] == numbers[0] - 100
