"""On how many tasks of the leaderboard something is so is counted from the committed results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from statistics import fmean

import pytest
from scipy import stats

import leaderboard
from decoderlab.studies.analysis.comparisons import crossed_estimate
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.statistics import holm, summarise
from measuring import task_ranks
from redraw_study import committed
from tests.contracts.test_quotes import ROOT, cells, differences, rows

PAGE = " ".join((ROOT / "docs/answer.md").read_text(encoding="utf-8").split())
RECORDED = (
    *("captioning", "conversation", "digits", "forecasting", "g2p", "g2p_de", "g2p_fr"),
    *("movement", "spelling", "sunspots", "translation", "translation_bible"),
)
NUMBERS = (
    "none one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen"
).split()
AHEAD = {
    ("luong", "peek"): "`peek`, the next by mean rank, on {} of 22 tasks, and behind on {}.",
    ("peek", "every_input"): "repeating with feedback on {} of 22 tasks, and behind on {};",
    ("peek", "initial_state"): "ahead of starting on {}, and behind on {}, and of sources",
    (
        "initial_state",
        "every_input",
    ): "starting is ahead of repeating on {} of 22 tasks, and behind on {},",
    ("every_input", "repeat_vector"): "on {} of 22 tasks with repeating, and behind on {};",
    ("initial_state", "initial_state_no_feedback"): "on {} with starting, and behind on {}.",
}
BY_SYMBOL = {
    ("luong", "peek"): "attention is ahead of `peek` on {} and behind on {},",
    ("peek", "every_input"): "`peek` of repeating with feedback on {} and {},",
    ("peek", "initial_state"): "of starting on {} and {};",
    ("initial_state", "every_input"): "starting is ahead of repeating on {} and behind on {},",
    ("every_input", "repeat_vector"): "feedback on {} and {} with repeating,",
    ("initial_state", "initial_state_no_feedback"): "on {} and {} with starting.",
}
UNCORRECTED = BY_SYMBOL | {
    ("luong", "peek"): "attention is ahead of `peek` on {} and behind on {}, `peek` of repeating",
    ("every_input", "repeat_vector"): "feedback on {} and {} with repeating, on",
}
WITHOUT_ATTENTION = (
    *("repeat_vector", "every_input", "peek"),
    *("initial_state", "initial_state_no_feedback"),
)


@cache
def tasks() -> dict[str, Analysis]:
    """Return the studies of the leaderboard by name."""
    return leaderboard.results("task")


def gains(one: str, other: str, metric: str | None = None) -> Iterator[list[float]]:
    """Yield by how much a decoder is better than another on each task, seed by seed.

    Args:
        one, other: decoders.
        metric: an error rate; None for the one of each study. Tasks without it are passed over.
    """
    for name, analysis in tasks().items():
        (task,), own = analysis.tasks, f"test_{analysis.plan.metric}"
        sign = -1 if metric else analysis.sign
        pair = [cells(name).get((metric or own, task, each)) for each in (one, other)]
        if all(pair):
            yield [sign * each for each in differences(*pair)]


def ahead_and_behind(differences_by_task: Iterator[list[float]]) -> tuple[int, int]:
    """Return on how many tasks an interval lies above 0, and below it."""
    known = [summarise(each) for each in differences_by_task]
    return sum(each.low > 0 for each in known), sum(each.high < 0 for each in known)


def in_words(numbers: tuple[int, int]) -> tuple[str, str]:
    """Return two numbers as words."""
    return NUMBERS[numbers[0]], NUMBERS[numbers[1]]


@cache
def corrected(metric: str | None = None) -> dict[tuple[str, str], tuple[int, int]]:
    """Return on how many tasks each pair is ahead and behind, Holm over all pairs and tasks."""
    by_task = {pair: list(gains(*pair, metric)) for pair in AHEAD}
    flat = [(pair, each) for pair, tasks_of_it in by_task.items() for each in tasks_of_it]
    p_values = holm([float(stats.ttest_1samp(each, 0).pvalue) for _, each in flat])
    shown = [
        (pair, fmean(each)) for (pair, each), p in zip(flat, p_values, strict=True) if p < 0.05
    ]
    return {
        pair: (
            sum(of == pair and mean > 0 for of, mean in shown),
            sum(of == pair and mean < 0 for of, mean in shown),
        )
        for pair in AHEAD
    }


@pytest.mark.parametrize("pair", AHEAD, ids=" ".join)
def test_on_how_many_tasks_a_decoder_is_ahead_is_counted(pair):
    assert len(list(gains(*pair))) == 22
    assert "all 132 differences that they count (six pairs on 22 tasks) as one family" in PAGE
    assert AHEAD[pair].format(*in_words(corrected()[pair])) in PAGE


@pytest.mark.parametrize("pair", BY_SYMBOL, ids=" ".join)
def test_on_how_many_tasks_it_is_so_by_symbol_error_rate_is_counted(pair):
    by_task = list(gains(*pair, "test_symbol_error_rate"))
    assert len(by_task) == 20
    assert "By symbol error rate, which 20 of the tasks have" in PAGE
    assert BY_SYMBOL[pair].format(*in_words(corrected("test_symbol_error_rate")[pair])) in PAGE


@pytest.mark.parametrize("pair", UNCORRECTED, ids=" ".join)
def test_on_how_many_tasks_it_is_so_without_correction_is_counted(pair):
    assert UNCORRECTED[pair].format(*in_words(ahead_and_behind(gains(*pair)))) in PAGE


def shown(low: float, high: float) -> int:
    """Return the sign of a difference of which an interval leaves 0 out, else 0."""
    return (low > 0) - (high < 0)


def test_new_examples_change_none_of_the_differences_whose_outcomes_are_kept():
    ratios = []
    for name in (each.parent.name for each in ROOT.glob("docs/studies/task_*/outcomes.csv")):
        analysis, runs = committed(name), defaultdict(dict)
        for row in analysis.rows:
            runs[row.cell.factors["decoder"]][row.cell.seed] = row
        for one, another in AHEAD:
            pairs = [(runs[one][seed], runs[another][seed]) for seed in sorted(runs[one])]
            known = summarise(
                [analysis.score(mine) - analysis.score(other) for mine, other in pairs]
            )
            crossed = crossed_estimate(pairs, analysis.scale).interval()
            assert shown(*crossed) == shown(known.low, known.high)
            ratios.append((crossed[1] - crossed[0]) / (known.high - known.low))
    assert len(ratios) == 30
    assert 1.5 < max(ratios) <= 2.05
    assert "is up to twice as wide, and the same of the 30 differences leave 0 out." in PAGE


def test_mean_ranks_do_not_tell_the_counted_pairs_apart():
    studies = tasks()
    decoders = leaderboard.decoders_of(studies)
    known = task_ranks.mean_ranks(task_ranks.mean_scores(studies, decoders))
    ranks = dict(zip(decoders, known.ranks, strict=True))
    assert all(abs(ranks[one] - ranks[other]) < known.critical for one, other in AHEAD)
    assert "None of the six pairs that sentences 1 to 4 count is told apart by mean ranks" in PAGE


def beats_the_rules(name: str, analysis: Analysis, decoder: str) -> bool:
    """Whether the interval of a decoder's scores lies beyond the best rule without weights."""
    (task,) = analysis.tasks
    best = float(leaderboard.rule(name, analysis).split()[0])
    scores = cells(name)[f"test_{analysis.plan.metric}", task, decoder].values()
    return summarise([analysis.sign * (score - best) for score in scores]).low > 0


