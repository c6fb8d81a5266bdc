"""On how many tasks of the leaderboard something is so is counted from the committed results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from scipy import stats

import leaderboard
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.statistics import holm, over_seeds, sign_flip
from measuring import task_ranks
from measuring.speed_tables import markdown
from tests.contracts.test_quotes import (
    ROOT,
    Scores,
    cells,
    compared,
    difference,
    differences,
    estimated,
    rows,
    with_interval,
)

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
    ("luong", "peek"): "`peek`, the next by mean rank, on {} of 22 tasks, and behind on {} (",
    ("peek", "every_input"): "repeating with feedback on {} of 22 tasks, and behind on {};",
    ("peek", "initial_state"): "ahead of starting on {}, and behind on {} (",
    (
        "initial_state",
        "every_input",
    ): "with feedback starting is ahead of repeating on {} of 22 tasks, and behind on {} (",
    ("every_input", "repeat_vector"): "repeating without it on {} of 22 tasks, and behind on {} (",
    ("initial_state", "initial_state_no_feedback"): "with it on {}, and behind on {} (",
    (
        "initial_state_no_feedback",
        "repeat_vector",
    ): "without feedback, as in Keras's RepeatVector, on {}, and behind on {} (",
    (
        "initial_state",
        "repeat_vector",
    ): "ahead of RepeatVector, without it, on {}, and behind on {} (",
}
WORDS = {
    "captioning": "names of drawings",
    "conversation": "replies in a chat",
    "forecasting": "electricity demand",
    "memorisation": "ten digits in order",
    "reverse": "lists reversed beyond the lengths of training",
    "spelling": "misspelt words",
    "translation": "names of emoji put into French",
}
NAMES = {
    ("luong", "peek"): "`luong` before `peek`",
    ("peek", "every_input"): "`peek` before `every_input`",
    ("peek", "initial_state"): "`peek` before `initial_state`",
    ("initial_state", "every_input"): "`initial_state` before `every_input`",
    ("every_input", "repeat_vector"): "feedback, repeating: `every_input` before `repeat_vector`",
    (
        "initial_state",
        "initial_state_no_feedback",
    ): "feedback, starting: `initial_state` before `initial_state_no_feedback`",
    (
        "initial_state_no_feedback",
        "repeat_vector",
    ): "without feedback: `initial_state_no_feedback` before `repeat_vector`",
    ("initial_state", "repeat_vector"): "`initial_state` before `repeat_vector`",
}
COLUMNS = {
    "as in points 1 to 4": lambda: counted(by_t()),
    "of these with a rate at an edge": lambda: counted(by_t(), at_an_edge),
    "by more than the declared size": lambda: counted(by_t(beyond=True)),
    "exact test, 22 at a time": lambda: counted(by_sign_flips()),
    "not corrected": lambda: counted(by_t(correct=list)),
    "symbol errors (20 tasks)": lambda: counted(by_t("test_symbol_error_rate")),
}
WITHOUT_ATTENTION = (
    *("repeat_vector", "every_input", "peek"),
    *("initial_state", "initial_state_no_feedback"),
)


class Gain(NamedTuple):
    """Two decoders in a study: their scores, and 1 where a higher one is better, else -1."""

    pair: tuple[str, str]
    study: str
    sign: float
    one: Scores
    other: Scores


Shown = list[tuple[tuple[str, str], str, float]]


@cache
def tasks() -> dict[str, Analysis]:
    """Return the studies of the leaderboard by name."""
    return leaderboard.results("task")


def gains(one: str, other: str, metric: str | None = None) -> Iterator[Gain]:
    """Yield each study and how a decoder compares with another in it.

    Args:
        one, other: decoders.
        metric: an error rate; None for the one of each study. Tasks without it are passed over.
    """
    for name, analysis in tasks().items():
        (task,), own = analysis.tasks, f"test_{analysis.plan.metric}"
        sign = -1 if metric else analysis.sign
        pair = [cells(name).get((metric or own, task, each)) for each in (one, other)]
        if all(pair):
            yield Gain((one, other), name, sign, *pair)


def everything(metric: str | None = None) -> list[Gain]:
    """Return how the first of each pair compares with the other, in each study."""
    return [each for pair in AHEAD for each in gains(*pair, metric)]


def by_t(
    metric: str | None = None,
    beyond: bool = False,
    correct: Callable[[list[float]], list[float]] = holm,
) -> Shown:
    """Return the differences that Student's t shows: their pair, study and mean.

    Args:
        metric: an error rate; None for the one of each study.
        beyond: whether to show that they are more than the study's minimum effect.
        correct: how p values are adjusted.
    """
    known = everything(metric)
    sizes = [tasks()[each.study].margin if beyond else 0.0 for each in known]
    estimates = [difference(each.one, each.other) for each in known]
    excess = [
        (abs(estimate.mean) - size) / estimate.error
        for estimate, size in zip(estimates, sizes, strict=True)
    ]
    p_values = [
        min(2 * float(stats.t.sf(each, estimate.freedom)), 1.0)
        for each, estimate in zip(excess, estimates, strict=True)
    ]
    return below(correct(p_values), known)


def by_sign_flips() -> Shown:
    """Return the differences that the exact test shows, Holm over the tasks of a pair."""
    known = everything()
    adjusted = [
        p
        for asked in AHEAD
        for p in holm(
            [sign_flip(differences(each.one, each.other)) for each in known if each.pair == asked]
        )
    ]
    return below(adjusted, known)


def below(adjusted: list[float], known: list[Gain]) -> Shown:
    return [
        (each.pair, each.study, each.sign * compared(each.one, each.other).mean)
        for each, p in zip(known, adjusted, strict=True)
        if p < 0.05
    ]


def at_an_edge(pair: tuple[str, str], study: str) -> bool:
    """Whether the rate of one of two decoders is the least or the greatest that was tried."""
    return any((study, decoder) in edges() for decoder in pair)


def counted(
    differences_shown: Shown, kept: Callable[[tuple[str, str], str], bool] = lambda *_: True
) -> dict[tuple[str, str], tuple[int, int]]:
    """Return on how many tasks the first of each pair is ahead, and behind."""
    signs = {
        asked: [
            mean > 0
            for pair, study, mean in differences_shown
            if pair == asked and kept(pair, study)
        ]
        for asked in AHEAD
    }
    return {pair: (sum(ahead), len(ahead) - sum(ahead)) for pair, ahead in signs.items()}


def test_on_how_many_tasks_a_decoder_is_ahead_is_counted():
    assert len(everything()) == 176
    assert "Holm's correction for all 176 differences (eight pairs on the 22 tasks of the" in PAGE
    shown = by_t()
    counts = counted(shown)
    for asked, said in AHEAD.items():
        text = said.format(*(NUMBERS[number] for number in counts[asked]))
        assert text in PAGE
        if text.endswith("("):
            named = PAGE.split(text)[1].split(")")[0]
            behind = {study for pair, study, mean in shown if pair == asked and mean < 0}
            of_words = {each for each, words in WORDS.items() if words in named}
            assert {f"task_{each}" for each in of_words} == behind


def test_the_table_of_counts_is_what_the_committed_results_give():
    columns = [column() for column in COLUMNS.values()]
    rows_of_it = [
        [NAMES[pair], *(f"{column[pair][0]} / {column[pair][1]}" for column in columns)]
        for pair in AHEAD
    ]
    table = markdown(["", *COLUMNS], rows_of_it)
    assert " ".join(table.split()) in PAGE, table
    assert len(everything("test_symbol_error_rate")) == 160
    assert "which 20 of the tasks have, by t, corrected over all 160" in PAGE
    assert min(holm([2 / 2**10] * 176)) > 0.05


def test_differences_that_new_examples_leave_open_are_counted():
    kept = [each for each in everything() if each.one.outcomes]
    crossed = [compared(each.one, each.other) for each in kept]
    alone = [with_interval(over_seeds(differences(each.one, each.other))) for each in kept]
    assert len(kept) == len(AHEAD) * len({each.study for each in kept})
    pairs = list(zip(crossed, alone, strict=True))
    wider = max((one.high - one.low) / (other.high - other.low) for one, other in pairs)
    lost = sum(one.sign != other.sign for one, other in pairs)
    assert lost == 0
    number = len({each.study for each in kept})
    assert (
        f"On {NUMBERS[number]} of the 22 tasks, where the outcome of each example is kept" in PAGE
    )
    assert f"on the other {NUMBERS[22 - number]}, and in symbol errors, of new seeds" in PAGE
    said = (
        f"Of the {len(kept)} differences on the {NUMBERS[number]} the same ones leave 0 out either"
    )
    assert f"{said} way, with intervals up to {wider:.1f} times as wide." in PAGE


def test_mean_ranks_tell_one_of_the_counted_pairs_apart():
    studies = tasks()
    decoders = leaderboard.decoders_of(studies)
    known = task_ranks.mean_ranks(task_ranks.mean_scores(studies, decoders))
    ranks = dict(zip(decoders, known.ranks, strict=True))
    told = [pair for pair in AHEAD if abs(ranks[pair[0]] - ranks[pair[1]]) >= known.critical]
    assert told == [("initial_state", "repeat_vector")]
    assert "tell one of these eight pairs apart, starting with feedback and RepeatVector." in PAGE


def beats_the_rules(name: str, analysis: Analysis, decoder: str) -> bool:
    """Whether the interval of a decoder's scores lies beyond the best rule without weights."""
    (task,) = analysis.tasks
    best = float(leaderboard.rule(name, analysis).split()[0])
    known = estimated(cells(name)[f"test_{analysis.plan.metric}", task, decoder])
    return (known.low > best) if analysis.sign > 0 else (known.high < best)


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


