"""Tables of somebody's own: texts, numbers, recordings and images."""

from __future__ import annotations

import codecs
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from decoderlab.config.run_config import RunConfig
from decoderlab.contract import ImageSpace
from decoderlab.data.task_data import dumped_references
from decoderlab.tasks import TSVTask
from decoderlab.training.assembly import build_task
from tests.conftest import composed
from tests.tasks.splits import disjoint, texts


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
    assert sum(map(len, task.data.splits.values())) == 30


@pytest.mark.fault(20)
def test_tsv_takes_windows_files_and_counts_what_it_drops(tmp_path):
    text = codecs.BOM_UTF8.decode() + pairs(20) + "\nlong long long long\tx\n\tempty\na b1\tc1 d\n"
    text = text.replace("\tc3 d", '\t"c3 d"')
    task = tsv(tmp_path, text.replace("\n", "\r\n"), tokens="word", max_source_length=3)
    counts = task.data.counts
    assert (counts["pairs"], counts["empty_lines"], counts["quoted_lines"]) == (23, 1, 1)
    assert counts["dropped_too_long"] == counts["dropped_empty"] == counts["repeated_pairs"] == 1


def test_tsv_accepts_all_targets_of_a_source(tmp_path):
    text = "source\ttarget\n" + "".join(f"{n}\tx\n{n}\ty\n" for n in range(30))
    task = tsv(tmp_path, text)
    assert len(task.data.splits["test"]) == 3
    assert len(task.data.splits["test"].accepted(0, 2)) == 2


