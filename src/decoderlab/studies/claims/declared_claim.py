"""The declaration of a published claim: `conf/claim/NAME.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from decoderlab.common import require
from decoderlab.common.bounded_yaml import read_yaml
from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import conf_dir
from decoderlab.common.require import did_you_mean
from decoderlab.config.short_forms import from_short_form

EXPECTS = ("value", "higher", "lower", "equal")
READ = ("source", "quotation", "memory")


@dataclass(frozen=True, kw_only=True)
class ClaimSource:
    """Where a claim was published.

    Args:
        paper: authors, year, title, venue.
        where: section, table, figure or page.
        url: of the paper or page.
        read: whether the statement was read in the `source` itself, in a `quotation` elsewhere, or
            is from `memory`; the last can never be reproduced.

    Raises:
        ValueError: for another way of reading.
    """

    paper: str
    where: str
    url: str
    read: str

    def __post_init__(self) -> None:
        require.choice("source.read", self.read, READ)


@dataclass(frozen=True, kw_only=True)
class PublishedNumber:
    """The number that was published.

    Args:
        value: of a row, or of the difference that the terms measure.
        unit: where it is another than that of the study's metric; empty for the same.
        deviation: sample standard deviation over the published runs; null where none is given.
        runs: how many there were, 2 or more; null where it is not known.

    Raises:
        ValueError: for a deviation without the number of runs, or a number out of range.
    """

    value: float
    unit: str = ""
    deviation: float | None = None
    runs: int | None = None

    def __post_init__(self) -> None:
        if self.runs is not None:
            require.at_least("published.runs", self.runs, 1)
        if self.deviation is None:
            return
        require.positive("published.deviation", self.deviation)
        if self.runs is None or self.runs < 2:
            raise ValueError(
                f"published.runs is {self.runs}, but published.deviation is given; give the number "
                "of runs that it is of, 2 or more"
            )


@dataclass(frozen=True, kw_only=True)
class Term:
    """A score that counts for a claim.

    Args:
        row: of the study's table.
        task: column of the table; null where there is only one.
        metric: test metric of the study; null for the claim's.
        weight: what the score is multiplied by; -1 to subtract it.
    """

    row: str
    task: str | None = None
    metric: str | None = None
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published claim, how it is measured here, and what would bear it out.

    What is measured is, seed by seed, the weighted sum of scores of one study: a row for a value,
    the difference of two for a direction, four terms for how one difference depends on another.

    Args:
        name: of its YAML.
        number: on the page, which lists the claims by it.
        statement: what was claimed, in a sentence.
        source: see `ClaimSource`.
        expects: `value`: the published one, within the tolerance. `higher`, `lower`: the sum is
            above or below 0. `equal`: it is 0, within the tolerance.
        study: that measures it.
        metric: test metric of that study.
        terms: what is added up, see `Term`.
        minutes: that the study takes on two cores, roughly.
        differs: what is not as in the original, a sentence each.
        published: see `PublishedNumber`; null for a direction without a number.
        tolerance: how far from the value, or from 0, counts as the same; above 0. Of values and
            equalities only.

    Raises:
        ValueError: for an unknown expectation, terms that measure nothing, a value without a
            number, or a tolerance where none belongs.
    """

    name: str
    number: int
    statement: str
    source: ClaimSource
    expects: str
    study: str
    metric: str
    terms: list[Term]
    minutes: float
    differs: list[str]
    published: PublishedNumber | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        require.choice("expects", self.expects, EXPECTS)
        require.at_least("number", self.number, 1)
        require.positive("minutes", self.minutes)
        if not self.terms or not all(term.weight for term in self.terms):
            raise ValueError("terms is empty, or has a weight of 0; name the scores that count")
        total = sum(term.weight for term in self.terms)
        if self.expects == "value" and self.published is None:
            raise ValueError("expects is 'value', but published is not given; give its value")
        if self.expects != "value" and abs(total) > 1e-9:
            raise ValueError(
                f"the weights of terms add up to {total:g}; a difference has weights that add up "
                "to 0, such as 1 and -1"
            )
        if self.directed == (self.tolerance is not None):
            wrong = "is given for a direction; leave it out" if self.directed else "is missing"
            raise ValueError(f"tolerance {wrong}")
        if self.tolerance is not None:
            require.positive("tolerance", self.tolerance)

    @property
    def directed(self) -> bool:
        """Whether it is a direction, which is corrected for the number of directions."""
        return self.expects in ("higher", "lower")

    @property
    def command(self) -> str:
        """What runs it again and gives its verdict."""
        return f"decoderlab-claims {self.name}"


def read_claim(path: Path) -> Claim:
    """Return the claim of a YAML.

    Args:
        path: of the file; its name is the claim's.

    Raises:
        ConfigError: for a YAML that cannot be read, and a setting that is unknown, missing or out
            of range.
    """
    settings = read_yaml(path)
    try:
        return _claim(path.stem, settings)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _claim(name: str, settings: Mapping[str, Any]) -> Claim:
    values = dict(settings)
    for key, kind in (("source", ClaimSource), ("published", PublishedNumber)):
        if values.get(key) is not None:
            values[key] = from_short_form(key, kind, values[key])
    terms = values.get("terms")
    if not isinstance(terms, list):
        raise ValueError(f"terms is {terms!r:.100}; give a list of mappings, each with a row")
    values["terms"] = [
        from_short_form(f"terms[{index}]", Term, term) for index, term in enumerate(terms)
    ]
    if "name" in values:
        known = [field.name for field in fields(Claim) if field.name != "name"]
        raise ValueError(f"name is not a setting: it is that of the file; there are {known}")
    return from_short_form("claim", Claim, values | {"name": name})


def all_claims() -> dict[str, Claim]:
    """Return the shipped claims by name, in the order of their numbers.

    Raises:
        ConfigError: see `read_claim`; and if two have the same number.
    """
    claims = sorted(
        map(read_claim, (conf_dir() / "claim").glob("*.yaml")), key=lambda claim: claim.number
    )
    by_number: dict[int, Claim] = {}
    for claim in claims:
        if claim.number in by_number:
            raise ConfigError(
                f"the claims {by_number[claim.number].name} and {claim.name} have the same number, "
                f"{claim.number}; give each its own"
            )
        by_number[claim.number] = claim
    return {claim.name: claim for claim in claims}


def chosen_claims(names: Sequence[str], claims: Mapping[str, Claim]) -> list[Claim]:
    """Return the claims of these names, all of them for none.

    Args:
        names: that were given.
        claims: all that there are, by name.

    Raises:
        ConfigError: for an unknown name, with the known ones.
    """
    for name in names:
        if name not in claims:
            raise ConfigError(
                f"there is no claim {name!r}; there are {', '.join(claims)}."
                + did_you_mean(name, claims)
            )
    return [claims[name] for name in names or claims]
