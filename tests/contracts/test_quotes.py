"""Every score with an interval that a page quotes is one that the committed results.csv gives."""

from __future__ import annotations

import csv
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from decoderlab.data.packed_outcomes import unpack
from decoderlab.metrics.signature import num_examples, signature_parts
from decoderlab.studies.statistics import (
    UNBOUNDED,
    Bounds,
    Estimate,
    cut_at,
    over_seeds,
    over_seeds_and_examples,
    wilson,
)

ROOT = Path(__file__).parents[2]
STUDIES = sorted(path.parent.name for path in ROOT.glob("docs/studies/*/results.csv"))
PROSE = {ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*/*.md")}
# Rendered from results of its own, which tests of it read.
PAGES = sorted(PROSE - {ROOT / "docs/claims.md"})
NUMBER = r"[+−-]?\d*\.\d+"
QUOTE = re.compile(rf"({NUMBER}) \[({NUMBER}), ({NUMBER})\]")
SHARES = ("test_exact_match", "test_token_accuracy")
Quote = tuple[str, str, str]


class Scores(dict[int, float]):
    """Scores by seed, and the outcomes of examples that each is the mean of, if they are kept."""

    def __init__(self) -> None:
        self.outcomes: dict[int, np.ndarray] = {}
        self.data: set[str] = set()  # fingerprints


class Known(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves 0 out, else 0."""
        return (self.low > 0) - (self.high < 0)


def quotes(text: str) -> list[Quote]:
    """Return the scores with intervals of a page, without their signs of plus."""
    plain = re.sub(r"\s+", " ", text).replace("−", "-").replace("**", "")
    return [
        (mean.replace("+", ""), low.replace("+", ""), high.replace("+", ""))
        for mean, low, high in QUOTE.findall(plain)
    ]


def printed(mean: float, low: float, high: float) -> Quote:
    return (f"{mean:.3f}", f"{low:.3f}", f"{high:.3f}")


@cache
def rows(study: str) -> list[dict[str, str]]:
    with (ROOT / f"docs/studies/{study}/results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def outcomes(study: str) -> dict[tuple[str, str], str]:
    """Return the packed outcomes of a study by run and metric; none where they are not kept."""
    path = ROOT / f"docs/studies/{study}/outcomes.csv"
    if not path.is_file():
        return {}
    (_, metric), *lines = csv.reader(path.read_text(encoding="utf-8").splitlines())
    return {(run_id, f"test_{metric}"): bits for run_id, bits in lines}


@cache
def cells(study: str) -> dict[tuple[str, str, str], Scores]:
    """Return the scores of a study by seed, for each metric, task and variant."""
    found: dict[tuple[str, str, str], Scores] = defaultdict(Scores)
    for row in rows(study):
        for metric in (name for name in row if name.startswith("test_") and row[name]):
            scores, seed = found[metric, row["task"], row["variant"]], int(row["seed"])
            scores[seed] = float(row[metric])
            scores.data.add(signature_parts(row["signature"])["data"])
            if bits := outcomes(study).get((row["run_id"], metric)):
                made = unpack({"outcomes": {metric: bits}}, num_examples(row["signature"]), metric)
                assert made is not None
                assert abs(made.mean() - scores[seed]) < 1e-6
                scores.outcomes[seed] = made.astype(np.int8)
    return found


def differences(one: Scores, other: Scores) -> list[float]:
    return [one[seed] - other[seed] for seed in one if seed in other]


def compared(one: Scores, other: Scores) -> Known:
    """Return the mean difference: over seeds and examples where outcomes are kept, else seeds."""
    return with_interval(difference(one, other))


def difference(one: Scores, other: Scores) -> Estimate:
    """Return the mean difference with its error; see `compared`."""
    seeds = [seed for seed in one if seed in other]
    kept = all(seed in each.outcomes for each in (one, other) for seed in seeds)
    if kept and len(one.data | other.data) == 1 < len(seeds):
        return over_seeds_and_examples(
            np.stack([one.outcomes[seed] - other.outcomes[seed] for seed in seeds])
        )
    return over_seeds(differences(one, other))


def estimated(scores: Scores, bounds: Bounds = UNBOUNDED) -> Known:
    """Return the mean score: over seeds and examples where outcomes are kept, else over seeds."""
    if len(scores.data) == 1 < len(scores) == len(scores.outcomes):
        return with_interval(
            over_seeds_and_examples(np.stack(list(scores.outcomes.values()))), bounds
        )
    return with_interval(over_seeds(list(scores.values())), bounds)


def with_interval(estimate: Estimate, bounds: Bounds = UNBOUNDED) -> Known:
    return Known(estimate.mean, *cut_at(estimate.interval(), bounds))


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
def of_one(study: str) -> frozenset[Quote]:
    """Return what can be quoted of a study alone: rows, and effects of factors."""
    found: set[Quote] = set()
    for (metric, *_), scores in cells(study).items():
        if len(scores) > 1:
            bounds = (0, 1) if metric in SHARES else UNBOUNDED
            found.add(printed(*estimated(scores, bounds)))
        if metric == "test_exact_match" and len(set(scores.values())) == 1:
            numbers = {num_examples(row["signature"]) for row in rows(study)}
            share = next(iter(scores.values()))
            for number in numbers:
                found.add(printed(share, *wilson(share * number, number)))
    for values in effects(study):
        found.add(printed(*with_interval(over_seeds(values))))
    return frozenset(found)


@cache
def of_two(one: str, other: str) -> frozenset[Quote]:
    """Return the differences of each two rows with the same metric and task, of a study or two."""
    alike: dict[tuple[str, str], list[Scores]] = defaultdict(list)
    for (metric, task, _), scores in cells(other).items():
        alike[metric, task].append(scores)
    found: set[Quote] = set()
    for (metric, task, _), scores in cells(one).items():
        for against in alike[metric, task]:
            if scores is not against and len(differences(scores, against)) > 1:
                mean, low, high = compared(scores, against)
                found.update([printed(mean, low, high), printed(-mean, -high, -low)])
    return frozenset(found)


@cache
def of_claims() -> frozenset[Quote]:
    with (ROOT / "docs/claims.csv").open(newline="") as file:
        bounds = [[row[name] for name in ("mean", "low", "high")] for row in csv.DictReader(file)]
    return frozenset(printed(*map(float, each)) for each in bounds if each[1])


def studies_in(text: str) -> list[str]:
    """Return the studies that a text names."""
    names = {study for study in STUDIES if re.search(rf"\b{study}\b", text)}
    begun = re.findall(r"\b([a-z0-9_]+_)\*", text)
    if "leaderboard" in text.lower():
        begun += ["task_", "matched_"]
    if "claims" in text:
        begun.append("claim_")
    return sorted(names | {study for study in STUDIES if study.startswith(tuple(begun))})


def known(text: str) -> Iterator[frozenset[Quote]]:
    """Yield what can be quoted of the studies that a text names, and of each two of them."""
    names = studies_in(text)
    if "claims" in text:
        yield of_claims()
    yield from map(of_one, names)
    for pair in itertools.combinations_with_replacement(names, 2):
        yield of_two(*pair)


# Where a paragraph, an item of a list or a row of a table begins.
BLOCK = re.compile(r"\n\n|^(?=(?:\*|\d+\.|\|) )", re.MULTILINE)


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield each block of a page with the text that names its studies.

    That is the block itself and the paragraphs that its section begins with; on a study's page that
    study and those whose names begin with its own too.
    """
    own = f"{page.stem} {page.stem}_*" if page.parent.name == "studies" else page.stem
    for section in re.split(r"^(?=##+ )", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        parts = BLOCK.split(section)
        lead = itertools.takewhile(lambda part: not re.match(r"[*|]|\d+\.", part), parts)
        above = "\n".join([own, *lead])
        yield from ((part, f"{above}\n{part}") for part in parts)


def unknown(block: str, named: str) -> list[Quote]:
    """Return what a block quotes that the studies it names have not."""
    wanted = quotes(block)
    return [each for each in wanted if not any(each in found for found in known(named))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_score_that_is_quoted_is_in_the_results_of_a_study_named_beside_it(page):
    wrong = {block: found for block, named in blocks(page) if (found := unknown(block, named))}
    assert not wrong, f"{page.name} quotes what no results.csv of the studies it names there gives"


def test_the_pages_quote_many_scores_and_a_wrong_digit_is_seen():
    number = sum(len(quotes(page.read_text())) for page in PAGES)
    assert number > 800
    text = "0.909 [0.903, 0.915] and, as **+0.069 [+0.057, +0.082]**"
    assert unknown(text, "context_routes g2p_attention claims") == []
    wrong = [
        *("0.910 [0.903, 0.915]", "0.909 [0.903, 0.916]", "-0.909 [0.903, 0.915]"),
        *("0.908 [0.903, 0.915]", "0.909 [0.902, 0.915]", "0.909 [0.904, 0.915]"),
    ]
    assert [len(unknown(text, "context_routes g2p_attention claims")) for text in wrong] == [1] * 6
    assert unknown("0.909 [0.903, 0.915]", "rates") == quotes("0.909 [0.903, 0.915]")
