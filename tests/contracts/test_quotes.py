"""Every score with an interval that a page quotes is one that the committed results.csv gives."""

from __future__ import annotations

import csv
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from decoderlab.metrics.signature import num_examples
from decoderlab.studies.statistics import summarise, wilson

ROOT = Path(__file__).parents[2]
STUDIES = sorted(
    path.parent.name
    for path in ROOT.glob("docs/studies/*/results.csv")
    if not path.parent.name.startswith("claim_")
)
PROSE = {ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*/*.md")}
# Rendered from results of its own, which tests of it read.
PAGES = sorted(PROSE - {ROOT / "docs/claims.md"})
NUMBER = r"[+−-]?\d*\.\d+"
QUOTE = re.compile(rf"({NUMBER}) (?:% )?\[({NUMBER}), ({NUMBER})\]")
SHARES = ("test_exact_match", "test_token_accuracy")
Scores = dict[int, float]
Quote = tuple[str, str, str]


def quotes(text: str) -> list[Quote]:
    """Return the scores with intervals of a page, without their signs of plus."""
    plain = re.sub(r"\s+", " ", text).replace("−", "-").replace("**", "")
    return [
        (mean.replace("+", ""), low.replace("+", ""), high.replace("+", ""))
        for mean, low, high in QUOTE.findall(plain)
    ]


def printed(mean: float, low: float, high: float) -> Iterator[Quote]:
    """Yield how a page may print a score: with three digits, or as a percentage with one."""
    for scale, digits in ((1, 3), (100, 1)):
        texts = [f"{scale * number:.{digits}f}" for number in (mean, low, high)]
        yield (texts[0], texts[1], texts[2])


@cache
def rows(study: str) -> list[dict[str, str]]:
    with (ROOT / f"docs/studies/{study}/results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def cells(study: str) -> dict[tuple[str, str, str], Scores]:
    """Return the scores of a study by seed, for each metric, task and variant."""
    found: dict[tuple[str, str, str], Scores] = defaultdict(dict)
    for row in rows(study):
        for metric in (name for name in row if name.startswith("test_") and row[name]):
            found[metric, row["task"], row["variant"]][int(row["seed"])] = float(row[metric])
    return found


def differences(one: Scores, other: Scores) -> list[float]:
    return [one[seed] - other[seed] for seed in one if seed in other]


def effects(study: str) -> Iterator[list[float]]:
    """Yield the effect of each two levels of a factor, over the mean of all else, by seed."""
    names = [name for name in rows(study)[0] if name.startswith("factor_")]
    names = [name for name in names if name != "factor_variant"]
    if "test_exact_match" not in rows(study)[0]:
        return
    grid = [row for row in rows(study) if not row.get("factor_variant")]
    for name, task in itertools.product(names, {row["task"] for row in grid}):
        by_level: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in grid:
            if row["task"] == task:
                by_level[row[name]][int(row["seed"])].append(float(row["test_exact_match"]))
        for one, other in itertools.permutations(by_level, 2):
            means = [{s: np.mean(v) for s, v in by_level[level].items()} for level in (one, other)]
            yield differences(means[0], means[1])


@cache
def computed() -> frozenset[Quote]:
    """Return all that can be quoted: rows, differences of two, effects of factors, claims."""
    known: set[Quote] = set()

    def add(values: list[float], bounds: tuple[float, float] = (-np.inf, np.inf)) -> None:
        if len(values) > 1:
            summary = summarise(values, bounds=bounds)
            known.update(printed(summary.mean, summary.low, summary.high))

    for study in STUDIES:
        for (metric, task, variant), scores in cells(study).items():
            add(list(scores.values()), (0, 1) if metric in SHARES else (-np.inf, np.inf))
            if metric == "test_exact_match" and len(set(scores.values())) == 1:
                numbers = {num_examples(row["signature"]) for row in rows(study)}
                share = next(iter(scores.values()))
                for number in numbers:
                    known.update(printed(share, *wilson(share * number, number)))
            for other, (at_metric, at_task, against) in (
                (study, key) for study in STUDIES for key in cells(study)
            ):
                if (at_metric, at_task) == (metric, task) and (other, against) != (study, variant):
                    add(differences(scores, cells(other)[at_metric, at_task, against]))
        for values in effects(study):
            add(values)
    with (ROOT / "docs/claims.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["low"]:
                known.update(printed(*(float(row[name]) for name in ("mean", "low", "high"))))
    return frozenset(known)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_score_that_is_quoted_is_in_the_committed_results(page):
    wrong = [quote for quote in quotes(page.read_text()) if quote not in computed()]
    assert not wrong, f"{page.name} quotes what no results.csv gives: {wrong}"


def test_the_pages_quote_many_scores_and_a_wrong_digit_is_seen():
    number = sum(len(quotes(page.read_text())) for page in PAGES)
    assert number > 120
    text = "0.909 [0.903, 0.915] and, as **+0.069 [+0.057, +0.082]** or 77.2 [74.2, 80.2]"
    assert [quote in computed() for quote in quotes(text)] == [True, True, True]
    # Among thousands that can be quoted another one may be this one with a digit changed.
    wrong = [
        *("0.910 [0.903, 0.915]", "0.909 [0.903, 0.916]", "-0.909 [0.903, 0.915]"),
        *("0.908 [0.903, 0.915]", "0.909 [0.902, 0.915]", "0.909 [0.904, 0.915]"),
    ]
    assert sum(quote in computed() for text in wrong for quote in quotes(text)) <= 1
