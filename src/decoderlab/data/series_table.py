"""A CSV file of a series: a row a step, a column a variable."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, cast

from decoderlab.common.progress import say
from decoderlab.data.reading import lines_of

if TYPE_CHECKING:
    import pandas as pd

CSV = "a CSV file whose first line names its columns"
TAB = "\t"
# How dates are written: as ISO 8601 has it, and by day or month first, with or without a time.
DAYS = ("%d.%m.", "%m/%d/", "%d/%m/", "%m-%d-", "%d-%m-", "%b %d, ", "%d %b ", "%B %d, ", "%d %B ")
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
FORMATS = (
    "ISO8601",
    *(f"{day}{year}{clock}" for day in DAYS for year in ("%Y", "%y") for clock in CLOCKS),
)
# Names of columns of numbers that grow with time.
TIMES = frozenset(("date", "datetime", "day", "time", "timestamp", "unix", "epoch", "year"))


def read_table(path: Path, named: bool) -> pd.DataFrame:
    """Read a CSV file whose lines are steps; an empty line is a step of which nothing is known.

    Args:
        path: the file.
        named: whether the columns wanted are given, so that their names may be numbers.

    Raises:
        ValueError: if the file cannot be read, its first line does not name the columns, or its
            dates go back.
    """
    import pandas as pd

    lines = [line if line.strip() else "" for line in lines_of("path", path, CSV)]
    known = [index for index, line in enumerate(lines) if line]
    lines = lines[known[0] : known[-1] + 1] if known else []
    sign = "\t" if path.suffix == ".tsv" else ","
    try:
        _check_header(lines[:2], sign, named)
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            table = pd.read_csv(
                StringIO("\n".join(lines)), sep=sign, skip_blank_lines=False, index_col=False
            )
        _check_order(table)
        return table
    except pd.errors.ParserWarning as error:
        raise ValueError(
            f"path {path}: lines have more cells than the first line; name every column"
        ) from error
    except ValueError as error:
        raise ValueError(f"path {path}: {str(error).strip()}") from error


def _check_order(table: pd.DataFrame) -> None:
    """Raise ValueError where dates go back: training would be on what comes after the test.

    A column of dates is one whose cells are all of one format. Days and months that can be
    exchanged go back only if they do so either way. Those of a column of numbers that is named as
    a time may repeat, as hours do, but not fall all along.
    """
    for name in table:
        cells = cast("pd.Series", table[name].dropna())
        if cells.dtype.kind in "iuf":
            falls = str(name).casefold() in TIMES and cells.is_monotonic_decreasing
            ways = [cells] if falls and cells.nunique() > 1 else []
        else:
            ways = [dates for written in FORMATS if (dates := _dates(cells, written)) is not None]
        if ways and not any(dates.is_monotonic_increasing for dates in ways):
            number = int(ways[0].lt(ways[0].shift()).argmax())
            raise ValueError(
                f"the dates in {str(name)!r} go back at line {cells.index[number] + 2}, "
                f"{cells.iloc[number]} after {cells.iloc[number - 1]}, and rows are steps in the "
                "order of time; write the oldest first, one series in a file"
            )
        if ways and not ways[0].is_unique:
            first = cells.loc[ways[0].duplicated()].iloc[0]
            say(
                f"the dates in {str(name)!r} repeat, first {first}: each row is a step; if these "
                "are several series, give each a file"
            )


def _dates(cells: pd.Series, written: str) -> pd.Series | None:
    """Return texts as the dates that a format makes of them; None if any is not of it."""
    import pandas as pd

    dates = None
    for some in (cells.iloc[:1], cells):  # most columns of texts are told by their first one
        texts = some.astype(str).str.strip()
        dates = pd.to_datetime(texts, format=written, errors="coerce", utc=True)
        if dates.empty or dates.isna().any():
            return None
    return dates


def _check_header(lines: list[str], sign: str, named: bool) -> None:
    """Raise ValueError if the first line does not name the columns, with `sign` between them."""
    import pandas as pd

    if len(lines) < 2:
        raise ValueError(f"there are {len(lines)} lines; give {CSV}")
    for odd in ";\t":
        if odd != sign and lines[0].count(odd) == lines[1].count(odd) > 0:
            wanted = {",": "commas", "\t": "tabs"}[sign]
            raise ValueError(
                f"the first lines have {'tabs' if odd == TAB else repr(odd)} between columns; "
                f"write {wanted} there, and points in numbers"
            )
    names = [name for name in next(csv.reader(lines[:1], delimiter=sign)) if name]
    if repeated := [name for name, number in Counter(names).items() if number > 1]:
        raise ValueError(f"the first line has {repeated[0]!r} twice; name columns apart")
    numbers = pd.Series(pd.to_numeric(pd.Series(names, dtype=object), errors="coerce"))
    if names and not named and numbers.notna().all():
        raise ValueError(
            f"the first line has numbers alone ({', '.join(names[:3])}); it is to name the "
            "columns, or, if these are names, say which to forecast with task.columns"
        )
