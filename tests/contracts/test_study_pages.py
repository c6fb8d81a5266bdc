"""What the pages of studies say in words is so in their committed results."""

from __future__ import annotations

import csv
import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from decoderlab.metrics.signature import num_examples
from decoderlab.studies.statistics import summarise
from tests.contracts.test_quotes import cells, differences

STUDIES = Path(__file__).parents[2] / "docs" / "studies"


def by_row(study: str) -> dict[tuple[str, str], dict[int, dict[str, str]]]:
    """Return the runs of a study by task and variant, and by seed."""
    found: dict[tuple[str, str], dict[int, dict[str, str]]] = defaultdict(dict)
    with (STUDIES / study / "results.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["task"], row["variant"]][int(row["seed"])] = row
    return found


def scores(runs: dict[int, dict[str, str]]) -> dict[int, dict[str, str]]:
    return {
        seed: {name: value for name, value in row.items() if name.startswith("test_")}
        for seed, row in runs.items()
    }


def test_wide_beams_score_as_the_exact_mode_which_is_not_empty():
    runs = by_row("beam_and_mode")
    for task in ("translation", "g2p"):
        exact = scores(runs[task, "exact"])
        assert len(exact) == 10
        assert scores(runs[task, "beam_20"]) == exact == scores(runs[task, "beam_100"])
        assert scores(runs[task, "greedy"]) != exact
    for (task, _), row in runs.items():
        shares = [(float(run["test_empty_share"]), run["signature"]) for run in row.values()]
        empty = sum(round(share * num_examples(signature)) for share, signature in shares)
        assert empty <= (1 if task == "translation" else 0)


def test_the_verdicts_and_what_would_be_detected_are_those_of_the_report():
    report = (STUDIES / "beam_and_mode" / "report.md").read_text()
    page = (STUDIES / "beam_and_mode.md").read_text()
    verdicts = re.findall(r"\| inconclusive \(n=10, MDE ([\d.]+)\) \|", report)
    assert len(verdicts) == 14
    assert f"{min(verdicts)} to {max(verdicts)}" in page.replace("\n", " ")


def test_which_modern_cells_do_what_an_lstm_does():
    runs = by_row("modern_cells")
    page = " ".join((STUDIES / "modern_cells.md").read_text().split())
    scores = {
        tuple(variant.split()): [float(run["test_exact_match"]) for run in row.values()]
        for (_, variant), row in runs.items()
    }
    cells = ("lstm", "gru", "mingru", "minlstm", "slstm", "mlstm")
    assert {len(values) for values in scores.values()} == {10}
    assert len(scores) == 3 * len(cells)
    for cell in cells:
        repeated, started = scores[cell, "repeat_vector"], scores[cell, "initial_state"]
        assert (min(started) > max(repeated)) == (cell != "mlstm")
        assert cell == "lstm" or max(started) < min(scores["lstm", "initial_state"])
        assert f"| `{cell}` |" in page
    for route in ("repeat_vector", "initial_state"):
        assert set(scores["mlstm", route]) == {0.0}
    for cell in ("mingru", "minlstm", "mlstm"):
        assert max(scores[cell, "repeat_vector"]) < 0.0015
    for cell in ("mingru", "minlstm", "slstm"):
        assert min(scores[cell, "luong"]) > 0.93
    low, high = min(scores["mlstm", "luong"]), max(scores["mlstm", "luong"])
    assert f"its seeds lie between {low:.3f} and {high:.3f}" in page
    ranges = {key: max(values) - min(values) for key, values in scores.items()}
    assert max(ranges, key=ranges.__getitem__) == ("mlstm", "luong")
    sizes = [int(run["parameters"]) for row in runs.values() for run in row.values()]
    assert f"parameters differ: {min(sizes):,} to {max(sizes):,}" in page


def test_the_verdicts_on_modern_cells_are_those_of_the_report():
    report = (STUDIES / "modern_cells" / "report.md").read_text()
    said = re.search(r"Of 17 comparisons with lstm repeat\\_vector: (.*?);", report)[1]
    assert said == "9 better, 4 worse, 1 better barring collapse, 3 inconclusive"
    for name, verdict in {
        "slstm repeat": "better barring collapse",
        "mingru repeat": "worse",
        "minlstm repeat": "worse",
        "mlstm repeat": "worse",
        "mlstm initial": "worse",
        "gru repeat": "inconclusive",
        "mingru initial": "inconclusive",
        "minlstm initial": "inconclusive",
    }.items():
        assert re.search(rf"^\| {name}\S+ \| [^|]*\| [^|]*\| {verdict} (?:\(|\|)", report, re.M), (
            name
        )


def exact_matches(study: str, split: str = "test") -> dict[tuple[str, str], list[float]]:
    return {
        key: [float(run[f"{split}_exact_match"]) for run in row.values()]
        for key, row in by_row(study).items()
    }


TASKS = ("copy", "reverse")


def test_which_decoders_go_on_beyond_the_lengths_of_training():
    name = "length_generalisation_20"
    tuned, at_one_rate = map(exact_matches, (name, f"{name}_untuned"))
    page = " ".join((STUDIES / "length_generalisation_20.md").read_text().split())
    for scores in (tuned, at_one_rate):
        assert {len(values) for values in scores.values()} == {10}
        assert min(scores["reverse", "stack"]) > 0.99
        for task in TASKS:
            assert not any(scores[task, "contents"] + scores[task, "pointer"])
        assert not any(scores["copy", "stack"])
    never = {key for key, values in tuned.items() if not any(values)}
    some = {("copy", "location_aware"), ("reverse", "hard_monotonic"), ("reverse", "stack")}
    assert never == tuned.keys() - some
    for task in TASKS:
        assert sum(score > 0.8 for score in at_one_rate[task, "monotonic"]) >= 8
    texts = {"0.000": "0", "1.000": "1"}
    rows = [(tuned, key) for key in some]
    rows += [
        (at_one_rate, (task, row)) for task in TASKS for row in ("location_aware", "monotonic")
    ]
    rows.append((at_one_rate, ("copy", "hard_monotonic")))
    assert not any(at_one_rate["reverse", "hard_monotonic"])
    for scores, key in rows:
        low, high = (f"{score:.3f}" for score in (min(scores[key]), max(scores[key])))
        assert f"| {texts.get(low, low)} to {texts.get(high, high)} |" in page
    for study in (name, f"{name}_untuned"):
        known = exact_matches(study, "validation")
        most = max(known.pop(("copy", "stack")))
        assert most < 0.01 if study != name else f"copies at most {most:.3f} of them" in page
        assert min(map(min, known.values())) >= 0.96
    report = (STUDIES / "length_generalisation_20" / "report.md").read_text().replace("\\_", "_")
    assert "Of 10 comparisons with contents: 1 better, 7 tie, 2 inconclusive;" in report
    rates = re.findall(r"memory=(\S+) task=(\S+): training.learning_rate=([\d.]+) ", report)
    assert len(rates) == 12
    assert [(task, row) for row, task, rate in rates if rate != "0.003"] == [
        ("reverse", "hard_monotonic")
    ]


def test_which_decoders_go_on_to_somewhat_longer_sequences():
    scores = exact_matches("length_generalisation")
    page = " ".join((STUDIES / "length_generalisation.md").read_text().split())
    assert {len(values) for values in scores.values()} == {10}
    assert sorted({len(runs) for runs in by_row("length_generalisation").values()}) == [10]
    added = [
        score for (task, _), values in scores.items() if task == "addition" for score in values
    ]
    assert len(added) == 60
    assert f"of 60 runs on 1,000 sums the best has {1000 * max(added):.0f} right" in page
    lists = {key: values for key, values in scores.items() if key[0] != "addition"}
    assert set(lists.pop(("reverse", "stack"))) == {1.0}
    assert set(lists.pop(("copy", "stack"))) == {0.0}
    for values in lists.values():
        assert f"| {min(values):.3f} to {max(values):.3f} |" in page
    known = exact_matches("length_generalisation", "validation")
    sums = [score for (task, _), values in known.items() if task == "addition" for score in values]
    assert f"{min(sums):.3f} to {max(sums):.3f} of the validation sums" in page
    assert f"at most {max(known['copy', 'stack']):.3f} of the short lists" in page


def test_the_rate_decides_how_many_longer_lists_come_out_right():
    """Short lists do not choose it: rows solve them with both rates."""
    report = (STUDIES / "length_generalisation" / "report.md").read_text().replace("\\_", "_")
    chosen = {
        (task, row): (float(rate), float(score))
        for row, task, rate, score in re.findall(
            r"memory=(\S+) task=(\S+): training.learning_rate=([\d.]+) \(([\d.]+)\)", report
        )
    }
    assert len(chosen) == 18
    rates = {key: rate for key, (rate, _) in chosen.items() if key[0] != "addition"}
    assert {key for key, rate in rates.items() if rate != 0.003} == {("reverse", "hard_monotonic")}
    name = "length_generalisation"
    tuned, untuned = map(exact_matches, (name, f"{name}_untuned"))
    alike = [(task, row) for task, row in rates if row != "stack" and rates[task, row] == 0.003]
    for study in (name, f"{name}_untuned"):
        known = exact_matches(study, "validation")
        assert all(min(known[key]) > 0.96 for key in rates if key[1] != "stack")
    for key in alike:
        assert fmean(untuned[key]) > fmean(tuned[key])
    for scores in (tuned, untuned):  # the order is the same with both
        for task in ("copy", "reverse"):
            for row in ("location_aware", "monotonic"):
                assert min(scores[task, row]) > max(scores[task, "contents"])
    hard = "copy", "hard_monotonic"
    assert fmean(untuned[hard]) > 0.5
    assert fmean(tuned[hard]) == pytest.approx(0.25, abs=0.03)


def test_the_verdicts_on_longer_sequences_are_those_of_the_report():
    report = (STUDIES / "length_generalisation" / "report.md").read_text().replace("\\_", "_")
    counts = "3 better, 2 worse, 3 better barring collapse, 4 tie, 3 inconclusive"
    assert f"Of 15 comparisons with contents: {counts};" in report
    tables = re.findall(r"^\*\*(copy|reverse|addition)\*\*\n\n(.*?)\n\n", report, re.M | re.S)
    verdicts: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for task, table in tables:
        for row, verdict in re.findall(
            r"^\| (\S+) \|[^|]*\|[^|]*\| ([a-z ]+?) (?:\(|\|)", table, re.M
        ):
            verdicts[verdict].add((task, row))
    assert verdicts["better"] == {
        ("copy", "monotonic"),
        ("reverse", "location_aware"),
        ("reverse", "stack"),
    }
    assert verdicts["better barring collapse"] == {
        ("copy", "location_aware"),
        ("reverse", "monotonic"),
        ("reverse", "hard_monotonic"),
    }
    assert verdicts["worse"] == {("copy", "stack"), ("reverse", "pointer")}
    assert verdicts["inconclusive"] == {
        ("copy", "pointer"),
        ("copy", "hard_monotonic"),
        ("addition", "location_aware"),
    }


def test_no_decoder_follows_long_commands():
    scores = exact_matches("length_generalisation_scan")
    page = " ".join((STUDIES / "length_generalisation_scan.md").read_text().split())
    report = (STUDIES / "length_generalisation_scan" / "report.md").read_text()
    assert {len(values) for values in scores.values()} == {10}
    most = max(map(max, scores.values()))
    assert f"no row is right on more than {1000 * most:.0f} of 1,000 commands" in page
    for values in scores.values():
        assert f"| {min(values):.3f} to {max(values):.3f} |" in page
    assert "Of 5 comparisons with contents: 1 worse, 4 inconclusive;" in report
    assert re.search(r"^\| stack \|[^|]*\|[^|]*\| worse \|", report, re.M)
    detectable = re.findall(r"inconclusive \(n=10, MDE ([\d.]+)\)", report)
    assert len(detectable) == 4
    assert f"below {min(detectable)} to {max(detectable)} would not be found" in page
    known = exact_matches("length_generalisation_scan", "validation")
    low, high = min(stack := known.pop(("scan", "stack"))), max(stack)
    assert f"follows {low:.3f} to {high:.3f} of the short commands" in page
    shorts = [score for values in known.values() for score in values]
    assert f"but the stack follow {min(shorts):.3f} to {max(shorts):.3f}" in page


def test_where_a_pointer_writes_better():
    runs, scores = by_row("copying"), exact_matches("copying")
    page = " ".join((STUDIES / "copying.md").read_text().split())
    report = (STUDIES / "copying" / "report.md").read_text()
    assert "Of 2 comparisons with luong: 2 inconclusive." in report
    for values in scores.values():
        assert len(values) == 10
        assert f"| {min(values):.3f} to {max(values):.3f} |" in page
    alone, pointing = (runs["copy_unknown", head] for head in ("luong", "pointer"))
    for seed, run in pointing.items():
        assert float(run["test_exact_match"]) > float(alone[seed]["test_exact_match"])
    assert num_examples(pointing[1]["signature"]) == 2000
    missed = {round(2000 * (1 - score)) for score in scores["copy_unknown", "pointer"]}
    assert (min(missed), max(missed)) == (0, 3)
    lowest, second, *others = sorted(scores["copy_unknown", "luong"])
    assert len(others) == 8
    assert min(others) >= 0.866
    assert f"eight seeds reach 0.866 or more, one {second} and one {lowest}." in page
    (nothing,) = (run for run in alone.values() if float(run["validation_exact_match"]) == 0)
    assert nothing["best_step"] == nothing["steps"] == "1000"
    power = re.search(r"inconclusive \(n=10, MDE ([\d.]+)\)", report)
    assert f"a difference below {power[1]} would not be found" in page
    assert "leaving every word as it is 0.167" in report
    assert sum(score > 0.5 for score in scores["copy_unknown", "luong"]) == 9


def test_which_attention_spells_out_words():
    runs = by_row("g2p_attention")
    page = " ".join((STUDIES / "g2p_attention.md").read_text().split())
    missed = {
        key: {seed: float(run["test_word_error_rate"]) for seed, run in row.items()}
        for key, row in runs.items()
    }
    assert {len(scores) for scores in missed.values()} == {10}
    assert min(score for scores in missed.values() for score in scores.values()) > 1 / 3
    mean = {key: sum(scores.values()) / 10 for key, scores in missed.items()}
    for task in ("g2p", "g2p_de"):
        assert min(mean[key] for key in mean if key[0] == task) == mean[task, "coverage"]
        assert mean[task, "hard"] > mean[task, "soft"]
        assert mean[task, "hard"] > mean[task, "hard_monotonic"]
        operations = {row: float(runs[task, row][1]["flops_per_example"]) for _, row in runs}
        assert operations["hard"] == operations["hard_monotonic"]
        ratio = {"g2p": "1.3", "g2p_de": "1.6"}[task]
        assert f"{operations['hard'] / operations['soft']:.1f}" == ratio
        assert num_examples(runs[task, "soft"][1]["signature"]) == 2000
    german = {row: missed["g2p_de", row] for row in ("soft", "coverage")}
    assert all(german["coverage"][seed] < german["soft"][seed] for seed in range(1, 11))
    parameters = [int(run["parameters"]) for row in runs.values() for run in row.values()]
    assert f"({min(parameters):,} to {max(parameters):,})" in page
    report = (STUDIES / "g2p_attention" / "report.md").read_text()
    assert (
        "Of 8 comparisons with soft: 1 better barring collapse, 1 worse barring collapse," in report
    )
    decided = dict(re.findall(r"^\| (\w+) \|.*\| (better|worse) barring collapse \|", report, re.M))
    assert decided == {"coverage": "better", "hard": "worse"}
    assert report.count("training.learning\\_rate=0.01 (") == 10  # chosen for every row


BUDGETS = ("1500", "5000", "15000")


def test_what_longer_training_changes():
    scores = {(task, name): of for (_, task, name), of in exact_match_of("budgets").items()}
    decoders = ("luong", "initial_state", "peek", "every_input", "repeat_vector")
    smaller, turned, shrinking, orders = 0, set(), 0, {}
    stayed: dict[bool, int] = {True: 0, False: 0}  # whether with the same sign
    shown_after = dict.fromkeys(BUDGETS, 0)
    for task in ("echo", "addition", "g2p"):
        for budget in BUDGETS:
            means = {name: fmean(scores[f"{task}_{budget}", name].values()) for name in decoders}
            orders[task, budget] = sorted(means, key=means.__getitem__, reverse=True)
        for pair in itertools.combinations(decoders, 2):
            of = {
                budget: differences(*(scores[f"{task}_{budget}", name] for name in pair))
                for budget in BUDGETS
            }
            for budget, values in of.items():
                shown_after[budget] += shown(values)
            short, long = of["1500"], of["15000"]
            same = fmean(short) * fmean(long) > 0
            if not same:
                turned.add((task, *pair))
            stayed[same] += shown(short) and shown(long)
            if abs(fmean(long)) < abs(fmean(short)):
                smaller += 1
                shrinking += shown(np.subtract(short, long))
    assert (len(scores), smaller, shrinking) == (45, 28, 24)
    assert (shown_after["1500"], shown_after["15000"]) == (26, 25)
    assert stayed == {True: 23, False: 1}
    assert turned == {("addition", "luong", "peek"), ("g2p", "peek", "every_input")}
    assert {orders["echo", budget] == [*decoders] for budget in BUDGETS} == {True}
    for task, first, last in (
        ("addition", "repeat_vector", "initial_state"),
        ("g2p", "luong", "repeat_vector"),
    ):
        assert {(orders[task, b][0], orders[task, b][-1]) for b in BUDGETS} == {(first, last)}
    ahead = orders["addition", "5000"]
    assert ahead.index("luong") < ahead.index("peek")


def test_what_the_pages_say_of_longer_training_is_that():
    scores = {(task, name): of for (_, task, name), of in exact_match_of("budgets").items()}
    ratios = [
        (1 - fmean(scores[f"echo_{budget}", "repeat_vector"].values()))
        / (1 - fmean(scores[f"echo_{budget}", "initial_state"].values()))
        for budget in ("1500", "15000")
    ]
    assert [f"{ratio:.1f}" for ratio in ratios] == ["7.8", "13.9"]
    last: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (task, variant), of in by_row("budgets").items():
        last[task][variant] += sum(row["best_step"] == row["steps"] for row in of.values())
    of_words, of_sums = (last[f"{task}_15000"].values() for task in ("g2p", "addition"))
    assert (min(of_words), max(of_words), max(of_sums)) == (4, 8, 1)
    page = " ".join((STUDIES / "budgets.md").read_text().split())
    assert "four to eight of ten runs of a decoder chose their last update" in page
    for name, shown_later in (
        ("studies/budgets.md", "25 still have an interval without 0"),
        (
            "answer.md",
            "Of 26 with an interval without 0 after 1,500 updates 24 have one after 15,000",
        ),
    ):
        said = " ".join((STUDIES.parent / name).read_text().replace("*", "").split())
        assert re.search(r"Of the 30 differences between two .* 28 are smaller after 15,000", said)
        assert "RepeatVector makes 7.8 times as many errors as starting after 1,500 updates" in said
        assert "13.9 times as many after 15,000" in said
        assert re.search("24 (shrink )?by more than chance between seeds", said)
        assert shown_later in said
    report = (STUDIES / "budgets" / "report.md").read_text()
    assert "10 seeds cannot be certain of any among 36 comparisons" in report


def exact_match_of(study: str) -> dict[tuple[str, str, str], dict[int, float]]:
    return {key: of for key, of in cells(study).items() if key[0] == "test_exact_match"}


def shown(values: Sequence[float]) -> bool:
    summary = summarise(values)
    return summary.low > 0 or summary.high < 0
