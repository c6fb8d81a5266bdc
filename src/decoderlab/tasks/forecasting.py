"""Forecasting: read a stretch of a series, write how it goes on."""

from __future__ import annotations

import ast
import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from decoderlab import checks
from decoderlab.tasks.reading import package_file
from decoderlab.tasks.task import SPLITS, Example, Task
from decoderlab.tasks.values import Values


class Source(NamedTuple):
    """Where a series lies.

    Args:
        distribution, relative: package and file.
        read: from the file to the series (length,), NaN where a value is missing.
        season: steps after which the series is alike.
        units: of the values.
    """

    distribution: str
    relative: str
    read: Callable[[Path], np.ndarray]
    season: int
    units: str


def _literal(path: Path) -> np.ndarray:
    """Return the longest list of numbers in a Python file, which is not executed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lists = [node for node in ast.walk(tree) if isinstance(node, ast.List)]
    return np.array(ast.literal_eval(max(lists, key=lambda node: len(node.elts))), dtype=float)


def _words(path: Path) -> np.ndarray:
    return np.array(gzip.decompress(path.read_bytes()).split(), dtype=float)


def _last_column(path: Path) -> np.ndarray:
    return pd.read_csv(path).iloc[:, -1].to_numpy(dtype=float)


SERIES = {
    "taylor": Source("pmdarima", "pmdarima/datasets/taylor.py", _literal, 48, "MW"),
    "sunspots": Source(
        "pmdarima", "pmdarima/datasets/data/sunspots.txt.gz", _words, 132, "sunspot number"
    ),
    "sunspots_yearly": Source(
        "statsmodels", "statsmodels/datasets/sunspots/sunspots.csv", _last_column, 11, "number"
    ),
    "co2": Source("statsmodels", "statsmodels/datasets/co2/co2.csv", _last_column, 52, "ppm"),
    "elec_equip": Source(
        "statsmodels", "statsmodels/datasets/elec_equip/elec_equip.csv", _last_column, 12, "index"
    ),
}


class ForecastingTask(Task):
    """Windows of a series: the first part is read, the second is to be written.

    The series is cut in time into training, validation and test, in this order. Every window lies
    in one part as a whole, so that no value is in two splits. Windows with a missing value are
    dropped and counted; nothing is filled in. Values are standardised by the training sources.

    Source: `taylor`, half-hourly electricity demand of England and Wales in 2000 (Taylor 2003,
        https://doi.org/10.1057/palgrave.jors.2601589), and `sunspots`, monthly, 1749 to 1983, both
        as files of the package `pmdarima`; `sunspots_yearly` 1700 to 2008, `co2`, weekly at Mauna
        Loa, and `elec_equip`, monthly production in the euro area, of `statsmodels`.

    Args:
        series: one of these; None for a file.
        path: a CSV file whose first line names its columns (a TSV, if it ends in .tsv); a row a
            step, in the order of time. An empty cell is a missing value.
        columns: of the file, to be read and forecast together; None for all that are numbers.
        source_length: steps to read, at least 1.
        target_length: steps to write, at least 1.
        season: steps after which the series is alike, at least 1: for the seasonal naive forecast,
            and for the scaled error; None for that of `series`, for a file 1.
        stride: steps from one training window to the next, at least 1; bounds memory.
        validation_share, test_share: shares of the series, above 0, below 1 together.

    Raises:
        ValueError: for settings out of range or at odds with each other, a package that is not
            installed, a file that cannot be read, and a series too short for its windows.
    """

    metric = "mean_absolute_scaled_error"
    reads = "values"

    def __init__(
        self,
        *,
        source_length: int,
        target_length: int,
        series: str | None = None,
        path: str | None = None,
        columns: list | None = None,
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
            checks.choice("series", series, list(SERIES))
            season = season or SERIES[series].season
        if series is not None and columns is not None:
            raise ValueError(f"columns is {columns}, but {series} has only one; leave it out")
        self.season = season or 1
        for name, value in {
            "source_length": source_length,
            "target_length": target_length,
            "season": self.season,
            "stride": stride,
        }.items():
            checks.at_least(name, value, 1)
        self.shares = checks.shares(validation_share=validation_share, test_share=test_share)
        self.series, self.columns, self.stride = series, columns, stride
        self.path = None if path is None else Path(path).expanduser()
        self.source_length, self.num_steps = source_length, target_length
        self._naive_error: np.ndarray | None = None

    @classmethod
    def fills(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what null stands for in a config with this task."""
        return super().fills(settings) | {"decoder.head.distribution": "point"}

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Cut the series."""
        values = self._values()
        counts = {
            "steps": len(values),
            "missing_values": int(np.isnan(values).sum()),
            "dropped_with_missing_values": 0,
        }
        shares = (1 - sum(self.shares), *self.shares)
        ends = np.cumsum([0, *(round(len(values) * share) for share in shares)])
        parts = {name: values[ends[i] : ends[i + 1]] for i, name in enumerate(SPLITS)}
        parts["test"] = values[ends[2] :]
        splits = {}
        for name, part in parts.items():
            stride = self.stride if name == "train" else 1
            splits[name] = self._windows(name, part, stride, counts)
        ago, now = parts["train"][: -self.season], parts["train"][self.season :]
        self._naive_error = np.nanmean(np.abs(now - ago), axis=0)
        return splits, counts

    def vocabularies(self, train: list[Example]) -> tuple[Values, Values]:
        """Return one scale for both sides, from the training sources."""
        scale = Values.of(example.source for example in train)
        return scale, scale

    def naive_error(self) -> np.ndarray | None:
        """Return the mean absolute error of the seasonal naive forecast in training, (F,)."""
        return self._naive_error

    def baseline_predictions(self) -> dict[str, Sequence[Any]]:
        """Return the last value, the value a season ago, and least squares on the source."""
        train, test = (self._arrays(name) for name in ("train", "test"))
        sources, steps = test[0], self.num_steps
        found = {"the last value": np.repeat(sources[:, -1:], steps, axis=1)}
        if 1 < self.season <= self.source_length:
            last = sources[:, -self.season :]
            repeats = -(-steps // self.season)
            name = f"seasonal naive ({self.season} steps)"
            found[name] = np.tile(last, (1, repeats, 1))[:, :steps]
        flat, wanted = (np.reshape(one, (len(one), -1)) for one in train)
        weights, *_ = np.linalg.lstsq(_with_one(flat), wanted, rcond=None)
        linear = _with_one(sources.reshape(len(sources), -1)) @ weights
        return found | {"linear (least squares)": linear.reshape(len(sources), steps, -1)}

    def told(self) -> str:
        """Return what a message calls the data."""
        return self.series or f"path {self.path}"

    def _arrays(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        split = self.data.splits[name]
        return tuple(
            side.values.numpy().astype(float).reshape(len(split), -1, side.values.shape[1])
            for side in (split.source, split.target)
        )

    def _windows(
        self, name: str, part: np.ndarray, stride: int, counts: dict[str, int]
    ) -> list[Example]:
        whole = self.source_length + self.num_steps
        if len(part) < max(whole, self.season + 1):
            raise ValueError(
                f"{self.told()}: the {name} part has {len(part)} of {counts['steps']} steps, but "
                f"source_length + target_length is {whole} and the season {self.season}; take "
                "shorter ones, or give that part a larger share"
            )
        found = []
        for window in np.lib.stride_tricks.sliding_window_view(part, whole, axis=0)[::stride]:
            if np.isnan(window).any():
                counts["dropped_with_missing_values"] += 1
            else:
                window = window.T
                parts = window[: self.source_length], window[self.source_length :]
                found.append(Example(*parts, group=f"the {name} part"))
        return found

    def _values(self) -> np.ndarray:
        """Return the series (length, F), NaN where a value is missing."""
        if self.series is not None:
            source = SERIES[self.series]
            return source.read(package_file(source.distribution, source.relative))[:, None]
        try:
            table = pd.read_csv(self.path, sep="\t" if self.path.suffix == ".tsv" else ",")
        except OSError as error:
            raise ValueError(
                f"path {self.path} cannot be read ({error.strerror}); give a CSV file whose first "
                "line names its columns"
            ) from error
        except ValueError as error:
            raise ValueError(f"path {self.path} is no table of one kind ({error})") from error
        numbers = [str(name) for name in table.select_dtypes("number").columns]
        columns = numbers if self.columns is None else list(map(str, self.columns))
        wrong = [name for name in columns if name not in numbers]
        if wrong or not columns:
            raise ValueError(
                f"path {self.path}: the columns that are numbers are {numbers}, but "
                f"{wrong or 'one at least'} is wanted; set task.columns, or correct the file"
            )
        values = table[columns].to_numpy(dtype=float)
        return np.where(np.isfinite(values), values, np.nan)


def _with_one(rows: np.ndarray) -> np.ndarray:
    return np.hstack([rows, np.ones((len(rows), 1))])
