"""The columns of a report: each defined once, in every table, explained and documented."""

from __future__ import annotations

import io
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from decoderlab.studies.analysis.results import frame, read_rows, results, run_columns
from decoderlab.studies.reporting import columns, terminal_text
from decoderlab.studies.reporting.blocks import Grid, Paragraph, Section
from decoderlab.studies.reporting.build import build_report
from decoderlab.studies.reporting.cautions import cautions, without_baseline
from decoderlab.studies.reporting.columns import COLUMNS, Column, columns_of
from decoderlab.studies.reporting.legend import LEGEND_ORDER, legend
from decoderlab.studies.reporting.render import latex, markdown
from decoderlab.studies.reporting.terminal_table import terminal_report
from tests.unit.studies import CONFIG, EXAMPLES, analysis, bits, study

pytestmark = pytest.mark.usefixtures("undrawn")

ROOT = Path(__file__).parents[2]
A = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50, 0.53, 0.47]
SCORES = {"a": A, "b": [score + 0.1 for score in A], "c": [*A[:7], "FAILED"]}
MEDIAN = Column(
    key="median",
    heading="median_50 %",
    group="score",
    text=lambda row: f"{row.entry.summary.median:.4f}",
    explanation="median: the score of the seed in the middle.",
    tables=("report", "paper", "terminal"),
    room="narrow",
)


@pytest.fixture
def extended(monkeypatch) -> None:
    """Define another column, behind the score."""
    monkeypatch.setattr(columns, "COLUMNS", (*COLUMNS[:2], MEDIAN, *COLUMNS[2:]))


def reported(tmp_path, monkeypatch, **settings) -> dict[str, str]:
    """Return the files of a report, and what the terminal shows."""
    plan = study(tmp_path, SCORES, **settings)
    plan.write(tmp_path, {cell.run_id: CONFIG for cell in plan.cells})
    report = build_report(plan, tmp_path)
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    monkeypatch.setattr(terminal_text, "output", lambda: console)
    terminal_report(report).print()
    names = ("report.md", "report.tex", "report.html", "table.tex")
    return {name: (report.folder / name).read_text() for name in names} | {
        "terminal": shown.getvalue()
    }


def row_of(text: str, variant: str, border: str) -> dict[str, str]:
    """Return a row of the tables, by heading."""
    lines = [line.strip(border).split(border) for line in text.splitlines() if border in line]
    cells = [[cell.strip() for cell in line] for line in lines]
    known: dict[str, str] = {}
    for line in cells:  # the further columns have a table of their own
        if line[0] == "variant":
            heading = line
        elif line[0] == variant:
            known = dict(zip(heading, line, strict=True)) | known
    return known


def test_a_column_defined_once_is_in_every_table_and_in_the_legend(tmp_path, monkeypatch, extended):
    texts = reported(tmp_path, monkeypatch)
    headings = {
        "report.md": "| median\\_50 % |",
        "report.tex": r" & median\_50 \% & ",
        "report.html": '<button type="button">median_50 %</button>',
        "table.tex": r" & median\_50 \% & ",
        "terminal": " median_50 % ",
    }
    for name, heading in headings.items():
        assert texts[name].count(heading) == 1, name
        assert all(median in texts[name] for median in ("0.5000", "0.6000")), name
    for name in ("report.md", "report.tex", "report.html"):
        text = re.sub(r"\s+", " ", texts[name])
        assert ". median: the score of the seed in the middle. n: runs finished" in text
    assert row_of(texts["report.md"], "b", "|")[r"median\_50 %"] == "0.6000"
    assert row_of(texts["terminal"].replace("┃", "│"), "b", "│")["median_50 %"] == "0.6000"


def test_a_column_that_a_study_does_not_show_is_nowhere(tmp_path, monkeypatch):
    hidden = replace(MEDIAN, shown=lambda analysis: False)
    monkeypatch.setattr(columns, "COLUMNS", (*COLUMNS, hidden))
    for name, text in reported(tmp_path, monkeypatch).items():
        assert "median_50" not in text.replace("\\", ""), name
        assert "the seed in the middle" not in text, name


