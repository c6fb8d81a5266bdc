from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import sys
import decoderlab.training.module
assert "torchmetrics" in sys.modules
assert "scipy.signal" not in sys.modules
import scipy
import scipy.signal
assert scipy.signal.__spec__ is not None
assert len(scipy.signal.windows.hamming(3)) == 3
"""
BEFORE = """
import scipy.signal
import decoderlab.training.module
assert len(scipy.signal.windows.hamming(3)) == 3
import torchmetrics
assert torchmetrics.__spec__.origin == torchmetrics.__file__
"""


def test_scipy_signal_is_not_imported_and_is_itself_when_it_is_asked_for():
    for code in (WITHOUT, BEFORE):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


COMMANDS = ("check", "complete", "doctor", "evaluate", "export", "plan", "predict", "report")
COMMANDS += ("schema", "status", "train")


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ([f"decoderlab.cli.{name}" for name in COMMANDS], "torch"),  # what --help imports
        (["decoderlab.studies.design.plan_file"], "pytorch_lightning"),  # and what status does
    ],
)
def test_what_is_asked_often_imports_little(modules, heavy):
    code = f"import sys, {', '.join(modules)}\nassert {heavy!r} not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
