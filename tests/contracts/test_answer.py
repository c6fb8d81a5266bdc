"""Every comparative of docs/answer.md is tied to a difference that the committed results show."""

from __future__ import annotations

import doctest
import itertools
import re
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

import leaderboard
import redraw_study
from measuring import task_ranks
from measuring.speed_tables import with_table
from tests.contracts.test_quotes import (
    QUOTE,
    ROOT,
    blocks,
    cells,
    compared,
    of_one,
    rows,
    studies_in,
)

PAGE = (ROOT / "docs/answer.md").read_text(encoding="utf-8")
BRIDGES = (ROOT / "docs/studies/bridges.md").read_text(encoding="utf-8")
MARK = re.compile(r"<!-- (\w+) (\w+)(?: (test_\w+))?: ([\w ]+) ([>=]) ([\w ]+) -->")
MARKS = MARK.findall(PAGE) + MARK.findall(BRIDGES)
COPY_AND_DENSE = ("initial_copy", "initial_dense")
COMPARATIVES = re.compile(
    r"(?<!\*)\b(ahead|behind|leads?|lose|last(?! (update|output))|level|beats?|best)\b"
)


@pytest.mark.parametrize("mark", dict.fromkeys(MARKS), ids=" ".join)
def test_a_comparison_is_what_the_runs_show(mark):
    study, task, metric, variant, sign, other = mark
    scores = cells(study)
    values = [scores[metric or "test_exact_match", task, name] for name in (variant, other)]
    assert len(values[0]) == len(values[1]) >= 6
    summary = compared(*values)
    assert (summary.low > 0) if sign == ">" else (summary.low < 0 < summary.high)


def test_what_compares_has_a_mark():
    written = with_table(PAGE.split("## The answer so far")[1], "", leaderboard.RANKS)
    parts = re.split(r"\n(?=\d\. |\* |\| |#|\n)", written)
    bare = [
        part for part in parts if COMPARATIVES.search(MARK.sub("", part)) and not MARK.search(part)
    ]
    # What is quoted with intervals is checked in test_quotes.
    bare = [part for part in bare if not re.search(r"\[[+-]?\d", part)]
    assert bare == []
    assert len(MARKS) >= 15


def test_what_is_said_of_bridges_is_what_its_runs_and_its_report_say():
    scores, report = cells("bridges"), (ROOT / "docs/studies/bridges/report.md").read_text()
    tasks = ("echo", "addition_2digits", "g2p")
    better = []
    for task, feedback in itertools.product(tasks, ("no_feedback", "teacher_forcing")):
        pair = (scores["test_exact_match", task, f"{name} {feedback}"] for name in COPY_AND_DENSE)
        better.append(compared(*pair).low > 0)
    assert (len(better), sum(better)) == (6, 5)
    for page in (PAGE, BRIDGES):
        assert "five of six c" in " ".join(page.split())
    for decoders, said in (
        ("no_feedback", "0.267 and 0.272"),
        ("teacher_forcing", "0.351 and 0.362"),
    ):
        names = [
            f"both_{bridge} {decoders}" for bridge in ("copy", "dense", "summary", "nonlinear")
        ]
        means = [fmean(scores["test_exact_match", "g2p", name].values()) for name in names]
        assert f"{min(means):.3f} and {max(means):.3f}" == said
        assert said in " ".join(BRIDGES.split())
    found = re.search(r"Of 57 comparisons with [^:]+: ([^;]+);", report)
    assert found is not None
    assert found[1] == (
        "19 better, 8 worse, 9 better barring collapse, 5 worse barring collapse, 16 inconclusive"
    )
    said = "19 are better and 8 worse; 9 and 5 are so unless runs collapse"
    assert said in " ".join(BRIDGES.split())
    assert "16 are inconclusive" in BRIDGES
    assert report.count("certain effects: start (p \\< 0.0001 after Holm), feedback") == 3


# Rates of learning, and what tests of their own work out.
SHARES_ELSEWHERE = {"0.003", "0.001", "0.004", "0.073", "0.912", "0.056", "0.657"}


def test_every_share_without_an_interval_is_a_mean_or_a_rule_of_a_study_named_beside_it():
    rules = set(
        re.findall(
            r"\d+\.\d{3}\b", "\n".join(map(rules_of, ["rates", *leaderboard.results("task")]))
        )
    )
    wrong = []
    for block, named in blocks(ROOT / "docs/answer.md"):
        plain = QUOTE.sub("", " ".join(re.sub(r"<!--.*?-->", "", block, flags=re.DOTALL).split()))
        shares = set(re.findall(r"(?<![\d.])\d+\.\d{3}\b", plain)) - rules - SHARES_ELSEWHERE
        if shares:
            means = {mean for study in studies_in(named) for mean, *_ in of_one(study)}
            wrong += shares - means
    assert wrong == []


