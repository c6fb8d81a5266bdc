"""The page of all claims, and the same as CSV."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from decoderlab.records.run_folder import write_text
from decoderlab.studies.analysis.results import as_csv
from decoderlab.studies.claims.copied_results import committed_tables
from decoderlab.studies.claims.declared_claim import Claim
from decoderlab.studies.claims.judgement import (
    NOT_RUN,
    WORDS,
    Judgement,
    judge_all,
    reproduced_by_chance,
)
from decoderlab.studies.reporting import render
from decoderlab.studies.reporting.table_texts import interval_text, p_text

EXPECTED = {"higher": "above 0", "lower": "below 0", "equal": "0"}


def write_page(folder: Path, claims: Sequence[Claim]) -> list[Judgement]:
    """Write `claims.md` and `claims.csv` from the results that a folder has.

    Args:
        folder: with `studies/STUDY/results.csv`.
        claims: of the page.

    Returns:
        What our runs say of each claim.

    Raises:
        Unreadable: for results that cannot be read now; nothing is written then.
    """
    judgements = judge_all(claims, committed_tables(folder, claims))
    write_text(folder / "claims.md", claims_text(judgements))
    write_text(folder / "claims.csv", claims_csv(judgements))
    return judgements


def claims_text(judgements: Sequence[Judgement]) -> str:
    """Return the page as Markdown; the same results give the same bytes."""
    counts = Counter(judgement.word for judgement in judgements)
    return render.markdown_page(
        "claims.md.jinja",
        judgements=judgements,
        counts=[(word, counts[word]) for word in WORDS if counts[word]],
        directions=sum(judgement.claim.directed for judgement in judgements),
        values=sum(
            judgement.claim.expects == "value" and judgement.word != NOT_RUN
            for judgement in judgements
        ),
        by_chance=reproduced_by_chance(judgements),
        published_text=published_text,
        ours_text=ours_text,
        measured_text=measured_text,
        p_text=lambda p: p_text(p, bare=True),
        known=lambda number: not math.isnan(number),
    )


def published_text(claim: Claim) -> str:
    """Return the published number with its spread, or the direction.

    Example:
        >>> from decoderlab.studies.claims.declared_claim import PublishedNumber, ClaimSource, Term
        >>> claim = Claim(
        ...     name="a", number=1, statement="", source=ClaimSource(paper="", where="", url="",
        ...     read="source"), expects="higher", study="s", metric="bleu", minutes=1, differs=[],
        ...     terms=[Term(row="b"), Term(row="c", weight=-1)],
        ...     published=PublishedNumber(value=1.59, unit="BLEU"))
        >>> published_text(claim)
        'above 0 (+1.59 BLEU)'
    """
    published, number = claim.published, ""
    if published is not None:
        sign = "+" if claim.expects != "value" and published.value > 0 else ""
        details = [f"{sign}{published.value:g} {published.unit}".strip()]
        if published.deviation is not None:
            details.append(f"SD {published.deviation:g}")
        if published.runs is not None:
            details.append(f"{published.runs} run{'s' if published.runs > 1 else ''}")
        number = ", ".join(details)
    if claim.expects == "value":
        return f"{number}; tolerance {claim.tolerance:g}"
    expected = EXPECTED[claim.expects]
    if claim.expects == "equal":
        expected += f", tolerance {claim.tolerance:g}"
    return expected + (f" ({number})" if number else "")


def ours_text(judgement: Judgement) -> str:
    """Return our mean with its interval over seeds."""
    if judgement.word == NOT_RUN:
        return "–"
    sign = "+" if judgement.claim.expects != "value" and judgement.mean > 0 else ""
    if math.isnan(judgement.interval.low):
        return f"{sign}{judgement.mean:.3f} in every seed"
    return f"{sign}{judgement.mean:.3f} {interval_text(judgement.interval)}"


def measured_text(claim: Claim) -> str:
    """Return what is measured, as a sum of rows."""
    parts: list[str] = []
    for term in claim.terms:
        size = abs(term.weight)
        sign = "-" if term.weight < 0 else "+" if parts else ""
        factor = "" if size == 1 else f"{size:g} x "
        on = f" on {term.task}" if term.task is not None else ""
        of = f" ({term.metric})" if term.metric is not None else ""
        parts.append(f"{sign} {factor}{term.row}{on}{of}".strip())
    return " ".join(parts)


def claims_csv(judgements: Sequence[Judgement]) -> str:
    """Return the claims as CSV, a row each."""
    rows = []
    for judgement in judgements:
        claim = judgement.claim
        rows.append(
            {
                "number": claim.number,
                "claim": claim.name,
                "statement": claim.statement,
                "paper": claim.source.paper,
                "where": claim.source.where,
                "url": claim.source.url,
                "read": claim.source.read,
                "expects": claim.expects,
                "published": None if claim.published is None else claim.published.value,
                "tolerance": claim.tolerance,
                "study": claim.study,
                "metric": claim.metric,
                "measured": measured_text(claim),
                "mean": round(judgement.mean, 6),
                "low": round(judgement.interval.low, 6),
                "high": round(judgement.interval.high, 6),
                "seeds": judgement.seeds,
                "failed": judgement.failed,
                "p_holm": round(judgement.p, 6),
                "verdict": judgement.word,
                "reason": judgement.reason,
                "command": claim.command,
            }
        )
    numbers = dict.fromkeys(("published", "tolerance"), float)
    return as_csv(pd.DataFrame(rows).astype(numbers))
