"""Upper limits of settings: what no computer could do is refused before work starts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from decoderlab.common.errors import ConfigError
from decoderlab.config.plain_values import MAX_INT64, short_number

WIDTH = 2**20
# The first pattern that a setting's dotted name is wholly an example of says how large it can be.
LIMITS = (
    (r"run\.threads", 1024),
    (r"run\.num_samples", 100_000),
    (r"trainer\.(devices|num_nodes)", 10_000),
    (r"trainer\.accumulate_grad_batches", 2**20),
    (r"(.+\.)?(beam_width|mbr_samples)", 10_000),
    (r"(.+\.)?exact_steps", 10**8),
    (r"(.+\.)?beam_groups", 1000),
    (r"evaluation\.max_length", 100_000),
    (r"(encoder|decoder)\.(.+\.)?num_layers", 1000),
    (r"(encoder|decoder|training)\.(.+\.)?num_\w+", 10_000),
    (r"decoder\.attention\.(heads|hops)", 1000),
    (r"(encoder|decoder)\.cell\.depth", 10_000),
    (r"(encoder|decoder)\.cell\.width", WIDTH),
    (r"(encoder|decoder|task|run|training)\.(.+\.)?\w*(size|rank)", WIDTH),
    (r"task\.(of\.)*num_(train|validation|test)\w*", 10**8),
    (r"task\.(of\.)*num_values", WIDTH),
    (r"task\.(of\.)*num_\w+", 10_000),
    (r"task\.(of\.)*\w*length\w*", 100_000),
)
# The same of settings that need not be whole: tokens of an output, for each of its target's.
RATIOS = ((r"training\.objective\.length_ratio", 1000.0),)
NAMES = 4096  # of settings, whose limits are kept
MAX_PARAMETERS = 10**11  # 400 GB in float32


def check_bounds(record: Mapping[str, Any]) -> None:
    """Raise ConfigError for a count, width or length that is too large.

    Args:
        record: groups of settings by name, as in a config; see `plain_values` for what they are.
    """
    for name, value in _settings("", record):
        if isinstance(value, int) and abs(value) > (limit := count_limit(name)):
            raise ConfigError(f"{name} is {short_number(value)}; it must be at most {limit:,}")
        if isinstance(value, int | float) and abs(value) > (most := ratio_limit(name)):
            raise ConfigError(f"{name} is {value:g}; it must be at most {most:g}")


def check_parameters(num_parameters: int) -> None:
    """Raise ConfigError for a model that no computer could hold.

    Args:
        num_parameters: of the model, counted without building it.
    """
    if num_parameters > MAX_PARAMETERS:
        raise ConfigError(
            f"the model has {num_parameters:,} parameters; it must have at most "
            f"{MAX_PARAMETERS:,}: take smaller widths (hidden_size, embedding_size) or fewer layers"
        )


@lru_cache(NAMES)
def count_limit(name: str) -> int:
    """Return how large an integer setting can be.

    Example:
        >>> count_limit("run.threads"), count_limit("decoder.hidden_size")
        (1024, 1048576)
        >>> count_limit("seed") == 2**63 - 1
        True
    """
    return next((most for pattern, most in LIMITS if re.fullmatch(pattern, name)), MAX_INT64)


@lru_cache(NAMES)
def ratio_limit(name: str) -> float:
    """Return how large a setting can be that need not be whole; infinite for most."""
    return next((most for pattern, most in RATIOS if re.fullmatch(pattern, name)), math.inf)


def _settings(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping | list | tuple):
        yield name, value
        return
    for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from _settings(f"{name}.{key}".lstrip("."), item)
