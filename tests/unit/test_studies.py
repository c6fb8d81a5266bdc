"""Plans, and what a report says of runs: tables, verdicts, warnings, files."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from dataclasses import replace

import pytest
from rich.console import Console

import decoderlab
from decoderlab.cli.report import main
from decoderlab.common.errors import ConfigError
from decoderlab.records.run_folder import RunFolder, sealed, write_json
from decoderlab.studies.analysis.factorial import Factorial
from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import factors, labels, read_plan
from decoderlab.studies.reporting.build import build_report
from decoderlab.studies.reporting.terminal_table import print_table
from decoderlab.studies.reporting.variant_styles import shown_variants, styles
from tests.unit.studies import ENVIRONMENT, result, signature, study, write, write_run

A = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50, 0.53, 0.47]


def read_analysis(plan, output_dir) -> Analysis:
    return Analysis(plan, read_rows(plan, output_dir))


def report_text(tmp_path, plan, name="report.md") -> str:
    write(plan, tmp_path)
    build_report(plan, tmp_path)
    return (tmp_path / "studies/s" / name).read_text()


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


def test_the_same_runs_give_the_same_bytes(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [one + 0.1 for one in A]}, minimum_effect=0.02)
    files = ["report.md", "report.tex", "table.tex", "report.html", "results.csv"]
    files.append("figures/exact_match.png")
    report_text(tmp_path, plan)
    first = {name: (tmp_path / "studies/s" / name).read_bytes() for name in files}
    build_report(plan, tmp_path)
    for name in files:
        assert (tmp_path / "studies/s" / name).read_bytes() == first[name], name
    assert first["figures/exact_match.png"].startswith(b"\x89PNG")


@pytest.mark.parametrize(("seeds", "pilot"), [(5, True), (6, False)])
def test_under_six_seeds_it_is_a_pilot_and_claims_nothing(tmp_path, seeds, pilot):
    plan = study(tmp_path, {"a": A[:seeds], "b": [one + 0.1 for one in A[:seeds]]})
    text = report_text(tmp_path, plan)
    assert ("**Pilot:**" in text) == pilot
    assert ("This is a pilot" in text) == pilot
    assert ("Better than a: b" in text) == (not pilot)
    assert ("| better |" in text) == (not pilot)
    if pilot:
        assert re.search(r"\| – \| – \| .* \| pilot \|", text), "no p of a pilot"


def test_the_answer_says_what_the_intervals_carry(tmp_path):
    plan = study(
        tmp_path,
        {
            "a": A,
            "up": [one + 0.1 + place / 100 for place, one in enumerate(A)],
            "down": [one - 0.2 - place / 100 for place, one in enumerate(A)],
            "same": [one + (-1) ** place / 1000 for place, one in enumerate(A)],
            "open": [one + (-1) ** place * 0.1 for place, one in enumerate(A)],
            "tie": A,
        },
        minimum_effect=0.02,
    )
    text = report_text(tmp_path, plan)
    assert "echo: up has the highest mean exact match, 0.635 [0.611, 0.659]." in text
    assert "Better than a by 0.02 or more: up (+0.135 [+0.115, +0.155])." in text
    assert "Worse than a by 0.02 or more: down (-0.235" in text
    assert "Different from it by less than 0.02: same (" in text
    assert "Inconclusive: open (" in text
    assert "The same in every seed: tie (+0.000 [n/a])." in text
    assert re.search(r"open .*inconclusive \(n=8, MDE 0\.20\d\)", text)


def test_runs_measured_in_different_ways_are_flagged_and_not_compared(tmp_path):
    plan = study(tmp_path, {"a": A, "b": A, "c": A})
    other = result(0.7, signature=signature("other"), environment=ENVIRONMENT)
    for place in range(8, 16):  # all of b, on other data
        write_json(RunFolder(tmp_path / f"runs/s{place}").result_file, sealed(other))
    wider = signature(number=50)
    one = result(0.7, signature=wider, environment=ENVIRONMENT | {"git_commit": "def"})
    write_json(RunFolder(tmp_path / "runs/s17").result_file, sealed(one))
    text = report_text(tmp_path, plan)
    assert "Not comparable, since measured in another way: b; c." in text
    assert re.search(r"\| c \| .* mixed \|", text)
    comparisons = read_analysis(plan, tmp_path).comparisons
    for variant in "bc":  # a single seed is enough: what else differs is not known
        assert comparisons[variant, "echo"].paired is None
        assert comparisons[variant, "echo"].verdict == "not comparable"
    assert "mixed code" in text


def test_names_cannot_break_a_format(tmp_path):
    name = "=a|b<script>alert(1)</script>&_%#$^~\\{}é漢"
    plan = study(tmp_path, {name: [0.5, 0.6], "b": [0.5, 0.6]}, baseline=None)
    text = report_text(tmp_path, plan)
    assert r"| =a\|b\<script\>" in text
    html = (tmp_path / "studies/s/report.html").read_text()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    tex = (tmp_path / "studies/s/report.tex").read_text()
    assert r"\textless{}script\textgreater{}" in tex
    assert r"\_\%\#\$\textasciicircum{}" in tex
    assert r"é\texttt{U+6F22}" in tex
    rows = list(csv.DictReader(io.StringIO((tmp_path / "studies/s/results.csv").read_text())))
    assert rows[0]["variant"] == f"'{name}"
    assert float(rows[1]["test_exact_match"]) == 0.6


def test_the_short_table_has_what_a_paper_has_room_for(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [one + 0.1 for one in A]})
    text = report_text(tmp_path, plan, "table.tex")
    assert text.count(r"\begin{tabular}") == 1
    header, _, *rows = text.split(r"\toprule")[1].split("\n")[1:5]
    assert header == (
        r"variant & exact match {[}95 \% CI] & n & difference {[}95 \% CI] & p Holm & verdict \\"
    )
    assert rows[1] == r"b & 0.600 {[}0.583, 0.617] & 8/8 & +0.100 {[}n/a] & 0.0078 & better \\"


def test_the_short_table_leaves_names_whole(tmp_path):
    names = {"a": [1.0] * 8, "mean pooled (x)": [one + (-1) ** n / 10 for n, one in enumerate(A)]}
    text = report_text(tmp_path, study(tmp_path, names), "table.tex")
    assert "mean pooled (x) & 0.500 " in text
    assert "1.000 {[}0.963, 1.000] & 8/8" in text
    assert "solved" not in text


def test_the_html_needs_nothing_but_itself(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [one + 0.1 for one in A]})
    html = report_text(tmp_path, plan, "report.html")
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", html)
    assert "http:" not in html
    assert "https:" not in html
    assert html.count("data:image/png;base64,") == len(
        list((tmp_path / "studies/s/figures").iterdir())
    )
    for said in ("Which?", "Better than a: b", "decoder.hidden_size: ", "x_t = c", "1 | 2 ✗"):
        assert said in html, said
    assert "Sample predictions" not in (tmp_path / "studies/s/report.md").read_text()


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


def test_a_failure_shows_with_both_means(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [*(one + 0.2 for one in A[:7]), "DIVERGED"]})
    text = report_text(tmp_path, plan)
    assert "| 7/8, 1 failed |" in text
    found = read_analysis(plan, tmp_path).entries["b", "echo"]
    assert found.summary.mean == pytest.approx((sum(A[:7]) + 1.4) / 8)
    assert found.completed.mean == pytest.approx(sum(A[:7]) / 7 + 0.2)
    assert f"{found.completed.mean:.3f}" in text
    assert "A run that failed counts with the score 0." in text
    assert "b, echo, seed 7: DIVERGED because" in text


def test_a_failure_has_no_worst_loss(tmp_path):
    plan = study(tmp_path, {"b": [0.9, "FAILED"]}, metric="loss", baseline=None)
    text = report_text(tmp_path, plan)
    assert read_analysis(plan, tmp_path).entries["b", "echo"].summary.n == 1
    assert "A failed run has no worst loss: it is left out of the mean" in text
    assert "1 of 2 runs failed or diverged. They have no score." in text


def test_nothing_is_claimed_of_a_loss_where_failures_are_lost(tmp_path):
    plan = study(
        tmp_path,
        {"a": [*A, 0.5, 0.5], "b": [*(one - 0.3 for one in A), "FAILED", "DIVERGED"]},
        metric="loss",
    )
    text = report_text(tmp_path, plan)
    comparison = read_analysis(plan, tmp_path).comparisons["b", "echo"]
    assert (comparison.paired.n, comparison.lost) == (8, 2)
    assert comparison.p_holm < 0.05
    assert "inconclusive (2 seeds lost to failures)" in text
    assert "Better" not in text
    assert "each token given the true ones before it" in text


def test_a_failure_is_no_better_than_what_a_finished_run_found_worse(tmp_path):
    # An error rate can be above 1, which a failure is otherwise given.
    scores = {"a": [one - 0.9 for one in A], "b": ["FAILED"] * 8}
    plan = study(tmp_path, scores, metric="symbol_error_rate")
    text = report_text(tmp_path, plan)
    found = read_analysis(plan, tmp_path)
    assert found.worst["echo"] == pytest.approx(1.43)
    assert set(found.entries["b", "echo"].scores.values()) == {found.worst["echo"]}
    assert "echo: a has the lowest mean symbol error rate" in text
    assert "A run that failed counts with the score 1.43." in text


def test_failures_alone_are_no_tie_and_no_best(tmp_path):
    plan = study(tmp_path, {"a": ["FAILED"] * 8, "b": ["FAILED"] * 8, "c": A})
    found = read_analysis(plan, tmp_path)
    assert found.comparisons["b", "echo"].verdict == "not run"
    assert found.comparisons["c", "echo"].verdict == "better"
    text = report_text(tmp_path, plan)
    assert "Not run on both sides: b." in text
    assert "16 of 24 runs failed or diverged. They count with the worst score." in text


def test_a_failure_does_not_hide_that_the_rest_was_measured_in_another_way(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [0.9, 0.9, *["FAILED"] * 6]})
    other = result(0.9, signature=signature("other"))
    write_json(RunFolder(tmp_path / "runs/s8").result_file, sealed(other))
    assert read_analysis(plan, tmp_path).comparisons["b", "echo"].verdict == "not comparable"


def test_the_best_of_equals_are_all_named(tmp_path):
    plan = study(tmp_path, {"a": [1.0] * 6, "b": [1.0] * 6, "c": A[:6]})
    assert "echo: a and b have the highest mean exact match, 1.000." in report_text(tmp_path, plan)


def test_what_has_no_p_yet_counts_in_the_family(tmp_path):
    scores = {"a": A, "b": [one + 0.2 for one in A[:6]] + ["PLANNED"] * 2}
    waiting = {name: ["PLANNED"] * 8 for name in "cdefghijk"}
    comparison = read_analysis(study(tmp_path, scores | waiting), tmp_path).comparisons["b", "echo"]
    assert comparison.paired.p == 2 / 2**6
    assert comparison.p_holm == pytest.approx(10 * 2 / 2**6)


def test_a_design_that_can_show_nothing_says_so(tmp_path):
    shifted = {name: [one + 0.2 for one in A[:6]] for name in "bc"}
    text = report_text(tmp_path, study(tmp_path, {"a": A[:6]} | shifted))
    assert "inconclusive (n=6: too few for so many comparisons)" in text


def test_a_row_with_few_seeds_is_a_pilot_among_others_that_are_not(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [one + 0.2 for one in A], "c": A[:5]})
    text = report_text(tmp_path, plan)
    assert "This is a pilot" not in text
    assert "Better than a: b" in text
    assert "A pilot, with fewer than 6 seeds of both: c" in text


def test_cells_measured_in_different_ways_are_not_analysed_as_a_grid(tmp_path):
    plan = study(tmp_path, {"a": A, "b": A, "c": A, "d": A})
    cells = [
        replace(one, factors={"x": one.variant in "ab", "y": one.variant in "ac"} | one.factors)
        for one in plan.cells
    ]
    plan = replace(plan, cells=tuple(replace(one, factors=_texts(one.factors)) for one in cells))
    assert isinstance(read_analysis(plan, tmp_path).factorials["echo"], Factorial)
    other = result(0.7, signature=signature("other"))
    write_json(RunFolder(tmp_path / "runs/s9").result_file, sealed(other))
    assert "echo is not analysed: its cells were not measured in the same way." in report_text(
        tmp_path, plan
    )


def _texts(factors):
    return {key: str(value) for key, value in factors.items() if key not in ("task", "decoder")}


def test_tasks_may_have_different_levels(tmp_path):
    rows = [
        (f"{decoder} {feedback}", task, decoder, feedback)
        for task, decoders in (("echo", "abc"), ("g2p", "ab"))
        for decoder in decoders
        for feedback in ("with", "without")
    ]
    plan = study(tmp_path, {(variant, task): A for variant, task, *_ in rows}, baseline=None)
    levels = {(variant, task): {"decoder": d, "feedback": f} for variant, task, d, f in rows}
    plan = replace(
        plan,
        cells=tuple(replace(one, factors=levels[one.variant, one.task]) for one in plan.cells),
    )
    report_text(tmp_path, plan)
    assert (tmp_path / "studies/s/figures/interaction.png").exists()


def test_a_planted_collapsed_seed_shows(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [0.9, 0.91, 0.9, 0.03, 0.92, 0.9, 0.91, 0.9]})
    assert "b on echo, seed 3: 0.030, median 0.900" in report_text(tmp_path, plan)


def test_at_the_ceiling_the_interval_is_wilsons_over_examples(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [1.0] * 8, "c": [1.0, *A[1:]]})
    text = report_text(tmp_path, plan)
    assert re.search(r"\| b \| 1\.000 \[0\.963, 1\.000\] pooled, 8/8 solved \|", text)
    # Seeds that differ are not one sample of examples, be one of them perfect or not.
    c = read_analysis(plan, tmp_path).entries["c", "echo"]
    assert c.interval == (c.summary.low, c.summary.high)
    assert "Wilson's interval over the test examples" in text


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
    with pytest.raises(ConfigError, match="damaged"):
        read_plan(tmp_path, "s")
    with pytest.raises(ConfigError, match="there are none yet"):
        read_plan(tmp_path / "empty", "s")


def test_results_are_a_data_frame_with_a_row_a_run(tmp_path):
    levels = {"a": {"route": "x"}, "b": {"route": "y"}}
    plan = study(tmp_path, {"a": [0.5, "FAILED"], "b": [0.7, "PLANNED"]}, factors=levels)
    write(plan, tmp_path)
    table = decoderlab.results("s", tmp_path)
    assert table["status"].tolist() == ["FINISHED", "FAILED", "FINISHED", "PLANNED"]
    assert table["factor_route"].tolist() == ["x", "x", "y", "y"]
    assert table["test_exact_match"].dropna().tolist() == [0.5, 0.7]
    assert table["seed"].tolist() == [0, 1, 0, 1]
    assert table["reason"].tolist() == ["", "because", "", ""]
    build_report(plan, tmp_path)
    written = list(csv.DictReader((tmp_path / "studies/s/results.csv").read_text().splitlines()))
    assert [one["steps"] for one in written] == ["10", "", "10", ""]


def test_factors_and_labels():
    cells = [
        {"decoder": "a", "task.max_length": "3", "training.max_steps": "5", "seed": str(seed)}
        for seed in (0, 1)
    ]
    assert factors(cells) == ["seed"]
    varied = ["decoder", "task.max_length", "training.max_steps", "seed"]
    choices = {"task": "echo", "decoder": "a"}
    assert labels(cells[0], varied, choices) == ("a training.max_steps=5", "echo max_length=3")
    assert labels(cells[0], [], choices) == ("a", "echo")
    cell = {"route": "every_input", "task": "echo"}
    assert labels(cell, ["variant", "route"], choices, ["route"]) == ("every_input", "echo")


def test_a_result_without_probes_still_has_its_scores(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [one + 0.1 for one in A]}, result_changes={"probes": None})
    text = report_text(tmp_path, plan)
    assert "Better than a: b" in text
    assert not (tmp_path / "studies/s/figures/memory.png").exists()
    assert "over seeds and examples" not in text


@pytest.mark.parametrize("width", [30, 44, 60, 80, 100, 120, 140, 160, 200])
def test_the_table_in_the_terminal_fits_any_width(tmp_path, monkeypatch, width):
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
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, force_terminal=True)
    monkeypatch.setattr("decoderlab.studies.reporting.terminal_table.output", lambda: console)
    print_table(report)
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
    assert ("better" in plain) == (width >= 140)
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
    write_run(RunFolder(tmp_path / "runs/foreign"), 0.9, 0)
    assert read_analysis(plan, tmp_path).entries["a", "echo"].scores == {0: 0.5}
    assert json.loads((tmp_path / "runs/s0/result.json").read_text())["steps"] == 10


def command(monkeypatch, output_dir, *arguments):
    """Run decoderlab-report here and return its exit code."""
    monkeypatch.setattr(
        sys, "argv", ["decoderlab-report", *arguments, "--output-dir", str(output_dir)]
    )
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def written(output_dir, name="s", scores=(A, A)):
    plan = study(output_dir, dict(zip("ab", scores, strict=True)), name=name)
    write(plan, output_dir)
    return output_dir / "studies" / name


def test_the_command_writes_a_report_and_for_tensorboard(tmp_path, monkeypatch, capfd):
    folder = written(tmp_path)
    assert command(monkeypatch, tmp_path, "s", "--tensorboard") == 0
    printed = capfd.readouterr()
    (board,) = re.findall(r"tensorboard --logdir (\S+)", printed.out + printed.err)
    assert board == str(folder / "tensorboard")
    assert list((folder / "tensorboard").rglob("events.out.tfevents.*"))
    assert (folder / "report.html").is_file()


def test_the_command_compares_two_studies(tmp_path, monkeypatch, capfd):
    written(tmp_path)
    written(tmp_path, "t", (A, [one + 0.1 for one in A]))
    assert command(monkeypatch, tmp_path, "--compare", "s", "t") == 0
    assert "+0.100" in capfd.readouterr().out
    assert len(list((tmp_path / "studies").rglob("*compare*"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the name of a study, or --compare STUDY_A STUDY_B"),
        (["s", "--compare", "s", "t"], "give the name of a study, or --compare"),
        (["--compare", "s"], "expected 2 arguments"),
        (["--compare", "s", "--tensorboard"], "expected 2 arguments"),
        (["--compare", "s", "t", "--tensorboard"], "--tensorboard shows one study"),
        (["x"], "there is no study 'x'"),
    ],
)
def test_the_command_says_what_is_wrong_and_writes_nothing(
    tmp_path, monkeypatch, capfd, arguments, message
):
    folder = written(tmp_path)
    before = sorted(folder.iterdir())
    assert command(monkeypatch, tmp_path, *arguments) == 2
    assert message in capfd.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_no_two_variants_are_drawn_alike(tmp_path):
    names = [f"v{number}" for number in range(16)]
    plan = study(tmp_path, {name: [0.5, 0.6] for name in names}, baseline="v0")
    found = styles(read_analysis(plan, tmp_path), names)
    assert len({style["color"] for style in found.values()}) == 6
    for keys in (("color", "linestyle"), ("color", "marker")):
        assert len({tuple(found[name][key] for key in keys) for name in names}) == 16
