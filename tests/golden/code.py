"""The code of runs of all classes that we ship, by definition: what makes a run another one."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any

from decoderlab.common.folders import conf_dir
from decoderlab.config.code_identity import definitions

CODE = Path(__file__).with_name("code.json")
PACKAGE = Path(__file__).parents[2] / "src" / "decoderlab"
PARTS = ("encoder", "decoder", "task", "metric", "training")


def python() -> str:
    """Return the version of Python, whose syntax trees have a form of their own."""
    return ".".join(platform.python_version_tuple()[:2])


def observed_code() -> dict[str, Any]:
    """Return the digest of each definition that a run of ours may depend on."""
    named = set()
    for part in PARTS:
        for path in (conf_dir() / part).rglob("*.yaml"):
            named |= set(re.findall(r"_target_: (decoderlab\.[\w.]+)", path.read_text()))
    known = definitions(frozenset(named), PACKAGE)
    return {"python": python(), "code": {name: known[name][:12] for name in sorted(known)}}