def test_as_many_runs_fail_on_sums_as_the_page_says():
    runs = cells("rates")
    for words, decoder in re.findall(r"(\w+) (?:of twenty )?of\s+`(\w+)`", failing(PAGE)):
        scores = runs["test_exact_match", "addition_2digits", decoder].values()
        assert sum(score < 0.6 for score in scores) == WORDS[words]
    assert len(re.findall(r"of\s+`\w+`", failing(PAGE))) == 5


def test_most_runs_chose_their_last_update_where_the_page_says_so():
    last: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in rows("rates"):
        last[row["task"], row["variant"]].append(row["best_step"] == row["steps"])
    most = sum(sum(cell) > len(cell) / 2 for cell in last.values())
    assert f"In {most} of {len(last)} cases, a decoder on a task, most runs chose their" in PAGE


def test_what_is_said_of_images_and_forecasts_is_what_their_runs_show():
    report = (ROOT / "docs/studies/task_digits/report.md").read_text(encoding="utf-8")
    assert "Of 5 comparisons with repeat\\_vector: 5 inconclusive." in report
    assert "to be better or worse than RepeatVector by the declared" in " ".join(PAGE.split())
    captions = exact_match_of("claim_captioning", "captioning")
    assert min(captions["par"].values()) > max(captions["init"].values())
    best = max(fmean(of.values()) for of in exact_match_of("task_digits", "digits").values())
    assert best < float(re.search(r"each place (0\.\d+)", rules_of("task_digits"))[1])
    name = "test_mean_absolute_scaled_error"
    errors = {key[2]: of for key, of in cells("task_forecasting").items() if key[0] == name}
    without = ("repeat_vector", "initial_state_no_feedback")
    for decoder, other in itertools.product(errors, without):
        if decoder not in without:
            assert compared(errors[decoder], errors[other]).low > 0
    assert "trigrams of replies 47.223" in rules_of("task_conversation")
    assert "trigrams alone have 47.223" in PAGE
    week = float(re.search(r"336 steps\) (0\.\d+)", rules_of("task_forecasting"))[1])
    assert f"the values of a week before, {week:.3f}, which they, given two days," in " ".join(
        PAGE.split()
    )
    assert week < min(min(of.values()) for of in errors.values())


def test_where_attention_fails_is_what_its_runs_show():
    said = " ".join(PAGE.split())
    drawings = exact_match_of("task_captioning", "captioning")
    assert sum(score <= 0.2825 for score in drawings["luong"].values()) == 6
    assert min(drawings["peek"].values()) == 0.52
    digits = sorted(exact_match_of("task_digits", "digits")["luong"].values())
    assert (digits[3], digits[4]) == (0.83, 0.912)
    assert "six of ten have 0.2825 or less there, where each of `peek` has 0.52 or more" in said
    assert "four of ten 0.83 or less on digits, where its other six have 0.912 or more" in said


def test_a_copy_is_first_and_last_of_the_bridges_where_the_page_says_so():
    scores = exact_match_of("bridges", "addition_2digits")
    means = {name: fmean(of.values()) for name, of in scores.items() if "teacher_forcing" in name}
    for start, pick in (("initial", min), ("both", max)):
        names = [name for name in means if name.startswith(start)]
        assert pick(names, key=means.__getitem__) == f"{start}_copy teacher_forcing"


def test_shares_of_the_variance_are_what_the_runs_of_draws_show():
    page = (ROOT / "docs/studies/draws.md").read_text(encoding="utf-8")
    names = {"addition, two digits": "addition_2digits", "echo": "echo", "G2P": "g2p"}
    for words, task in names.items():
        shares = [shares_of_draws(task, kind) for kind in ("data", "weights", "order")]
        assert f"| {words} | {' | '.join(shares)} |" in page
        of_data, of_weights, of_order = shares
        assert task != "g2p" or (
            f"make {of_data} of the variance of a score, the initial weights"
        ) in (" ".join(PAGE.split()))
        said = f"initial weights {of_weights}, the order of examples {of_order}:"
        assert task != "g2p" or said in " ".join(PAGE.split())
        assert task == "g2p" or "{}, {} and {}".format(*shares) in " ".join(PAGE.split())


