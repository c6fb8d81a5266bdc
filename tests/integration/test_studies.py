"""Plans, and what a report says of runs: tables, figures, files."""

from __future__ import annotations

import csv
import io
import json
import math
import re

import pytest
from rich.console import Console

from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.config.run_config import Choices
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.design.plan_file import read_plan
from decoderlab.studies.design.row_labels import labels, varied_keys
from decoderlab.studies.reporting.build import build_report
from decoderlab.studies.reporting.explore_data import explore_data
from decoderlab.studies.reporting.panels import Panels
from decoderlab.studies.reporting.terminal_table import terminal_report
from decoderlab.studies.reporting.variant_styles import shown_variants, styles
from tests.integration.reports import A, read_analysis, report_text
from tests.unit.studies import config_of, study, write, write_run

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.fault(54)
def test_runs_not_done_yet_are_missing_and_damaged_ones_are_named(tmp_path):
    plan = study(tmp_path, {"a": [0.5, "PLANNED"], "b": [0.5, 0.6]})
    RunFolder(tmp_path / "runs/s3").result_file.write_text("{}")
    text = report_text(tmp_path, plan)
    entries = read_analysis(plan, tmp_path).entries
    assert entries["a", "echo"].summary.n == 1
    # A damaged file says nothing about the method: no score, not the worst one.
    assert entries["b", "echo"].summary.mean == 0.5
    assert entries["b", "echo"].failed == 0
    assert "a, echo, seed 1: PLANNED" in text
    assert "b, echo, seed 1: INVALID" in text
    assert "**Incomplete:** 2 of 4 runs are not finished" in text


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes(tmp_path, drawn):
    plan = study(tmp_path, {"a": A, "b": [one + 0.1 for one in A]}, minimum_effect=0.02)
    files = ["report.md", "report.tex", "table.tex", "report.html", "results.csv"]
    files += ["figures/exact_match.png", "figures/forest.pdf"]
    report_text(tmp_path, plan)
    first = {name: (tmp_path / "studies/s" / name).read_bytes() for name in files}
    build_report(plan, tmp_path)
    for name in files:
        assert (tmp_path / "studies/s" / name).read_bytes() == first[name], name
    assert first["figures/exact_match.png"].startswith(b"\x89PNG")
    assert first["figures/forest.pdf"].startswith(b"%PDF")
    assert b"/Type3" not in first["figures/forest.pdf"]  # letters are outlines, as papers want


@pytest.mark.slow
@pytest.mark.fault(62)
def test_names_cannot_break_a_format(tmp_path, drawn):
    name = "=a|b<script>alert(1)</script>&_%#$^~\\{}é漢"
    plan = study(tmp_path, {name: [0.5, 0.6], "b": [0.5, 0.6]}, baseline=None)
    text = report_text(tmp_path, plan)
    assert r"| =a\|b\<script\>" in text
    html = (tmp_path / "studies/s/report.html").read_text()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    tex = (tmp_path / "studies/s/report.tex").read_text()
    assert r"\textless{}script\textgreater{}" in tex
    assert r"\_\allowbreak{}\%\#\$\textasciicircum{}" in tex
    assert r"é\texttt{U+6F22}" in tex
    rows = list(csv.DictReader(io.StringIO((tmp_path / "studies/s/results.csv").read_text())))
    assert rows[0]["variant"] == f"'{name}"
    assert float(rows[1]["test_exact_match"]) == 0.6


