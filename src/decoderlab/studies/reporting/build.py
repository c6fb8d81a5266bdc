"""A study's report, from its run folders: Markdown, LaTeX, HTML, CSV and figures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader
from rich.markup import escape
from rich.table import Table

from decoderlab.common.progress import output, say
from decoderlab.records.run_folder import write_atomic, write_text
from decoderlab.studies.analysis.comparisons import Analysis, Comparison
from decoderlab.studies.analysis.results import as_csv, frame, read_rows
from decoderlab.studies.design.plan_file import Plan, plan_file, read_configs
from decoderlab.studies.reporting import render
from decoderlab.studies.reporting.figures import pictures, shown_variants
from decoderlab.studies.reporting.sections import (
    Section,
    count_text,
    difference_text,
    p_text,
    score_text,
    sections,
    short_tables,
)

MAX_ROWS = 60
MEASURED = 10_000  # columns of a terminal that cuts nothing
VERDICT_STYLES = {"better": "green", "worse": "red", "no difference": "cyan", "tie": "cyan"}


@dataclass(frozen=True)
class Report:
    """A report that has been written.

    Args:
        analysis: what it says.
        folder: where it lies.
    """

    analysis: Analysis
    folder: Path

    @property
    def complete(self) -> bool:
        """Whether every planned run is finished."""
        return self.analysis.complete


def build_report(plan: Plan, output_dir: Path) -> Report:
    """Read all runs of a plan and write the report; the same runs give the same bytes.

    Args:
        plan: of the study.
        output_dir: as in `run.output_dir`.
    """
    rows = read_rows(plan, output_dir)
    try:
        # The report shows the settings of one run of each variant.
        firsts = {cell.variant: cell.run_id for cell in reversed(plan.cells)}
        configs = read_configs(plan_file(output_dir, plan.study.name), firsts.values())
    except (OSError, ValueError, KeyError):
        configs = {}  # the settings of the variants are missing from the report then
    analysis = Analysis(plan, rows, configs)
    folder = output_dir / "studies" / plan.study.name
    drawn = pictures(analysis, output_dir)
    parts = sections(analysis, drawn, output_dir)
    title, question = plan.study.name, plan.study.question
    for picture in drawn:
        file = folder / "figures" / f"{picture.name}.png"
        write_atomic(file, lambda out, png=picture.png: out.write(png))
    write_text(folder / "results.csv", as_csv(frame(plan, rows)))
    write_text(folder / "report.md", render.markdown(title, question, parts))
    write_text(folder / "report.tex", render.latex(title, question, parts))
    write_text(folder / "table.tex", render.short_tables(short_tables(analysis)))
    write_text(folder / "report.html", html(title, question, parts))
    return Report(analysis, folder)


def html(title: str, question: str | None, parts: Sequence[Section]) -> str:
    """Return the report as one file that needs nothing else, not even a network."""
    environment = Environment(
        loader=PackageLoader("decoderlab.studies.reporting", "."), autoescape=True, trim_blocks=True
    )
    return environment.get_template("report.html.jinja").render(
        title=title,
        question=question,
        parts=parts,
        base64=lambda png: base64.b64encode(png).decode(),
    )


def print_table(report: Report) -> None:
    """Print the tables in the terminal, on standard output; narrow ones show less."""
    analysis, console = report.analysis, output()
    for task in analysis.tasks:
        wide = console.options.update(max_width=MEASURED)
        for columns in (9, 6, 3):
            table = _terminal_table(analysis, task, columns)
            if table.__rich_measure__(console, wide).maximum <= console.width:
                break
        else:
            table = _terminal_table(analysis, task, columns, folded=True)
        console.print(table)
    if len(analysis.variants) > MAX_ROWS:
        say(f"the {MAX_ROWS} best of {len(analysis.variants)} rows; the report has them all")
    failed = sum(row.failed for row in analysis.rows)
    if failed:
        counts = "they count with the worst score" if analysis.worst else "they have no score"
        say(f"{failed} runs failed; {counts}")
    open_ = sum(row.status != "FINISHED" and not row.failed for row in analysis.rows)
    if open_:
        say(f"{open_} of {len(analysis.rows)} runs are not finished")
    if analysis.pilot:
        say("fewer than 6 seeds: a pilot, which settles nothing")
    say(f"report: {report.folder / 'report.html'} (also .md, .tex, results.csv)")


def _terminal_table(analysis: Analysis, task: str, columns: int, folded: bool = False) -> Table:
    title = f"{analysis.plan.study['name']}, {task}: test {analysis.scale.label}"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("variant", overflow="fold", no_wrap=not folded)
    names = ["mean [95 % CI]", "n", "difference [95 % CI]", "p Holm", "verdict"]
    if not analysis.comparisons:
        names = names[:2]
    names += ["parameters", "operations", "seconds"]
    if columns < 9:
        names = names[: columns - 1]
    for name in names:
        table.add_column(escape(name), justify="right", overflow="fold", no_wrap=not folded)
    for variant in shown_variants(analysis, MAX_ROWS):
        entry = analysis.entries.get((variant, task))
        name = escape(variant)
        if variant == analysis.baseline:
            name = f"[bold]{name} (baseline)[/]"
        if entry is None:
            table.add_row(name, "not planned")
            continue
        texts = [score_text(entry), count_text(entry)]
        if analysis.comparisons:
            texts += _compared(analysis.comparisons.get((variant, task)))
        texts += [
            "varies" if entry.parameters is None else f"{entry.parameters:,}",
            "varies" if entry.flops is None else f"{entry.flops:,.0f}",
            f"{entry.seconds:.1f}" if entry.seconds == entry.seconds else "–",
        ]
        shown = [escape(text) for text in texts[: len(names)]]
        if entry.failed:
            shown[1] = f"[red]{shown[1]}[/]"
        if "verdict" in names and (word := texts[4]) in VERDICT_STYLES:
            shown[4] = f"[{VERDICT_STYLES[word]}]{word}[/]"
        table.add_row(name, *shown)
    return table


def _compared(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return ["", "", ""]
    difference = "–" if comparison.paired is None else difference_text(comparison.paired)
    return [difference, p_text(comparison.p_holm, bare=True), comparison.verdict]
