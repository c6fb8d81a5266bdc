"""What the pages of the first studies withdraw, and say in its place, is what their runs show."""

from __future__ import annotations

import re

import numpy as np
from scipy import stats

from tests.contracts.test_quotes import ROOT, cells, quotes

STUDIES = ROOT / "docs" / "studies"
FEEDBACK = ("teacher_forcing", "no_feedback")


def test_without_the_routes_that_need_feedback_no_interaction_is_shown_on_addition():
    runs = cells("context_routes")
    gains = []
    for route in ("every_input", "initial_state", "both"):
        with_it, without = (
            runs["test_exact_match", "addition_2digits", f"{route} {each}"] for each in FEEDBACK
        )
        gains.append([with_it[seed] - without[seed] for seed in with_it])
    contrasts = np.diff(gains, axis=0)  # a row for each two routes beside each other
    rows, seeds = contrasts.shape
    mean, covariance = contrasts.mean(axis=1), np.cov(contrasts)
    t_squared = seeds * mean @ np.linalg.solve(covariance, mean)  # Hotelling's
    f = t_squared * (seeds - rows) / (rows * (seeds - 1))
    assert stats.f.sf(f, rows, seeds - rows) > 0.05
    assert "no interaction is shown on\n  addition" in (STUDIES / "context_routes.md").read_text()


def test_one_difference_had_two_verdicts():
    report = (STUDIES / "context_routes" / "report.md").read_text()
    name = r"initial\\_state no\\_feedback"
    assert re.search(rf"^\| {name} \|.*\| 0.0332 \| 0.0996 \|", report, re.M)
    name = r"initial\\_state against every\\_input \| no\\_feedback"
    assert re.search(rf"\| {name} \|.*\| 0.0332 \| 0.0332 \|$", report, re.M)


def test_each_page_of_a_study_before_the_answer_links_to_it():
    for name in ("context_routes", "echo_attention", "source_reversal"):
        page = (STUDIES / f"{name}.md").read_text()
        assert "**Read this first.**" in page
        assert "../answer.md" in page


def test_the_readme_quotes_results_of_the_answer_and_the_leaderboard_alone():
    text = (ROOT / "README.md").read_text().split("## Results so far")[1].split("\n## ")[0]
    pages = [ROOT / "docs/answer.md", ROOT / "docs/leaderboard.md"]
    known = {quote for page in pages for quote in quotes(page.read_text())}
    assert len(quotes(text)) > 8
    answer = " ".join(pages[0].read_text().split())
    assert (text.count(" of 22 tasks"), text.count("28 of 30 on these")) == (1, 1)
    assert "repeating with it is ahead of repeating without it on sixteen of 22" in answer
    assert "sixteen of 22 tasks and behind on one, electricity demand," in " ".join(text.split())
    assert "Of the 30 differences** between two of them on a task 28 are smaller" in answer
    assert [quote for quote in quotes(text) if quote not in known] == []
