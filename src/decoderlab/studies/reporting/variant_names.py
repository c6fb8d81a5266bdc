"""Names of variants where there is little room: in figures, in a sentence, in a paper."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Sequence


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return names in which a setting has no path, where they stay different so.

    Example:
        >>> short_names(["encoder.size=4 luong", "encoder.size=8 luong"])["encoder.size=4 luong"]
        'size=4 luong'
        >>> short_names(["encoder.size=4", "decoder.size=4"])["encoder.size=4"]
        'encoder.size=4'
    """
    short = {name: re.sub(r"(?<![\w.])(?:\w+\.)+(?=\w+=)", "", name) for name in names}
    return short if len(set(short.values())) == len(names) else {name: name for name in names}


def name_lines(name: str, room: int, last_room: int) -> list[str]:
    """Return a name in at most two lines, broken between settings; what is too long ends in `…`.

    Args:
        name: to show.
        room: letters of a line.
        last_room: letters of the last line, beside which something stands.

    Example:
        >>> name_lines("size=4 luong", 20, 14), name_lines("size=4 attention=general", 20, 18)
        (['size=4 luong'], ['size=4', 'attention=general'])
        >>> name_lines("x" * 30, 20, 8)
        ['xxxxxxx…']
    """
    if len(name) <= last_room:
        return [name]
    lines = textwrap.wrap(name, room, break_long_words=False, break_on_hyphens=False)
    if len(lines) == 1 and " " in name:  # it is the last line that is too short
        lines = list(name.rsplit(" ", 1))
    first, last = lines[0], " ".join(lines[1:])
    return [*([_cut(first, room)] if last else []), _cut(last or first, last_room)]


def broken_name(name: str, room: int) -> list[str]:
    """Return all of a name in lines, broken where words of code may be.

    Args:
        name: to show.
        room: letters of a line; a longer word stays whole.

    Example:
        >>> broken_name("size=300 repeat_vector", 16), broken_name("initial_state no_feedback", 16)
        (['size=300', 'repeat_vector'], ['initial_state', 'no_feedback'])
    """
    lines, words = [""], re.split(r"(?<= )(?=\S)", name)
    parts = [
        re.split(r"(?<=[_=./,:-])(?=\S)", word) if len(word.rstrip()) > room else [word]
        for word in words
    ]
    for piece in itertools.chain(*parts):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > room:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"
