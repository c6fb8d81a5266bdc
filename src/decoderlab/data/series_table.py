"""A CSV file of a series: a row a step, a column a variable."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from decoderlab.data.reading import lines_of

if TYPE_CHECKING:
    import pandas as pd

CSV = "a CSV file whose first line names its columns"
TAB = "\t"


def read_table(path: Path, named: bool) -> pd.DataFrame:
    """Read a CSV file whose lines are steps; an empty line is a step of which nothing is known.

    Args:
        path: the file.
        named: whether the columns wanted are given, so that their names may be numbers.

    Raises:
        ValueError: if the file cannot be read, its first line does not name the columns, or its
            dates fall.
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
    """Raise ValueError where dates fall: training would be on what comes after the test."""
    import pandas as pd

    for name in table.select_dtypes(include=["object", "string"]):
        dates = pd.to_datetime(table[name], format="ISO8601", errors="coerce", utc=True).dropna()
        if len(dates) > 1 and dates.is_monotonic_decreasing and not dates.is_monotonic_increasing:
            raise ValueError(
                f"the dates in {name!r} fall from {table[name].iloc[0]} on, and rows are steps in "
                "the order of time; write the oldest first"
            )


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