def test_the_table_of_a_paper_is_one_tabular_with_the_tasks_as_groups(tmp_path):
    scores = {
        (variant, task): [one + gain + place / 1000 * bool(gain) for place, one in enumerate(A)]
        for variant, gain in (("a", 0.0), ("b_c", 0.1), ("down", -0.2))
        for task in ("echo", "g2p")
    }
    plan = study(
        tmp_path, scores, minimum_effect=0.02, result_changes={"probes": None}, number=1000
    )
    text = report_text(tmp_path, plan, "table.tex")
    assert text.count(r"\begin{tabular}") == text.count(r"\toprule") == 1
    assert r"\label{tab:s}" in text
    assert "and the difference to a, seed by seed.}" in text
    header, *lines = text.split(r"\toprule")[1].split(r"\bottomrule")[0].strip().split("\n")
    assert header == r"variant & exact match & difference \\"
    group = [
        r"\midrule",
        r"\multicolumn{3}{@{}l}{\textit{TASK}} \\",
        r"a & 0.500 &  \\",
        r" & {[}0.483, 0.517] &  \\",
        r"b\_\allowbreak{}c & 0.603 & +0.103*$\dagger$ \\",
        r" & {[}0.587, 0.620] & {[}+0.101, +0.106] \\",
        r"down & 0.303 & $-$0.197* \\",
        r" & {[}0.287, 0.320] & {[}$-$0.199, $-$0.194] \\",
    ]
    assert lines == [line.replace("TASK", task) for task in ("echo", "g2p") for line in group]
    assert "n = 8 seeds. " in text
    assert " * p \\textless{} 0.05, ** p" in text
    assert "beyond the minimum effect of 0.02" in text


def test_the_table_of_a_paper_leaves_names_whole_and_counts_missing_runs(tmp_path):
    names = {"a": [1.0] * 8, "mean pooled (x)": [one + (-1) ** n / 10 for n, one in enumerate(A)]}
    text = report_text(tmp_path / "whole", study(tmp_path / "whole", names), "table.tex")
    assert "mean pooled (x) & 0.500 " in text
    assert " & {[}0.963, 1.000] &" in text
    assert "solved" not in text
    missing = {"a": A, "b": [*A[:7], "PLANNED"]}
    text = report_text(tmp_path / "fewer", study(tmp_path / "fewer", missing), "table.tex")
    assert re.search(r"b & 0.504 .* & 7/8 ", text)
    assert "n = 8 seeds" not in text
    assert "failed" not in text
    failed = {"a": A, "b": [*A[:6], "FAILED", "FAILED"]}
    text = report_text(tmp_path / "failed", study(tmp_path / "failed", failed), "table.tex")
    assert "& 6/8 " in text
    assert "2 of 16 runs failed or diverged. They count with the worst score." in text


def test_the_html_needs_nothing_but_itself(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [one + 0.1 for one in A]})
    html = report_text(tmp_path, plan, "report.html")
    # Links lead to the page itself, and from the study's folder to those of its runs.
    links = set(re.findall(r"(?:src|href)=\"([^\"]*)\"", html))
    runs = {link for link in links if not link.startswith("#")}
    assert "explore.html" in runs  # a file beside it
    runs.remove("explore.html")
    assert runs == {f"../../{cell.folder}/" for cell in plan.cells}
    assert all((tmp_path / "studies/s" / link).is_dir() for link in runs)
    anchors = set(re.findall(r" id=\"([^\"]*)\"", html))
    assert {link[1:] for link in links - runs - {"explore.html"}} <= anchors
    assert "http:" not in html
    assert "https:" not in html
    ids = re.findall(r" id=\"([^\"]*)\"", html)
    assert len(ids) == len(set(ids))
    assert html.count("<figure") == len(list((tmp_path / "studies/s/figures").glob("*.png")))
    figures = re.findall(r"<figure.*?</figure>", html, flags=re.DOTALL)
    assert "<text" not in "".join(figures)  # letters are paths, so that no font is needed


