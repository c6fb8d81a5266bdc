"""The owner of a folder: no run continues or overwrites the records of another run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from decoderlab.common.bounded_yaml import read_yaml
from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.config.run_identity import departure
from decoderlab.config.scientific import scientific_of
from decoderlab.records.run_folder import RunFolder


def check_owner(
    folder: RunFolder, run_id: str, identity: Mapping[str, Any] | Callable[[], Mapping[str, Any]]
) -> None:
    """Raise ConfigError if the records in a run's folder are another run's.

    Args:
        folder: of the run.
        run_id: of the run.
        identity: what that is the sha256 of, or a function that returns it.

    Raises:
        Unreadable: if whose they are cannot be read now.
    """
    owner = folder.recorded_status().get("run_id")
    if owner in (None, run_id):
        return
    try:
        known = identity() if callable(identity) else identity
        mismatch = departure(known, scientific_of(read_yaml(folder.config)))
        difference = mismatch and mismatch.replace("was run", "is given")
    except (Invalid, ValueError, TypeError, LookupError, AttributeError):
        difference = None
    raise ConfigError(
        f"{folder.path} belongs to run {str(owner)[:12]}, not to this run, {run_id[:12]} "
        f"({difference or 'its data are others'}); it was copied or renamed by hand: move it away, "
        "or give another run.output_dir"
    )
