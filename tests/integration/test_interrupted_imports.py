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
