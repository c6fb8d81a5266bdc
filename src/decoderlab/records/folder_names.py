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
    return {name.rpartition("-")[2]: runs / name for name in sorted(os.listdir(runs), reverse=True)}


def find_folder(config: RunConfig, identity: str, existing: Mapping[str, Path]) -> RunFolder:
    """Return a run's folder: the existing folder with its id, whatever its slug, or a new folder.

    Args:
        config: of the run.
        identity: the run id.
        existing: from `existing_folders`.

    Raises:
        ConfigError: if the folder lies behind a link that leads elsewhere, or holds one.
    """
    if identity[:12] in existing:
        path = inside(config.run.output_dir, "runs", existing[identity[:12]].name)
        refuse_links_out(path)  # before anything is written into it
        return RunFolder(existing[identity[:12]])
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(config.choices)).strip("-.")[:80]
    name = f"{slug}-s{config.seed}-{identity[:12]}"
    return RunFolder(inside(config.run.output_dir, "runs", name))
