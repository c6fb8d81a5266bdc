"""The search for garbage, which waits while much is made that stays."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from decoderlab.common.process import without_collection


@without_collection()
def broken_off(seen: list[bool]) -> None:
    """Note whether garbage is sought, also after another wait, and fail."""
    with without_collection():
        seen.append(gc.isenabled())
    seen.append(gc.isenabled())
    raise ValueError("broken off")


def test_the_search_for_garbage_waits_and_goes_on():
    seen: list[bool] = []
    with pytest.raises(ValueError, match="broken off"):
        broken_off(seen)
    assert (seen, gc.isenabled()) == ([False, False], True)


ENDING = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count()))
import decoderlab.common.process
gc.freeze()
"""


def test_nothing_is_frozen_any_more_when_python_ends():
    done = subprocess.run([sys.executable, "-c", ENDING], check=True, capture_output=True)
    assert done.stdout.split() == [b"0"]
