"""decoderlab-report: rebuild a study's report from its runs, compare two, or show one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from decoderlab.cli.app import guarded


def main() -> None:
    """Run the command line and leave with its exit code: 0 complete, 1 runs missing or failed."""
    parser = argparse.ArgumentParser(
        prog="decoderlab-report",
        description=__doc__,
        epilog="The report lies in outputs/studies/STUDY: report.html, .md, .tex, results.csv.",
    )
    parser.add_argument("study", nargs="?", help="the study's name")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("STUDY_A", "STUDY_B"),
        help="the rows that two studies share, seed by seed",
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="write what TensorBoard shows of the whole study, and say how to open it",
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), help="as run.output_dir (%(default)s)"
    )
    arguments = parser.parse_args()
    if (arguments.study is None) == (arguments.compare is None):
        parser.error("give the name of a study, or --compare STUDY_A STUDY_B")
    if arguments.compare and arguments.tensorboard:
        parser.error("--tensorboard shows one study: leave --compare out")
    if arguments.compare:
        one, other = arguments.compare
        sys.exit(guarded(lambda: compare(one, other, arguments.output_dir)))
    sys.exit(guarded(lambda: build(arguments.study, arguments.output_dir, arguments.tensorboard)))


def build(study: str, output_dir: Path, tensorboard: bool) -> int:
    """Write a study's report and print its table; return the exit code.

    Args:
        study: its name.
        output_dir: as in `run.output_dir`.
        tensorboard: whether to write the TensorBoard events of the study too.
    """
    from decoderlab.common.progress import say
    from decoderlab.studies.design.plan_file import read_plan
    from decoderlab.studies.reporting.build import build_report
    from decoderlab.studies.reporting.terminal_table import print_table

    report = build_report(read_plan(output_dir, study), output_dir)
    print_table(report)
    if tensorboard:
        from decoderlab.studies.reporting.tensorboard_study import write_board

        folder = write_board(report.analysis, output_dir)
        say(f"show it with: tensorboard --logdir {folder}   (in its filter of runs: ^mean/)")
    return 0 if report.complete else 1


def compare(first: str, second: str, output_dir: Path) -> int:
    """Compare two studies, print the table, and return the exit code.

    Args:
        first: name of a study.
        second: name of another.
        output_dir: as in `run.output_dir`.
    """
    from rich.markup import escape
    from rich.table import Table

    from decoderlab.common.progress import output, say
    from decoderlab.studies.reporting.two_studies import compare_studies

    grid, path = compare_studies(first, second, output_dir)
    table = Table(*map(escape, grid.header))
    for row in grid.rows:
        table.add_row(*map(escape, row))
    output().print(table)
    say(f"written to {path}")
    return 0


if __name__ == "__main__":
    main()
