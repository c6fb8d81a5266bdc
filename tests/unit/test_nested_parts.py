"""A part that is a setting of a part: built where the constructor says so, else refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from decoderlab.common.errors import ConfigError
from decoderlab.common.part_building import maker

GIVEN = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}


class Annotated:
    def __init__(self, *, inner: Callable[..., nn.Module] | None = None) -> None:
        self.inner = None if inner is None else inner()


class Mapped:
    def __init__(self, *, inner: dict[str, Any] | None = None) -> None:
        self.inner = inner


class Unannotated:
    def __init__(self, *, inner=None):
        self.inner = inner


class Instance:
    def __init__(self, *, inner: nn.Module | None = None) -> None:
        self.inner = inner


def made(kind: type, given: Any) -> Any:
    return maker("decoder.mine", {"_target_": f"{__name__}.{kind.__name__}", "inner": given})()


def test_a_class_that_is_wanted_is_handed_over_to_be_called():
    assert isinstance(made(Annotated, GIVEN).inner, nn.Linear)
    assert made(Annotated, None).inner is None


def test_settings_that_are_wanted_stay_settings():
    assert made(Mapped, GIVEN).inner == GIVEN


@pytest.mark.parametrize("kind", [Unannotated, Instance])
def test_a_class_that_nobody_wants_is_refused_with_what_to_write(kind):
    with pytest.raises(ConfigError, match=r"decoder.mine.inner names the class torch.nn.Linear"):
        made(kind, GIVEN)
    assert made(kind, None).inner is None
    assert made(kind, {"a": 1}).inner == {"a": 1}
