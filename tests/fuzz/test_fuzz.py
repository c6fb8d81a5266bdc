"""Random settings, files and folders: no traceback, no silent change, no write or code elsewhere.

A case is made from a seed and its number, which its message names: to see one again,
`FUZZ_SEED=SEED python -m tests.fuzz.once KIND NUMBER`. `make test-slow` runs every fourth fifty
of them, `FUZZ_CASES=all make test-slow` all.
"""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from random import Random

import pytest

from tests.drawing import no_drawing
from tests.fuzz import cases, hostile, records

SEED = int(os.environ.get("FUZZ_SEED", "0"))
CHUNK = 50
DRAWN = 100  # most of the time of a report is that of its figures: so many cases draw them once
STEP = CHUNK if os.environ.get("FUZZ_CASES") == "all" else 4 * CHUNK
# What the slow tests do of each kind, and what the quick one does.
SETTINGS = {"settings": 2000, "study": 500, "group": 150, "table": 100}
FOLDERS = {"damaged": 1000, "opened": 500}
QUICK = {"settings": 8, "study": 3, "group": 2, "table": 2}
QUICK_FOLDERS = 1
STARTED = 10_001  # quick cases are others than the slow ones


def chunks(numbers: dict[str, int]) -> list[tuple[str, int]]:
    return [(kind, start) for kind, number in numbers.items() for start in range(0, number, STEP)]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "start"), chunks(SETTINGS))
def test_settings(kind, start, tmp_path):
    print(f"seed {SEED}")
    assert cases.failures(kind, SEED, range(start, start + CHUNK), tmp_path) == []


@pytest.mark.parametrize("kind", list(QUICK))
def test_some_settings(kind, tmp_path):
    print(f"seed {SEED}")
    assert cases.failures(kind, SEED, range(STARTED, STARTED + QUICK[kind]), tmp_path) == []


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    with no_drawing():
        return records.Small.made(tmp_path_factory.mktemp("fuzz") / "small")


def of_folders(kind: str, numbers: range, small: records.Small, below: Path) -> list[str]:
    print(f"seed {SEED}")
    check = {"damaged": records.damaged, "opened": hostile.opened}[kind]
    found = []
    for number in numbers:
        folder = below / f"{kind}-{number}"
        folder.mkdir()
        drawn = number % DRAWN == 0
        with nullcontext() if drawn else no_drawing():
            wrong = check(small, Random(f"{kind} {SEED} {number}"), folder, drawn)
        if wrong:
            found.append(f"{kind}, seed {SEED}, case {number}: {wrong}")
        shutil.rmtree(folder)
        shutil.rmtree(below / f".{folder.name}.printed", ignore_errors=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "start"), chunks(FOLDERS))
def test_folders(kind, start, small, tmp_path):
    assert of_folders(kind, range(start, start + CHUNK), small, tmp_path) == []


@pytest.mark.parametrize("kind", list(FOLDERS))
def test_some_folders(kind, small, tmp_path):
    numbers = range(STARTED, STARTED + QUICK_FOLDERS)
    assert of_folders(kind, numbers, small, tmp_path) == []


def test_the_watch_sees_what_it_should(tmp_path):
    """Every check fails where it should: a write, a process, an import, a traceback, a hang."""
    folder, elsewhere = tmp_path / "case", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "canary_module.py").write_text("")

    def writes() -> int:
        (elsewhere / "x").write_text("x")
        return 0

    def starts() -> int:
        return os.system("true")

    def imports() -> int:
        import sys

        sys.path.insert(0, str(folder))
        __import__("canary_module")
        return 0

    def raises() -> int:
        raise KeyError("x")

    def hangs() -> int:
        os.open(folder / "pipe", os.O_RDONLY)
        return 0

    os.mkfifo(folder / "pipe")
    for act, word in (
        *((writes, "writes"), (starts, "os.system"), (imports, "imports canary_module")),
        *((raises, "a traceback"), (hangs, "did not end")),
    ):
        ended = cases.guard.forked(act, folder=folder, writable=[folder], limit=2)
        assert word in ended.wrong((0,)), act
    fine = cases.guard.forked(lambda: 0, folder=folder, writable=[folder])
    assert fine.wrong((0,)) == ""
    assert "not 2" in fine.wrong((2,))
