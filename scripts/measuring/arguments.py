"""Arguments of the scripts: what is wrong is one line, said before any work."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is a script's docstring."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def at_least(least: int) -> Callable[[str], int]:
    """Return what reads a whole number that is not below another."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {least} or more")
        return int(text)

    return read


positive = at_least(1)


def existing_file(text: str) -> Path:
    """Return the path of a file that is there."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no file")
    return Path(text)


def own_folder(text: str) -> Path:
    """Return the path of a folder, which is made if it is not there."""
    try:
        Path(text).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"{text!r} is no folder to write to: {error.strerror}"
        raise argparse.ArgumentTypeError(reason) from error
    return Path(text)
