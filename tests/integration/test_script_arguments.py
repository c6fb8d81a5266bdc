"""Bad arguments of scripts are one message and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
WRONG = (
    "benchmark_growth.py --updates -3",
    "benchmark_growth.py --page nowhere.md",
    "benchmark_loading.py --pairs 2",
    "benchmark_loading.py --tokens letter",
    "benchmark_parts.py --repeats 0",
    "benchmark_report.py --runs 0",
    "benchmark_start.py --only nothing",
    "benchmark_sweeps.py --cells 7",
    "compare_with_keras.py --size -2",
    "draw_diagrams.py --folder /dev/null/x",
    "kill_sweep.py --kills -1",
    "leaderboard.py more",
    "redraw_study.py nothing",
    "regenerate_golden.py nothing",
    "render_reliability.py nowhere.xml",
)


@pytest.mark.thinned
@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_is_one_message(tmp_path, line):
    script, *words = line.split()
    command = [sys.executable, str(SCRIPTS / script), *words]
    left = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert left.returncode == 2
    assert "Traceback" not in left.stderr
    assert left.stderr.splitlines()[-1].startswith(f"{script}: error: ")
    assert not list(tmp_path.iterdir())
