"""Where our configs lie, and a user's own classes."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def conf_dir() -> Path:
    """Return the folder of our configs: inside the wheel, or at the top of the checkout."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def add_to_path(config_dir: str | None) -> str | None:
    """Put the user's own folder, if given, on the Python path; return it as absolute."""
    if config_dir is None:
        return None
    folder = os.path.abspath(config_dir)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return folder