@cache
def edges() -> dict[tuple[str, str], bool]:
    """Return the studies and decoders with a rate at an edge, and whether it is the lowest."""
    known = {}
    for study, analysis in tasks().items():
        tried = analysis.plan.study.tuning.space["training.learning_rate"]
        for row in rows(study):
            rate = float(row[leaderboard.RATE])
            if rate in (min(tried), max(tried)):
                known[study, row["variant"]] = rate == min(tried)
    return known


def test_rates_at_an_edge_are_counted():
    number = sum(len(analysis.variants) for analysis in tasks().values())
    lowest = sum(edges().values())
    assert f"Of {number} rates of the leaderboard {len(edges())} are at an edge" in PAGE
    assert f"{lowest} at the lowest and {len(edges()) - lowest} at the highest" in PAGE
    drawings = {
        variant for (study, variant), low in edges().items() if study == "task_captioning" and low
    }
    assert drawings == {"repeat_vector", "initial_state", "initial_state_no_feedback"}
    assert sum(study == "task_forecasting_sunspots" for study, _ in edges()) == 6


def test_tasks_where_symbol_errors_say_the_opposite_are_named():
    signs = {
        metric: {
            (each.pair, each.study.removeprefix("task_")): each.sign
            * compared(each.one, each.other).sign
            for each in everything(metric)
        }
        for metric in (None, "test_symbol_error_rate")
    }
    own, errors = signs.values()
    opposite = defaultdict(set)
    for pair, task in (key for key, sign in errors.items() if sign * own[key] < 0):
        opposite[pair].add(task)
    assert opposite == {
        ("initial_state", "every_input"): {"g2p_de"},
        ("initial_state", "initial_state_no_feedback"): {
            *("reverse", "date", "translation_bible", "conversation")
        },
        ("every_input", "repeat_vector"): {"translation", "conversation"},
        ("initial_state_no_feedback", "repeat_vector"): {"conversation"},
        ("initial_state", "repeat_vector"): {"conversation"},
    }
    assert "for all four pairs of a decoder with feedback or a first state and one without" in PAGE


def test_what_each_study_declared_to_count_is_named():
    declared = defaultdict(set)
    for name, analysis in tasks().items():
        declared[analysis.plan.metric, analysis.margin].add(name.removeprefix("task_"))
    assert declared.pop(("exact_match", 0.05)) == {"captioning"}
    assert set(declared) == {
        *(("exact_match", 0.02), ("word_error_rate", 0.02), ("mean_absolute_scaled_error", 0.05)),
        *((each, 1.0) for each in ("bleu", "chrf", "perplexity")),
    }
    assert (
        "0.02 of exact match, 0.05 on names of drawings; 0.02 of word error rate, 0.05 of scaled"
        in PAGE
    )
