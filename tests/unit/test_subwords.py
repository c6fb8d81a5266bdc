from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoderlab.data import subwords
from decoderlab.data.subwords import BEGINNING, Segmenter, learnt_pieces
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.tasks.tsv import TSVTask
from tests.conftest import version

learns = pytest.mark.skipif(version("tokenizers") is None, reason="tokenizers is not installed")

# Many ties between merges: where the order of a hash table would show.
TIED = [f"{a}{b}{c} {c}{a}{b}{a}" for a in "abcdef" for b in "abcdef" for c in "abc"]
# By its path: importing the package takes seconds.
ALONE = f"""
import runpy
learnt_pieces = runpy.run_path({subwords.__file__!r})["learnt_pieces"]
"""
LEARN = f"""{ALONE}
print(" ".join(learnt_pieces({TIED!r}, 60)))
"""
FORK = f"""{ALONE}
import os, sys
learnt_pieces(["one two"] * 5000, 40)
child = os.fork()
if child == 0:
    learnt_pieces(["three four"] * 5000, 40)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def text_of(pieces):
    """Join as PairsTask does."""
    return " ".join(pieces).replace(f" {BEGINNING}", "")


def run(code: str, **variables: str) -> subprocess.CompletedProcess:
    before = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=before | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


@learns
def test_pieces_are_the_same_in_every_process():
    found = [
        run(LEARN, PYTHONHASHSEED="1"),
        run(LEARN, PYTHONHASHSEED="2", TOKENIZERS_PARALLELISM="true"),
        run(LEARN, PYTHONHASHSEED="3", RAYON_NUM_THREADS="1"),
    ]
    here = [" ".join(learnt_pieces(TIED, 60)) for _ in range(5)]
    assert {one.stdout.strip() for one in found} == set(here)
    assert [one.stderr for one in found] == ["", "", ""]


@learns
def test_a_process_that_learnt_pieces_forks_without_a_word():
    ended = run(FORK)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@learns
@pytest.mark.parametrize("before", [None, "true"])
def test_learning_takes_one_thread_and_leaves_the_setting_of_a_user(monkeypatch, before):
    name, seen = "TOKENIZERS_PARALLELISM", []
    monkeypatch.delenv(name, raising=False)
    if before:
        monkeypatch.setenv(name, before)

    class Watched(list):
        def __iter__(self):
            seen.append(os.environ.get(name))
            return super().__iter__()

    learnt_pieces(Watched(["a b"]), 4)
    assert seen == [before, "false"]
    assert os.environ.get(name) == before


@learns
def test_frequent_words_are_one_piece_and_rare_ones_several():
    texts = ["the lowest of the low"] * 20 + ["slowest"]
    pieces = learnt_pieces(texts, 25)
    split = Segmenter(pieces)
    assert split("the lowest") == ["the", "lowest"]
    assert len(split("slowest")) > 1
    assert pieces == sorted(pieces)
    assert len(pieces) == 25


@learns
def test_all_characters_are_pieces_at_both_places_and_size_is_a_limit():
    texts = ["Ab", "cd"]
    assert learnt_pieces(texts, 8) == sorted([*"Abcd", *(f"##{one}" for one in "Abcd")])
    assert Segmenter(learnt_pieces(texts, 8))("dAb") == ["d", "##A", "##b"]
    with pytest.raises(ValueError, match=r"vocabulary_size is 7.* give at least 8"):
        learnt_pieces(texts, 7)


@learns
@given(st.lists(st.text("ab#é ￭\u3000中<>", max_size=12), min_size=1, max_size=8))
def test_texts_come_back_but_for_white_space(texts):
    if not any(text.split() for text in texts):
        return
    characters = {one for text in texts for word in text.split() for one in word}
    pieces = learnt_pieces(texts, 2 * len(characters) + 6)
    split = Segmenter(pieces)
    known = Vocabulary(pieces)
    for text in [*texts, " ".join(reversed(texts)), "".join(text.strip() for text in texts)]:
        assert text_of(known.decode(known.encode(split(text)))) == " ".join(text.split())


@learns
def test_words_that_look_like_the_inside_of_words_come_back():
    texts = ["## ##a ##ab #a ###"] * 9 + ["x ## y ##ab"]
    pieces = learnt_pieces(texts, 40)
    assert BEGINNING not in pieces
    for text in texts:
        assert text_of(Segmenter(pieces)(text)) == text


@learns
def test_white_space_is_pythons():
    assert learnt_pieces(["a\x1fb\u2028c"], 9) == ["##a", "##b", "##c", "a", "b", "c"]


@learns
def test_a_rebuilt_segmenter_gives_the_same_pieces():
    pieces = learnt_pieces(TIED, 60)
    first, again = Segmenter(pieces), Segmenter(tuple(reversed(Vocabulary(pieces).entries)))
    assert [first(text) for text in TIED] == [again(text) for text in TIED]
    assert any(len(first(text)) > 2 for text in TIED)


@learns
def test_pieces_are_those_of_the_library():
    import tokenizers

    pieces = learnt_pieces(TIED, 60)
    model = tokenizers.models.WordPiece(
        {piece: number for number, piece in enumerate(["<unk>", *pieces])}, unk_token="<unk>"
    )
    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    split = Segmenter(pieces)
    for text in [*TIED, "abz", "fedcba abcdef", ""]:
        assert split(text) == library.encode(text).tokens


def test_a_word_with_an_unknown_character_is_unknown_as_a_whole():
    split = Segmenter(["a", "##b"])
    assert split("ab aZb b ab") == ["a", "##b", "<unk>", "<unk>", "a", "##b"]
    vocabulary = Vocabulary(["##b", "a"])
    assert vocabulary.encode(split("aZ")) == [vocabulary.space.unk_id]
    assert split("  ") == []


def test_words_that_are_remembered_do_not_pile_up(monkeypatch):
    monkeypatch.setattr("decoderlab.data.subwords.REMEMBERED", 3)
    split = Segmenter(["a", "##a"])
    for length in range(1, 20):
        assert len(split("a" * length)) == length
    assert len(split._remembered) <= 3


@learns
def test_a_task_of_subwords_round_trips_and_splits_the_same_without_its_data(tmp_path):
    path = tmp_path / "pairs.tsv"
    rows = [f"{a}{b} {b}{a}\t{b}{a}{a}" for a in "abcdefgh" for b in "abcdefgh"]
    path.write_text("source\ttarget\n" + "\n".join(rows))
    task = TSVTask(path=str(path), tokens="subword", vocabulary_size=40)
    data = task.data
    again = TSVTask(path="gone", tokens="subword", vocabulary_size=40)
    again.adopt(type(data).recorded(data.record()))
    for text in ("ab ba", "hgfedc", "ah!"):
        assert again.source_tokens(text) == task.source_tokens(text)
    assert task.target_text(task.pieces("target", "hab ba")) == "hab ba"
    assert max(map(len, (data.source_vocabulary.entries, data.target_vocabulary.entries))) <= 40
    assert task.data.counts["test_unknown_target_tokens"] == 0


def test_a_missing_library_is_told_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"decoderlab\[subword\]"):
        learnt_pieces(["a"], 9)