def test_a_new_column_is_in_the_csv_of_no_run(tmp_path, monkeypatch, extended):
    reported(tmp_path, monkeypatch)
    header = (tmp_path / "studies/s/results.csv").read_text().splitlines()[0]
    assert "median" not in header  # a row of it is a run, a row of a table a variant


def test_every_column_is_documented():
    text = (ROOT / "docs" / "reports.md").read_text()
    (section,) = re.findall(r"## Columns\n(.*?)\n## ", text, flags=re.DOTALL)
    documented = [line.split("|")[1].strip() for line in section.splitlines() if "|" in line]
    for column in COLUMNS:
        assert documented.count(column.heading.replace("{metric}", "METRIC")) == 1, column.key


def test_keys_and_headings_are_of_one_column_each():
    for values in ([one.key for one in COLUMNS], [one.heading for one in COLUMNS]):
        assert len(set(values)) == len(values)


def test_the_legend_explains_what_is_shown_and_nothing_else(tmp_path):
    with_baseline = analysis(tmp_path / "with", SCORES)
    without = analysis(tmp_path / "without", SCORES, baseline=None)
    for study_analysis in (with_baseline, without):
        shown = {column.key for column in columns_of(study_analysis, "report")}
        for column in COLUMNS:
            explanation = column.explanation_of(with_baseline)
            if explanation and column.key != "score":
                assert (explanation in legend(study_analysis)) == (column.key in shown), column.key


def test_a_study_without_a_baseline_says_why_nothing_is_compared(tmp_path, monkeypatch, capsys):
    said = (
        "no baseline: give study.baseline=NAME for differences and verdicts, for example "
        "study.baseline=a; rows: a, b, c"
    )
    texts = reported(tmp_path / "without", monkeypatch, baseline=None)
    assert said in capsys.readouterr().err
    for name in ("report.md", "report.html"):
        assert texts[name].count(said) == 1, name
    reported(tmp_path / "with", monkeypatch)
    assert "no baseline" not in capsys.readouterr().err
    (alone,) = cautions(analysis(tmp_path / "alone", {"a": A[:5]}, baseline=None))
    assert alone.strong == "Pilot: "
    lost = analysis(tmp_path / "lost", SCORES, baseline="z")
    assert without_baseline(lost).startswith("the baseline z is none of the rows: give ")


@pytest.mark.parametrize(
    "name",
    [
        "luong",
        "null",
        "1e3",
        "[every_input] none",
        "[initial_state,every_input] teacher_forcing",
        "it's",
        'a "b" \\',
        "x=1 $y é",
    ],
)
def test_the_baseline_that_is_named_can_be_pasted(tmp_path, name):
    made = analysis(tmp_path, {name: A, "other": A}, baseline=None)
    (argument,) = shlex.split(without_baseline(made).split("for example ")[1].split("; rows: ")[0])
    (parsed,) = OverridesParser.create().parse_overrides([argument])
    assert (parsed.key_or_group, parsed.value()) == ("study.baseline", name)


def test_each_explanation_ends_as_a_part_of_the_legend_does(tmp_path):
    made = analysis(tmp_path, SCORES)
    groups = [group for part in LEGEND_ORDER for group in part]
    for column in COLUMNS:
        assert column.group in groups
        explanation = column.explanation_of(made)
        assert not explanation or explanation[-1] in ".;,", column.key


def test_a_change_for_a_table_must_be_of_something_that_a_column_has():
    with pytest.raises(TypeError, match="headline"):
        Column(
            key="x",
            heading="x",
            group="score",
            text=str,
            changes={"paper": {"headline": "y"}},
        ).in_table("paper")


def test_a_comparison_without_pairs_is_empty_in_files_and_a_dash_in_the_terminal(
    tmp_path, monkeypatch
):
    plan = study(tmp_path, {"a": A, "b": ["PLANNED"] * 8})
    plan.write(tmp_path, {cell.run_id: CONFIG for cell in plan.cells})
    report = build_report(plan, tmp_path)
    row = row_of((report.folder / "report.md").read_text(), "b", "|")
    compared = [column for column in COLUMNS if column.group == "comparison" and not column.changes]
    assert {row.get(column.heading, "") for column in compared} == {""}
    assert (row["n"], row["verdict"]) == ("0/8", "not run")
    shown = io.StringIO()
    monkeypatch.setattr(terminal_text, "output", lambda: Console(file=shown, width=200))
    terminal_report(report).print()
    row = row_of(shown.getvalue().replace("┃", "│"), "b", "│")
    assert (row["mean [95 % CI]"], row["n"], row["verdict"]) == ("–", "0/8", "not run")
    assert row["difference [95 % CI]"] == row["p Holm"] == "–"


