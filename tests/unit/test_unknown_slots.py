"""Slots for unknown words: ids of an example's own, in the data and back in its texts."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial

import pytest
import torch

from decoderlab.config.run_config import RunConfig
from decoderlab.data.alignment import Alignment
from decoderlab.data.task_data import TaskData, space_of
from decoderlab.data.task_scores import prediction_record, scores_of_rule, written_texts
from decoderlab.data.unknown_slots import by_slot, words_of_slots
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.tasks import AutoencoderTask, EchoTask, FilesTranslationTask, TSVTask
from tests.conftest import composed

UNK, TO, SEES, SLOT_1, SLOT_2 = 3, 5, 4, 6, 7  # of the file below
EOS = 2
TRAIN = [
    ("Ann to Bo", "Bo sees Ann"),
    ("Cy to Di", "Di sees Cy"),
    ("Ed sees Flo", "to to Ed"),
    ("G sees H", "sees sees"),
]
TEST = [
    ("Uz to Ur to Uz", "Ur sees Uz"),
    ("to Ur sees", "Ai sees"),
    ("A B C to", "C B A"),
    ("to sees", "to Uz"),
]
SIZES = {"num_train": 300, "num_validation": 30, "num_test": 60}


def file(tmp_path, test=TEST, train=TRAIN):
    splits = (("train", train), ("validation", [("X to Y", "Y sees X")]), ("test", test))
    lines = ["source\ttarget\tsplit"]
    lines += [f"{source}\t{target}\t{name}" for name, rows in splits for source, target in rows]
    (tmp_path / "pairs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "pairs.tsv"


def tsv(tmp_path, slots=2, test=TEST, train=TRAIN, **settings):
    settings = {"tokens": "word", "minimum_count": 2, "split_column": "split"} | settings
    return TSVTask(path=str(file(tmp_path, test, train)), unknown_slots=slots, **settings)


def test_words_are_numbered_from_the_left_and_targets_share_their_numbers(tmp_path):
    data = tsv(tmp_path).data
    test = data.splits["test"]
    assert data.source_vocabulary.entries == data.target_vocabulary.entries == ("sees", "to")
    assert test.source[0] == [SLOT_1, TO, SLOT_2, TO, SLOT_1]
    assert test.target[0] == [SLOT_2, SEES, SLOT_1, EOS]
    assert test.source[1] == [TO, SLOT_1, SEES]
    assert test.target[1] == [UNK, SEES, EOS]  # which the source does not have
    assert test.source[2] == [SLOT_1, SLOT_2, UNK, TO]  # of three words two have a slot
    assert test.target[2] == [UNK, SLOT_2, SLOT_1, EOS]
    assert test.words == {0: ("Uz", "Ur"), 1: ("Ur",), 2: ("A", "B")}
    assert data.splits["train"].source[0] == [SLOT_1, TO, SLOT_2]
    assert data.splits["train"].target[0] == [SLOT_2, SEES, SLOT_1, EOS]
    counts = data.counts
    assert (counts["test_source_tokens_with_slot"], counts["test_target_tokens_with_slot"]) == (
        6,
        4,
    )
    assert (counts["test_unknown_source_tokens"], counts["test_unknown_target_tokens"]) == (1, 3)
    assert counts["train_source_tokens_with_slot"] == 8


def test_without_slots_data_are_what_they_were(tmp_path):
    plain = TSVTask(path=str(file(tmp_path)), minimum_count=2, split_column="split")
    zero = TSVTask(path=str(file(tmp_path)), minimum_count=2, split_column="split", unknown_slots=0)
    assert plain.data.fingerprint == zero.data.fingerprint
    assert not zero.data.splits["test"].words
    assert not any("slot" in name for name in zero.data.counts)
    echo = EchoTask(
        num_values=5, min_length=3, max_length=4, num_train=50, num_validation=5, num_test=5
    )  # the number is of the code before there were slots
    assert echo.data.fingerprint.startswith("3c7c8117d51413fdb93b44c3b09fce51")


def test_slots_of_none_name_no_run(tmp_path):
    for chosen, setting in (
        (("task=copy",), "task.unknown_slots=0"),
        (("task=tsv", f"task.path={file(tmp_path)}"), "task.unknown_slots=0"),
        (("task=autoencoder",), "task.of.unknown_share=0.0"),
    ):
        scientific = RunConfig.from_composed(composed(*chosen, setting)).scientific()
        assert "unknown" not in json.dumps(scientific)
    some = composed("task=copy", "task.unknown_share=0.5", "task.unknown_slots=2")
    assert RunConfig.from_composed(some).scientific()["task"]["unknown_slots"] == 2


def test_texts_are_read_with_the_words_of_their_example(tmp_path):
    task = tsv(tmp_path)
    assert task.shown_source("test", 0) == "Uz to Ur to Uz"
    assert task.reference_texts("test", 0) == ["Ur sees Uz"]
    assert task.reference_texts("test", 1) == ("Ai sees",)
    written = [SLOT_2, SEES, SLOT_1]
    texts = ["Ur sees Uz", "<unk> sees Ur", "B sees A", "<unk> sees <unk>"]
    words = [task.words_of("test", row) for row in range(4)]
    assert [task.text_of(written, own) for own in words] == texts
    batch = task.data.splits["test"].batch(torch.arange(4))
    named, other = task.evaluation_batches("test"), [batch]
    assert written_texts(task, named, batch, [written] * 4) == texts
    assert written_texts(task, other, batch, [written] * 4) == ["<unk> sees <unk>"] * 4


def test_records_of_predictions_count_as_the_ids_do(tmp_path):
    task = tsv(tmp_path)
    right = prediction_record(task, "test", 0, [SLOT_2, SEES, SLOT_1], True)
    assert right["prediction"] == right["target"] == "Ur sees Uz"
    assert "tokens" not in right
    wrong = prediction_record(task, "test", 1, [SLOT_2, SEES], False)
    assert (wrong["prediction"], wrong["references"]) == ("<unk> sees", ["Ai sees"])
    assert wrong["tokens"] == ["<unk2>", "sees"]
    assert wrong["reference_tokens"] == [["<unk>", "sees"]]


def test_a_word_that_targets_know_too_is_one_output_in_two_ways(tmp_path):
    train = [*TRAIN, ("Gus to Hal", "Hal sees Hal"), ("Uz sees Uz", "Uz sees Uz")]
    task = tsv(tmp_path, train=train)
    source, target = task.data.source_vocabulary, task.data.target_vocabulary
    assert ("Uz" in source, "Uz" in target) == (True, True)
    assert ("Hal" in source, "Hal" in target) == (False, True)
    data = task.data
    slot_2, sees = target.first_slot + 1, target.encode(["sees"])[0]
    assert data.splits["train"].target[4] == [slot_2, sees, slot_2, EOS]
    test = [("Hal to Ur", "Ur sees Hal"), ("Ur to Hal to", "Hal sees")]
    task = tsv(tmp_path, train=train, test=test)
    [hal], [sees] = (task.data.target_vocabulary.encode([word]) for word in ("Hal", "sees"))
    slot_1, slot_2 = (
        task.data.target_vocabulary.first_slot,
        task.data.target_vocabulary.first_slot + 1,
    )
    scores = scores_of_rule(task, [[slot_2, sees, hal], [hal, sees]])
    assert scores["exact_match"] == 1
    assert scores_of_rule(task, [[slot_2, sees, slot_1], [slot_1, sees]])["exact_match"] == 0.5
    assert by_slot([hal, sees], (), task.data.target_vocabulary) == [hal, sees]


def test_several_references_share_the_words_of_their_source(tmp_path):
    test = [("Uz to Ur", "Ur sees Uz"), ("Uz to Ur", "Ur to Uz"), ("Uz to Ur", "Ai")]
    task = tsv(tmp_path, test=test)
    assert len(task.data.splits["test"]) == 1
    accepted = task.accepted("test", 0)
    assert accepted == ((SLOT_2, SEES, SLOT_1), (SLOT_2, TO, SLOT_1), (UNK,))
    assert task.reference_texts("test", 0) == ("Ur sees Uz", "Ur to Uz", "Ai")


def test_words_are_part_of_the_data(tmp_path):
    prints = [
        tsv(tmp_path, test=[(f"{word} to to", f"{word} sees")]).data.fingerprint
        for word in ("Ur", "Uz", "Ur")
    ]
    assert prints[0] == prints[2] != prints[1]


def test_a_record_of_vocabularies_has_their_slots(tmp_path):
    data = tsv(tmp_path).data
    record = json.loads(json.dumps(data.record()))
    again = TaskData.recorded(record)
    for side in ("source_vocabulary", "target_vocabulary"):
        before, after = getattr(data, side), getattr(again, side)
        assert (after.entries, after.unknown_slots) == (before.entries, 2)
        assert space_of(after) == space_of(before)
    for wrong in (10**9, -1, "2"):
        record["source"]["unknown_slots"] = wrong
        with pytest.raises((ValueError, TypeError)):
            TaskData.recorded(record)


def test_a_slot_is_copied_as_a_slot_and_a_reserved_spelling_has_none():
    source, target = Vocabulary(["a", "b"], 2), Vocabulary(["b"], 2)
    assert Alignment.of(source, target).target_ids.tolist() == [-1] * 5 + [4, 5, 6]
    assert words_of_slots(["<unk1>", "<eos>", "b", "z"], source) == ("z",)
    assert source.encode(["<unk1>", "z"], ["z"]) == [UNK, SLOT_1]


def test_the_most_frequent_target_of_training_can_be_written(tmp_path):
    train = [(f"x to x{n}", f"only{n}") for n in range(4)] + [("to to", "to"), ("to sees", "to")]
    task = tsv(tmp_path, 0, test=[("sees", "Ai"), ("sees to", "to")], train=train)
    assert task.data.splits["train"].target[0] == [UNK, EOS]
    rules = task.baselines()
    assert task.baseline_predictions()["the most frequent target"] == [[4]] * 2
    assert rules["the most frequent target"]["exact_match"] == 0.5


def test_translations_are_scored_by_their_words(tmp_path):
    pytest.importorskip("sacrebleu")
    names = [f"name{n}" for n in range(40)]
    for side, text in (("source", "here is {}, at home"), ("target", "voici {}, chez lui")):
        (tmp_path / side).write_text("".join(f"{text.format(name)}\n" for name in names))
    paths = {f"{side}_path": str(tmp_path / side) for side in ("source", "target")}
    task = FilesTranslationTask(**paths, minimum_count=2, unknown_slots=1)
    right = [task.accepted("test", row)[0] for row in range(len(task.data.splits["test"]))]
    assert all(task.data.target_vocabulary.first_slot in ids for ids in right)
    assert {task.text_of(ids, task.words_of("test", row)) for row, ids in enumerate(right)} == {
        reference for row in range(len(right)) for reference in task.reference_texts("test", row)
    }
    copied = task.baseline_predictions()["copying the source (as far as the vocabulary goes)"]
    assert [task.text_of(ids, task.words_of("test", row)) for row, ids in enumerate(copied)] == [
        f"{task.words_of('test', row)[0]}," for row in range(len(right))
    ]


def test_an_autoencoder_has_the_slots_of_its_task(tmp_path):
    settings = {"tokens": "word", "minimum_count": 2, "split_column": "split"}
    of = partial(TSVTask, path=str(file(tmp_path)), unknown_slots=2, **settings)
    task = AutoencoderTask(of=of, reverse_target=True)
    assert task.data.splits["test"].source[0] == [SLOT_1, TO, SLOT_2, TO, SLOT_1]
    assert task.reference_texts("test", 2) == ("to C B A",)
    assert task.accepted("test", 2) == ((TO, UNK, SLOT_2, SLOT_1),)


@pytest.mark.parametrize("order", ["given", "reversed"])
@pytest.mark.parametrize("longer", [{}, {"test_min_length": 5, "test_max_length": 6}])
def test_echo_tests_integers_that_no_source_of_training_has(order, longer):
    settings = {"num_values": 8, "min_length": 2, "max_length": 4, "order": order} | SIZES | longer
    task = EchoTask(**settings, unknown_share=0.4, unknown_slots=4)
    read = {
        name: [list(map(int, task.decoded_source(name, row))) for row in range(len(split))]
        for name, split in task.data.splits.items()
        if name != "test" or not longer
    }
    for name, rows in read.items():
        numbers = Counter(number for row in rows for number in row)
        unknown = set(range(16, 24)) if name == "test" else set(range(8, 16))
        assert numbers.keys() == {*range(8), *unknown}
        share = sum(numbers[number] for number in unknown) / numbers.total()
        assert share == pytest.approx(0.4, abs=0.1)
    for row in range(60):
        source, target = task.decoded_source("test", row), task.reference_texts("test", row)[0]
        assert target.split() == (source[::-1] if order == "reversed" else source) or longer
    if order == "reversed":
        rules = task.baselines()["the order given"]
        assert rules["exact_match"] < 0.3
    without = EchoTask(**settings, unknown_share=0.4)
    assert without.data.counts["test_unknown_target_tokens"] > 50
    rules = without.baseline_predictions().values()
    assert not any(UNK in ids for predictions in rules for ids in predictions)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unknown_slots": -1}, "unknown_slots is -1; it must be between 0 and 10000"),
        ({"unknown_slots": 2, "minimum_count": 1}, "minimum_count is 1, so that training has no"),
        (
            {"unknown_slots": 2, "tokens": "subword", "vocabulary_size": 9, "minimum_count": 1},
            "unknown_slots is 2, but with tokens 'subword' hardly any word is unknown",
        ),
        ({"unknown_slots": 2, "targets": "values", "target_size": 1}, "slots are for tokens"),
        ({"unknown_slots": 2, "sources": "images", "source_size": 8}, "slots are for tokens"),
    ],
)
def test_slots_that_nothing_would_fill_are_refused(settings, message):
    settings = {"tokens": "word", "minimum_count": 2} | settings
    with pytest.raises(ValueError, match=message):
        TSVTask(path="pairs.tsv", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unknown_slots": 2}, "unknown_slots is 2, but unknown_share is 0"),
        ({"unknown_share": 1.5}, "unknown_share is 1.5; it must be between 0 and 1"),
        ({"unknown_share": 0.5, "order": "sorted"}, "nobody can know the order"),
    ],
)
def test_echo_refuses_unknown_integers_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        EchoTask(num_values=8, min_length=2, max_length=4, **SIZES, **settings)


def test_data_without_an_unknown_token_or_with_a_slots_name_are_refused(tmp_path):
    known = [("to to", "to"), ("to to sees", "to"), ("sees sees", "to")]
    with pytest.raises(ValueError, match="unknown_slots is 2, but no source of training has an"):
        _ = tsv(tmp_path, train=known).data
    named = [("<unk1> <unk1> x", "to"), ("to to sees", "to"), ("sees sees y", "to")]
    with pytest.raises(ValueError, match="contain the token '<unk1>', which is reserved"):
        _ = tsv(tmp_path, train=named).data
