"""The results that claims are judged by: copied from a study, sealed, and read with doubt."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from decoderlab.common.bounded_reading import MIB, read_bytes, read_text
from decoderlab.common.errors import Invalid, Unreadable
from decoderlab.common.safe_names import inside
from decoderlab.metrics.signature import measured_alike
from decoderlab.records.run_folder import STATUSES, write_atomic, write_text
from decoderlab.studies.claims.declared_claim import Claim

RESULTS, SEAL = "results.csv", "results.csv.sha256"
COPIED = (RESULTS, "report.md", "table.tex", "figures/*.png")
NEEDED = ("variant", "task", "seed", "status")
STANDINGS = (*STATUSES, "INVALID")  # of a run in a report
COPY_BYTES = 256 * MIB
MOST_SEED = 2**63
AGAIN = "give decoderlab-claims the name of a claim of that study, which copies its results again"


def copy_results(study: str, output_dir: Path, to: Path) -> None:
    """Copy what a study has reported, and seal its results.

    Args:
        study: its name.
        output_dir: as in `run.output_dir`.
        to: where `studies/STUDY` goes.

    Raises:
        ConfigError: for a link that leads out of either folder.
        Invalid: for a file that cannot be read.
    """
    made = inside(output_dir, "studies", study)
    for pattern in COPIED:
        for path in made.glob(pattern):
            name = path.relative_to(made).as_posix()
            content = read_bytes(inside(made, name), COPY_BYTES)
            target = inside(to, "studies", study, name)
            if name == RESULTS:  # an older one belongs to no other table meanwhile
                target.with_name(SEAL).unlink(missing_ok=True)
            write_atomic(target, lambda file, content=content: file.write(content))
            if name == RESULTS:
                write_text(target.with_name(SEAL), _seal(content))


def _seal(content: bytes) -> str:
    """Return the line that `sha256sum` writes, and checks with `-c`."""
    return f"{hashlib.sha256(content).hexdigest()}  {RESULTS}\n"


def committed_tables(folder: Path, claims: Sequence[Claim]) -> dict[str, pd.DataFrame | Invalid]:
    """Return results.csv of each study of some claims that a folder has, or what is wrong with it.

    Args:
        folder: with `studies/STUDY/results.csv`, and its sha256 where that is known.
        claims: of the page.

    Raises:
        Unreadable: for one that cannot be read now, and may be whole.
    """
    tables: dict[str, pd.DataFrame | Invalid] = {}
    for study in dict.fromkeys(claim.study for claim in claims):
        path = folder / "studies" / study / RESULTS
        if not path.exists() and not path.is_symlink():
            continue
        try:
            tables[study] = _table(study, path)
        except Unreadable:
            raise
        except Invalid as error:
            tables[study] = Invalid(RESULTS, f"of {study} {error.what}", AGAIN)
        except (ValueError, csv.Error) as error:
            what = f"of {study} is no results.csv that can be read: {' '.join(str(error).split())}"
            tables[study] = Invalid(RESULTS, what, AGAIN)
    return tables


def _table(study: str, path: Path) -> pd.DataFrame:
    """Return the columns that claims are judged by.

    Raises:
        Invalid, ValueError: for a table that is damaged, or contradicts itself.
    """
    text = read_text(path)
    seal = path.with_name(SEAL)
    if seal.exists() and read_text(seal) != _seal(text.encode()):
        raise ValueError("it does not agree with its sha256")
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    _check_whole(text)
    # Names of rows such as "nan" stay texts.
    table = pd.read_csv(io.StringIO(text), keep_default_na=False, dtype=str)
    if missing := [name for name in NEEDED if name not in table.columns]:
        raise ValueError(f"it has no column {', '.join(missing)}")
    _check_rows(study, rows)
    scores = [name for name in table.columns if str(name).startswith("test_")]
    kept = table.reindex(columns=[*NEEDED, *scores])
    kept["seed"] = kept["seed"].astype(int)
    for name in scores:
        kept[name] = [float(cell) if cell else math.nan for cell in kept[name]]
    return kept


def _check_whole(text: str) -> None:
    """Raise ValueError for a text that was cut, or lines that are not as long as the first."""
    if not text.endswith("\n"):
        raise ValueError("its last line has no end: it was cut")
    header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    if repeated := next((name for name in header if header.count(name) > 1), None):
        raise ValueError(f"it has the column {repeated!r:.60} twice")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"line {number} has {len(row)} cells, the first has {len(header)}")


def _check_rows(study: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Raise ValueError for rows that are not those of one report of this study."""
    known: set[tuple[str, str, int]] = set()
    ways: dict[tuple[str, str], dict[str, None]] = {}
    for number, row in enumerate(rows, start=2):
        if row.get("study", study) != study:
            raise ValueError(f"line {number} is of the study {row['study']!r:.60}")
        seed = row["seed"]
        if not seed.isascii() or not seed.isdigit() or int(seed) >= MOST_SEED:
            raise ValueError(f"line {number} has the seed {seed!r:.60}")
        run = row["variant"], row["task"], int(seed)
        if run in known:
            raise ValueError(f"line {number} is a second run of {run[0]} with seed {seed}")
        known.add(run)
        if row["status"] not in STANDINGS:
            raise ValueError(f"line {number} has the status {row['status']!r:.60}")
        for name, cell in row.items():
            if name.startswith("test_") and cell and not math.isfinite(float(cell)):
                raise ValueError(f"line {number} has {cell!r:.60} as {name}")
        if signature := row.get("signature"):
            way = ways.setdefault(run[:2], {})
            way[signature] = None
            if not measured_alike(way):
                raise ValueError(
                    f"line {number} was measured in another way than {run[0]} before it"
                )
