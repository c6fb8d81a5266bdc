"""A study's report, from its run folders: Markdown, LaTeX, HTML, CSV and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from decoderlab.common.safe_names import inside
from decoderlab.records.run_folder import write_atomic, write_text
from decoderlab.studies.analysis.results import (
    as_csv,
    frame,
    outcomes_csv,
    read_rows,
    settings_by_row,
)
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import Plan, study_folder
from decoderlab.studies.reporting import render
from decoderlab.studies.reporting.explore_page import explore_page
from decoderlab.studies.reporting.figures import pictures
from decoderlab.studies.reporting.paper_table import paper_table
from decoderlab.studies.reporting.sections import sections
from decoderlab.studies.reporting.variant_diagrams import VariantDiagrams, variant_facts


@dataclass(frozen=True)
class Report:
    """What a study's runs say, and where that is written.

    Args:
        analysis: what it says.
        folder: where it lies.
    """

    analysis: Analysis
    folder: Path

    @property
    def complete(self) -> bool:
        """Whether every planned run is finished, and nothing is damaged."""
        return self.analysis.complete


def read_report(plan: Plan, output_dir: Path) -> Report:
    """Read all runs of a plan, and write nothing.

    Args:
        plan: of the study.
        output_dir: as in `run.output_dir`.
    """
    analysis = Analysis(plan, read_rows(plan, output_dir), settings_by_row(plan, output_dir))
    return Report(analysis, study_folder(output_dir, plan.name))


def build_report(plan: Plan, output_dir: Path) -> Report:
    """Read all runs of a plan and write the report; the same runs give the same bytes.

    Args:
        plan: of the study.
        output_dir: as in `run.output_dir`.
    """
    report = read_report(plan, output_dir)
    analysis, folder = report.analysis, report.folder
    drawn = pictures(analysis, output_dir)
    parts = sections(analysis, drawn, output_dir)
    diagrams = VariantDiagrams(variant_facts(analysis))
    title, question = plan.name, plan.study.question
    for picture in drawn:
        for ending, content in (("png", picture.png), ("pdf", picture.pdf)):
            name = f"{picture.name}.{ending}"
            file = inside(folder, "figures", name, setting="the name of a figure")
            write_atomic(file, lambda out, content=content: out.write(content))
    write_text(folder / "results.csv", as_csv(frame(plan, analysis.rows)))
    _write_or_remove(folder / "outcomes.csv", outcomes_csv(analysis.rows, analysis.scale))
    write_text(folder / "report.md", render.markdown(title, question, parts))
    write_text(folder / "report.tex", render.latex(title, question, parts))
    table = paper_table(analysis)
    paper = render.paper_tables(table.groups, table.caption, table.label, table.note)
    write_text(folder / "table.tex", paper)
    page = explore_page(analysis, output_dir)
    _write_or_remove(folder / "explore.html", page)
    linked = None if page is None else "explore.html"
    write_text(folder / "report.html", render.html(title, question, parts, diagrams, linked))
    return report


def _write_or_remove(file: Path, text: str | None) -> None:
    """Write a file that a study may not have, or remove that of runs before."""
    if text is None:
        file.unlink(missing_ok=True)
    else:
        write_text(file, text)
