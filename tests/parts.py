"""Parts of decoders as conf/decoder/ has them, for tests that build models without a config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import OmegaConf

from decoderlab.common.completion import maker
from decoderlab.common.folders import conf_dir


def chosen(group: str, name: str, **settings: Any) -> dict[str, Any]:
    """Return the mapping of a part: that of conf/decoder/GROUP/NAME.yaml, with more settings."""
    config = OmegaConf.load(conf_dir() / "decoder" / group / f"{name}.yaml")
    return {**OmegaConf.to_container(config), **settings}


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
