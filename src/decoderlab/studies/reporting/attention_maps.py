"""Attention maps that there is something to see on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class AttentionMap(NamedTuple):
    """Where a model looked while it generated an output.

    Args:
        example: of the test split, counted from 0.
        source, target: tokens.
        weights: (T, S).
    """

    example: int
    source: list[str]
    target: list[str]
    weights: np.ndarray


def attention_maps(arrays: Mapping[str, np.ndarray]) -> list[AttentionMap]:
    """Return the maps of a run, without those of a single position, whose weight is always 1.

    Args:
        arrays: of `probes.npz`.
    """
    maps = []
    for index, weights in enumerate(arrays.get("attention", ())):
        source, target = (
            json.loads(str(arrays[f"attention_{side}"][index])) for side in ("source", "target")
        )
        if len(source) > 1:
            shown = weights[: len(target), : len(source)].astype(float)
            maps.append(AttentionMap(index, source, target, shown))
    return maps