@pytest.mark.fault(21)
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
        pytest.param(
            "source\ttarget\n" + "".join(f"{n} <pad>\tx\n" for n in range(9)),
            "the token '<pad>', which is reserved",
            marks=pytest.mark.fault(21),
        ),
    ],
)
@pytest.mark.fault(19)
def test_a_malformed_file_is_refused_with_the_place(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as refused:
        _ = tsv(tmp_path, text, tokens="word").data
    named = "reserved" in message  # which is of the data, wherever they are read from
    assert named or str(tmp_path / "pairs.tsv") in str(refused.value)


@pytest.mark.fault(19)
def test_a_missing_file_is_refused(tmp_path):
    for path in (tmp_path / "none.tsv", tmp_path):
        with pytest.raises(ValueError, match=f"path {path} cannot be read"):
            _ = TSVTask(path=str(path)).data


@pytest.mark.fault(22)
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
    said = "'a0' is both in the test and the train split, and so with 1 in all"
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
    (tmp_path / "text.png").write_text("no image")
    for name, why in (("none", ""), ("text", r" \(it is none of PNG")):
        with pytest.raises(ValueError, match=f"14: the image '{name}.png' cannot be read{why}"):
            _ = tsv(tmp_path, f"source\ttarget\n{lines}{name}.png\tx\n", **settings).data


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


def test_other_images_under_the_names_of_before_are_read_again(tmp_path):
    Image = pytest.importorskip("PIL.Image")  # noqa: N806
    lines = "".join(f"{n}.png\tshade {n % 2}\n" for n in range(12))
    (tmp_path / "data.tsv").write_text("source\ttarget\n" + lines)
    settings = (f"task.path={tmp_path / 'data.tsv'}", "task.sources=images", "task.source_size=4")
    held = ("encoder=image_cnn", "decoder=luong")
    fingerprints = []
    for shade in (20, 10):
        for n in range(12):
            Image.new("RGB", (20, 10), (shade * n, 0, 255)).save(tmp_path / f"{n}.png")
        config = RunConfig.from_composed(composed("task=tsv", "task.tokens=word", *settings, *held))
        fingerprints.append(build_task(config).data.fingerprint)
    assert fingerprints[0] != fingerprints[1]


def test_a_blank_in_place_of_an_image_is_an_empty_source(tmp_path):
    Image = pytest.importorskip("PIL.Image")  # noqa: N806
    for n in range(12):
        Image.new("L", (4, 4), 20 * n).save(tmp_path / f"{n}.png")
    lines = "".join(f"{n}.png\tshade {n % 2}\n" for n in range(12))
    blanks = " \tshade 1\n\u00a0\tshade 0\n"
    settings = {"tokens": "word", "sources": "images", "source_size": 4}
    task = tsv(tmp_path, f"source\ttarget\n{blanks}{lines}", **settings)
    assert task.data.counts["dropped_empty"] == 2
    assert sum(map(len, task.data.splits.values())) == 12


@pytest.mark.parametrize("blank", [" ", "\u3000\u00a0", "\u2028\u0085"])
def test_white_space_alone_is_empty_as_where_a_line_is_predicted(tmp_path, blank):
    pairs = "".join(f"{n} a\t{n}b\n" for n in range(20))
    task = tsv(tmp_path, f"source\ttarget\n{blank}\tc\nd\t{blank}\n{pairs}", tokens="character")
    assert task.data.counts["dropped_empty"] == 2
    assert sum(map(len, task.data.splits.values())) == 20


def test_two_pictures_whose_names_are_one_in_nfc_are_refused(tmp_path):
    Image = pytest.importorskip("PIL.Image")  # noqa: N806
    for n in range(12):
        Image.new("L", (4, 4), 20 * n).save(tmp_path / f"{n}.png")
    composed_name, decomposed = "\u00e9.png", "e\u0301.png"
    Image.new("L", (4, 4), 7).save(tmp_path / composed_name)
    Image.new("L", (4, 4), 7).save(tmp_path / decomposed)
    names = [*(f"{n}.png" for n in range(12)), composed_name, decomposed]
    lines = "".join(f"{name}\tshade {at % 2}\n" for at, name in enumerate(names))
    settings = {"tokens": "word", "sources": "images", "source_size": 4}
    task = tsv(tmp_path, f"source\ttarget\n{lines}", **settings)
    assert sum(map(len, task.data.splits.values())) == 14  # the same picture with two targets
    Image.new("L", (4, 4), 9).save(tmp_path / decomposed)
    with pytest.raises(ValueError, match="are two files of one name"):
        _ = tsv(tmp_path, f"source\ttarget\n{lines}", **settings).data


def test_a_group_is_one_however_its_name_was_typed(tmp_path):
    forms = "ren\u00e9 {}", "rene\u0301 {}", " ren\u00e9  {} "
    lines = "".join(f"{n:02d}\t{n % 3}\t{forms[n % 3].format(n // 6)}\n" for n in range(60))
    task = tsv(tmp_path, "source\ttarget\twho\n" + lines, group_column="who")
    groups = [{int(source) // 6 for source, _ in texts(task, name)} for name in task.data.splits]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 10


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


def _declared(width: int, height: int) -> bytes:
    """Return a PNG that says how large it is, and little more."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content).to_bytes(4)
        return len(content).to_bytes(4) + kind + content + check

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 3, 0, 0, 0])
    rest = chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", b"\0") + chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rest + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(13300, 13300), (89_000_000, 1), (1, 70_000), (7072, 7072)])
def test_the_pixels_of_an_image_are_bounded_before_they_are_read(tmp_path, size):
    pytest.importorskip("PIL.Image")
    (tmp_path / "large.png").write_bytes(_declared(*size))
    settings = {"tokens": "word", "sources": "images", "source_size": 4}
    with pytest.raises(ValueError, match=r"line 2: the image 'large.png' cannot be read"):
        _ = tsv(tmp_path, "source\ttarget\nlarge.png\tx\n", **settings).data


def test_an_image_for_which_there_is_no_memory_is_named(tmp_path, monkeypatch):
    Image = pytest.importorskip("PIL.Image")  # noqa: N806
    Image.new("1", (40, 40)).save(tmp_path / "large.png")

    def refuse(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", refuse)
    settings = {"tokens": "word", "sources": "images", "source_size": 4}
    with pytest.raises(ValueError, match=r"'large.png' cannot be read \(there is no memory"):
        _ = tsv(tmp_path, "source\ttarget\nlarge.png\tx\n", **settings).data


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("source\ttarget\ttarget\na\tb\tc\n", {}, "the first line has 'target' twice"),
        ("a,b\r" * 9000, {}, r"^.{1,400}$"),
        pytest.param(
            "source\ttarget\n" + "".join(f"a{n}\tb\n" for n in range(20)),
            {"tokens": "word", "minimum_count": 50},
            "minimum_count is 50, but no source token of training is there so often",
            marks=pytest.mark.fault(21),
        ),
    ],
)
@pytest.mark.fault(19)
def test_what_cannot_work_is_one_short_message(tmp_path, text, settings, message):
    with pytest.raises(ValueError, match=message):
        _ = tsv(tmp_path, text, **settings).data


def held_out(tmp_path: Path, tokens: str, validation: str, test: str, **settings) -> TSVTask:
    rows = [f"a{n % 5} b{n}\tc{n % 3} d\ttrain" for n in range(20)]
    rows += [f"v\t{validation}\tvalidation", f"t\t{test}\ttest", f"t\t{test} d\ttest"]
    text = "\n".join(["source\ttarget\tsplit", *rows]) + "\n"
    return tsv(tmp_path, text, tokens=tokens, split_column="split", **settings)


@pytest.mark.parametrize("tokens", ["word", "character"])
def test_texts_of_tokens_without_an_id_are_part_of_the_data(tmp_path, tokens):
    """They are what chrF, BLEU and error rates of words are computed against."""
    known, odd, odder = "c1 d", "c1 XYZ", "c1 UVW"
    fingerprints = {
        held_out(tmp_path, tokens, *pair).data.fingerprint
        for pair in [(known, known), (odd, known), (odder, known), (known, odd), (known, odder)]
    }
    assert len(fingerprints) == 5


@pytest.mark.parametrize(
    ("target", "digest"),
    [("c1 d", "3b3e97c4ef65b38f"), ("c2 d", "9caf6f7a8ddcb559")],
)
def test_data_whose_tokens_are_all_known_keep_their_fingerprint(tmp_path, target, digest):
    task = held_out(tmp_path, "word", "c1 d", target)
    assert not any(split.unwritten for split in task.data.splits.values())
    assert task.data.fingerprint[:16] == digest