def test_the_footer_says_where_numbers_come_from(tmp_path):
    plan = study(tmp_path, {"a": [0.5, 0.7], "b": [0.6, "FAILED"]})
    RunFolder(tmp_path / "runs/s3").metrics.write_text('{"step": 3, "seconds": 7.5}\n')
    text = report_text(tmp_path, plan)
    for said in (
        "protocol 1; 4 runs planned, 3 finished; seeds 0, 1",
        "budget: equal updates",
        "tuning: none",
        "data of echo: train 2,000, test 100\n",
        "measured as generation:greedy",
        "code: abc",
        "hardware: a CPU (AVX2), cpu, 1 thread(s)",
        "computing: 16 s of training and evaluation in all, 8 s of them in runs without a result",
        "made by decoderlab-report s",
        "fixed: the data",
    ):
        assert said in text.replace("\\", ""), said


def test_a_plan_that_changed_says_so_in_the_footer(tmp_path):
    plan = study(tmp_path, {"a": A[:6], "b": A[:6]})
    write(plan, tmp_path)
    wider = study(tmp_path, {"a": A, "b": A}, minimum_effect=0.1)
    text = report_text(tmp_path, wider).replace("\\", "")
    assert "amended after plan-001.json:" in text
    assert "minimum_effect changed" in text


@pytest.mark.slow
def test_tasks_may_have_different_levels(tmp_path):
    rows = [
        (f"{decoder} {feedback}", task, decoder, feedback)
        for task, decoders in (("echo", "abc"), ("g2p", "ab"))
        for decoder in decoders
        for feedback in ("with", "without")
    ]
    levels = {variant: {"decoder": d, "feedback": f} for variant, _, d, f in rows}
    scores = {(variant, task): A for variant, task, *_ in rows}
    report_text(tmp_path, study(tmp_path, scores, factors=levels, baseline=None))
    assert (tmp_path / "studies/s/figures/interaction.png").exists()


def test_a_study_without_any_run_says_so(tmp_path):
    plan = study(tmp_path, {"a": ["PLANNED", "PLANNED"]})
    text = report_text(tmp_path, plan)
    entry = read_analysis(plan, tmp_path).entries["a", "echo"]
    assert entry.summary.n == 0
    assert math.isnan(entry.seconds)
    assert "| – | 0/2 |" in text
    assert "No run is finished yet." in text
    failed = study(tmp_path / "failed", {"a": ["FAILED", "FAILED"]})
    assert "Every run failed or diverged." in report_text(tmp_path / "failed", failed)


def test_a_plan_is_read_as_it_was_written(tmp_path):
    plan = study(tmp_path, {"a": [0.5]})
    write(plan, tmp_path)
    assert read_plan(tmp_path, "s") == plan
    (tmp_path / "studies/s/plan.json").write_text("{}")
    with pytest.raises(Invalid, match="is of format None; this version reads 2; give the command"):
        read_plan(tmp_path, "s")
    with pytest.raises(ConfigError, match="there are none yet"):
        read_plan(tmp_path / "empty", "s")


def test_factors_and_labels():
    cells = [
        {"decoder": "a", "task.max_length": "3", "training.max_steps": "5", "seed": str(seed)}
        for seed in (0, 1)
    ]
    assert varied_keys(cells) == ["seed"]
    varied = ["decoder", "task.max_length", "training.max_steps", "seed"]
    choices = Choices(task="echo", decoder="a")
    assert labels(cells[0], varied, choices) == ("a training.max_steps=5", "echo max_length=3")
    assert labels(cells[0], [], choices) == ("a", "echo")
    cell = {"route": "every_input", "task": "echo"}
    assert labels(cell, ["variant", "route"], choices, ["route"]) == ("every_input", "echo")


def test_a_result_without_probes_still_has_its_scores(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [one + 0.1 for one in A]}, result_changes={"probes": None})
    text = report_text(tmp_path, plan)
    assert "Better than a, if no run collapses: b" in text
    assert not (tmp_path / "studies/s/figures/memory.png").exists()
    assert "over seeds alone" not in text