def shares_of_draws(task: str, kind: str) -> str:
    """Return a share with its interval, from the runs alone: a jackknife over seeds."""
    runs = exact_match_of("draws", task)
    decoders = {name.split()[1] for name in runs}
    seeds = sorted(runs["all luong"])

    def log_ratio(kept: list[int]) -> float:
        of_kind, of_all = (
            np.mean(
                [np.var([runs[f"{what} {each}"][s] for s in kept], ddof=1) for each in decoders]
            )
            for what in (kind, "all")
        )
        return float(np.log(of_kind / of_all))

    whole = log_ratio(seeds)
    pseudo = [
        len(seeds) * whole - (len(seeds) - 1) * log_ratio([s for s in seeds if s != left])
        for left in seeds
    ]
    half = 2.200985 * np.std(pseudo, ddof=1) / np.sqrt(len(seeds))  # Student's t, 11 degrees
    share, low, high = (100 * np.exp(whole + step) for step in (0, -half, half))
    return f"{share:.0f} % [{low:.0f}, {high:.0f}]"


def exact_match_of(study: str, task: str) -> dict[str, dict[int, float]]:
    """Return the scores of each decoder by seed."""
    return {key[2]: of for key, of in cells(study).items() if key[:2] == ("test_exact_match", task)}


WORDS = {"one": 1, "five": 5, "ten": 10, "thirteen": 13, "nineteen": 19}


def failing(page: str) -> str:
    """Return the bullet on runs that fail."""
    return page.split("**On sums of two digits runs fail**")[1].split("\n* ")[0]


def rules_of(study: str) -> str:
    """Return what a report says of rules without trained weights."""
    text = (ROOT / f"docs/studies/{study}/report.md").read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if line.startswith("Rules without"))


def test_the_leaderboard_is_what_the_committed_results_give():
    page = Path(leaderboard.PAGE).read_text(encoding="utf-8")
    studies, matched = leaderboard.results("task"), leaderboard.results("matched")
    assert leaderboard.rendered(page, studies, matched) == page
    assert leaderboard.PICTURE.read_text(encoding="utf-8") == leaderboard.drawn(studies)
    assert leaderboard.answered(PAGE, studies) == PAGE
    assert set(leaderboard.done("task")) <= set(leaderboard.planned("task"))


def test_equal_parameters_change_the_order_where_the_page_says_so():
    orders = {}
    for kind in ("task", "matched"):
        for name, analysis in leaderboard.results(kind).items():
            task, decoders = name.removeprefix(f"{kind}_"), list(analysis.variants)
            scores = task_ranks.mean_scores({name: analysis}, decoders)[:, 0]
            orders[kind, task] = [decoders[index] for index in np.argsort(-scores)]
    tasks = sorted(task for kind, task in orders if kind == "matched")
    same = [task for task in tasks if orders["task", task] == orders["matched", task]]
    listed = ", ".join(f"`{task}`" for task in same)
    assert len(tasks) == 6
    said = f"the order of the six means is that of equal widths on four ({listed})."
    assert said in " ".join(PAGE.split())
    assert orders["matched", "movement"][:4] == orders["task", "movement"][:4]
    assert orders["matched", "addition"][1] == "initial_state_no_feedback"


def test_wins_and_spans_are_counted_as_the_examples_say():
    assert doctest.testmod(task_ranks) == (0, 4)
    scores = np.array([[0.9, 0.9, 0.9], [0.5, 0.9, 0.1], [0.1, 0.2, 0.5]])
    table = task_ranks.over_tasks(scores, ["a", "b", "c"]).splitlines()
    assert table[2] == "| `a` | 1.17 |  | 2 of 3 [0.21, 0.94] | 3 of 3 [0.44, 1.00] |"
    picture = task_ranks.picture(scores, ["a", "<b>", "c"])
    assert "a 1.17; &lt;b&gt; 2.17; c 2.67" in picture
    assert picture.count('class="bar"') == 1


CUTS = {
    "empty": lambda lines: [],
    "a run": lambda lines: lines[:-1],
    "half of a line": lambda lines: [*lines[:-1], lines[-1][:20]],
    "a column": lambda lines: [lines[0].replace("seed,", "sees,"), *lines[1:]],
}


@pytest.mark.parametrize("what", CUTS)
def test_the_leaderboard_refuses_results_that_were_cut(tmp_path, monkeypatch, what):
    name = leaderboard.done("task")[0]
    lines = (leaderboard.FOLDER / name / "results.csv").read_text().splitlines(keepends=True)
    (tmp_path / name).mkdir()
    (tmp_path / name / "results.csv").write_text("".join(CUTS[what](lines)))
    monkeypatch.setattr(leaderboard, "FOLDER", tmp_path)
    monkeypatch.setattr(redraw_study, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match=r"results.csv (cannot be read|has \d+ of 60 runs)"):
        leaderboard.whole(name)
