"""What a setting can be: null, true or false, a finite number, a text, lists and mappings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from decoderlab.common.bounded_reading import MAX_DEPTH, has_half_characters
from decoderlab.common.errors import ConfigError

MAX_INT64 = 2**63 - 1  # torch counts in 64 bits
SETTINGS = 100_000


def check_plain(config: Mapping[Any, Any]) -> None:
    """Raise ConfigError for a value, anywhere in a config, that cannot be written and read again.

    Args:
        config: with interpolations resolved.
    """
    todo: list[tuple[str, Any, int]] = [("", config, 0)]
    seen = 0
    while todo:
        name, value, depth = todo.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > SETTINGS:
            raise ConfigError(
                f"{name:.80} is nested deeper than {MAX_DEPTH} levels, or there are more than "
                f"{SETTINGS:,} settings; give fewer"
            )
        if isinstance(value, Mapping):
            for key, item in value.items():
                if not isinstance(key, str):
                    raise ConfigError(
                        f"{name or 'the config'} has the key {key!r} ({type(key).__name__}); keys "
                        "are texts: put it in quotes"
                    )
                _check_text(f"the key {ascii(key)[:80]}", key)
                todo.append((f"{name}.{key}".lstrip("."), item, depth + 1))
        elif isinstance(value, list | tuple):
            todo += [(f"{name}[{index}]", item, depth + 1) for index, item in enumerate(value)]
        else:
            _check_scalar(name, value)


def _check_scalar(name: str, value: Any) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        _check_text(f"{name} is {ascii(value)[:80]}, which", value)
    elif isinstance(value, int):
        if abs(value) > MAX_INT64:
            raise ConfigError(f"{name} is {short_number(value)}; it must be at most {MAX_INT64:,}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(f"{name} is {value}; give a finite number, or null for none")
    else:
        kind = type(value).__name__
        raise ConfigError(f"{name} is {value!r:.80} ({kind}); give a number or a text in quotes")


def short_number(number: int) -> str:
    """Return an integer of any size for a message.

    Example:
        >>> short_number(1000), short_number(10**400)
        ('1,000', 'a number of 1,329 bits')
    """
    shown = abs(number) < 10**20
    return f"{number:,}" if shown else f"a number of {number.bit_length():,} bits"


def _check_text(what: str, text: str) -> None:
    if "\0" in text or has_half_characters(text):
        raise ConfigError(f"{what} has a zero byte or half a character; write it in UTF-8")
