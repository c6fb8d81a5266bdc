"""Parts of decoders as conf/decoder/ has them, for tests that build models without a config."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import Any, cast

import pytest
from omegaconf import OmegaConf

from decoderlab.common.folders import conf_dir
from decoderlab.common.part_building import maker


def chosen(group: str, name: str, **settings: Any) -> dict[str, Any]:
    """Return the mapping of a part: that of conf/decoder/GROUP/NAME.yaml, with more settings."""
    return copy.deepcopy(_yaml(group, name)) | settings


@cache
def _yaml(group: str, name: str) -> dict[str, Any]:
    config = OmegaConf.load(conf_dir() / "decoder" / group / f"{name}.yaml")
    return cast(dict[str, Any], OmegaConf.to_container(config))


def part(group: str, name: str, **settings: Any) -> Callable[..., Any]:
    """Return the part itself, as a decoder's constructor takes it."""
    return maker(group, chosen(group, name, **settings))


def bridge(name: str, **settings: Any) -> Callable[..., Any]:
    """Return a bridge."""
    return part("bridge", name, **settings)


def feedback(name: str, **settings: Any) -> Callable[..., Any]:
    """Return a feedback."""
    return part("feedback", name, **settings)


def attention(name: str, **settings: Any) -> Callable[..., Any]:
    """Return attention with a score."""
    return part("attention", name, **settings)


def head(name: str, **settings: Any) -> Callable[..., Any]:
    """Return a head."""
    return part("head", name, **settings)


def some_quick(**levels: Sequence[Any]) -> pytest.MarkDecorator:
    """Parametrize a test by combinations of levels, of which a few are quick and a third are slow.

    The quick ones have every third level of the factor with the most. In the third each level
    meets each level of every other factor. (Of the levels' numbers, which are added up, the other
    factors can make up whatever remains of three.) For a single factor there is `thinned`.
    """
    sizes = [len(of) for of in levels.values()]
    chosen_quick = {tuple(row % size for size in sizes) for row in range(0, max(sizes), 3)}
    cases = []
    for chosen in product(*map(enumerate, levels.values())):
        numbers, values = tuple(n for n, _ in chosen), [value for _, value in chosen]
        quick = numbers in chosen_quick
        if quick or sum(numbers) % 3 == 0:
            marks = () if quick else pytest.mark.slow
            cases.append(pytest.param(*values, marks=marks, id="-".join(map(str, values))))
    return pytest.mark.parametrize(tuple(levels), cases)
