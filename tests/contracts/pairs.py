"""Encoders and decoders built from every YAML, small, and the pairs that make no sense."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from decoderlab.common.part_building import maker
from decoderlab.config.run_config import RunConfig
from decoderlab.contract import EncoderShape, ImageSpace, Space, TokenSpace
from tests.conftest import composed, small, variants

SOURCE, TARGET = TokenSpace(11), TokenSpace(9)
IMAGES = ImageSpace(channels=2, height=8, width=8)
# Why an encoder cannot work with a task, whatever the decoder. Strict: each of these is refused
# with this message, and every encoder works with every decoder on the other task.
REFUSED = {("image_cnn", "echo"): "the encoder reads images"} | {
    (name, "shapes"): "the sources are images"
    for name in variants("encoder")
    if name != "image_cnn"
}


def all_pairs() -> list[tuple[str, str]]:
    return [
        (encoder, decoder) for encoder in variants("encoder") for decoder in variants("decoder")
    ]


def task_of(encoder: str) -> str:
    """Return the task that an encoder can read."""
    return "echo" if (encoder, "shapes") in REFUSED else "shapes"


def settings(group: str, name: str, *overrides: str) -> tuple[Any, dict[str, Any]]:
    """Return the class of a variant, and the settings of a small one."""
    made = _made(group, name, *overrides)
    return made.func, dict(made.keywords)


@cache
def _made(group: str, name: str, *overrides: str) -> partial:
    config = RunConfig.from_composed(composed(*small(group, name), *overrides))
    return maker(group, getattr(config, group).to_dict())


def source_space(encoder: str) -> Space:
    """Return what an encoder can read."""
    return IMAGES if encoder == "image_cnn" else SOURCE


@cache
def shape_of(encoder: str) -> EncoderShape:
    """Return what a small encoder offers a decoder."""
    make, chosen = settings("encoder", encoder)
    return make(source_space=source_space(encoder), **chosen).shape


@cache
def of_each_shape() -> dict[EncoderShape, str]:
    """Return the first encoder of each shape, which is all that a decoder knows of them."""
    return {shape_of(encoder): encoder for encoder in reversed(variants("encoder"))}
