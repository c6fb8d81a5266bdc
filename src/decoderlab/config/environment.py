"""What a run ran on: versions, code and hardware."""

from __future__ import annotations

import hashlib
import inspect
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from decoderlab.common import process

PACKAGES = ("decoderlab", "torch", "pytorch-lightning", "hydra-core", "numpy")
# Parts of this package that no result depends on: what plans, shows, launches and checks.
BESIDE = (
    "cli",
    "studies",
    "testing",
    "common/process.py",
    "common/progress.py",
    "records/outcome.py",
    "records/tensorboard.py",
)


def environment(device: torch.device) -> dict[str, Any]:
    """Return versions, code and hardware, so that a number can be traced to what made it."""
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
def code_files() -> dict[str, str]:
    """Return the files of this package that results depend on, each with its sha256."""
    package = Path(__file__).parents[1]
    return {
        str(path.relative_to(package)): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(package.rglob("*.py"))
        if not path.relative_to(package).as_posix().startswith(BESIDE)
    }


@cache
def foreign_code(target: Callable) -> str | None:
    """Return the sha256 of the source of a class from outside this package.

    It covers the whole `--config-dir` that the class lies in, else all files of its package, else
    its one file; None for a class of ours, or one without a file.
    """
    module = inspect.getmodule(target)
    name = module.__name__.split(".")[0] if module else "decoderlab"
    source = getattr(sys.modules.get(name), "__file__", None)
    if name == "decoderlab" or source is None:
        return None
    source = Path(source).resolve()
    files = sorted(source.parent.rglob("*.py")) if source.name == "__init__.py" else [source]
    own = process.user_config_dir and Path(process.user_config_dir).resolve()
    if own and source.is_relative_to(own):
        files = sorted(own.rglob("*.py"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


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
