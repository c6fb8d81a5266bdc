"""What is said of a study that has no plan."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from decoderlab.common.errors import ConfigError
from decoderlab.config.study_settings import TUNING


class BeingPlanned(ConfigError):
    """A study has a folder, but no plan yet."""


def missing_plan(root: Path, name: str, there: Collection[str]) -> ConfigError:
    """Return the error of a study whose plan is not there.

    Args:
        root: the folder of all studies.
        name: of the study.
        there: the names of the studies that have a plan.
    """
    folder, trials = root / name, f"{name}{TUNING}"
    if trials in there:
        return BeingPlanned(
            f"study {name!r} is being planned: its tuning comes first, which is study {trials!r}"
        )
    if folder.is_dir() and folder != root:
        return BeingPlanned(
            f"study {name!r} is being planned, or its launch was broken off: {folder} has no "
            "plan.json yet"
        )
    known = f"are: {', '.join(there)}" if there else "are none yet"
    return ConfigError(f"there is no study {name!r} in {root}; there {known}")
