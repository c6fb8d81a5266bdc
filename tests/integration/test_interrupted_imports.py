"""Ctrl-C while a command imports, or deep in a library: a word, and no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from decoderlab.cli.app import guarded
from decoderlab.common.errors import ConfigError

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


def cleared(error: Exception) -> int:
    """Do what code in C may: drop the interruption, and raise an error of its own."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        pass
    raise error


def failing() -> int:
    raise TypeError("incompatible function arguments")


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (lambda: cleared(TypeError("incompatible function arguments")), 130, "interrupted"),
        (
            lambda: cleared(SystemError("returned a result with an exception set")),
            130,
            "interrupted",
        ),
        (lambda: cleared(ConfigError("seed is x")), 2, "error: seed is x"),
        (failing, 1, "internal error: TypeError"),
    ],
)
def test_an_interruption_that_a_library_clears_is_one_all_the_same(capsys, command, code, said):
    before = signal.getsignal(signal.SIGINT)
    assert guarded(command) == code
    assert said in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
