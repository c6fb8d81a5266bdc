"""On how many tasks of the leaderboard something is so is counted from the committed results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from statistics import fmean

from scipy import stats

import leaderboard
from decoderlab.studies.analysis.comparisons import crossed_estimate
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.statistics import holm, sign_flip, summarise
from measuring import task_ranks
from measuring.speed_tables import markdown
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
    ("peek", "initial_state"): "ahead of starting on {}, and behind on {}. It has up to",
    (
        "initial_state",
        "every_input",
    ): "starting is ahead of repeating on {} of 22 tasks, and behind on {}.",
    ("every_input", "repeat_vector"): "without it on {} of 22 tasks, and behind on {};",
    ("initial_state", "initial_state_no_feedback"): "with starting on {}, and behind on {}.",
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
}
COLUMNS = {
    "as in sentences 1 to 4": lambda: counted(by_t()),
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


@cache
def tasks() -> dict[str, Analysis]:
    """Return the studies of the leaderboard by name."""
    return leaderboard.results("task")


def gains(one: str, other: str, metric: str | None = None) -> Iterator[tuple[str, list[float]]]:
    """Yield each study and by how much a decoder is better than another, seed by seed.

    Args:
        one, other: decoders.
        metric: an error rate; None for the one of each study. Tasks without it are passed over.
    """
    for name, analysis in tasks().items():
        (task,), own = analysis.tasks, f"test_{analysis.plan.metric}"
        sign = -1 if metric else analysis.sign
        pair = [cells(name).get((metric or own, task, each)) for each in (one, other)]
        if all(pair):
            yield name, [sign * each for each in differences(*pair)]


Shown = list[tuple[tuple[str, str], str, float]]


def everything(metric: str | None = None) -> list[tuple[tuple[str, str], str, list[float]]]:
    """Return each pair, study, and by how much the first of the pair is better, seed by seed."""
    return [(pair, *each) for pair in AHEAD for each in gains(*pair, metric)]


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
    sizes = [tasks()[study].margin if beyond else 0.0 for _, study, _ in known]
    p_values = [
        min(
            stats.ttest_1samp(values, size, alternative="greater").pvalue,
            stats.ttest_1samp(values, -size, alternative="less").pvalue,
        )
        for (*_, values), size in zip(known, sizes, strict=True)
    ]
    adjusted = correct([min(2 * float(p), 1.0) for p in p_values])
    return below(adjusted, known)


def by_sign_flips() -> Shown:
    """Return the differences that the exact test shows, Holm over the tasks of a pair."""
    known = everything()
    adjusted = [
        p
        for asked in AHEAD
        for p in holm([sign_flip(values) for pair, _, values in known if pair == asked])
    ]
    return below(adjusted, known)


def below(adjusted: list[float], known: list[tuple[tuple[str, str], str, list[float]]]) -> Shown:
    return [
        (pair, study, fmean(values))
        for (pair, study, values), p in zip(known, adjusted, strict=True)
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
    assert len(everything()) == 132
    assert "Holm's correction over all 132 differences (six pairs on the 22 tasks of the" in PAGE
    counts = counted(by_t())
    for pair, said in AHEAD.items():
        assert said.format(*(NUMBERS[number] for number in counts[pair])) in PAGE


def test_the_table_of_counts_is_what_the_committed_results_give():
    columns = [column() for column in COLUMNS.values()]
    rows_of_it = [
        [NAMES[pair], *(f"{column[pair][0]} / {column[pair][1]}" for column in columns)]
        for pair in AHEAD
    ]
    table = markdown(["", *COLUMNS], rows_of_it)
    assert " ".join(table.split()) in PAGE, table
    assert len(everything("test_symbol_error_rate")) == 120
    assert "which 20 of the tasks have, by t, corrected over all 120" in PAGE
    assert min(holm([2 / 2**10] * 132)) > 0.05


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
    assert "is up to twice as wide, and the same ones of 30 differences leave 0 out." in PAGE


def test_mean_ranks_do_not_tell_the_counted_pairs_apart():
    studies = tasks()
    decoders = leaderboard.decoders_of(studies)
    known = task_ranks.mean_ranks(task_ranks.mean_scores(studies, decoders))
    ranks = dict(zip(decoders, known.ranks, strict=True))
    assert all(abs(ranks[one] - ranks[other]) < known.critical for one, other in AHEAD)
    assert "none of these six pairs is told apart by mean ranks" in PAGE


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
