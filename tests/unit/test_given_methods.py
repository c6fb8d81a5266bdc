"""Classes that were given methods from elsewhere, in planning, which looks at each class once."""

from __future__ import annotations

import sys
import types

import pytest

from decoderlab.common.errors import ConfigError
from decoderlab.config import given_methods
from decoderlab.config.code_identity import foreign_code, looking_once


@pytest.fixture
def walks(monkeypatch) -> list[type]:
    """Note which attributes are looked through."""
    seen = []
    walk = given_methods._functions_in
    monkeypatch.setattr(
        given_methods,
        "_functions_in",
        lambda value, known: seen.append(value) or walk(value, known),
    )
    return seen


def given_by_a_stranger(monkeypatch) -> type:
    """Return a class whose method is of a module that no id covers."""
    stranger = types.ModuleType("stranger")
    monkeypatch.setitem(sys.modules, "stranger", stranger)
    exec("def value(self):\n    return 2\n", stranger.__dict__)
    return type("Given", (), {"__module__": __name__, "value": stranger.value})


def test_a_class_is_looked_through_once_while_runs_are_named(walks):
    kind = type("Own", (), {"value": lambda self: 1})
    with looking_once():
        foreign_code(kind)
        once = len(walks)
        foreign_code(kind)
        assert len(walks) == once > 0
    foreign_code(kind)
    assert len(walks) == 2 * once, "a run that begins looks again"


def test_a_class_that_is_refused_is_refused_each_time(monkeypatch):
    kind = given_by_a_stranger(monkeypatch)
    with looking_once():
        for _ in range(2):
            with pytest.raises(ConfigError, match="was set to a function of stranger"):
                foreign_code(kind)


def test_what_is_given_between_two_plans_is_seen(monkeypatch):
    kind = type("Own", (), {"__module__": __name__, "value": lambda self: 1})
    with looking_once():
        foreign_code(kind)
    monkeypatch.setattr(kind, "value", given_by_a_stranger(monkeypatch).value)
    with looking_once(), pytest.raises(ConfigError, match="stranger"):
        foreign_code(kind)
