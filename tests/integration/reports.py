"""Reports of studies that are made up."""

from __future__ import annotations

from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.build import build_report
from tests.unit.studies import write

A = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50, 0.53, 0.47]


def read_analysis(plan, output_dir) -> Analysis:
    return Analysis(plan, read_rows(plan, output_dir))


def report_text(tmp_path, plan, name="report.md") -> str:
    write(plan, tmp_path)
    build_report(plan, tmp_path)
    return (tmp_path / "studies/s" / name).read_text()
