"""How a score was measured, in a line: only scores with the same line are comparable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

VERSION = "1"
# What a signature says beside the search that made the outputs.
MEASURED = ("max_length", "split", "n", "data", "scores", "v", "lengths")
FOLLOW_DATA = ("data", "n", "max_length")


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


def signature_parts(signature: str) -> dict[str, str]:
    """Return what a signature is made of; see `signature`.

    Example:
        >>> signature_parts("generation:beam:3|n:500")
        {'generation': 'beam:3', 'n': '500'}
    """
    return dict(part.split(":", 1) for part in signature.split("|"))


def measured_alike(signatures: Iterable[str]) -> bool:
    """Whether runs of one variant were measured in one way, each on its own data.

    How many examples there are, and how long an output may be, may follow the data.

    Example:
        >>> measured_alike(["generation:greedy|n:5|data:a", "generation:greedy|n:6|data:b"])
        True
        >>> measured_alike(["generation:greedy|n:5|data:a", "generation:greedy|n:6|data:a"])
        False
    """
    runs = [signature_parts(text) for text in signatures]
    ways = {_without(parts, "seed", *FOLLOW_DATA) for parts in runs}
    each = {(parts.get("data"), _without(parts, "seed")) for parts in runs}
    return len(ways) <= 1 and len(each) == len({data for data, _ in each})


def _without(parts: Mapping[str, str], *names: str) -> frozenset[tuple[str, str]]:
    return frozenset(part for part in parts.items() if part[0] not in names)


def without_search(signature: str) -> str:
    """Return a signature without how outputs were searched; with given lengths it stays another.

    Example:
        >>> without_search("generation:beam:3|length_penalty:0.0|max_length:4|n:500")
        'max_length:4|n:500'
    """
    parts = signature_parts(signature)
    return "|".join(f"{name}:{parts[name]}" for name in parts if name in MEASURED)


def num_examples(signature: str) -> int:
    """Return the number of test examples in a signature.

    Example:
        >>> num_examples("generation:greedy|max_length:4|split:test|n:500|data:718a|v:1")
        500
    """
    return int(signature_parts(signature)["n"])
