"""What seeds draw, and after how many updates they solve a task."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.seed_variance import jackknifed, seed_variance
from decoderlab.studies.analysis.solving import solving
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.figures import pictures
from decoderlab.studies.reporting.sections import sections
from tests.unit.studies import CONFIGS, scored, study, write_metrics

KINDS = ("all", "data", "weights", "order")
FACTORS = {
    f"{decoder} {kind}": {"decoder": decoder, "varied": kind}
    for decoder in ("luong", "peek")
    for kind in KINDS
}


def drawn(output_dir, scores, kinds=KINDS) -> Analysis:
    """Return a study whose rows say what their seeds draw, with configs and data that do so."""
    factors = {name: of for name, of in FACTORS.items() if of["varied"] in kinds and name in scores}
    plan = study(output_dir, scores, factors=factors, baseline=None)
    rows, configs = [], {}
    for row in read_rows(plan, output_dir):
        kind, seed = row.cell.factors["varied"], row.cell.seed
        fixed = {f"{name}_seed": 99 for name in ("weights", "order") if kind not in ("all", name)}
        config = CONFIGS[row.cell.run_id]
        if seed == 0:  # a report has that of a cell's first run
            training = replace(config.training, **fixed)
            configs[row.cell.run_id] = replace(config, training=training)
        fingerprint = f"d{seed if kind in ('all', 'data') else 99}"
        data = replace(row.result.data, fingerprint=fingerprint)
        rows.append(replace(row, result=replace(row.result, data=data)))
    return Analysis(plan, rows, configs)


def made_up(deviations, seeds=12, of=FACTORS):
    """Return scores of so many hundredths of spread by kind, by row."""
    draws = np.random.default_rng(0).normal(size=(len(of), seeds))
    scores = {}
    for name, draw in zip(of, draws, strict=True):
        spread = deviations[of[name]["varied"]] / 100
        scores[name] = np.round(0.5 + spread * (draw - draw.mean()) / draw.std(ddof=1), 2).tolist()
    return scores


def test_variance_is_told_apart_by_what_the_seeds_draw(tmp_path):
    spreads = {"all": 20, "data": 4, "weights": 16, "order": 10}
    made = drawn(tmp_path, scores := made_up(spreads))
    found = seed_variance(made, "echo")
    assert found.seeds == list(range(12))
    assert list(found.deviations) == ["luong", "peek"]
    of_all = {name: np.var(scores[name], ddof=1) for name in scores}
    for kind, word in (("data", "data"), ("weights", "initial weights"), ("order", "order")):
        parts = [of_all[f"{decoder} {kind}"] for decoder in ("luong", "peek")]
        whole = [of_all[f"{decoder} all"] for decoder in ("luong", "peek")]
        assert found.shares[word].value == pytest.approx(sum(parts) / sum(whole))
        assert 0 < found.shares[word].interval.low < found.shares[word].value
        for decoder, part in zip(("luong", "peek"), parts, strict=True):
            assert found.deviations[decoder][word].value == pytest.approx(math.sqrt(part))
    assert found.shares["data"].interval.high < found.shares["initial weights"].interval.low


def test_the_report_has_a_table_and_a_figure_of_what_seeds_draw(tmp_path):
    made = drawn(tmp_path, made_up({"all": 20, "data": 4, "weights": 16, "order": 10}))
    of_data, *others = seed_variance(made, "echo").shares.values()
    drawings = pictures(made, tmp_path)
    (part,) = [
        each for each in sections(made, drawings, tmp_path) if each.title == "What the seeds draw"
    ]
    shares, figure, _, deviations, _ = part.blocks
    expected = [f"{100 * share.value:.0f}" for share in (of_data, *others)]
    assert [cell.partition(" %")[0] for cell in shares.rows[0]] == ["echo", *expected, "12"]
    assert (expected[0], len(expected)) == ("4", 3)
    assert figure.picture.name == "variance"
    assert [row[0] for row in deviations.rows] == ["luong", "peek"]
    assert deviations.rows[0][1].startswith("0.2")


@pytest.mark.parametrize("kinds", [("all",), ("data", "weights"), ("weights", "order")])
def test_without_rows_to_compare_nothing_is_said_of_what_seeds_draw(tmp_path, kinds):
    of = {name: levels for name, levels in FACTORS.items() if levels["varied"] in kinds}
    made = drawn(tmp_path, made_up(dict.fromkeys(KINDS, 10), of=of), kinds)
    assert seed_variance(made, "echo") is None


def test_rows_that_lack_seeds_are_compared_over_those_that_all_have(tmp_path):
    scores = made_up(dict.fromkeys(KINDS, 10))
    scores["luong data"][2] = "PLANNED"
    made = drawn_with_gaps(tmp_path, scores)
    assert seed_variance(made, "echo").seeds == [0, 1, *range(3, 12)]


def test_a_row_without_one_of_its_cells_is_left_out_and_named(tmp_path):
    scores = made_up(dict.fromkeys(KINDS, 10))
    scores["luong data"] = ["PLANNED"] * 12
    made = drawn_with_gaps(tmp_path, scores)
    known = seed_variance(made, "echo")
    assert (list(known.deviations), known.left_out) == (["peek"], ["luong"])


def test_too_few_seeds_say_nothing_of_a_variance(tmp_path):
    assert (
        seed_variance(drawn(tmp_path, made_up(dict.fromkeys(KINDS, 10), seeds=9)), "echo") is None
    )


def test_a_seed_that_is_fixed_may_not_be_that_of_the_first_run(tmp_path):
    made = drawn(tmp_path, made_up(dict.fromkeys(KINDS, 10)))
    same = {
        run: replace(
            config,
            training=replace(
                config.training, weights_seed=config.training.weights_seed and config.seed
            ),
        )
        for run, config in made.configs.items()
    }
    assert list(seed_variance(made, "echo").shares) == ["data", "initial weights", "order"]
    # Whether it follows the seed cannot be told from that run.
    known = seed_variance(Analysis(made.plan, made.rows, same), "echo")
    assert list(known.shares) == ["initial weights"]


def test_seeds_in_two_groups_have_no_interval_of_their_deviation(tmp_path):
    scores = made_up(dict.fromkeys(KINDS, 2))
    scores["luong all"][3] = 0.0
    made = drawn(tmp_path, scores)
    spread = seed_variance(made, "echo").deviations["luong"]["all of them"]
    assert spread.value == pytest.approx(np.std(scores["luong all"], ddof=1))
    assert math.isnan(spread.interval.low)


def drawn_with_gaps(output_dir, scores) -> Analysis:
    whole = {
        name: [0.5 if isinstance(one, str) else one for one in row] for name, row in scores.items()
    }
    made = drawn(output_dir, whole)
    index = {(row.cell.variant, row.cell.seed): at for at, row in enumerate(made.rows)}
    rows = list(made.rows)
    for name, row in scores.items():
        for seed, score in enumerate(row):
            if isinstance(score, str):
                at = index[name, seed]
                rows[at] = replace(rows[at], result=None, status=score)
    return Analysis(made.plan, rows, made.configs)


def test_scores_that_do_not_vary_have_no_interval():
    spread = jackknifed(lambda seeds: -math.inf, 8)
    assert spread.value == 0
    assert math.isnan(spread.interval.low)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [12, 20])
@pytest.mark.parametrize("shape", ["normal", "student", "uniform", "two groups"])
def test_intervals_of_shares_cover(seeds, shape):
    """Rows have a common part, as the same seeds give them; five rows, as in `draws`."""
    draws = np.random.default_rng(len(shape) + seeds)

    def scores(spread):
        common, own = (_drawn(draws, shape, (rows, seeds)) for rows in (1, 5))
        return spread * (common + own)

    hits = alone = 0
    variance = {"normal": 1.0, "student": 5 / 3, "uniform": 1 / 12, "two groups": 0.2125}[shape]
    for _ in range(1000):
        part, whole = scores(0.5), scores(1.0)
        one = _drawn(draws, shape, (1, seeds))
        low, high = jackknifed(lambda at, one=one: math.log(one[0, at].var(ddof=1)), seeds).interval
        alone += low <= variance <= high

        def log_ratio(at, part=part, whole=whole):
            variances = [each[:, at].var(axis=1, ddof=1).mean() for each in (part, whole)]
            return math.log(variances[0] / variances[1])

        low, high = jackknifed(log_ratio, seeds).interval
        hits += low <= 0.25 <= high
    assert 0.92 <= hits / 1000 <= 0.99
    # Of two groups a report has none.
    assert shape == "two groups" or 0.87 <= alone / 1000 <= 0.98


def _drawn(draws, shape, size):
    match shape:
        case "normal":
            return draws.normal(size=size)
        case "student":
            return draws.standard_t(5, size=size)
        case "uniform":
            return draws.uniform(size=size)
    return (draws.random(size) < 0.7) + 0.05 * draws.normal(size=size)


TWO = [0.99, 0.05, 0.98, 1.0, 0.04, 0.06, 0.99, "FAILED"]


def solved_study(output_dir):
    """Return a study of which four of eight seeds of a row solve the task, at updates 4 to 10."""
    plan = study(output_dir, {"a": [0.5, 0.52, 0.48, 0.51, 0.49, 0.5, 0.53, 0.47], "b": TWO})
    made = Analysis(plan, read_rows(plan, output_dir))
    for seed in (0, 2):
        curve = {2: scored(0.1), 4 + seed: scored(0.92), 9: scored(0.5), 10: scored(TWO[seed])}
        (cell,) = [each for each in plan.cells if (each.variant, each.seed) == ("b", seed)]
        write_metrics(cell.run_folder(output_dir), curve)
    return made


def test_a_seed_has_solved_a_task_from_its_first_validation_that_did(tmp_path):
    found = solving(solved_study(tmp_path), "b", "echo", tmp_path)
    assert found.solved_at.tolist() == [4, math.inf, 6, 10, math.inf, math.inf, 10, math.inf]
    assert (found.number, found.median, found.last) == (4, 10, 10)
    updates, share = found.steps()
    assert dict(zip(updates.tolist(), share.tolist(), strict=True)) == {
        0: 0,
        4: 0.125,
        6: 0.25,
        10: 0.5,
    }


def test_the_report_draws_when_seeds_solve_a_task(tmp_path):
    made = solved_study(tmp_path)
    (part,) = [
        each
        for each in sections(made, pictures(made, tmp_path), tmp_path)
        if each.title == "Solved by update"
    ]
    figure, caption, table = part.blocks
    assert figure.picture.name == "solved"
    assert "reached 0.9 exact match" in caption.text
    assert table.rows == [
        ["echo", "a", "0 of 8", "0.00 [0.00, 0.32]", "–"],
        ["echo", "b", "4 of 8", "0.50 [0.22, 0.78]", "10"],
    ]


def test_runs_that_failed_or_ended_early_have_not_solved_a_task(tmp_path):
    made = solved_study(tmp_path)
    failed = [replace(row, result=None, status="DIVERGED") for row in made.rows]
    known = solving(Analysis(made.plan, failed), "b", "echo", tmp_path)
    assert (known.number, len(known.solved_at), known.last) == (0, 8, 10)


def test_of_validations_that_are_gone_nothing_is_said(tmp_path):
    made = solved_study(tmp_path)
    made.plan.cells[8].run_folder(tmp_path).metrics.unlink()
    assert solving(made, "a", "echo", tmp_path)
    assert solving(made, "b", "echo", tmp_path) is None


def test_seeds_in_one_group_have_no_figure_of_solving(tmp_path):
    made = solved_study(tmp_path)
    alone = Analysis(made.plan, [row for row in made.rows if row.cell.variant == "a"])
    assert "solved" not in {picture.name for picture in pictures(alone, tmp_path)}


@pytest.mark.parametrize(
    ("scores", "drawn"), [([0.85, 0.95, 0.88, 0.92], True), ([0.95, 0.99, 0.92, 0.91], False)]
)
def test_a_task_that_some_seeds_just_solve_and_others_just_do_not_has_the_figure(
    tmp_path, scores, drawn
):
    plan = study(tmp_path, {"a": [0.5, 0.52, 0.48, 0.51], "b": scores})
    made = Analysis(plan, read_rows(plan, tmp_path))
    assert ("solved" in {picture.name for picture in pictures(made, tmp_path)}) == drawn
