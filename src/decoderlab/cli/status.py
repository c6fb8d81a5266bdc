"""decoderlab-status: what of a study is planned, running, finished or failed, and why."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decoderlab.cli.app import guarded

if TYPE_CHECKING:
    from decoderlab.studies.design.plan_file import Cell

WATCH_SECONDS = 2.0
SHOWN_PROBLEMS = 20
GOING_ON = {"PLANNED", "RUNNING", "INTERRUPTED"}


def main() -> None:
    """Run the command line and leave with its exit code: 0 all finished, 1 not all."""
    parser = argparse.ArgumentParser(
        prog="decoderlab-status",
        description=__doc__,
        epilog="Exit codes: 0 all is finished, 1 not all, 2 there is no such study.",
    )
    parser.add_argument("study", nargs="?", help="the study's name (default: list all studies)")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), help="as run.output_dir (%(default)s)"
    )
    parser.add_argument(
        "--watch", action="store_true", help=f"again every {WATCH_SECONDS:g} s until all has ended"
    )
    arguments = parser.parse_args()

    def tell() -> int:
        from decoderlab.common.progress import output

        console = output()
        while True:
            if arguments.study is None:
                shown, code, waits = studies(arguments.output_dir)
            else:
                shown, code, waits = study(arguments.output_dir, arguments.study)
            if arguments.watch and console.is_terminal:
                console.clear()
            for one in shown:
                console.print(one)
            if not arguments.watch or not waits:
                return code
            time.sleep(WATCH_SECONDS)

    sys.exit(guarded(tell))


def studies(output_dir: Path) -> tuple[list[Any], int, bool]:
    """Return a table of all studies of a folder, the exit code, and whether anything goes on."""
    from rich.markup import escape
    from rich.table import Table

    from decoderlab.common.errors import ConfigError
    from decoderlab.studies.design.plan_file import read_plan

    root = output_dir / "studies"
    names = sorted(str(path.parent.relative_to(root)) for path in root.glob("**/plan.json"))
    if not names:
        raise ConfigError(f"there are no studies in {root}; give --output-dir, or launch one")
    table, seen = Table("study", "runs", "states", box=None), set()
    for name in names:
        try:
            cells = read_plan(output_dir, name).cells
        except ConfigError as error:
            table.add_row(escape(name), "", escape(str(error)))
            seen.add("INVALID")
            continue
        counted = Counter(_record(output_dir, cell)["status"] for cell in cells)
        seen |= set(counted)
        table.add_row(escape(name), str(len(cells)), _states(counted))
    return [table], int(seen != {"FINISHED"}), bool(seen & GOING_ON)


def study(output_dir: Path, name: str) -> tuple[list[Any], int, bool]:
    """Return what is to be shown of a study, the exit code, and whether anything goes on."""
    from rich.markup import escape
    from rich.table import Table

    from decoderlab.common.progress import duration
    from decoderlab.records.run_folder import RunFolder
    from decoderlab.studies.design.plan_file import read_plan
    from decoderlab.studies.execution.live_table import progress_of

    plan = read_plan(output_dir, name)
    records = [(cell, _record(output_dir, cell)) for cell in plan.cells]
    counted = Counter(record["status"] for _, record in records)
    shown: list[Any] = [escape(f"study {name}: {len(plan.cells)} runs: {_states(counted)}")]
    running = [(cell, record) for cell, record in records if record["status"] == "RUNNING"]
    if running:
        table = Table("running", "update", "loss", "for", "pid", "host", box=None)
        for cell, record in running:
            step, loss = progress_of(cell, RunFolder(output_dir / cell.folder).last_metrics())
            since = duration(time.time() - record["started"]) if "started" in record else ""
            who = str(record.get("pid", "")), escape(str(record.get("host", "")))
            table.add_row(escape(cell.title), step, loss, since, *who)
        shown.append(table)
    bad = ("FAILED", "DIVERGED", "INTERRUPTED", "INVALID")
    problems = [(cell, record) for cell, record in records if record["status"] in bad]
    for cell, record in problems[:SHOWN_PROBLEMS]:
        where = output_dir / cell.folder
        text = f"{cell.title}: {record['status'].lower()}: {record.get('reason', '')} ({where})"
        shown.append(escape(text))
    if len(problems) > SHOWN_PROBLEMS:
        shown.append(f"... and {len(problems) - SHOWN_PROBLEMS} more")
    if not running and set(counted) & GOING_ON:
        shown.append("nothing is running right now; the command that started it goes on with it")
    if counted["FAILED"] + counted["DIVERGED"]:
        shown.append("study.retry=failed runs failed and diverged runs again")
    return shown, int(set(counted) != {"FINISHED"}), bool(set(counted) & GOING_ON)


def _states(counted: Counter[str]) -> str:
    return ", ".join(f"{number} {status.lower()}" for status, number in counted.most_common())


def _record(output_dir: Path, cell: Cell) -> dict[str, Any]:
    from decoderlab.records.run_folder import RunFolder

    folder = RunFolder(output_dir / cell.folder)
    record = folder.status()
    if record["status"] == "FINISHED" and not folder.finished():
        return record | {"status": "INVALID", "reason": "result.json is missing or damaged"}
    return record


if __name__ == "__main__":
    main()
