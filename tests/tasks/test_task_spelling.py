from __future__ import annotations

import pytest

from decoderlab.data.reading import package_file
from decoderlab.tasks import spelling
from decoderlab.tasks.spelling import SpellingTask, parse_codespell
from tests.conftest import version

LINES = [f"wrong{n}->{'abcdefgh'[n % 8] * (1 + n // 8)}" for n in range(64)]
SIZES = {"num_validation": 5, "num_test": 10}


real = pytest.mark.skipif(version("codespell") is None, reason="codespell is not installed")


@pytest.fixture
def dictionary(tmp_path, monkeypatch):
    """A dictionary of 64 misspellings of 64 words; returns what writes another one."""
    path = tmp_path / "dictionary.txt"
    monkeypatch.setattr(spelling, "package_file", lambda *_: path)

    def write(lines: list[str]) -> None:
        path.write_text("\n".join(lines) + "\n")

    write(LINES)
    return write


@real
def test_the_dictionary_is_the_one_that_was_counted_and_is_split_by_the_right_word():
    task = SpellingTask(num_validation=300, num_test=600)
    examples, counts = task.examples()
    assert counts["lines"] == 64980
    assert counts["dropped_several_corrections"] == 64980 - 58916
    assert counts["identity_pairs"] == 14302
    assert counts["pairs"] == 58916 + 14302
    assert counts["repeated_pairs"] == 0
    right = {split: {row.target for row in rows} for split, rows in examples.items()}
    assert [len(right[split]) for split in ("validation", "test")] == [300, 600]
    assert len(right["train"]) == 14302 - 900
    assert not right["train"] & (right["test"] | right["validation"])
    assert not right["validation"] & right["test"]
    # Each right word stands in its split as it is, and no misspelling is a right word elsewhere.
    text = package_file("codespell", "codespell_lib/data/dictionary.txt").read_text("utf-8")
    listed = dict(line.split("->") for line in text.splitlines())
    for split, rows in examples.items():
        same = {row.source for row in rows if row.source == row.target}
        assert same == right[split]
        assert all(listed[row.source] == row.target for row in rows if row.source not in same)
        assert not same & set(listed)


@real
def test_texts_round_trip_and_long_words_are_dropped():
    task = SpellingTask(num_validation=300, num_test=600, max_length=12, identity_share=0.0)
    examples, counts = task.examples()
    assert counts["identity_pairs"] == 0
    assert counts["dropped_too_long"] > 5000
    rows = [row for rows in examples.values() for row in rows]
    assert counts["pairs"] - counts["dropped_too_long"] == len(rows)
    assert max(max(len(row.source), len(row.target)) for row in rows) == 12
    for row in rows[::50]:
        assert task.source_text(task.source_tokens(row.source)) == row.source
        assert task.target_text(list(row.target)) == row.target


def test_the_share_of_right_words_is_drawn_by_the_data_seed(dictionary):
    def same(**settings):
        task = SpellingTask(**SIZES, **settings)
        rows = [row for rows in task.examples()[0].values() for row in rows]
        return {row.source for row in rows if row.source == row.target}

    half = same(identity_share=0.5)
    assert 20 < len(half) < 44
    # Numbers that stay: words are drawn in sorted order, whatever the process.
    assert sorted(half)[:4] == ["aa", "aaa", "aaaa", "aaaaaa"]
    assert same(identity_share=0.5) == half
    assert same(identity_share=0.5, data_seed=1) != half
    assert half <= same() == {line.split("->")[1] for line in LINES}
    assert same(identity_share=0.0) == set()


def test_data_follow_the_data_seed_alone(dictionary):
    first = SpellingTask(**SIZES).data.fingerprint
    assert SpellingTask(**SIZES).data.fingerprint == first
    assert SpellingTask(**SIZES, data_seed=1).data.fingerprint != first


def test_leaving_words_as_they_are_is_right_for_right_words_alone(dictionary):
    letters = "abcdefghijklmnopqrstuvwxyz"
    dictionary([f"{a}{b}->{a}{b}{a}{b}" for a in letters for b in letters])
    task = SpellingTask(**SIZES)
    baselines = task.baselines()
    assert baselines["leaving every word as it is"]["exact_match"] == 0.5
    assert baselines["leaving every word as it is"]["symbol_error_rate"] == 0.25
    copied = task.baseline_predictions()["leaving every word as it is"]
    rows = task.data.splits["test"].source
    assert [task.text_of(ids) for ids in copied] == [
        task.source_text(task.data.source_vocabulary.decode(rows[row])) for row in range(len(rows))
    ]


def test_letters_that_no_right_word_has_are_left_out_of_the_copy(dictionary):
    dictionary([line.replace("wrong", "#") for line in LINES])
    task = SpellingTask(**SIZES, identity_share=0.0)
    copied = task.baseline_predictions()["leaving every word as it is"]
    assert copied == [[]] * SIZES["num_test"]


@pytest.mark.parametrize("line", ["wrong right", "->right", "wrong->", "wrong=right"])
def test_another_format_is_told_with_the_line(dictionary, line):
    dictionary([*LINES[:2], "", line])
    with pytest.raises(ValueError, match=rf"line 4 of codespell's dictionary is '{line}'"):
        _ = SpellingTask(**SIZES).data


def test_several_corrections_and_words_with_spaces():
    found, counts = parse_codespell("alot->a lot\nabbort->abort, abbot,\n\na->b->c\n")
    assert found == [("alot", "a lot"), ("a", "b->c")]
    assert counts == {"lines": 3, "dropped_several_corrections": 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_validation": 0}, "num_validation is 0"),
        ({"num_test": 0}, "num_test is 0"),
        ({"identity_share": 1.5}, "identity_share is 1.5; it must be between 0 and 1"),
        ({"max_length": 0}, "max_length is 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SpellingTask(**SIZES | settings)


def test_more_words_than_there_are_is_refused(dictionary):
    with pytest.raises(ValueError, match="the data have 64"):
        _ = SpellingTask(num_validation=30, num_test=40).data


def test_a_missing_package_is_told_with_its_extra(hide):
    hide()
    with pytest.raises(ValueError, match=r"'codespell'.*decoderlab\[data\]"):
        _ = SpellingTask(**SIZES).data
