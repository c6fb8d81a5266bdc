"""Which factors span the grid of a study, and with which levels."""

from __future__ import annotations

from collections.abc import Sequence

from decoderlab.studies.analysis.results import RunRow


def factor_levels(rows: Sequence[RunRow]) -> tuple[list[RunRow], dict[str, list[str]]]:
    """Return the rows of the grid, and the factors that span it with their levels, two or more.

    References stand beside the grid: they have a name, the others none. Where there are none, all
    that varies spans it.
    """
    names = dict.fromkeys(
        name for row in rows for name in row.cell.factors if name.split(".")[0] != "task"
    )
    if len(names) > 1 and any("variant" not in row.cell.factors for row in rows):
        names.pop("variant", None)
        rows = [row for row in rows if "variant" not in row.cell.factors]
    inside = [row for row in rows if all(name in row.cell.factors for name in names)]
    levels = {name: list(dict.fromkeys(row.cell.factors[name] for row in inside)) for name in names}
    return inside, {name: some for name, some in levels.items() if len(some) > 1}
