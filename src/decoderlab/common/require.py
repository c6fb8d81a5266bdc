"""Checks of constructor arguments. A message says the value and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


def choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raise ValueError unless `value` is one of `allowed`.

    Example:
        >>> choice("cell", "lsmt", ["gru", "lstm"])
        Traceback (most recent call last):
        ValueError: cell is 'lsmt'; it must be one of gru, lstm. Did you mean lstm?
    """
    if value not in allowed:
        names = ", ".join(allowed)
        raise ValueError(
            f"{name} is {value!r}; it must be one of {names}.{did_you_mean(value, allowed)}"
        )


def given(name: str, value: T | None) -> T:
    """Return a required value; raise ValueError if it is None.

    Example:
        >>> given("the table", None)
        Traceback (most recent call last):
        ValueError: the table is None; it is needed here, so give it
    """
    if value is None:
        raise ValueError(f"{name} is None; it is needed here, so give it")
    return value


def shares(**values: float) -> tuple[float, ...]:
    """Return shares; raise ValueError unless each is above 0 and their sum below 1.

    Example:
        >>> shares(validation_share=0.5, test_share=0.5)
        Traceback (most recent call last):
        ValueError: validation_share + test_share is 1.0; keep it below 1, so that something is ...
    """
    for name, value in values.items():
        positive(name, value)
    if sum(values.values()) >= 1:
        raise ValueError(
            f"{' + '.join(values)} is {sum(values.values())}; keep it below 1, so that something "
            "is left to train on"
        )
    return tuple(values.values())


def subset(name: str, values: Iterable[str], allowed: Sequence[str]) -> frozenset[str]:
    """Return `values` as a set; raise ValueError if a value is not allowed or stands twice."""
    values = list(values)
    for value in values:
        choice(f"an entry of {name}", value, allowed)
    if len(set(values)) < len(values):
        raise ValueError(f"{name} is {values}; name each entry once")
    return frozenset(values)


def at_least(name: str, value: float, minimum: float) -> None:
    """Raise ValueError if `value` is below `minimum`, infinite or not a number.

    Example:
        >>> at_least("hidden_size", 0, 1)
        Traceback (most recent call last):
        ValueError: hidden_size is 0; it must be at least 1
    """
    if not minimum <= value < float("inf"):
        raise ValueError(f"{name} is {value}; it must be at least {minimum}")


def between(name: str, value: float, minimum: float, maximum: float) -> None:
    """Raise ValueError unless minimum <= value <= maximum."""
    if not minimum <= value <= maximum:
        raise ValueError(f"{name} is {value}; it must be between {minimum} and {maximum}")


def positive(name: str, value: float) -> None:
    """Raise ValueError unless 0 < value < infinity."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value}; it must be a positive number")


def ratio(name: str, value: float) -> None:
    """Raise ValueError unless 0 <= value < 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 0 and below 1")


def did_you_mean(value: object, allowed: Iterable[str]) -> str:
    """Return ' Did you mean X?', or nothing if nothing is near."""
    close = get_close_matches(str(value), list(map(str, allowed)), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""