def test_on_how_many_tasks_no_decoder_is_above_a_rule_is_counted():
    studies = tasks()
    none = {
        name: analysis
        for name, analysis in studies.items()
        if not any(beats_the_rules(name, analysis, each) for each in WITHOUT_ATTENTION)
    }
    with_it = [name for name, analysis in none.items() if beats_the_rules(name, analysis, "luong")]
    number = NUMBERS[len(none)]
    assert f"On {number} of the 22 no decoder without attention is shown to be ahead of" in PAGE
    assert f"attention is, on {NUMBERS[len(with_it)]} of these" in PAGE
    listed = ", ".join(f"`{name.removeprefix('task_')}`" for name in none)
    assert f"({listed})" in PAGE


def test_on_what_tasks_attention_is_best_is_counted():
    kinds: dict[bool, list[bool]] = defaultdict(list)
    for name, analysis in tasks().items():
        kinds[name.endswith(RECORDED)].append(leaderboard.best(analysis) == "`luong`")
    of_rules, recorded = (
        f"{NUMBERS[sum(kinds[kind])]} of the {NUMBERS[len(kinds[kind])]} " for kind in (False, True)
    )
    assert f"the best mean on {of_rules}tasks whose targets follow a rule" in PAGE
    assert f"and on {recorded}whose data were recorded." in PAGE


def test_rates_at_an_edge_are_counted():
    edges, number = [], 0
    for study, analysis in tasks().items():
        chosen = {row["variant"]: float(row[leaderboard.RATE]) for row in rows(study)}
        tried = analysis.plan.study.tuning.space["training.learning_rate"]
        number += len(chosen)
        for variant, rate in chosen.items():
            if rate in (min(tried), max(tried)):
                edges.append((study, variant, rate == min(tried)))
    lowest = sum(low for *_, low in edges)
    assert f"Of {number} rates of the leaderboard {len(edges)} are at an edge" in PAGE
    assert f"{lowest} at the lowest and {len(edges) - lowest} at the highest" in PAGE
    drawings = {variant for study, variant, low in edges if study == "task_captioning" and low}
    assert drawings == {"repeat_vector", "initial_state", "initial_state_no_feedback"}
    assert sum(study == "task_forecasting_sunspots" for study, *_ in edges) == 6
