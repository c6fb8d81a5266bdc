"""decoderlab-status: which runs of a study are planned, running, finished or failed, and why."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decoderlab.cli.app import guarded
from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.common.progress import duration, output, plain
from decoderlab.studies.design.missing_plan import BeingPlanned

if TYPE_CHECKING:
    from decoderlab.studies.design.plan_file import Plan, StudyCell

WATCH_SECONDS = 2.0
SHOWN_PROBLEMS = 20
GOING_ON = {"PLANNED", "RUNNING", "INTERRUPTED"}


def main() -> None:
    """Run the command line and leave with its exit code: 0 all finished, 1 not all."""
    parser = argparse.ArgumentParser(
        prog="decoderlab-status",
        description=__doc__,
        epilog="Exit codes: 0 all runs are finished, 1 not all, 2 there is no such study.",
    )
    parser.add_argument("study", nargs="?", help="the study's name (default: list all studies)")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), help="the output folder (%(default)s)"
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help=f"repeat every {WATCH_SECONDS:g} s until the study ends",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON: a study with its runs, or all studies"
    )
    arguments = parser.parse_args()
    if arguments.json and arguments.watch:
        parser.error("--json prints once; leave --watch out")

    def tell() -> int:
        if arguments.json:
            record, code = as_record(arguments.output_dir, arguments.study)
            print(json.dumps(record, indent=2))  # noqa: T201
            return code
        console = output()
        while True:
            if arguments.study is None:
                shown, code, waits = studies(arguments.output_dir)
            else:
                shown, code, waits = study(arguments.output_dir, arguments.study)
            if arguments.watch and console.is_terminal:
                console.clear()
            for line in shown:
                console.print(line)
            if not arguments.watch or not waits:
                return code
            time.sleep(WATCH_SECONDS)

    sys.exit(guarded(tell))


def as_record(output_dir: Path, name: str | None) -> tuple[Any, int]:
    """Return what `--json` prints, and the exit code.

    Args:
        output_dir: as in `run.output_dir`.
        name: of the study; None for a list of all, in which a damaged plan has only a `reason`.
    """
    from decoderlab.studies.design.plan_file import read_plan

    if name is None:
        records, codes = [], []
        for study_name in _names(output_dir):
            try:
                record, code = as_record(output_dir, study_name)
                del record["runs"]
            except (ConfigError, Invalid) as error:
                record, code = {"study": study_name, "reason": str(error)}, 1
            records.append(record)
            codes.append(code)
        return records, max(codes)
    try:
        plan = read_plan(output_dir, name)
    except BeingPlanned as error:
        record = {"study": name, "states": {}, "damage": [], "runs": [], "reason": str(error)}
        return record, 1
    runs = []
    for cell in plan.cells:
        record = _record(output_dir, cell, plan)
        keys = ("variant", "task", "seed", "folder", "run_id")
        runs.append({key: getattr(cell, key) for key in keys} | record)
    states = Counter(run["status"] for run in runs)
    study_record = {"study": name, "states": states, "damage": list(plan.damage), "runs": runs}
    return study_record, int(set(states) != {"FINISHED"} or bool(plan.damage))


def _names(output_dir: Path) -> list[str]:
    from decoderlab.studies.design.plan_file import study_names

    root = output_dir / "studies"
    names = study_names(root)
    if not names:
        raise ConfigError(f"there are no studies in {root}; give --output-dir, or launch one")
    return names


def studies(output_dir: Path) -> tuple[list[Any], int, bool]:
    """Return a table of all studies of a folder, the exit code, and whether anything goes on."""
    from rich.table import Table

    from decoderlab.records.planned_as import runs_of_studies
    from decoderlab.studies.design.plan_file import read_plan

    table, seen = Table("study", "runs", "states", box=None), set()
    runs = runs_of_studies(output_dir / "runs")
    for name in _names(output_dir):
        try:
            plan = read_plan(output_dir, name, runs)
        except (ConfigError, Invalid) as error:
            table.add_row(plain(name), "", plain(str(error)))
            seen.add("INVALID")
            continue
        counted = Counter(_record(output_dir, cell, plan)["status"] for cell in plan.cells)
        seen |= set(counted) | ({"INVALID"} if plan.damage else set())
        states = _states(counted) + (", its plan is damaged" if plan.damage else "")
        table.add_row(plain(name), str(len(plan.cells)), states)
    return [table], int(seen != {"FINISHED"}), bool(seen & GOING_ON)


def study(output_dir: Path, name: str) -> tuple[list[Any], int, bool]:
    """Return what is to be shown of a study, the exit code, and whether anything goes on."""
    from rich.table import Table

    from decoderlab.studies.design.plan_file import read_plan

    try:
        plan = read_plan(output_dir, name)
    except BeingPlanned as error:
        return [plain(str(error))], 1, True
    records = [(cell, _record(output_dir, cell, plan)) for cell in plan.cells]
    counted = Counter(record["status"] for _, record in records)
    shown: list[Any] = [plain(f"study {name}: {len(plan.cells)} runs: {_states(counted)}")]
    shown += [plain(f"damaged: {damage}") for damage in plan.damage[:SHOWN_PROBLEMS]]
    running = [(cell, record) for cell, record in records if record["status"] == "RUNNING"]
    if running:
        table = Table("running", "update", "loss", "for", "pid", "host", box=None)
        for cell, record in running:
            step, loss = cell.progress(cell.run_folder(output_dir).last_metrics())
            since = duration(time.time() - record["started"]) if "started" in record else ""
            who = plain(record.get("pid", "")), plain(record.get("host", ""))
            table.add_row(plain(cell.title), step, loss, since, *who)
        shown.append(table)
    bad = ("FAILED", "DIVERGED", "INTERRUPTED", "INVALID")
    problems = [(cell, record) for cell, record in records if record["status"] in bad]
    for cell, record in problems[:SHOWN_PROBLEMS]:
        where = output_dir / cell.folder
        text = f"{cell.title}: {record['status'].lower()}: {record.get('reason', '')} ({where})"
        shown.append(plain(text))
    if len(problems) > SHOWN_PROBLEMS:
        shown.append(f"... and {len(problems) - SHOWN_PROBLEMS} more")
    if not running and set(counted) & GOING_ON:
        shown.append("nothing is running; to resume, repeat the command that started it")
    if counted["FAILED"] + counted["DIVERGED"]:
        shown.append("study.retry=failed runs failed and diverged runs again")
    return (
        shown,
        int(set(counted) != {"FINISHED"} or bool(plan.damage)),
        bool(set(counted) & GOING_ON),
    )


def _states(counted: Counter[str]) -> str:
    return ", ".join(f"{number} {status.lower()}" for status, number in counted.most_common())


def _record(output_dir: Path, cell: StudyCell, plan: Plan) -> dict[str, Any]:
    from decoderlab.studies.design.planned_and_run import standing

    status, reason, _ = standing(cell, plan, output_dir)
    try:
        record = cell.run_folder(output_dir).recorded_status(lenient=True)
    except ConfigError:
        record = {}
    return record | {"status": status, "reason": reason}


if __name__ == "__main__":
    main()
