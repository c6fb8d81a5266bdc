"""Encoders and decoders built from every YAML, small, and the pairs that make no sense."""

from __future__ import annotations

from typing import Any

from decoderlab.config import find_target, resolve
from decoderlab.contract import EncoderShape, ImageSpace, Space, TokenSpace
from tests.conftest import composed, small, variants

SOURCE, TARGET = TokenSpace(11), TokenSpace(9)
IMAGES = ImageSpace(channels=2, height=8, width=8)
# Why a pair of YAMLs cannot work with sequences as sources, by encoder and decoder, `*` for all.
# Strict: each of these must be refused with this message, and no other pair may be.
REFUSED = {("image_cnn", "*"): "reads images"}


def all_pairs() -> list[tuple[str, str]]:
    return [
        (encoder, decoder) for encoder in variants("encoder") for decoder in variants("decoder")
    ]


def refusal(encoder: str, decoder: str) -> str | None:
    """Return what the message of a refused pair says, None for a pair that works."""
    return REFUSED.get((encoder, decoder), REFUSED.get((encoder, "*"), REFUSED.get(("*", decoder))))


def settings(group: str, name: str, *overrides: str) -> tuple[Any, dict[str, Any]]:
    """Return the class of a variant, and the settings of a small one."""
    config = resolve(composed(*small(group, name), *overrides))[group]
    return find_target(group, config.pop("_target_")), config


def source_space(encoder: str) -> Space:
    """Return what an encoder can read."""
    return IMAGES if encoder == "image_cnn" else SOURCE


def shape_of(encoder: str) -> EncoderShape:
    """Return what a small encoder offers a decoder."""
    make, chosen = settings("encoder", encoder)
    return make(source_space=source_space(encoder), **chosen).shape
