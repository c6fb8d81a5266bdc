"""Your own data: a file with a source and a target in each line, separated by a tab."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np

from decoderlab.common import require
from decoderlab.contract import ImageSpace
from decoderlab.data.example import Example, text_of_example
from decoderlab.data.lenient_reading import BadLines, readable_lines
from decoderlab.data.pairs import Pair, PairsTask
from decoderlab.data.pictures import read_image
from decoderlab.data.reading import lines_of
from decoderlab.data.task_data import Kind
from decoderlab.data.unknown_slots import check_slots
from decoderlab.data.values import Values, parse_values
from decoderlab.data.vocabulary import Vocabulary

TABBED = "a tab-separated UTF-8 file whose first line is source<TAB>target"

# What a step is selected by where the targets are values.
VALUES_METRIC = "mean_absolute_error"


class TSVTask(PairsTask):
    r"""Pairs from a tab-separated UTF-8 file, split so that no source is in two splits.

    The first line names the columns. Windows line ends and a byte-order mark are fine; there is
    no quoting, so that quotation marks around a source or target are part of it (`quoted_lines`
    have such). Empty lines are passed over (`empty_lines`); for all else see `PairsTask`.

    Args:
        path: the file.
        tokens, separator, vocabulary_size, minimum_count, unknown_slots, max_source_length,
            max_target_length, data_seed: see `PairsTask`.
        source_column, target_column: the columns' names in the first line.
        group_column: name of a column that says what must not stand in two splits, such as a
            speaker or a document; None for the source itself.
        split_column: name of a column that says train, validation or test; None to draw the splits.
            A new test file needs neither of these two.
        sources: `text`; `values`, series of real values, positions with spaces between them and
            the numbers of one with commas; or `images`, names of files beside the TSV.
        source_size: of values, numbers a position; of images, pixels of either side, to which they
            are scaled, in three colours; None for text. Sources that are the same then count as one
            (`same_sources`: lines whose numbers or pixels another line has too, written otherwise).
        targets: `text`, or `values`: real values, written as those of sources, of one number of
            positions in all lines. Of several targets of a source in validation or test the first
            counts (`further_targets`: the others).
        target_size: of values, numbers a position; None for text.
        skip_bad_lines: leave lines that cannot be used out (another number of columns, not UTF-8,
            no numbers, an image that cannot be read), count them (`bad_lines`) and name them;
            without it the first one is an error.
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
        targets: str = "text",
        target_size: int | None = None,
        skip_bad_lines: bool = False,
        validation_share: float = 0.1,
        test_share: float = 0.1,
        minimum_count: int = 1,
        unknown_slots: int = 0,
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        data_seed: int = 0,
    ) -> None:
        super().__init__(
            tokens=tokens,
            separator=separator,
            vocabulary_size=vocabulary_size,
            minimum_count=minimum_count,
            unknown_slots=unknown_slots,
            max_source_length=max_source_length,
            max_target_length=max_target_length,
            data_seed=data_seed,
        )
        self.shares = require.shares(validation_share=validation_share, test_share=test_share)
        require.choice("sources", sources, ("text", "values", "images"))
        require.choice("targets", targets, ("text", "values"))
        for side, kind, size, kinds in (
            ("source", sources, source_size, "values or images"),
            ("target", targets, target_size, "values"),
        ):
            if (kind == "text") != (size is None):
                raise ValueError(
                    f"{side}s is {kind!r} and {side}_size is {size}; give a {side}_size "
                    f"exactly when {side}s are {kinds}: the numbers of a position, or pixels of a "
                    f"side; task.{side}_size=1 for one number"
                )
            if size is not None:
                require.at_least(f"{side}_size", size, 1)
        self.reads, self.writes = (kind.replace("text", "tokens") for kind in (sources, targets))
        if (sources, targets) != ("text", "text"):
            check_slots(unknown_slots, "slots are for tokens; make sources and targets text")
        if self.writes == "values":
            self.append_eos, self.metric = False, VALUES_METRIC
        self.source_size, self.target_size = source_size, target_size
        self.skip_bad_lines = skip_bad_lines
        self.bad_lines = BadLines("", skip_bad_lines)  # of the last reading
        self._arrays, self._cells = dict[str, np.ndarray](), dict[str, str]()  # of `_first`
        self.path = Path(path).expanduser()
        self.columns = (source_column, target_column, group_column, split_column)

    @classmethod
    def reads_with(cls, settings: Mapping[str, Any]) -> str:
        """Return what the sources are."""
        return settings.get("sources", "text").replace("text", "tokens")

    @classmethod
    def writes_with(cls, settings: Mapping[str, Any]) -> str:
        """Return what the targets are."""
        return settings.get("targets", "text").replace("text", "tokens")

    @classmethod
    def fills(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what null stands for in a config with this task."""
        filled = super().fills(settings)
        if cls.writes_with(settings) == "values":
            filled |= {"evaluation.select": VALUES_METRIC, "study.metric": VALUES_METRIC}
        return filled

    def described(self) -> str:
        """Return what a message calls the data."""
        return f"path {self.path}"

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Read the file and split it."""
        self._arrays.clear()
        self._cells.clear()
        splits, counts = super().examples()
        if self.reads != "tokens":
            splits = {
                name: [
                    replace(row, source=self._arrays[text_of_example(row.source)]) for row in rows
                ]
                for name, rows in splits.items()
            }
            self._arrays.clear()
        if self.writes == "values":
            splits = {name: self._valued(rows, counts) for name, rows in splits.items()}
            _check_positions(self.described(), splits)
        return splits, counts

    def _valued(self, rows: list[Example], counts: dict[str, int]) -> list[Example]:
        """Return examples whose targets are numbers; the first of several is the one."""
        size = require.given("target_size", self.target_size)
        for row in rows:
            if len(row.references) > 1:
                counts["further_targets"] = counts.get("further_targets", 0) + (
                    row.target == row.references[0] and len(row.references) - 1
                )
        return [
            replace(row, target=parse_values(text_of_example(row.target), size), references=())
            for row in rows
        ]

    def vocabularies(self, train: list[Example]) -> tuple[Kind, Vocabulary | Values]:
        """Return the tokens seen in training, or the scale of the values there."""
        if self.writes == "tokens":
            return super().vocabularies(train)
        arrays = [row.target for row in train if isinstance(row.target, np.ndarray)]
        return self.source_vocabulary(train), Values.of(arrays)

    def baseline_predictions(self) -> dict[str, Sequence[Any]]:
        """Return the most frequent target of training; of values their mean."""
        vocabulary = self.data.target_vocabulary
        if not isinstance(vocabulary, Values):
            return super().baseline_predictions()
        mean = np.zeros((self.data.max_target_length, vocabulary.space.size), dtype=np.float32)
        return {"the mean of training": [mean] * len(self.data.splits["test"])}

    def source_vocabulary(self, train: list[Example]) -> Kind:
        """Return the source vocabulary alone, or what stands for one."""
        if self.reads == "tokens":
            return super().source_vocabulary(train)
        arrays = [example.source for example in train if isinstance(example.source, np.ndarray)]
        return ImageSpace(*arrays[0].shape) if self.reads == "images" else Values.of(arrays)

    def tidied(self, side: str, text: str) -> str:
        """Return a text in the form that all texts of the same tokens share."""
        if side == "source" and self.reads != "tokens":
            return text  # `_first` has seen to it
        if side == "target" and self.writes == "values":
            return " ".join(text.split())
        return super().tidied(side, text)

    def words(self, side: str, text: str) -> Sequence[str]:
        """Split a text into tokens; numbers into positions, and no names of images."""
        if side == "source" and self.reads != "tokens":
            return text.split() if self.reads == "values" else [text] if text.strip() else []
        if side == "target" and self.writes == "values":
            return text.split()
        return super().words(side, text)

    def pairs(self, counts: dict[str, int]) -> Iterator[Pair]:
        """Read the file.

        Raises:
            ValueError: if the file cannot be read, or for an invalid line, unless such
                lines are skipped.
        """
        counts["empty_lines"] = counts["quoted_lines"] = 0
        bad = self.bad_lines = BadLines(f"path {self.path}", self.skip_bad_lines)
        if self.skip_bad_lines:
            lines = readable_lines("path", self.path, TABBED, bad)
        else:
            lines = enumerate(lines_of("path", self.path, TABBED), start=1)
        header = next(lines, (1, ""))[1].split("\t")
        if header == [""]:
            raise ValueError(f"path {self.path} is empty; it needs a first line of column names")
        source_at, target_at, *others = self._column_indices(header)
        first: dict[bytes, str] = {}  # of each image or recording, the cell that it came in
        if self.reads != "tokens":
            counts["same_sources"] = 0
        for number, line in lines:
            if not line:
                counts["empty_lines"] += 1
                continue
            cells = line.split("\t")
            if len(cells) != len(header):
                bad.add(number, _wrong_columns(cells, header))
                continue
            group, split = (None if index is None else cells[index] for index in others)
            pair = Pair(cells[source_at], cells[target_at], group, split)
            counts["quoted_lines"] += any(
                len(text) > 1 and text[0] == text[-1] == '"' for text in pair[:2]
            )
            try:
                if self.writes == "values":
                    parse_values(pair.target, require.given("target_size", self.target_size))
                if self.reads != "tokens" and pair.source.strip():
                    source = self._first(pair.source, first)
                    counts["same_sources"] += source != normalize("NFC", pair.source)
                    pair = pair._replace(source=source)
            except ValueError as error:
                bad.add(number, str(error))
                continue
            yield pair
        bad.close()
        if bad.number:
            counts["bad_lines"] = bad.number

    def _column_indices(self, header: list[str]) -> list[Any]:
        """Return at which indices of a line source, target, group and split stand.

        Raises:
            ValueError: if the first line does not name a column, or names one twice.
        """
        settings = ("source_column", "target_column", "group_column", "split_column")
        columns: tuple[str | None, ...] = self.columns
        if self.only_split is not None:  # so that neither groups nor splits are asked for
            columns = (*columns[:2], None, None)
        missing = [
            named
            for named in zip(settings, columns, strict=True)
            if named[1] is not None and named[1] not in header
        ]
        if missing:
            untabbed = "" if len(header) > 1 else " (no tab)"
            other = f", or set task.{missing[0][0]}" if self.only_split is None else ""
            raise ValueError(
                f"path {self.path}: the first line names the columns {str(header)[:150]}{untabbed},"
                f" but not {missing[0][1]!r}; correct it (a tab between columns){other}"
            )
        if repeated := [name for name in columns if name and header.count(name) > 1]:
            raise ValueError(
                f"path {self.path}: the first line has {repeated[0]!r} twice; name columns apart"
            )
        return [None if name is None else header.index(name) for name in columns]

    def _first(self, cell: str, first: dict[bytes, str]) -> str:
        """Return the cell that had this image or these values first, in the form NFC.

        Its array is kept, and how it came.
        """
        name = normalize("NFC", cell)
        before = self._cells.setdefault(name, cell)
        known = self._arrays.get(name)
        if known is not None and (cell == before or not os.path.exists(self.path.parent / cell)):
            return name
        size = require.given("source_size", self.source_size)
        if self.reads == "values":
            array = parse_values(cell, size)
        else:
            array = read_image(self.path.parent / cell, size, size, name=cell)
        content = hashlib.sha256(repr(array.shape).encode() + array.tobytes())
        if known is not None and not np.array_equal(array, known):
            raise ValueError(
                f"{cell!a} and {before!a} are two files of one name in Unicode's form NFC; rename "
                "one of them"
            )
        same = first.setdefault(content.digest(), name)
        if same == name:
            self._arrays[name] = array
        return same


def _wrong_columns(cells: list[str], header: list[str]) -> str:
    """Return what is wrong with a line that has another number of columns than the first."""
    untabbed = " (there is no tab in it)" if len(cells) == 1 else ""
    return (
        f"{len(cells)} columns{untabbed}, but the first line names {len(header)}; separate columns "
        "by one tab"
    )


def _check_positions(described: str, splits: Mapping[str, list[Example]]) -> None:
    """Raise ValueError unless all targets of values have one number of positions."""
    lengths = {len(row.target) for rows in splits.values() for row in rows}
    if len(lengths) > 1:
        raise ValueError(
            f"{described}: the targets have {', '.join(map(str, sorted(lengths)[:5]))} positions; "
            "real values have no end of their own, so give all targets as many"
        )
