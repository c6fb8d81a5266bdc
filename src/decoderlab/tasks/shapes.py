"""Shapes: say what is drawn in a picture, from left to right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.contract import ImageSpace
from decoderlab.data.example import Example
from decoderlab.data.splits import check_possible, check_split_sizes, cut, distinct_draws
from decoderlab.data.task import Task
from decoderlab.data.vocabulary import Vocabulary

KINDS = ("square", "disc", "cross", "triangle")
CELL = 12  # pixels of a place, in both directions
SIZES = (6, 7, 8, 9)


class ShapesTask(Task):
    """Pictures of a few places side by side, each empty or with a shape; the target names them.

    The smallest task with images: generated, nothing to download.

    Source: ours.

    Args:
        num_places: places of a picture, 1 to 8; at least one of them is filled.
        num_train, num_validation, num_test: examples per split, at least 1.
        data_seed: seed of the data alone, so that the runs of all seeds share them.

    Raises:
        ValueError: for numbers out of range, or more examples than there are pictures.

    Example:
        >>> import torch
        >>> task = ShapesTask(num_places=3, num_train=5, num_validation=2, num_test=2)
        >>> task.data.source_space, task.data.splits["train"].batch(torch.arange(2)).source.shape
        (ImageSpace(channels=1, height=12, width=36), torch.Size([2, 1, 12, 36]))
    """

    reads = "images"

    def __init__(
        self,
        *,
        num_places: int,
        num_train: int,
        num_validation: int,
        num_test: int,
        data_seed: int = 0,
    ) -> None:
        super().__init__()
        require.between("num_places", num_places, 1, 8)
        self.num_places, self.data_seed = num_places, data_seed
        self.num_examples = check_split_sizes(num_train, num_validation, num_test)
        drawings = len(KINDS) * sum((CELL - size + 1) ** 2 for size in SIZES)
        check_possible(self.num_examples, (drawings + 1) ** num_places - 1, "pictures")

    @property
    def source_space(self) -> ImageSpace:
        """The size of the pictures."""
        return ImageSpace(channels=1, height=CELL, width=CELL * self.num_places)

    def vocabularies(self, train: list[Example]) -> tuple[ImageSpace, Vocabulary]:
        """Return the size of the pictures and the shapes' names."""
        return self.source_space, Vocabulary(KINDS)

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Draw distinct pictures."""
        generator = numpy_generator(self.data_seed, "data", "shapes")

        def draw(number: int) -> list[tuple]:
            shape = (number, self.num_places)
            kinds = generator.integers(-1, len(KINDS), size=shape)
            kinds[(kinds < 0).all(axis=1), 0] = 0
            sizes = generator.choice(SIZES, size=shape)
            tops, lefts = (generator.integers(0, CELL - sizes + 1) for _ in range(2))
            pictures = np.stack([kinds, sizes, tops, lefts], axis=-1)
            pictures[kinds < 0] = -1  # where nothing is drawn, nothing tells pictures apart
            return [tuple(map(tuple, picture)) for picture in pictures.tolist()]

        rows = [
            Example(picture_of(shapes), [KINDS[kind] for kind, *_ in shapes if kind >= 0])
            for shapes in distinct_draws(draw, sum(self.num_examples))
        ]
        return cut(rows, self.num_examples, generator), {}


def picture_of(shapes: Sequence[tuple[int, int, int, int]]) -> np.ndarray:
    """Return (1, CELL, CELL * shapes) float32: 1 where a shape is, 0 elsewhere.

    Args:
        shapes: (kind, size, top, left) of each place; a negative kind for an empty one.

    Example:
        >>> picture_of([(2, 6, 0, 0)])[0, :6, :6].astype(int).tolist()[2]
        [1, 1, 1, 1, 1, 1]
    """
    picture = np.zeros((1, CELL, CELL * len(shapes)), dtype=np.float32)
    for number, (kind, size, top, left) in enumerate(shapes):
        if kind >= 0:
            left += number * CELL
            picture[0, top : top + size, left : left + size] = _shape(KINDS[kind], size)
    return picture


def _shape(kind: str, size: int) -> np.ndarray:
    row, column = np.indices((size, size))
    middle = (size - 1) / 2
    match kind:
        case "disc":
            return (row - middle) ** 2 + (column - middle) ** 2 <= (size / 2) ** 2
        case "cross":
            return (abs(row - middle) <= 1) | (abs(column - middle) <= 1)
        case "triangle":
            return column <= row
    return np.ones((size, size), dtype=bool)
