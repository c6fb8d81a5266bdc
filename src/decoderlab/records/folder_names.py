"""Which folder belongs to which run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from decoderlab.common.safe_names import inside, refuse_links_out
from decoderlab.config.run_config import RunConfig
from decoderlab.records.run_folder import RunFolder


def existing_folders(output_dir: Path) -> dict[str, Path]:
    """Return the folders of all runs by the digits of the run id that end their names."""
    runs = output_dir / "runs"
    if not runs.is_dir():
        return {}
    with os.scandir(runs) as entries:  # links are refused later
        names = [entry.name for entry in entries if entry.is_symlink() or entry.is_dir()]
    return {name.rpartition("-")[2]: runs / name for name in sorted(names, reverse=True)}


def find_folder(config: RunConfig, identity: str, existing: Mapping[str, Path]) -> RunFolder:
    """Return a run's folder: that of its name, an existing one with its id, or a new one.

    A copy that somebody has made beside it, whose name ends in the id too, is not taken for it.

    Args:
        config: of the run.
        identity: the run id.
        existing: from `existing_folders`.

    Raises:
        ConfigError: if the folder lies behind a link that leads elsewhere, or holds one.
    """
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(config.choices)).strip("-.")[:80]
    own = f"{slug}-s{config.seed}-{identity[:12]}"
    if (known := existing.get(identity[:12])) is None:
        return RunFolder(inside(config.run.output_dir, "runs", own))
    known = known.with_name(own) if os.path.lexists(known.with_name(own)) else known
    refuse_links_out(inside(config.run.output_dir, "runs", known.name))  # before it is written into
    return RunFolder(known)
