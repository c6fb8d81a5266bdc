"""The 0/1 outcomes of examples as a record keeps them: a bit each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from decoderlab.metrics.metric_score import EXACT_MATCH

CLOSE = 1e-6  # of a mean to the score, which a metric may have summed in single precision


def pack(outcomes: np.ndarray) -> str:
    """Return outcomes, (N,) bool: a bit an example, packed and in hexadecimal; see `unpack`.

    Example:
        >>> pack(np.array([True, False]))
        '80'
    """
    return np.packbits(outcomes).tobytes().hex()


def unpack(
    counts: Mapping[str, Any], number: int, score: str = EXACT_MATCH.name
) -> np.ndarray | None:
    """Return a score's outcomes of a result, (number,) bool; None if there are none.

    Args:
        counts: of the result's `probes`: `correct` are the outcomes of exact match, `outcomes` has
            those of further scores by name.
        number: of the test examples.
        score: its name.
    """
    known = counts.get("correct") if score == EXACT_MATCH.name else None
    packed = counts.get("outcomes", {}).get(score, known)
    if packed is None:
        return None
    bits = np.frombuffer(bytes.fromhex(packed), dtype=np.uint8)
    if number > 8 * len(bits):  # of other examples than the scores
        return None
    return np.unpackbits(bits, count=number).astype(bool)
