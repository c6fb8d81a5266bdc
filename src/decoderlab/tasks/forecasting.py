"""Forecasting: read a stretch of a series, write how it goes on."""

from __future__ import annotations

import ast
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from decoderlab.common import require
from decoderlab.common.progress import say
from decoderlab.data.batches import Ragged, Split, as_ragged
from decoderlab.data.example import SPLITS, Example
from decoderlab.data.reading import package_file
from decoderlab.data.series_table import read_table
from decoderlab.data.task import Task
from decoderlab.data.task_data import Kind
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd

FITTED = 20_000_000  # numbers that least squares read at most


class Source(NamedTuple):
    """Where a series lies.

    Args:
        distribution, relative: package and file.
        read: from the file to the series (length,), NaN where a value is missing.
        seasons: steps after which the series is alike; the first scales the error.
        units: of the values.
    """

    distribution: str
    relative: str
    read: Callable[[Path], np.ndarray]
    seasons: tuple[int, ...]
    units: str


def _literal(path: Path) -> np.ndarray:
    """Return the longest list of numbers in a Python file, which is not executed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lists = [node for node in ast.walk(tree) if isinstance(node, ast.List)]
    return np.array(ast.literal_eval(max(lists, key=lambda node: len(node.elts))), dtype=float)


def _words(path: Path) -> np.ndarray:
    return np.array(gzip.decompress(path.read_bytes()).split(), dtype=float)


def _last_column(path: Path) -> np.ndarray:
    import pandas as pd

    return pd.read_csv(path).iloc[:, -1].to_numpy(dtype=float)


SERIES = {
    "taylor": Source("pmdarima", "pmdarima/datasets/taylor.py", _literal, (48, 336), "MW"),
    "sunspots": Source(
        "pmdarima", "pmdarima/datasets/data/sunspots.txt.gz", _words, (132,), "sunspot number"
    ),
    "sunspots_yearly": Source(
        "statsmodels", "statsmodels/datasets/sunspots/sunspots.csv", _last_column, (11,), "number"
    ),
    "co2": Source("statsmodels", "statsmodels/datasets/co2/co2.csv", _last_column, (52,), "ppm"),
    "elec_equip": Source(
        "statsmodels",
        "statsmodels/datasets/elec_equip/elec_equip.csv",
        _last_column,
        (12,),
        "index",
    ),
}


class ForecastingTask(Task):
    """Windows of a series: the first part is read, the second is to be written.

    The series is cut in time into training, validation and test, in this order. Every window lies
    in one part as a whole, so that no value is in two splits. Windows with a missing value are
    dropped and counted; nothing is filled in. Values are standardised by the training part. The
    series is kept once, and windows are positions in it.

    Source: `taylor`, half-hourly electricity demand of England and Wales in 2000 (Taylor 2003,
        https://doi.org/10.1057/palgrave.jors.2601589), and `sunspots`, monthly, 1749 to 1983, both
        as files of the package `pmdarima`; `sunspots_yearly` 1700 to 2008, `co2`, weekly at Mauna
        Loa, and `elec_equip`, monthly production in the euro area, of `statsmodels`.

    Args:
        series: one of these; None for a file.
        path: a CSV file whose first line names its columns (a TSV, if it ends in .tsv); a row a
            step, in the order of time. An empty cell is a missing value, an empty line a step of
            which all are missing.
        columns: of the file, to be read; None for all that have a name and are numbers (the others
            are counted as `columns_left_out`, and named in the log).
        target_columns: of the file, to be forecast, whether they are read or not; None for those
            that are read.
        source_length: steps to read, at least 1.
        target_length: steps to write, at least 1.
        season: steps after which the series is alike, at least 1: for the seasonal naive forecast,
            and for the scaled error; None for that of `series`, for a file 1.
        stride: steps from one window to the next, at least 1, in every split.
        validation_share, test_share: shares of the series, above 0, below 1 together.

    Raises:
        ValueError: for settings out of range or at odds with each other, a package that is not
            installed, a file that cannot be read, a series too short for its windows, and one that
            never differs from itself a season ago.
    """

    metric = "mean_absolute_scaled_error"
    reads = writes = "values"

    def __init__(
        self,
        *,
        source_length: int,
        target_length: int,
        series: str | None = None,
        path: str | None = None,
        columns: list | None = None,
        target_columns: list | None = None,
        season: int | None = None,
        stride: int = 1,
        validation_share: float = 0.15,
        test_share: float = 0.15,
    ) -> None:
        super().__init__(append_eos=False)
        if (series is None) == (path is None):
            raise ValueError(
                f"series is {series!r} and path is {path!r}; give exactly one of them: a series of "
                f"{', '.join(SERIES)}, or the path of a CSV file"
            )
        if series is not None:
            require.choice("series", series, list(SERIES))
        known = () if series is None else SERIES[series].seasons
        for name, given in (("columns", columns), ("target_columns", target_columns)):
            if series is not None and given is not None:
                raise ValueError(f"{name} is {given}, but {series} has only one; leave it out")
        self.seasons = known or (1,) if season is None else (season,)
        self.season = self.seasons[0]
        for name, value in {
            "source_length": source_length,
            "target_length": target_length,
            "season": self.season,
            "stride": stride,
        }.items():
            require.at_least(name, value, 1)
        self.shares = require.shares(validation_share=validation_share, test_share=test_share)
        self.series, self.columns, self.stride = series, columns, stride
        self.target_columns = target_columns
        # Which columns of the series are read, and which are forecast.
        self._read: slice | list[int] = slice(None)
        self._written: slice | list[int] = slice(None)
        self.path = None if path is None else Path(path).expanduser()
        self.num_read, self.num_steps = source_length, target_length
        self.source_length = source_length
        self._naive_error: np.ndarray | None = None
        self._series = np.empty((0, 1))  # (length, F), NaN where a value is missing
        self._training = 0  # steps of it that are the training part
        self._starts: dict[str, list[int]] = {}  # the windows of each split
        # The series as the network gets it: what is read, and what is written.
        self._scaled: tuple[np.ndarray, np.ndarray] | None = None

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Cut the series."""
        counts: dict[str, int] = {}
        self._series, names = self._values(counts)
        self._scaled = None
        counts |= {
            "steps": len(self._series),
            "missing_values": int(np.isnan(self._series).sum()),
            "dropped_with_missing_values": 0,
        }
        shares = (1 - sum(self.shares), self.shares[0])
        ends = np.cumsum([0, *(round(len(self._series) * share) for share in shares)])
        edges = [*ends.tolist(), len(self._series)]
        splits = {
            name: self._windows(name, edges[index], edges[index + 1], counts)
            for index, name in enumerate(SPLITS)
        }
        self._training = edges[1]
        self._naive_error = self._scale(names)
        return splits, counts

    def vocabularies(self, train: list[Example]) -> tuple[Values, Values]:
        """Return the scales of what is read and what is written, from the training part."""
        part = self._series[: self._training]
        with np.errstate(over="ignore"):  # which is refused
            mean, deviation = np.nanmean(part, axis=0), np.nanstd(part, axis=0)
        read, written = (
            Values(mean[side], deviation[side]) for side in (self._read, self._written)
        )
        return read, written

    def naive_error(self) -> np.ndarray | None:
        """Return the mean absolute error of the seasonal naive forecast in training, (F,)."""
        return self._naive_error

    def signatures(self, split: str = "test") -> dict[str, str]:
        """Return what scales the error."""
        return super().signatures(split) | {
            self.metric: f"over that of the value {self.season} step(s) before, in training"
        }

    def baseline_predictions(self) -> dict[str, Sequence[Any]]:
        """Return the last value, the value a season ago, and least squares on the source.

        A season may reach back beyond the source, as everything before the forecast is known when
        it is made; where the value is missing, the last one stands in. Least squares are fitted to
        all training windows, or to as many, evenly spaced, as have `FITTED` numbers to read.
        """
        train, test = self.data.splits["train"], self.data.splits["test"]
        series, firsts = test.target.values.numpy(), test.target.starts.numpy()
        last = np.repeat(series[firsts - 1][:, None], self.num_steps, axis=1)
        forecasts: dict[str, np.ndarray] = {"the last value": last}
        ahead = np.arange(self.num_steps)
        for season in self.seasons:
            if season > 1:
                ago = series[firsts[:, None] + ahead - season * (ahead // season + 1)]
                forecasts[f"seasonal naive ({season} steps)"] = np.where(np.isnan(ago), last, ago)
        read = self.num_read * as_ragged(train.source).values.shape[1]
        fitted = torch.arange(0, len(train), -(-len(train) * read // FITTED))
        weights, *_ = np.linalg.lstsq(
            _with_constant(_rows(as_ragged(train.source), fitted)),
            _rows(train.target, fitted),
            rcond=None,
        )
        linear = _with_constant(_rows(as_ragged(test.source), torch.arange(len(test)))) @ weights
        forecasts["linear (least squares)"] = linear.reshape(last.shape)
        return {name: list(values) for name, values in forecasts.items()}

    def described(self) -> str:
        """Return what a message calls the data."""
        return self.series or f"path {self.path}"

    def _scale(self, names: list[str]) -> np.ndarray:
        """Return the mean absolute error of the seasonal naive forecast in training, (F,)."""
        part = self._series[: self._training, self._written]
        names = np.array(names)[self._written].tolist()
        gaps = np.abs(part[self.season :] - part[: -self.season])
        known = np.isfinite(gaps)
        error = np.where(known, gaps, 0).sum(axis=0) / known.sum(axis=0).clip(min=1)
        same = [name for name, value in zip(names, error, strict=True) if value == 0]
        if same:
            raise ValueError(
                f"{self.described()}: in the training part, {', '.join(same)} never differs from "
                f"what it was {self.season} step(s) before, which is to scale the error; leave "
                "that out with task.columns, or set another task.season"
            )
        return error

    def encode_split(
        self, name: str, examples: list[Example], source: Kind, target: Vocabulary | Values
    ) -> Split:
        """Return the split as positions in the series, which all splits share.

        Raises:
            ValueError: if the source or the target is not a series of values.
        """
        if not isinstance(source, Values):
            raise ValueError("a series has no tokens and no images; give its scale, see `Values`")
        if not isinstance(target, Values):
            raise ValueError("a series has no tokens; give the scale of what is forecast")
        if self._scaled is None:
            read = source.encode(self._series[:, self._read])
            same = self._read == self._written
            written = read if same else target.encode(self._series[:, self._written])
            self._scaled = read, written
        starts = np.array(self._starts[name])
        return Split(
            Ragged.windows(self._scaled[0], starts, self.num_read),
            Ragged.windows(self._scaled[1], starts + self.num_read, self.num_steps),
        )

    def whole_as_test(self, own: ForecastingTask) -> tuple[list[Example], dict[str, int]]:
        """Return the windows of the whole series as test examples, and what was counted.

        Args:
            own: the task of the run: the columns of its file are read, in any order.

        Raises:
            ValueError: for another table of numbers than these, beside which `columns` lets stand
                what it does not name.
        """
        _, columns = own._values({})
        table, names, numbers = self._table(named=True)
        wrong = [
            f"{name!r} {'has cells that are no numbers' if name in names else 'is not there'}"
            for name in columns
            if name not in numbers
        ]
        if self.columns is None:
            further = [name for name in _with_names(numbers) if name not in columns]
            wrong += [f"{name!r} is none of them" for name in further]
        if wrong:
            raise ValueError(
                f"path {self.path}: the run was trained on the columns {', '.join(columns)}, but "
                f"{', '.join(wrong)}; give a file with these columns of numbers, in any order"
            )
        self._read, self._written = own._read, own._written
        self._series = _series(table, columns)
        counts = {"columns": len(columns), "columns_left_out": len(names) - len(columns)}
        counts |= {"dropped_with_missing_values": 0, "steps": len(self._series)}
        return self._windows("test", 0, len(self._series), counts), counts

    def _windows(self, name: str, first: int, end: int, counts: dict[str, int]) -> list[Example]:
        whole, part = self.num_read + self.num_steps, self._series[first:end]
        season = max(self.seasons) if name == "train" else 0
        if len(part) < whole or len(part) <= season:
            raise ValueError(
                f"{self.described()}: the {name} part has {len(part)} of {counts['steps']} steps, "
                f"but source_length + target_length is {whole}"
                f"{f' and the season {season}' if season else ''}; take shorter ones, or give that "
                "part a larger share"
            )
        windows, self._starts[name] = [], []
        for start in range(first, end - whole + 1, self.stride):
            window = self._series[start : start + whole]
            if np.isnan(window).any():
                counts["dropped_with_missing_values"] += 1
            else:
                read, written = window[:, self._read], window[:, self._written]
                parts = read[: self.num_read], written[self.num_read :]
                windows.append(Example(*parts, group=f"the {name} part"))
                self._starts[name].append(start)
        return windows

    def _table(self, named: bool) -> tuple[pd.DataFrame, list[str], list[str]]:
        """Return the file, names of its columns, and of those that are numbers."""
        table = read_table(require.given("path", self.path), named)
        numbers = table.select_dtypes("number")
        return table, [str(name) for name in table], [str(name) for name in numbers]

    def _values(self, counts: dict[str, int]) -> tuple[np.ndarray, list[str]]:
        """Return the series (length, F), NaN where a value is missing, and names of its columns."""
        if self.series is not None:
            source = SERIES[self.series]
            series = source.read(package_file(source.distribution, source.relative))
            return series[:, None], [self.series]
        table, names, numbers = self._table(self.columns is not None)
        read = _with_names(numbers)
        if self.columns is not None:
            read = list(dict.fromkeys(map(str, self.columns)))
        columns, written = read, read
        if self.target_columns is not None:
            written = list(dict.fromkeys(map(str, self.target_columns)))
            columns = list(dict.fromkeys([*read, *written]))
            if not written:
                raise ValueError("target_columns is []; name at least one column to forecast")
        wrong = [
            f"{name!r} is {'text' if name in names else 'not there'}"
            for name in columns
            if name not in numbers
        ]
        if wrong or not columns:
            raise ValueError(
                f"path {self.path}: the columns that are numbers are {numbers}, and "
                f"{', '.join(wrong) or 'one at least is needed'}; set task.columns, or correct the "
                "file"
            )
        if self.target_columns is not None:
            self._read, self._written = (
                [columns.index(name) for name in side] for side in (read, written)
            )
        left_out = [name for name in names if name not in columns]
        counts |= {"columns": len(columns), "columns_left_out": len(left_out)}
        if self.columns is None and left_out:
            say(
                f"{self.described()}: read or forecast are the named columns of numbers, "
                f"{', '.join(columns)}, not {', '.join(left_out)}"
            )
        return _series(table, columns), columns


def _with_names(columns: Sequence[str]) -> list[str]:
    return [name for name in columns if not name.startswith("Unnamed: ")]  # as pandas calls it


def _series(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    values = table[list(columns)].to_numpy(dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def _rows(windows: Ragged, rows: torch.Tensor) -> np.ndarray:
    """Return windows as a matrix, (rows, numbers of each), float64."""
    return windows.take(rows, 0)[0].flatten(1).double().numpy()


def _with_constant(rows: np.ndarray) -> np.ndarray:
    return np.hstack([rows, np.ones((len(rows), 1))])
