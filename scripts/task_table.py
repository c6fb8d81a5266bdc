"""The table of docs/tasks.md, from the runs of the studies task_*.

    for study in conf/study/task_*.yaml; do decoderlab-train study=$(basename $study .yaml); done
    python scripts/task_table.py --output-dir outputs > table.md

A line a task: the test metric of each decoder (mean and 95 % interval over the seeds), the best
rule without trained weights, and the minutes from the start of the study's first run to the end of
its last.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import read_plan
from decoderlab.studies.reporting.table_texts import mean_text


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output-dir", type=Path, default=Path("outputs"))
    parser.add_argument("studies", nargs="*", help="names; all that begin with task_, if none")
    arguments = parser.parse_args()
    there = sorted(path.name for path in (arguments.output_dir / "studies").glob("task_*"))
    analyses = {}
    for study in arguments.studies or there:
        plan = read_plan(arguments.output_dir, study)
        analyses[study] = Analysis(plan, read_rows(plan, arguments.output_dir))
    variants = list(dict.fromkeys(v for one in analyses.values() for v in one.variants))
    header = ["task", "test metric", *(f"`{name}`" for name in variants)]
    print_row([*header, "best rule without training", "minutes"])
    print_row(["---"] * (len(header) + 2))
    for analysis in analyses.values():
        for task in analysis.tasks:
            print_row([f"`{task}`", *row(analysis, task, variants)])


def row(analysis: Analysis, task: str, variants: list[str]) -> list[str]:
    """Return the cells of a task."""
    better = "higher" if analysis.sign > 0 else "lower"
    entries = [analysis.entries.get((variant, task)) for variant in variants]
    rules = analysis.baselines(task)
    best = (max if analysis.sign > 0 else min)(rules, key=rules.__getitem__) if rules else None
    results = [row.result for row in analysis.rows if row.cell.task == task and row.result]
    started, ended = ([getattr(one, name) for one in results] for name in ("started", "ended"))
    return [
        f"{analysis.scale.label} ({better} is better)",
        *("" if entry is None else mean_text(entry) for entry in entries),
        "" if best is None else f"{rules[best]:.3f} ({best})",
        f"{(max(ended) - min(started)) / 60:.1f}" if results else "",
    ]


def print_row(cells: list[str]) -> None:
    """Print a line of a Markdown table."""
    print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
