"""decoderlab-report: rebuild a study's report from its runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from decoderlab.train import guarded


def main() -> None:
    """Run the command line and leave with its exit code: 0 complete, 1 runs missing or failed."""
    parser = argparse.ArgumentParser(prog="decoderlab-report", description=__doc__)
    parser.add_argument("study", help="the study's name")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("outputs"), help="as run.output_dir (%(default)s)"
    )
    arguments = parser.parse_args()

    def build() -> int:
        from decoderlab.studies.plan import read_plan
        from decoderlab.studies.report import build_report, print_table

        report = build_report(
            read_plan(arguments.output_dir, arguments.study), arguments.output_dir
        )
        print_table(report)
        return 0 if report.complete else 1

    sys.exit(guarded(build))


if __name__ == "__main__":
    main()
