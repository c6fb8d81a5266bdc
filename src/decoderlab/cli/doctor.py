"""decoderlab-doctor: check an output folder for damaged, incomplete and missing files."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from decoderlab.cli.app import guarded
from decoderlab.common.errors import ConfigError, Unreadable
from decoderlab.common.progress import output, plain

if TYPE_CHECKING:
    from decoderlab.records.findings import Finding


def main() -> None:
    """Run the command line and leave with its exit code: 0 nothing is wrong, 1 something is."""
    parser = argparse.ArgumentParser(
        prog="decoderlab-doctor",
        description=__doc__,
        epilog="Exit codes: 0 no problem is left, 1 there are problems, 2 there is no such "
        "folder. Results and checkpoints are never deleted, and links are not followed.",
    )
    parser.add_argument(
        "outputs",
        nargs="?",
        type=Path,
        default=Path("outputs"),
        help="the output folder, run.output_dir (%(default)s)",
    )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="delete incomplete files and hashes of missing checkpoints; mark killed runs as "
        "interrupted",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    arguments = parser.parse_args()
    sys.exit(guarded(lambda: look(arguments.outputs, arguments.fix, arguments.json)))


def look(outputs: Path, fix: bool, as_json: bool) -> int:
    """Look through an output folder, print what is found, and return the exit code.

    Args:
        outputs: the folder.
        fix: whether to do the safe part of what is advised.
        as_json: whether to print JSON.
    """
    from decoderlab.studies.design.examination import examine

    examined = examine(outputs)
    records = []
    for finding in examined.findings:
        mended = fix and _mended(finding)
        entry = {"path": str(finding.path), "what": finding.what, "advice": finding.advice}
        can = finding.mend is not None
        records.append(entry | {"note": finding.note, "fixable": can, "fixed": mended})
    wrong = sum(not record["note"] and not record["fixed"] for record in records)
    counts = {"runs": examined.num_runs, "studies": examined.num_studies, "wrong": wrong}
    if as_json:
        print(json.dumps(counts | {"findings": records}, indent=1))  # noqa: T201
        return int(wrong > 0)
    console = output()
    for record in records:
        kind = "note: " if record["note"] else "fixed: " if record["fixed"] else ""
        advice = record["advice"] + (" (--fix does)" if record["fixable"] else "")
        end = "" if record["fixed"] else f"; {advice}"
        text = f"{kind}{record['path']} {record['what']}{end}"
        console.print(plain(text), soft_wrap=True)
    fixed = sum(record["fixed"] for record in records)
    console.print(
        f"runs: {counts['runs']}, studies: {counts['studies']}, checked: "
        f"{wrong or 'nothing'} wrong" + (f", {fixed} fixed" if fixed else "")
    )
    return int(wrong > 0)


def _mended(finding: Finding) -> bool:
    """Do the safe part of what is advised; return whether that was possible."""
    if finding.mend is None:
        return False
    try:
        finding.mend()
    except (
        OSError,
        TimeoutError,
        ConfigError,
        Unreadable,
    ):  # no permission; somebody has begun with it; a link; not to be read now
        return False
    return True


if __name__ == "__main__":
    main()
