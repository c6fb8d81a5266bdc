"""Your own data: a file with a source and a target in each line, separated by a tab."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np

from decoderlab.common import require
from decoderlab.contract import ImageSpace
from decoderlab.data.example import Example, as_text
from decoderlab.data.pairs import Pair, PairsTask
from decoderlab.data.reading import lines_of
from decoderlab.data.task_data import Kind
from decoderlab.data.values import Values, parse_values

TABBED = "a tab-separated UTF-8 file whose first line is source<TAB>target"


class TSVTask(PairsTask):
    r"""Pairs from a tab-separated UTF-8 file, split so that no source is in two splits.

    The first line names the columns. Windows line ends and a byte-order mark are fine; there is
    no quoting. Empty lines are passed over (`empty_lines`); for all else see `PairsTask`.

    Args:
        path: the file.
        tokens, separator, vocabulary_size, minimum_count, max_source_length, max_target_length,
            data_seed: see `PairsTask`.
        source_column, target_column: the columns' names in the first line.
        group_column: name of a column that says what must not stand in two splits, such as a
            speaker or a document; None for the source itself.
        split_column: name of a column that says train, validation or test; None to draw the splits.
        sources: `text`; `values`, series of real values, positions with spaces between them and
            the numbers of one with commas; or `images`, names of files beside the TSV.
        source_size: of values, numbers a position; of images, pixels of either side, to which they
            are scaled, in three colours; None for text. Sources that are the same then count as one
            (`same_sources`: lines whose numbers or pixels another line has too, written otherwise).
        validation_share, test_share: shares of the different sources or groups, above 0, below 1
            together; without effect where there is a `split_column`.

    Raises:
        ValueError: for a file that is missing, is not UTF-8, lacks a column or has a line with
            another number of columns (the message has the line's number).
    """

    def __init__(
        self,
        *,
        path: str,
        tokens: str = "character",
        separator: str | None = None,
        vocabulary_size: int | None = None,
        source_column: str = "source",
        target_column: str = "target",
        group_column: str | None = None,
        split_column: str | None = None,
        sources: str = "text",
        source_size: int | None = None,
        validation_share: float = 0.1,
        test_share: float = 0.1,
        minimum_count: int = 1,
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        data_seed: int = 0,
    ) -> None:
        super().__init__(
            tokens=tokens,
            separator=separator,
            vocabulary_size=vocabulary_size,
            minimum_count=minimum_count,
            max_source_length=max_source_length,
            max_target_length=max_target_length,
            data_seed=data_seed,
        )
        self.shares = require.shares(validation_share=validation_share, test_share=test_share)
        require.choice("sources", sources, ("text", "values", "images"))
        if (sources == "text") != (source_size is None):
            raise ValueError(
                f"sources is {sources!r} and source_size is {source_size}; give a source_size "
                "exactly when sources are values or images"
            )
        if source_size is not None:
            require.at_least("source_size", source_size, 1)
        self.reads = sources.replace("text", "tokens")
        self.source_size = source_size
        self._arrays: dict[str, np.ndarray] = {}  # by the first cell that has them
        self.path = Path(path).expanduser()
        self.columns = (source_column, target_column, group_column, split_column)

    @classmethod
    def reads_with(cls, settings: Mapping[str, Any]) -> str:
        """Return what the sources are."""
        return settings.get("sources", "text").replace("text", "tokens")

    def described(self) -> str:
        """Return what a message calls the data."""
        return f"path {self.path}"

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Read the file and split it."""
        self._arrays.clear()
        splits, counts = super().examples()
        if self.reads != "tokens":
            splits = {
                name: [replace(row, source=self._arrays[as_text(row.source)]) for row in rows]
                for name, rows in splits.items()
            }
            self._arrays.clear()
        return splits, counts

    def source_vocabulary(self, train: list[Example]) -> Kind:
        """Return the source vocabulary alone, or what stands for one."""
        if self.reads == "tokens":
            return super().source_vocabulary(train)
        arrays = [one.source for one in train if isinstance(one.source, np.ndarray)]
        return ImageSpace(*arrays[0].shape) if self.reads == "images" else Values.of(arrays)

    def tidied(self, side: str, text: str) -> str:
        """Return a text in the form that all texts of the same tokens share."""
        if side == "source" and self.reads != "tokens":
            return text  # `_first` has seen to it
        return super().tidied(side, text)

    def words(self, side: str, text: str) -> Sequence[str]:
        """Split a text into tokens; numbers into positions, and no names of images."""
        if side == "source" and self.reads != "tokens":
            return text.split() if self.reads == "values" else [text] if text else []
        return super().words(side, text)

    def pairs(self, counts: dict[str, int]) -> Iterator[Pair]:
        """Read the file."""
        counts["empty_lines"] = 0
        lines = enumerate(lines_of("path", self.path, TABBED), start=1)
        header = next(lines, (1, ""))[1].split("\t")
        if header == [""]:
            raise ValueError(f"path {self.path} is empty; it needs a first line of column names")
        settings = ("source_column", "target_column", "group_column", "split_column")
        missing = [
            named
            for named in zip(settings, self.columns, strict=True)
            if named[1] is not None and named[1] not in header
        ]
        if missing:
            raise ValueError(
                f"path {self.path}: the first line names the columns {str(header)[:200]}, but not "
                f"{missing[0][1]!r}; correct it, or set task.{missing[0][0]}"
            )
        if repeated := [name for name in self.columns if name and header.count(name) > 1]:
            raise ValueError(
                f"path {self.path}: the first line has {repeated[0]!r} twice; name columns apart"
            )
        source_at, target_at = header.index(self.columns[0]), header.index(self.columns[1])
        others = [None if name is None else header.index(name) for name in self.columns[2:]]
        first: dict[bytes, str] = {}  # of each image or recording, the cell that it came in
        if self.reads != "tokens":
            counts["same_sources"] = 0
        for number, line in lines:
            if not line:
                counts["empty_lines"] += 1
                continue
            cells = line.split("\t")
            if len(cells) != len(header):
                raise ValueError(
                    f"path {self.path}, line {number}: {len(cells)} columns, but the "
                    f"first line names {len(header)}; separate columns by one tab"
                )
            group, split = (None if index is None else cells[index] for index in others)
            pair = Pair(cells[source_at], cells[target_at], group, split)
            if self.reads != "tokens" and pair.source.strip():
                try:
                    source = self._first(pair.source, first)
                except ValueError as error:
                    raise ValueError(f"path {self.path}, line {number}: {error}") from error
                counts["same_sources"] += source != normalize("NFC", pair.source)
                pair = pair._replace(source=source)
            yield pair

    def _first(self, cell: str, first: dict[bytes, str]) -> str:
        """Return the cell that had this image or these values first; its array is kept."""
        name = normalize("NFC", cell)
        if name in self._arrays:
            return name
        size = require.given("source_size", self.source_size)
        array = (parse_values if self.reads == "values" else self._image)(cell, size)
        content = hashlib.sha256(repr(array.shape).encode() + array.tobytes())
        same = first.setdefault(content.digest(), name)
        if same == name:
            self._arrays[name] = array
        return same

    def _image(self, name: str, size: int) -> np.ndarray:
        """Return (3, size, size) float32, 0 to 1; what is transparent is white."""
        try:
            from PIL import Image, ImageOps
        except ImportError as error:
            raise ValueError("images take Pillow; run: pip install 'decoderlab[data]'") from error
        try:
            with Image.open(self.path.parent / name) as image:
                deep = image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PNG")
                with suppress(Exception):  # whatever a damaged EXIF raises: it says nothing then
                    image = ImageOps.exif_transpose(image)
                if deep:  # Pillow would cut its 16 bits off at 255
                    values, clear = np.asarray(image), image.info.get("transparency")
                    values = np.where(values == clear, 255, values // 257)
                    image = Image.fromarray(values.astype("uint8"))
                if image.mode in ("I", "F"):
                    raise OSError(f"its mode is {image.mode}; save it with 8 bits a colour")
                if image.has_transparency_data:
                    white = Image.new("RGBA", image.size, "white")
                    image = Image.alpha_composite(white, image.convert("RGBA"))
                pixels = np.asarray(image.convert("RGB").resize((size, size)), dtype=np.float32)
        except (OSError, Image.DecompressionBombError) as error:
            raise ValueError(f"the image {name!r} cannot be read ({error})") from error
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) / 255)
