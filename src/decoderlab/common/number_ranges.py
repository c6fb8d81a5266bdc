"""Whole numbers in short, such as the seeds of a study."""

from __future__ import annotations

from collections.abc import Iterable


def ranges_text(numbers: Iterable[int]) -> str:
    """Return whole numbers in short: three or more consecutive numbers as a range.

    Example:
        >>> ranges_text([0, 1, 2, 3, 7]), ranges_text([1, 0]), ranges_text([])
        ('0-3, 7', '0, 1', '')
    """
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(
        f"{part[0]}-{part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts
    )
