"""What has changed between the code that made a run and the code that is here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from decoderlab.config.code_identity import code_of
from decoderlab.config.environment import versions
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import canonical, classes_in
from decoderlab.records.run_folder import RunFolder, write_json

# Changed definitions that a message names before it only counts them.
SHOWN = 8
UNKNOWN = "its code, which is not recorded"


def maker(config: RunConfig) -> dict[str, Any]:
    """Return what makes a run here: the definitions that its result depends on, and versions.

    Args:
        config: of the run.
    """
    ours = {name: version for name, version in versions().items() if name != "decoderlab"}
    return {"code": code_of(frozenset(classes_in(config))), "versions": ours}


def code_digest(config: RunConfig) -> str:
    """Return the sha256 of what makes a run here."""
    return hashlib.sha256(canonical(maker(config)).encode()).hexdigest()


def sign(folder: RunFolder, config: RunConfig) -> list[str]:
    """Record in a run's folder which code goes on with it; return how it differs from before.

    Code that left nothing to go on from does not count.
    """
    makers, now = (_makers(folder) if folder.has_work() else []), maker(config)
    if not makers or makers[-1] != now:
        write_json(folder.made_by, [*makers, now])
    return list(dict.fromkeys(change for before in makers for change in changes(before, now)))


def changed_code(folder: RunFolder, config: RunConfig) -> list[str]:
    """Return what has changed since a run was made or begun; nothing if it left nothing to keep."""
    if not folder.has_work():
        return []
    makers = _makers(folder)
    return changes(makers[-1], maker(config)) if makers else [UNKNOWN]


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the definitions and versions that differ.

    Example:
        >>> changes(
        ...     {"code": {"Head": "1", "Bridge": "2"}, "versions": {"torch": "2.12"}},
        ...     {"code": {"Head": "3", "Gate": "4"}, "versions": {"torch": "2.13"}},
        ... )
        ['Head', 'Gate (new)', 'Bridge (gone)', 'torch 2.12 -> 2.13']
    """
    old, new = before.get("code"), now["code"]
    if old is None:  # recorded by a version that knew files only
        return [UNKNOWN]
    differing = [
        *(name for name in sorted(new) if name in old and old[name] != new[name]),
        *(f"{name} (new)" for name in sorted(new) if name not in old),
        *(f"{name} (gone)" for name in sorted(old) if name not in new),
    ]
    if len(differing) > SHOWN:
        more = len(differing) - SHOWN
        differing = [*differing[:SHOWN], f"{more} more definitions"]
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
