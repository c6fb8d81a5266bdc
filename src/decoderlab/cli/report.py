"""decoderlab-report: rebuild a study's report from its runs, compare two, or show one."""

from __future__ import annotations

import argparse
import errno
import json
import shlex
import sys
from pathlib import Path

from decoderlab.cli.app import guarded
from decoderlab.common.errors import LaunchError
from decoderlab.common.progress import output, plain, say


def main() -> None:
    """Run the command line and leave with its exit code: 0 complete, 1 runs missing or failed."""
    parser = argparse.ArgumentParser(
        prog="decoderlab-report",
        description=__doc__,
        epilog="The report is in outputs/studies/STUDY: report.html, .md, .tex, results.csv.",
    )
    parser.add_argument("study", nargs="?", help="the study's name")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("STUDY_A", "STUDY_B"),
        help="compare the common rows of two studies, seed by seed",
    )
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="write the whole study for TensorBoard, and print the command that opens it",
    )
    parser.add_argument(
        "--serve",
        action="store_true",
        help="the same, and show it there in the colours of the report",
    )
    parser.add_argument(
        "--port", type=int, help="for --serve (the first that is free, from 6006 on)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the answer and the tables as JSON"
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), help="the output folder (%(default)s)"
    )
    arguments = parser.parse_args()
    if (arguments.study is None) == (arguments.compare is None):
        parser.error("give the name of a study, or --compare STUDY_A STUDY_B")
    if arguments.compare and (arguments.tensorboard or arguments.serve or arguments.json):
        parser.error("--tensorboard, --serve and --json show one study: leave --compare out")
    if arguments.port is not None and not (arguments.serve and 0 < arguments.port < 2**16):
        parser.error(f"--port is {arguments.port}: a number from 1 to 65535, beside --serve")
    if arguments.compare:
        first, second = arguments.compare
        sys.exit(guarded(lambda: compare(first, second, arguments.output_dir)))
    sys.exit(
        guarded(
            lambda: write_report(
                arguments.study,
                arguments.output_dir,
                arguments.tensorboard,
                as_json=arguments.json,
                serve=arguments.serve,
                port=arguments.port,
            )
        )
    )


# Whose runs can be read all the same.
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_report(
    study: str,
    output_dir: Path,
    tensorboard: bool,
    *,
    as_json: bool = False,
    serve: bool = False,
    port: int | None = None,
) -> int:
    """Write a study's report and print its table; return the exit code.

    Args:
        study: its name.
        output_dir: as in `run.output_dir`.
        tensorboard: whether to write the TensorBoard events of the study too.
        as_json: whether to print JSON in place of the table.
        serve: whether to write the events and show them in TensorBoard, until Ctrl-C.
        port: for that; None for the first that is free.

    Raises:
        LaunchError: if the report cannot be written, whose numbers have been printed then; if
            TensorBoard cannot be started.
    """
    from decoderlab.studies.design.plan_file import read_plan
    from decoderlab.studies.reporting.build import build_report, read_report
    from decoderlab.studies.reporting.json_record import report_record
    from decoderlab.studies.reporting.terminal_table import terminal_report

    plan, unwritten = read_plan(output_dir, study), None
    try:
        report = build_report(plan, output_dir)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        report, unwritten = read_report(plan, output_dir), error
    if as_json:
        print(json.dumps(report_record(report.analysis), indent=2))  # noqa: T201
    else:
        terminal_report(report, written=unwritten is None).print()
    if unwritten is not None:
        raise LaunchError(
            f"{report.folder}: the report cannot be written ({unwritten.strerror}); what is "
            "printed is of the runs as they are now, and a report that is there may be older; give "
            "yourself the permission, or copy the output folder and name the copy with --output-dir"
        ) from unwritten
    if tensorboard or serve:
        from decoderlab.studies.reporting.tensorboard_study import MEANS, write_board

        folder = write_board(report.analysis, output_dir)
        if serve:
            from decoderlab.studies.reporting.tensorboard_server import serve_board

            serve_board(folder, port)
        else:
            say(f"show it with: tensorboard --logdir {shlex.quote(str(folder))}")
            say(f"and open http://localhost:6006/{MEANS} (the mean curves)")
            say("or, in the colours of the report: --serve in place of --tensorboard")
    return 0 if report.complete else 1


def compare(first: str, second: str, output_dir: Path) -> int:
    """Compare two studies, print the table, and return the exit code.

    Args:
        first: name of a study.
        second: name of another.
        output_dir: as in `run.output_dir`.
    """
    from rich.table import Table

    from decoderlab.studies.analysis.results import defects
    from decoderlab.studies.design.plan_file import read_plan
    from decoderlab.studies.reporting.two_studies import compare_studies

    grid, sides, path = compare_studies(first, second, output_dir)
    table = Table()
    for heading in grid.header:
        table.add_column(plain(heading))
    for row in grid.rows:
        table.add_row(*map(plain, row))
    for side in sides:
        say(side)
    output().print(table)
    say(f"written to {path}")
    lines = [
        line
        for name in (first, second)
        for line in defects(read_plan(output_dir, name), output_dir)
    ]
    for line in lines:
        say(line)
    return int(bool(lines))


if __name__ == "__main__":
    main()