def test_the_table_in_the_terminal_fits_any_width(tmp_path, monkeypatch, capfd):
    plan = study(
        tmp_path,
        {
            "a": A,
            "a_rather_long_name_of_a_variant": [one + 0.2 for one in A],
            "c": [*A[:7], "FAILED"],
        },
    )
    write(plan, tmp_path)
    report = build_report(plan, tmp_path)
    check_width(report, monkeypatch, 100)
    best = tmp_path / f"runs/s{len(A) + A.index(max(A))}"  # of the second row
    assert f"for decoderlab-predict and the like: {best}\n" in capfd.readouterr().err
    for width in (30, 44, 60, 80, 100, 120, 140, 160, 200):
        check_width(report, monkeypatch, width)


def check_width(report, monkeypatch, width: int) -> None:
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, force_terminal=True)
    monkeypatch.setattr("decoderlab.studies.reporting.terminal_text.output", lambda: console)
    terminal_report(report).print()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", buffer.getvalue())
    assert max(map(len, plain.splitlines())) <= width
    assert "…" not in plain
    assert "0.500" in plain
    if width >= 80:  # below, cells are folded, in which nothing is lost either
        assert "a (baseline)" in plain
        rows = [line for line in plain.splitlines() if "0." in line]
        assert [len(re.findall(r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", row)) for row in rows] == [1] * 3
        assert plain.count("8/8") == 2
        assert "7/8" in plain
    assert len(set(re.findall(r"\d", plain))) > 5
    if width >= 80:
        assert plain.count("better") == 1  # the verdict stays
    assert ("columns left out: " in plain) == (width < 160)
    left_out = plain[plain.find("columns left out:") :].split("(use")[0].replace("\n", " ")
    for heading in ("difference [95 % CI]", "p Holm", "parameters", "seconds"):
        in_table = heading in plain[: plain.find("columns left out:")]
        assert in_table or heading in left_out or width < 80, heading
    if width >= 140:
        assert "\x1b[32mbetter" in buffer.getvalue(), "in colour"
        assert "+0.200" in plain


def test_only_the_best_of_very_many_rows_are_drawn(tmp_path):
    scores = {f"v{place}": [place / 100, place / 100 + 0.01] for place in range(30)}
    plan = study(tmp_path, scores, baseline="v0")
    assert set(shown_variants(read_analysis(plan, tmp_path), 5)) == {
        "v0",
        "v26",
        "v27",
        "v28",
        "v29",
    }


def test_a_run_whose_folder_is_another_runs_is_not_mixed_in(tmp_path):
    plan = study(tmp_path, {"a": [0.5]})
    write_run(RunFolder(tmp_path / "runs/foreign"), 0.9, config_of(9, Choices(), 0))
    assert read_analysis(plan, tmp_path).entries["a", "echo"].scores == {0: 0.5}
    assert json.loads((tmp_path / "runs/s0/result.json").read_text())["steps"] == 10


def test_no_two_variants_are_drawn_alike(tmp_path):
    names = [f"v{number}" for number in range(16)]
    plan = study(tmp_path, {name: [0.5, 0.6] for name in names}, baseline="v0")
    found = styles(read_analysis(plan, tmp_path))
    assert len({style["color"] for style in found.values()}) == 6
    for keys in (("color", "linestyle"), ("color", "marker")):
        assert len({tuple(found[name][key] for key in keys) for name in names}) == 16


def test_a_variant_has_one_style_in_figures_of_a_choice_and_in_the_explorer(tmp_path):
    names = [f"v{number:03}" for number in range(100)]
    scores = {name: [(37 * number % 100) / 100] for number, name in enumerate(names)}
    analysis = read_analysis(study(tmp_path, scores, baseline="v000"), tmp_path)
    panels, explored = Panels(analysis, tmp_path), explore_data(analysis, tmp_path)
    assert len(panels.shown) == 16
    for keys in (("color", "linestyle"), ("color", "marker"), ("linestyle", "marker")):
        drawn = {tuple(panels.styles[name][key] for key in keys) for name in panels.shown}
        assert len(drawn) == 16
    assert explored["colours"] == [panels.styles[name]["color"] for name in explored["variants"]]
