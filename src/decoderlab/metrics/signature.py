"""How a score was measured, in a line: only scores with the same line are comparable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

VERSION = "1"
# What a signature says beside the search that made the outputs.
MEASURED = ("max_length", "split", "n", "data", "scores", "v", "lengths")


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


def parts_without(signature: str, *names: str) -> frozenset[tuple[str, str]]:
    """Return what a signature is made of, without some parts, to be compared.

    Example:
        >>> sorted(parts_without("generation:greedy|n:500|data:718a", "data"))
        [('generation', 'greedy'), ('n', '500')]
    """
    return frozenset(part for part in signature_parts(signature).items() if part[0] not in names)


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
