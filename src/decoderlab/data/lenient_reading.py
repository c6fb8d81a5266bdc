"""Reading a file of which some lines are bad: each is left out, counted and named."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from decoderlab.common.bounded_reading import LINE_BYTES, opened
from decoderlab.common.errors import Invalid
from decoderlab.common.progress import say
from decoderlab.data.reading import DATA_BYTES, reason_of

MAX_NAMED = 10  # bad lines that are said one by one
KEPT = 1000  # bad lines that are remembered


class BadLines:
    """The lines of a file that were left out.

    Args:
        name: what a message calls the file.
        skip: whether to leave bad lines out; if not, the first bad line is an error.
    """

    def __init__(self, name: str, skip: bool) -> None:
        self.name, self.skip, self.number = name, skip, 0
        self.reasons: dict[int, str] = {}  # by the number of the line, of the first ones

    def add(self, line: int, reason: str) -> None:
        """Leave a line out, and say so.

        Raises:
            ValueError: if bad lines are not to be left out.
        """
        if not self.skip:
            raise ValueError(f"{self.name}, line {line}: {reason}")
        self.number += 1
        if len(self.reasons) < KEPT:
            self.reasons[line] = reason
        if self.number <= MAX_NAMED:
            say(f"{self.name}, line {line} is left out: {reason}")

    def close(self) -> None:
        """Say how many there were, where not all were said."""
        if self.number > MAX_NAMED:
            lines = ", ".join(map(str, list(self.reasons)[MAX_NAMED : 2 * MAX_NAMED]))
            say(f"{self.name}: {self.number:,} bad lines are left out in all; the next are {lines}")


def readable_lines(name: str, path: Path, wanted: str, bad: BadLines) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is UTF-8 and not too long.

    Args:
        name: of the setting, for messages.
        path: the file.
        wanted: what the file should be, for messages.
        bad: takes the others.

    Raises:
        ValueError: if the file cannot be read.
    """
    try:
        with opened(path, DATA_BYTES) as file:
            number = 0
            while line := file.readline(LINE_BYTES + 1):
                number += 1
                if len(line) > LINE_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(LINE_BYTES)
                    bad.add(number, f"it has more than {LINE_BYTES:,} bytes")
                    continue
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                try:
                    yield number, line.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    bad.add(number, f"it is not UTF-8 ({error.reason})")
    except Invalid as error:
        raise ValueError(
            f"{name} {path} cannot be read ({reason_of(error)}); give {wanted}"
        ) from error
