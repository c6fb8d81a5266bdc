"""`make` takes PyTorch's CPU builds where there is no GPU; what the user says comes first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CPU = "https://download.pytorch.org/whl/cpu"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pip's default has no GPU builds")
@pytest.mark.parametrize(
    ("gpu", "variables", "arguments", "index"),
    [
        (False, {}, [], CPU),
        (True, {}, [], ""),
        (False, {"PIP_INDEX_URL": "https://index.invalid"}, [], ""),
        (False, {}, ["TORCH_INDEX="], ""),
        (True, {}, ["TORCH_INDEX=https://builds.invalid"], "https://builds.invalid"),
    ],
)
def test_torch_comes_from_where_the_machine_and_the_user_say(
    tmp_path, gpu, variables, arguments, index
):
    for name in ("uname", "grep", "sh"):
        (tmp_path / name).symlink_to(shutil.which(name))
    if gpu:
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    env = mine | {"PIP_CONFIG_FILE": os.devnull, "PATH": str(tmp_path)} | variables
    make = [shutil.which("make"), "--dry-run", "--always-make", f"PYTHON={sys.executable}"]
    done = subprocess.run(
        [*make, *arguments, ".venv/installed"], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "pip install --quiet torch" in line]
    assert line.startswith(f"[ -z '{index}' ] || ")
    assert line.endswith(f"--index-url '{index}'")
