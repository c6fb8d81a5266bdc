"""Translation of files: their words, their scores, and what does not fit."""

from __future__ import annotations

import codecs
import gzip
import re
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoderlab.metrics import Bleu, ChrF
from decoderlab.tasks.translation import COPIED, FilesTranslationTask
from decoderlab.tasks.words import JOINT, join_words, split_words
from tests.conftest import version
from tests.tasks.translating import needs, scored


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
@pytest.mark.fault(20)
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
        ("x\n".encode("utf-16"), "x\n", "iconv -f utf-16 -t utf-8"),
        (gzip.compress(b"x\n", mtime=0), "x\n", "convert it, for example: gunzip"),
    ],
)
@pytest.mark.fault(19)
def test_files_that_do_not_fit_are_refused(tmp_path, source, target, message):
    with pytest.raises(ValueError, match=message):
        _ = files(tmp_path, source, target).data


@needs()
@pytest.mark.fault(19)
def test_a_file_that_is_not_there_is_told(tmp_path):
    here = written(tmp_path / "here.txt", "a\n")
    for gone in (str(tmp_path / "gone.txt"), str(tmp_path)):
        task = FilesTranslationTask(source_path=here, target_path=gone)
        with pytest.raises(ValueError, match="target_path .* cannot be read"):
            _ = task.data
