"""The notebooks of the docs run from top to bottom, each in a minute."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.py"))
HEADER = "# ---\n# jupyter:\n#   jupytext:\n"


def test_they_are_sources_of_jupytext():
    assert len(NOTEBOOKS) >= 5
    for path in NOTEBOOKS:
        text = path.read_text()
        assert text.startswith(HEADER)
        assert "\n# %% [markdown]\n# # " in text
        page = (path.parents[1] / "notebooks.md").read_text()
        assert f"(notebooks/{path.name})" in page


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path, tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, path],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 60
