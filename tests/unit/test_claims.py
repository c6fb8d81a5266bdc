"""Published claims: what a YAML may say, and which verdict the runs of a study give."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.studies.claims.claims_page import claims_csv, claims_text, measured_text
from decoderlab.studies.claims.copied_results import RESULTS, committed_tables, copy_results
from decoderlab.studies.claims.declared_claim import (
    Claim,
    ClaimSource,
    PublishedNumber,
    Term,
    read_claim,
)
from decoderlab.studies.claims.judgement import (
    judge_all,
    measure,
    reproduced_by_chance,
    seeds_needed,
)

VALUE = {"expects": "value", "published": PublishedNumber(value=0.9), "tolerance": 0.05}
HIGHER = {"expects": "higher", "terms": [Term(row="a"), Term(row="b", weight=-1)]}
EQUAL = HIGHER | {"expects": "equal", "tolerance": 0.05}


def claim(name: str = "some", read: str = "source", **settings) -> Claim:
    source = ClaimSource(paper="somebody", where="table 1", url="https://x.org", read=read)
    given = {"number": 1, "statement": "It is so.", "study": "s", "metric": "exact_match"}
    given |= {"terms": [Term(row="a")], "minutes": 1, "differs": []}
    return Claim(name=name, source=source, **(given | settings))


def table(status: str = "FINISHED", **scores) -> pd.DataFrame:
    """Return results.csv of rows, each with a score per seed; NaN is a run that did not finish."""
    rows = [
        {
            "variant": variant,
            "task": "echo",
            "seed": seed,
            "status": status if math.isnan(score) else "FINISHED",
            "test_exact_match": score,
            "test_loss": score,
        }
        for variant, values in scores.items()
        for seed, score in enumerate(values)
    ]
    return pd.DataFrame(rows)


def around(mean: float, n: int, spread: float = 0.01) -> list[float]:
    """Return scores with this mean, whose deviation is about `spread`."""
    offsets = np.linspace(-1, 1, n) * spread
    return list(mean + offsets - offsets.mean())


def word(some: Claim, runs: pd.DataFrame) -> str:
    return judge_all([some], {"s": runs})[0].word


WORDS = [
    (claim(**VALUE), {"a": around(0.91, 6)}, "reproduced"),
    (claim(**VALUE), {"a": around(0.8, 6)}, "not reproduced"),
    (claim(**VALUE), {"a": around(0.86, 6, 0.1)}, "inconclusive"),
    (claim(**VALUE), {"a": around(0.9, 5)}, "inconclusive"),
    (claim(**VALUE), {"a": [0.9] * 6}, "reproduced"),
    (claim(**VALUE), {"a": [0.7] * 6}, "not reproduced"),
    (claim(read="memory", **VALUE), {"a": around(0.9, 6)}, "inconclusive"),
    (claim(read="memory", **VALUE), {"a": around(0.8, 6)}, "not reproduced"),
    (claim(read="quotation", **VALUE), {"a": around(0.9, 6)}, "reproduced"),
    (claim(**HIGHER), {"a": around(0.9, 6), "b": around(0.5, 6, 0.1)}, "direction holds"),
    (claim(**HIGHER), {"a": around(0.5, 6), "b": around(0.9, 6, 0.1)}, "direction reversed"),
    (
        claim(**HIGHER | {"expects": "lower"}),
        {"a": around(0.5, 6), "b": around(0.9, 6, 0.1)},
        "direction holds",
    ),
    (claim(**HIGHER), {"a": around(0.9, 5), "b": around(0.5, 5, 0.1)}, "inconclusive"),
    (claim(**HIGHER), {"a": around(0.5, 8), "b": around(0.5, 8, 0.1)}, "inconclusive"),
    (claim(**EQUAL), {"a": around(0.5, 20), "b": around(0.5, 20, 0.05)}, "reproduced"),
    (claim(**EQUAL), {"a": around(0.5, 19), "b": around(0.5, 19, 0.05)}, "inconclusive"),
    (claim(**EQUAL), {"a": around(0.5, 20), "b": around(0.7, 20, 0.05)}, "not reproduced"),
]


@pytest.mark.parametrize(("some", "scores", "expected"), WORDS)
def test_the_verdict_follows_the_rule(some, scores, expected):
    (judgement,) = judge_all([some], {"s": table(**scores)})
    assert judgement.word == expected
    assert bool(judgement.reason) == (expected == "inconclusive")


def test_the_published_spread_counts():
    exact = claim(**VALUE)
    spread = PublishedNumber(value=0.9, deviation=0.1, runs=3)
    assert word(exact, table(a=around(0.9, 8))) == "reproduced"
    assert word(claim(**VALUE | {"published": spread}), table(a=around(0.9, 8))) == "inconclusive"


def test_a_claim_that_was_not_run_is_not_judged():
    (judgement,) = judge_all([claim(**VALUE)], {})
    assert (judgement.word, judgement.seeds) == ("not run", 0)
    planned = table(status="PLANNED", a=[math.nan] * 6)
    assert word(claim(**VALUE), planned) == "not run"


def test_failures_count_with_the_worst_score_and_are_told():
    runs = table(status="DIVERGED", a=[0.9, 0.9, 0.9, 0.9, 0.9, 0.9, math.nan])
    measured = measure(claim(**VALUE), runs)
    assert (measured.failed, measured.values[6]) == (1, 0.0)
    loss = claim(**VALUE | {"metric": "loss"})
    (judgement,) = judge_all([loss], {"s": runs})
    assert (judgement.word, judgement.reason[:7]) == ("inconclusive", "1 seeds")


def test_a_failure_is_no_better_than_a_finished_run():
    runs = table(status="FAILED", a=[0.2, 0.2, 0.2, 0.2, 0.2, 1.5, math.nan])
    runs["test_symbol_error_rate"] = runs["test_exact_match"]
    measured = measure(claim(**VALUE | {"metric": "symbol_error_rate"}), runs)
    assert measured.values[6] == 1.5


def test_numbers_of_the_csv_are_numbers():
    scores = {"a": around(0.5, 6), "b": around(0.9, 6, 0.1)}
    text = claims_csv(judge_all([claim(**HIGHER)], {"s": table(**scores)}))
    row = pd.read_csv(io.StringIO(text)).iloc[0]
    assert row["mean"] == pytest.approx(-0.4)
    assert row["low"] < row["mean"] < row["high"] < 0


def test_only_seeds_that_all_terms_have_count():
    runs = table(status="PLANNED", a=[0.9] * 7, b=[0.5] * 6 + [math.nan])
    assert sorted(measure(claim(**HIGHER), runs).values) == list(range(6))


@pytest.mark.parametrize("status", ["PLANNED", "INTERRUPTED", "RUNNING", "INVALID"])
def test_nothing_is_judged_before_all_planned_seeds_have_ended(status):
    runs = table(status=status, a=around(0.5, 7) + [math.nan], b=around(0.9, 8))
    (judged,) = judge_all([claim(**HIGHER)], {"s": runs})
    assert (judged.word, judged.seeds) == ("inconclusive", 7)
    assert judged.reason == "1 of the planned seeds have not ended"
    assert word(claim(**HIGHER), table(a=around(0.5, 7), b=around(0.9, 7))) == "direction reversed"


def test_four_terms_measure_how_a_difference_depends_on_another():
    weights = {"a": 1, "b": -1, "c": -1, "d": 1}
    terms = [Term(row=row, weight=weight) for row, weight in weights.items()]
    some = claim(**HIGHER | {"terms": terms})
    runs = table(a=[0.9] * 6, b=[0.5] * 6, c=[0.6] * 6, d=[0.5] * 6)
    assert list(measure(some, runs).values.values()) == pytest.approx([0.3] * 6)


def test_a_term_may_have_a_metric_of_its_own():
    runs = table(a=[0.9] * 6, b=[0.5] * 6)
    runs["test_symbol_error_rate"] = 2.5 - runs["test_exact_match"]
    terms = [Term(row="a"), Term(row="b", metric="symbol_error_rate", weight=-1)]
    measured = measure(claim(**HIGHER | {"terms": terms}), runs)
    assert list(measured.values.values()) == pytest.approx([0.9 - 2.0] * 6)
    assert measured.bounds[0] == -math.inf  # of an error rate
    assert measured.bounds[1] == 1
    assert measured_text(claim(**HIGHER | {"terms": terms})) == "a - b (symbol_error_rate)"
    nothing = [Term(row="a"), Term(row="b", metric="bleu", weight=-1)]
    with pytest.raises(Invalid, match="has no column test_bleu"):
        measure(claim(**HIGHER | {"terms": nothing}), runs)


def test_directions_are_corrected_together_those_not_run_included():
    generator = np.random.default_rng(1)
    scores = {"a": 0.5 + generator.normal(0.03, 0.03, 7), "b": [0.5] * 7}
    alone = judge_all([claim(**HIGHER)], {"s": table(**scores)})[0]
    differences = scores["a"] - 0.5
    assert alone.p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    others = [claim(name=f"other{n}", **HIGHER | {"study": "none"}) for n in range(24)]
    (judgement, *rest) = judge_all([claim(**HIGHER), *others], {"s": table(**scores)})
    assert judgement.p == pytest.approx(min(1, 25 * alone.p))
    assert (alone.word, judgement.word) == ("direction holds", "inconclusive")
    assert {each.word for each in rest} == {"not run"}


def test_a_seed_that_stands_alone_makes_no_direction():
    runs = table(a=[0.5, 0.5, 0.5, 0.5, 0.5, 1.0], b=[0.5] * 6)
    assert word(claim(**HIGHER), runs) == "inconclusive"


def test_the_number_of_seeds_that_would_decide_is_the_least():
    needed = seeds_needed(0.05, 0.1, 0.05)
    halves = [stats.t.ppf(0.975, n - 1) * 0.1 / math.sqrt(n) for n in (needed - 1, needed)]
    assert halves[1] < 0.05 <= halves[0]


def test_what_chance_would_reproduce_is_the_share_of_the_range():
    some = [claim(**VALUE), claim(**VALUE | {"published": PublishedNumber(value=1.0)})]
    judgements = judge_all(some, {"s": table(a=around(0.9, 6))})
    assert reproduced_by_chance(judgements) == pytest.approx(0.1 + 0.05)


@pytest.mark.parametrize(
    ("scores", "some", "match"),
    [
        ({"b": [0.5] * 6}, claim(**VALUE), "no row 'a'"),
        ({"a": [0.5] * 6}, claim(**VALUE | {"metric": "bleu"}), "no column test_bleu"),
        (
            {"a": [0.5] * 6},
            claim(**VALUE | {"terms": [Term(row="a", task="g2p")]}),
            "no row 'a' on g2p",
        ),
    ],
)
def test_results_that_lack_what_is_measured_cost_their_claim_alone(scores, some, match):
    other = claim("other", study="t", **VALUE)
    runs = {"s": table(**scores), "t": table(a=around(0.9, 6))}
    damaged, whole = judge_all([some, other], runs)
    assert (damaged.word, whole.word) == ("not run", "reproduced")
    assert match in damaged.reason
    assert f"Damaged: {damaged.reason}." in claims_text([damaged]).replace("\\", "")


def damaged_in(folder, content: bytes) -> str:
    """Return what is wrong with a results.csv; empty for nothing."""
    path = folder / "studies" / "s" / RESULTS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    found = committed_tables(folder, [claim(**VALUE)])["s"]
    return str(found) if isinstance(found, Invalid) else ""


WAY = "generation:greedy|split:test|n:5|data:a|v:1"
LINES = ["study,variant,task,seed,status,test_exact_match,signature\n"]
LINES += [f"s,a,echo,{seed},FINISHED,0.{seed}5,{WAY}\n" for seed in range(1, 4)]


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["".join(LINES)[:-3]], "it was cut"),
        (["".join(LINES).rpartition(",0.")[0], "\n"], "line 4 has 5 cells"),
        ([*LINES, LINES[1].replace("0.15", "0.9")], "line 5 is a second run of a with seed 1"),
        ([*LINES[:-1], LINES[-1].replace("0.35", "inf")], "line 4 has 'inf'"),
        ([*LINES[:-1], LINES[-1].replace(",3,", ",0.5,")], "line 4 has the seed '0.5'"),
        ([*LINES[:-1], LINES[-1].replace(",3,", f",{10**20},")], "line 4 has the seed"),
        ([*LINES[:-1], LINES[-1].replace("test|", "train|")], "measured in another way than a"),
        ([*LINES[:-1], LINES[-1].replace("n:5", "n:6")], "measured in another way than a"),
        ([*LINES[:-1], LINES[-1].replace("s,a", "t,a")], "line 4 is of the study 't'"),
        ([LINES[0].replace("task", "variant"), *LINES[1:]], "has the column 'variant' twice"),
        ([*LINES, '"'], "no results.csv"),
        ([*LINES[:-1], LINES[-1].replace("FINISHED", "finished")], "line 4 has the status"),
        ([*LINES[:-1], LINES[-1].replace("FINISHED", "FINI\0SHED")], "line 4 has the status"),
    ],
)
def test_results_of_more_than_one_report_or_less_are_damaged(tmp_path, lines, match):
    assert not damaged_in(tmp_path, "".join(LINES).encode())
    assert match in damaged_in(tmp_path, "".join(lines).encode())


def test_seeds_with_data_of_their_own_may_have_as_many_examples_as_these(tmp_path):
    own = "n:6|data:b"
    assert not damaged_in(tmp_path, "".join(LINES).replace("n:5|data:a", own, 1).encode())


def test_a_score_that_no_metric_can_be_is_damage():
    (judgement,) = judge_all([claim(**VALUE)], {"s": table(a=[0.9] * 5 + [7.5])})
    assert judgement.word == "not run"
    assert "test_exact_match 7.5, seed 5 of a" in judgement.reason


def test_a_row_can_be_called_as_pandas_calls_what_is_missing(tmp_path):
    assert not damaged_in(tmp_path, "".join(LINES).replace("s,a", "s,nan").encode())
    some = claim(**VALUE | {"terms": [Term(row="nan")]})
    (judgement,) = judge_all([some], committed_tables(tmp_path, [some]))
    assert judgement.seeds == 3


def test_results_that_were_copied_are_sealed(tmp_path):
    made = tmp_path / "outputs" / "studies" / "s"
    (made / "figures").mkdir(parents=True)
    (made / RESULTS).write_text("".join(LINES))
    (made / "figures" / "a.png").write_bytes(b"picture")
    copied = tmp_path / "studies" / "s" / RESULTS
    copy_results("s", tmp_path / "outputs", tmp_path)
    assert copied.read_text() == "".join(LINES)
    assert (copied.parent / "figures" / "a.png").read_bytes() == b"picture"
    assert not damaged_in(tmp_path, "".join(LINES).encode())
    assert "does not agree with its sha256" in damaged_in(tmp_path, "".join(LINES[:-1]).encode())


def test_results_are_copied_through_no_link(tmp_path):
    made, secret = tmp_path / "outputs" / "studies" / "s", tmp_path / "secret"
    made.mkdir(parents=True)
    secret.write_text("secret")
    (made / RESULTS).write_text("".join(LINES))
    copied = tmp_path / "to" / "studies" / "s" / RESULTS
    copied.parent.mkdir(parents=True)
    copied.symlink_to(secret)
    with pytest.raises(ConfigError, match="leads out of"):
        copy_results("s", tmp_path / "outputs", tmp_path / "to")
    (made / "report.md").symlink_to(secret)
    copied.unlink()
    with pytest.raises(ConfigError, match="leads out of"):
        copy_results("s", tmp_path / "outputs", tmp_path / "to")
    assert secret.read_text() == "secret"
    assert not (copied.parent / "report.md").exists()


WRONG = [
    ({"expects": "more"}, "expects is 'more'"),
    ({"expects": "value", "tolerance": 0.1}, "published is not given"),
    ({"expects": "value", "published": {"value": 1.0}}, "tolerance is missing"),
    ({"expects": "higher"}, "add up to 1"),
    ({"terms": []}, "terms is empty"),
    ({"terms": "a"}, "terms is 'a'"),
    ({"terms": [{"row": "a", "colour": 1}]}, "colour is not a setting"),
    ({"minutes": 0}, "minutes is 0"),
    ({"number": 0}, "number is 0"),
    ({"unknown": 1}, "unknown is not a setting"),
    ({"name": "other"}, "name is not a setting"),
    ({"source": {"paper": "x"}}, "lacks where, url, read"),
    ({"source": {"paper": "x", "where": "", "url": "", "read": "hearsay"}}, "read is 'hearsay'"),
    ({"published": {"value": 1.0, "deviation": 0.1}}, "published.runs is None"),
    ({"published": {"value": 1.0, "deviation": -0.1, "runs": 3}}, "deviation is -0.1"),
    ({"terms": [{"row": "a"}, {"row": "b", "weight": -1}], "expects": "lower"}, "leave it out"),
]


@pytest.mark.parametrize(("settings", "match"), WRONG)
def test_a_wrong_declaration_is_refused_with_file_and_setting(tmp_path, settings, match):
    path = written(tmp_path, settings)
    with pytest.raises(ConfigError, match=match) as error:
        read_claim(path)
    assert str(path) in str(error.value)


def written(folder: Path, settings: dict) -> Path:
    import yaml

    right = {
        "number": 1,
        "statement": "x",
        "source": {"paper": "x", "where": "x", "url": "https://x.org", "read": "source"},
        "expects": "value",
        "published": {"value": 0.9},
        "tolerance": 0.1,
        "study": "s",
        "metric": "exact_match",
        "terms": [{"row": "a"}],
        "minutes": 1,
        "differs": [],
    }
    if settings.get("expects") not in (None, "more") and "published" not in settings:
        right.pop("published")
    if settings.get("expects") == "value" or "tolerance" in settings:
        right.pop("tolerance")
    path = folder / "some.yaml"
    path.write_text(yaml.safe_dump(right | settings))
    return path


def test_a_right_declaration_is_read(tmp_path):
    assert read_claim(written(tmp_path, {})).name == "some"


def test_the_page_and_the_csv_have_every_claim_and_nothing_acts_in_them():
    hostile = claim(**VALUE | {"statement": "a | b <script> [c](https://d) *e*"})
    judgements = judge_all([hostile], {"s": table(a=around(0.9, 6))})
    text = claims_text(judgements)
    assert "<script>" not in text
    assert "](https://d)" not in text
    assert text.count("reproduced") > 3
    (row,) = pd.read_csv(io.StringIO(claims_csv(judgements))).to_dict("records")
    assert (row["verdict"], row["seeds"], row["claim"]) == ("reproduced", 6, "some")
    assert row["mean"] == pytest.approx(0.9)
