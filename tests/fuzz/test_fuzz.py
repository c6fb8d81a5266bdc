"""Random settings, files and folders: no traceback, no silent change, no write or code elsewhere.

A case is made from a seed and its number, which its message names: to see one again,
`FUZZ_SEED=SEED python -m tests.fuzz.once KIND NUMBER`.
"""

from __future__ import annotations

import os

import pytest

from tests.fuzz import cases, records
from tests.fuzz.server import Server

SEED = int(os.environ.get("FUZZ_SEED", "0"))
CHUNK = 50
# What the slow tests do of each kind, and what the quick one does.
SLOW = {"settings": 2000, "study": 500, "group": 50, "table": 50, "damaged": 1000, "opened": 500}
QUICK = {"settings": 8, "study": 3, "group": 2, "table": 2}
QUICK_FOLDERS = 1
STARTED = 10_001  # quick cases are others than the slow ones


@pytest.fixture(scope="module")
def server():
    started = Server()
    yield started
    started.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "start"),
    [(kind, start) for kind, number in SLOW.items() for start in range(0, number, CHUNK)],
)
def test_many(kind, start, server, tmp_path):
    print(f"seed {SEED}")
    assert server.failures(kind, SEED, range(start, start + CHUNK), tmp_path) == []


@pytest.mark.parametrize("kind", list(QUICK))
def test_some_settings(kind, tmp_path):
    print(f"seed {SEED}")
    assert cases.failures(kind, SEED, range(STARTED, STARTED + QUICK[kind]), tmp_path) == []


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return records.Small.undrawn(tmp_path_factory.mktemp("fuzz") / "small")


@pytest.mark.parametrize("kind", list(cases.FOLDERS))
def test_some_folders(kind, small, tmp_path):
    print(f"seed {SEED}")
    numbers = range(STARTED, STARTED + QUICK_FOLDERS)
    assert cases.failures(kind, SEED, numbers, tmp_path, small) == []


@pytest.mark.slow
def test_a_server_that_ends_fails_the_test(tmp_path):
    started = Server()
    with pytest.raises(AssertionError, match="the process of the cases ended: 1"):
        started.failures("no such kind", SEED, range(1), tmp_path)
    started.close()


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
