"""Ctrl-C before a command has imported what it needs: a word, and no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# What a console script does, with Ctrl-C in the middle of its imports.
SCRIPT = """
import signal, sys
sys.argv[0] = "/somewhere/{name}"
import importlib.abc
class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname == "decoderlab.cli.app":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from decoderlab.cli.status import main
"""


@pytest.mark.parametrize(("name", "quiet"), [("decoderlab-status", True), ("other", False)])
def test_ctrl_c_while_a_command_is_imported_leaves_no_traceback(name, quiet):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(name=name)], capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGINT
    assert (done.stderr == "interrupted\n") == quiet
    assert ("Traceback" in done.stderr) != quiet


# Imports free locks in callbacks, in which Python drops whatever is raised.
LOST = """
import signal, sys, time, weakref
sys.argv[0] = "/somewhere/{name}"
import decoderlab.cli
class Lock:
    pass
def freed(_):
    signal.raise_signal(signal.SIGINT)
    time.sleep(0)
lock = Lock()
reference = weakref.ref(lock, freed)
del lock
time.sleep(2)
print("went on")
"""


@pytest.mark.parametrize(("name", "stops"), [("decoderlab-status", True), ("other", False)])
@pytest.mark.fault(33)
def test_ctrl_c_is_not_lost_in_a_callback(name, stops):
    done = subprocess.run(
        [sys.executable, "-c", LOST.format(name=name)], capture_output=True, text=True
    )
    assert (done.returncode == -signal.SIGINT) == stops
    assert (done.stderr == "interrupted\n") == stops
    assert ("went on" in done.stdout) != stops
