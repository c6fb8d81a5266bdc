"""How a score was measured, in a line: scores of one line alone are comparable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

VERSION = "1"


def signature(
    split: str,
    num_examples: int,
    max_length: int,
    fingerprint: str,
    search: str = "greedy",
    scores: Mapping[str, str] | None = None,
) -> str:
    """Return how a score was measured; only scores of one signature are comparable.

    Args:
        split: whose examples were measured.
        num_examples: of it.
        max_length: of an output.
        fingerprint: of the data.
        search: see `Search.signature`.
        scores: see `Task.signatures`; a hash of them is in it.
    """
    digest = hashlib.sha256(json.dumps(scores, sort_keys=True).encode()).hexdigest()
    return (
        f"generation:{search}|max_length:{max_length}|split:{split}|n:{num_examples}"
        f"|data:{fingerprint[:12]}{f'|scores:{digest[:8]}' if scores else ''}|v:{VERSION}"
    )
