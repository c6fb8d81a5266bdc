"""Echo, copy, reverse and sort, and tests beyond the lengths of training."""

from __future__ import annotations

from collections import Counter

import pytest
from hydra.utils import instantiate

from decoderlab.tasks import EchoTask
from tests.conftest import composed

SIZES = {"num_train": 300, "num_validation": 40, "num_test": 60}
SMALL = {"num_values": 12, "min_length": 2, "max_length": 5, **SIZES}
LONGER = {"test_min_length": 6, "test_max_length": 9}


def rows(task: EchoTask, split: str) -> list[tuple[list[int], list[int]]]:
    """Return sources and targets as integers, from what a network gets."""
    data = task.data
    decode = data.source_vocabulary.decode
    part = data.splits[split]
    return [
        (
            list(map(int, decode(part.source[row]))),
            list(map(int, decode(task.accepted(split, row)[0]))),
        )
        for row in range(len(part))
    ]


@pytest.mark.parametrize(
    ("settings", "fingerprint"),
    [
        ({}, "766e57242c747aa63395be63ffdbec37ec0ac625b1cb62ea07d215a560ccb1e9"),
        (
            {"echo_first": 2, "data_seed": 3},
            "2b45e957184ffc0a25c3e042ec8544a14bfeee37ce9f58687df005bf45de3ba2",
        ),
    ],
)
def test_data_are_those_of_before_there_was_an_order(settings, fingerprint):
    task = instantiate(composed("task=echo").task, **settings)
    assert task.data.fingerprint == fingerprint


@pytest.mark.parametrize(
    ("name", "first", "expected"),
    [
        ("copy", None, "4 11 4 0"),
        ("reverse", None, "0 4 11 4"),
        ("sort", None, "0 4 4 11"),
        ("reverse", 3, "4 11 4"),
        ("sort", 2, "4 11"),
    ],
)
def test_targets_have_the_order_asked_for(name, first, expected):
    settings = SMALL | {"min_length": 4, "max_length": 6, "echo_first": first}
    task = instantiate(composed(f"task={name}").task, **settings)
    assert " ".join(task._target([4, 11, 4, 0], task.order)) == expected
    doubled = 0
    for source, target in rows(task, "train"):
        echoed = source[:first]
        if name == "sort":
            assert Counter(target) == Counter(echoed)
            assert all(one <= other for one, other in zip(target, target[1:], strict=False))
            doubled += len(set(target)) < len(target)
        else:
            assert target == (echoed[::-1] if name == "reverse" else echoed)
    assert name != "sort" or doubled > 10, "equal integers came up"


def test_zeros_fill_a_target_whatever_its_order():
    task = EchoTask(**SMALL | {"min_length": 5}, order="sorted", echo_first=3, pad_target=True)
    for source, target in rows(task, "test"):
        assert target == [*sorted(source[:3]), 0, 0]
    assert task.data.max_target_length == 5


@pytest.mark.parametrize("order", ["given", "reversed", "sorted"])
def test_the_test_split_can_be_longer_than_training(order):
    task = EchoTask(**SMALL, **LONGER, order=order)
    lengths = {name: {len(source) for source, _ in rows(task, name)} for name in task.data.splits}
    assert lengths == {"train": {2, 3, 4, 5}, "validation": {2, 3, 4, 5}, "test": {6, 7, 8, 9}}
    assert {name: task.data.counts[name] for name in lengths} == {
        "train": 300,
        "validation": 40,
        "test": 60,
    }
    sources = {name: {tuple(one) for one, _ in rows(task, name)} for name in lengths}
    assert sum(map(len, sources.values())) == sum(SIZES.values()), "no source twice"
    assert task.data.max_target_length == 10, "EOS included: generation may go as far as the test"
    for source, target in rows(task, "test"):
        assert (
            target == {"given": source, "reversed": source[::-1], "sorted": sorted(source)}[order]
        )


def test_longer_tests_depend_on_the_data_seed_alone():
    def fingerprint(**settings) -> str:
        return EchoTask(**SMALL, **LONGER, **settings).data.fingerprint

    assert fingerprint() == fingerprint()
    assert len({fingerprint(), fingerprint(data_seed=1), fingerprint(order="sorted")}) == 3


def test_enough_different_sequences_are_asked_of_each_draw():
    few = {"num_values": 2, "min_length": 1, "max_length": 4, "num_validation": 2}
    sizes = {"num_train": 20, "num_test": 25}
    task = EchoTask(**few, **sizes, test_min_length=5, test_max_length=5)
    assert len({tuple(source) for source, _ in rows(task, "test")}) == 25
    with pytest.raises(ValueError, match="num_test is 26, but there are only 32 different"):
        EchoTask(**few, **sizes | {"num_test": 26}, test_min_length=5, test_max_length=5)
    with pytest.raises(ValueError, match=r"num_train \+ num_validation is 25, .* at most 24"):
        EchoTask(**few, **sizes | {"num_train": 23}, test_min_length=5, test_max_length=5)
    with pytest.raises(ValueError, match=r"\+ num_test is 47, but there are only 30 different"):
        EchoTask(**few, **sizes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "reverse"}, "must be one of given, reversed, sorted. Did you mean reversed"),
        ({"test_min_length": 6}, "test_max_length is None; give both"),
        ({"test_max_length": 6}, "test_min_length is None and"),
        ({"test_min_length": 5, "test_max_length": 6}, r"must be above max_length \(5\)"),
        ({"test_min_length": 8, "test_max_length": 7}, "test_max_length is 7; it must be at least"),
        ({"pad_target": True, "min_length": 5, **LONGER}, "all targets have one length"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EchoTask(**SMALL | settings)


def test_rules_stand_beside_the_results():
    assert set(EchoTask(**SMALL).baselines()) == {"the most frequent target"}
    task = EchoTask(**SMALL, **LONGER, order="reversed")
    assert set(task.baselines()) == {"the most frequent target", "the order given"}
    lengths = [len(source) for source, _ in rows(task, "test")]
    unordered = task.baselines()["the order given"]
    agreeing = [sum(map(int.__eq__, one, one[::-1])) for one, _ in rows(task, "test")]
    ends = len(lengths)
    assert unordered["token_accuracy"] == pytest.approx(
        # Rules are read against the target at the same place; the end is always right.
        (sum(agreeing) + ends) / (sum(lengths) + ends)
    )


def test_text_makes_the_round_trip():
    task = EchoTask(**SMALL, order="sorted")
    vocabulary = task.data.source_vocabulary
    ids = vocabulary.encode(task.source_tokens("11 3 0"))
    assert task.source_text(vocabulary.decode(ids)) == "11 3 0"
    assert task.text_of(ids) == "11 3 0"
    assert vocabulary.encode(task.source_tokens("12 x")) == [3, 3], "<unk>"
