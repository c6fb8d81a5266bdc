"""Translation of the names of emoji, and the settings of all translations."""

from __future__ import annotations

import subprocess
import sys

import pytest

from decoderlab.tasks.translation import FilesTranslationTask
from tests.tasks.translating import SIZES, bible, emoji, needs

TONES = "🏻🏼🏽🏾🏿"


# Emoji


@needs("emoji")
def test_names_are_those_of_the_package(monkeypatch):
    import emoji as package

    task = emoji(flags_and_keycaps=True)
    examples, counts = task.examples()
    qualified = [
        one
        for one, entry in package.EMOJI_DATA.items()
        if entry["status"] == package.STATUS["fully_qualified"]
    ]
    package.config.load_language("fr")
    wanted = {
        tuple(
            package.demojize(one, language=tongue)[1:-1].replace("_", " ")
            for tongue in "en fr".split()
        )
        for one in qualified
    }
    found = {(row.source, row.target) for rows in examples.values() for row in rows}
    assert found == wanted
    assert counts["pairs"] == len(found) >= 3963


@needs("emoji")
def test_no_emoji_of_the_test_split_is_in_training_with_another_skin_tone():
    import emoji as package

    task = emoji()
    examples, counts = task.examples()
    assert counts["dropped_flags"] == 262
    assert counts["dropped_keycaps"] == 12
    assert counts["pairs"] == 3689
    of_name = {
        entry["en"].strip(":").replace("_", " "): one
        for one, entry in package.EMOJI_DATA.items()
        if entry["status"] == package.STATUS["fully_qualified"]
    }
    bases = {
        split: {
            "".join(one for one in of_name[row.source] if one not in TONES + "\ufe0f")
            for row in rows
        }
        for split, rows in examples.items()
    }
    assert not bases["train"] & (bases["test"] | bases["validation"])
    assert not bases["validation"] & bases["test"]
    # Two people who hold hands are another emoji when their tones differ, but the same words.
    splits = {
        split
        for split, rows in examples.items()
        for row in rows
        if row.source.startswith("woman and man holding hands")
    }
    assert len(splits) == 1
    assert len({row.group for row in examples["test"]}) == SIZES["num_test"]
    assert len(examples["test"]) > 1.5 * SIZES["num_test"]
    assert not any(
        "flag" in row.target and len(of_name[row.source]) == 2 for row in examples["train"]
    )


@needs("emoji")
@pytest.mark.parametrize("target", ["de", "ar", "ko", "zh"])
def test_texts_of_all_scripts_round_trip(target):
    tokens = "character" if target == "zh" else "word"
    task = emoji(target_language=target, tokens=tokens)
    examples, counts = task.examples()
    assert counts["dropped_empty"] == counts["repeated_pairs"] == 0
    for row in [row for rows in examples.values() for row in rows]:
        assert task.target_text(task.pieces("target", row.target)) == row.target
        assert task.source_text(task.source_tokens(row.source)) == row.source


@needs("emoji")
def test_english_can_be_the_target_and_chinese_is_scored_by_characters():
    data = emoji(source_language="ru", target_language="en").data
    assert data.splits["test"].texts[0][1][0].isascii()
    chinese = emoji(target_language="zh", tokens="character")
    assert "|tok:zh|" in chinese.signatures()["bleu"]


@pytest.mark.slow
@needs("emoji", "tokenizers")
def test_data_are_the_same_in_every_process_and_follow_the_data_seed():
    code = (
        "from decoderlab.tasks.emoji_names import EmojiTranslationTask as Task\n"
        "task = Task(target_language='fr', num_validation=100, num_test=200, tokens='subword',"
        " vocabulary_size=300)\n"
        "print(task.data.fingerprint)"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    settings = {"tokens": "subword", "vocabulary_size": 300}
    task = emoji(**settings)
    assert other.stdout.strip() == task.data.fingerprint
    assert emoji(**settings, data_seed=1).data.fingerprint != task.data.fingerprint
    assert len(task.data.source_vocabulary.entries) == 300
    assert task.data.counts["test_unknown_source_tokens"] < 10


# Settings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: emoji(target_language="xx"), "target_language is 'xx'; it must be one of en, ar"),
        (lambda: emoji(target_language="en"), "are both 'en'"),
        (lambda: emoji(target_language="ja"), "written without spaces; use tokens: character"),
        (lambda: emoji(tokens="separator"), "word, subword, character"),
        (lambda: emoji(tokens="subword"), "give a vocabulary_size exactly"),
        (lambda: emoji(num_test=0), "num_test is 0"),
        (lambda: emoji(minimum_count=0), "minimum_count is 0"),
        (
            lambda: bible(source_bible="cornilescu"),
            r"only texts in the public domain .* kjv \(King",
        ),
        (lambda: bible(target_bible="segnd"), "Did you mean segond"),
        (lambda: bible(target_bible="web"), "are both 'web'"),
        (lambda: bible(max_length_ratio=0.5), "max_length_ratio is 0.5"),
        (lambda: bible(test_share=1.0), "below 1"),
        (
            lambda: FilesTranslationTask(source_path="a", target_path="b", bleu_tokenizer="14a"),
            "Did you mean 13a",
        ),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@needs("emoji")
@pytest.mark.fault(23)
def test_more_groups_than_there_are_is_refused():
    with pytest.raises(ValueError, match="the data have 1651"):
        _ = emoji(num_test=1600).data


@needs()
@pytest.mark.parametrize(("make", "extra"), [(emoji, "data"), (bible, "bible")])
def test_a_missing_package_is_told_with_its_extra(hide, make, extra):
    hide()
    with pytest.raises(ValueError, match=rf"decoderlab\[{extra}\]"):
        _ = make().data
