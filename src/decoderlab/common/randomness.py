"""Named random streams: the same seed and name give the same numbers, whatever else was drawn.

A single global seed does not pair two variants: one layer more in one of them shifts every draw
that follows, its batch order included. Each purpose here has a stream of its own, so that all
variants of a seed start from the same encoder and see the same batches in the same order.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

STREAMS = (
    "data",
    "init",
    "order",
    "dropout",
    "feedback",
    "objective",
    "decoding",
    "statistics",
    "tuning",
)


def stream_seed(seed: int, stream: str, *keys: int | str) -> int:
    """Return a 63-bit seed for one stream of one run.

    Args:
        seed: the run's seed; 0 is as good as any other.
        stream: one of `STREAMS`.
        keys: what the stream is divided by: an epoch, a step, a parameter's name.

    Raises:
        ValueError: if the stream is not one of `STREAMS`.

    Example:
        >>> stream_seed(0, "order", 1) == stream_seed(0, "order", 1)
        True
        >>> stream_seed(0, "order", 1) == stream_seed(0, "order", 2)
        False
    """
    if stream not in STREAMS:
        raise ValueError(f"stream is {stream!r}; it must be one of {', '.join(STREAMS)}")
    text = "/".join(map(str, (seed, stream, *keys)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, stream: str, *keys: int | str) -> np.random.Generator:
    """Return a NumPy generator at the start of a stream."""
    return np.random.default_rng(stream_seed(seed, stream, *keys))


def torch_generator(seed: int, stream: str, *keys: int | str) -> torch.Generator:
    """Return a CPU torch generator at the start of a stream."""
    return torch.Generator().manual_seed(stream_seed(seed, stream, *keys))


def seed_process(seed: int, *, cuda: bool = False) -> None:
    """Seed the generators that all code of a process shares: torch's, NumPy's and Python's.

    Ours draws from streams of its own or from torch's; what a user's class draws from the others is
    the same again too.

    Args:
        seed: of a stream.
        cuda: whether the one of the GPU in use is seeded too.
    """
    # torch.manual_seed notes a stack trace for each missing device: as long as a small update.
    torch.default_generator.manual_seed(seed)
    if cuda:
        torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the one that is shared
    random.seed(seed)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put the generators that a process shares back to where they were, those of GPUs aside."""
    before, state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(before)
        np.random.set_state(state)  # noqa: NPY002