def test_a_variant_that_a_task_does_not_have_says_so(tmp_path):
    plan = study(tmp_path, {("a", "echo"): A, ("b", "echo"): A, ("a", "g2p"): A})
    plan.write(tmp_path, {cell.run_id: CONFIG for cell in plan.cells})
    folder = build_report(plan, tmp_path).folder
    assert re.search(r"^\| b \| not planned \|(  \|)+$", (folder / "report.md").read_text(), re.M)
    assert re.search(r"^b & not planned( & )+ \\\\$", (folder / "table.tex").read_text(), re.M)


def test_alignment_is_that_of_the_column():
    grid = Grid(["name", "number", "word"], [["a", "1", "x"]], align=["left", "right", "left"])
    parts = [Section("Part", [grid, Paragraph("text")])]
    assert "|---|---:|---|" in markdown("title", None, parts)
    assert r"\begin{longtable}{@{}lrl@{}}" in latex("title", None, parts)


@pytest.mark.fault(62)
def test_templates_escape_whatever_they_put_in():
    parts = [Section("a_b", [Paragraph("50 % of x_y <i>"), Grid(["[h]"], [["[c]"]], "t_t")])]
    assert "## a\\_b\n\n50 % of x\\_y \\<i\\>\n" in markdown("title", "why?", parts)
    tex = latex("title", "why?", parts)
    assert r"50 \% of x\_\allowbreak{}y \textless{}i\textgreater{}" in tex
    assert "{[}h] \\\\\n" in tex
    assert "{[}c] \\\\\n" in tex


def test_columns_of_tests_that_were_not_made_are_left_out(tmp_path):
    one_seed = analysis(tmp_path / "one", {"a": A[:1], "b": [0.7]})
    several = analysis(tmp_path / "several", SCORES)
    for made, there, missing in (
        (one_seed, "p_models", "over_seeds"),
        (several, "over_seeds", "p_models"),
    ):
        keys = {column.key for column in columns_of(made, "report")}
        assert there in keys
        assert missing not in keys


def test_the_columns_of_runs_are_defined_once_and_documented(tmp_path):
    plan = study(tmp_path, SCORES)
    rows = read_rows(plan, tmp_path)
    names = [column.name for column in run_columns(plan, rows)]
    assert len({*names}) == len(names)
    assert list(frame(plan, rows).columns) == names
    documented = re.sub(r"\s+", " ", str(results.__doc__))
    for name in names:
        kind = re.sub(r"^(factor|tuned|test|validation)_.*", r"\1_", name)
        assert kind in documented, name


def test_the_outcomes_of_each_example_stand_beside_the_scores(tmp_path):
    plan = study(tmp_path, {"a": [0.5, 0.25], "b": [1.0, "DIVERGED"]})
    build_report(plan, tmp_path)
    folder = tmp_path / "studies" / "s"
    header, *rows = (folder / "outcomes.csv").read_text().splitlines()
    assert header == "run_id,exact_match"
    of_run = dict(row.split(",") for row in rows)
    assert list(of_run) == [cell.run_id for cell in plan.cells][:3]  # not of the run that failed
    for cell, score in zip(plan.cells, (0.5, 0.25, 1.0), strict=False):
        packed = np.frombuffer(bytes.fromhex(of_run[cell.run_id]), np.uint8)
        right = np.unpackbits(packed, count=EXAMPLES).astype(bool)
        assert right.tolist() == bits(score, cell.seed).tolist()
    plan = study(tmp_path, {"a": [0.5, 0.25], "b": [1.0, 0.5]}, metric="symbol_error_rate")
    build_report(plan, tmp_path)  # whose score is no mean of outcomes
    assert not (folder / "outcomes.csv").exists()
