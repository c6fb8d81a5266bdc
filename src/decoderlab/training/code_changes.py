"""What has changed between the code that made a run and the code that is here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from decoderlab.config.environment import code_files, versions
from decoderlab.config.resolution import canonical
from decoderlab.records.run_folder import RunFolder, write_json


def maker() -> dict[str, Any]:
    """Return what makes runs here: the sources that results depend on, and versions."""
    ours = {name: version for name, version in versions().items() if name != "decoderlab"}
    return {"files": code_files(), "versions": ours}


def code_digest() -> str:
    """Return the sha256 of what makes runs here."""
    return hashlib.sha256(canonical(maker()).encode()).hexdigest()


def sign(folder: RunFolder) -> list[str]:
    """Record in a run's folder who goes on with it; return how that differs from those before.

    Whoever left nothing to go on from does not count.
    """
    makers, now = (_makers(folder) if folder.has_work() else []), maker()
    if not makers or makers[-1] != now:
        write_json(folder.made_by, [*makers, now])
    return list(dict.fromkeys(one for before in makers for one in changes(before, now)))


def drift(folder: RunFolder) -> list[str]:
    """Return what has changed since a run was made or begun; nothing if it left nothing to keep."""
    if not folder.has_work():
        return []
    makers = _makers(folder)
    return changes(makers[-1], maker()) if makers else ["its code, which is not recorded"]


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the sources and versions that differ.

    Example:
        >>> changes(
        ...     {"files": {"a.py": "1", "b.py": "2"}, "versions": {"torch": "2.12"}},
        ...     {"files": {"a.py": "1", "b.py": "3"}, "versions": {"torch": "2.13"}},
        ... )
        ['b.py', 'torch 2.12 -> 2.13']
    """
    files = sorted({*before["files"], *now["files"]})
    differing = [name for name in files if before["files"].get(name) != now["files"].get(name)]
    return differing + [
        f"{name} {version} -> {now['versions'].get(name)}"
        for name, version in before["versions"].items()
        if now["versions"].get(name) != version
    ]


def _makers(folder: RunFolder) -> list[dict[str, Any]]:
    try:
        return json.loads(folder.made_by.read_text())
    except (OSError, ValueError):
        return []
