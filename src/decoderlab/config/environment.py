"""What a run ran on: versions, commit and hardware."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("decoderlab", "torch", "pytorch-lightning", "hydra-core", "numpy")


def environment(device: torch.device) -> dict[str, Any]:
    """Return versions, commit and hardware, so that a number can be traced to what made it."""
    processor = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    commit, dirty = _git()
    return {
        "versions": versions(),
        "git_commit": commit,
        "git_dirty": dirty,
        "processor": processor,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of what results depend on."""
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in PACKAGES
    }


@cache
def _git() -> tuple[str | None, bool | None]:
    """Return the commit of the code that runs, and whether it was changed since."""
    here = Path(__file__).parents[1]
    try:
        ask = {"cwd": here, "capture_output": True, "text": True, "check": True, "timeout": 10}
        # An installed package may lie inside somebody else's checkout: that commit is not ours.
        subprocess.run(["git", "ls-files", "--error-unmatch", "__init__.py"], **ask)
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **ask).stdout.strip()
        status = subprocess.run(["git", "status", "--porcelain", "--", "."], **ask).stdout
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, bool(status.strip())
