"""The shipped claims: declared whole, measured by a study of ours, and on the committed page."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from decoderlab.config.run_config import RunConfig
from decoderlab.studies.claims.claims_page import claims_csv, claims_text
from decoderlab.studies.claims.copied_results import committed_tables
from decoderlab.studies.claims.declared_claim import all_claims
from decoderlab.studies.claims.judgement import judge_all
from decoderlab.studies.design.grid import grid
from tests.conftest import composed

DOCS = Path(__file__).parents[2] / "docs"
CLAIMS = all_claims()


@cache
def rows(study: str) -> set[tuple[str, str]]:
    """Return the rows of a study, each with each of its seeds."""
    config = RunConfig.from_composed(composed(f"study={study}"))
    cells = grid(config.study, {}, [], OverridesParser.create().parse_overrides)
    names = (
        (cell.variant or " ".join(v for k, v in cell.levels.items() if k != "task"), cell)
        for cell in cells
    )
    return {(name, cell.given["seed"]) for name, cell in names}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_measured_by_rows_of_its_study_with_seeds_enough(name):
    claim = CLAIMS[name]
    assert claim.statement.endswith(".")
    assert claim.differs
    for term in claim.terms:
        assert len([1 for row, _ in rows(claim.study) if row == term.row]) >= 6, term


def test_the_committed_page_is_what_the_committed_results_give():
    claims = list(CLAIMS.values())
    judgements = judge_all(claims, committed_tables(DOCS, claims))
    assert (DOCS / "claims.md").read_text() == claims_text(judgements)
    assert (DOCS / "claims.csv").read_text() == claims_csv(judgements)


def test_the_readme_shows_the_count_and_rows_of_the_page():
    page, readme = (DOCS / "claims.md").read_text(), (DOCS.parent / "README.md").read_text()
    (counts,) = re.findall(r"^\*\*(\d.*)\.\*\*$", page, re.MULTILINE)
    assert f"{counts}. " in " ".join(readme.split())
    shown = re.findall(r"\(docs/claims\.md#(\w+)\) \| (.*)$", readme, re.MULTILINE)
    assert len(shown) == 3
    for name, cells in shown:
        assert re.findall(rf"\(#{name}\) \| (.*)$", page, re.MULTILINE) == [cells]
