"""A logger of one's own: a line of JSON for all that a run logs at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers.logger import Logger


class JsonLines(Logger):
    """Writes one file, for pandas (`read_json(path, lines=True)`) or jq.

    Its first line is the run's settings. A run that goes on after a break appends: of two lines
    with the same names and step, the later one counts.

    Args:
        save_dir: folder of the file; that of the run unless given.
        file_name: of the file.
    """

    def __init__(self, *, save_dir: str, file_name: str = "logged.jsonl") -> None:
        super().__init__()
        self.path = Path(save_dir) / file_name

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.name

    @property
    def version(self) -> str:
        """Nothing: a run has one file."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Write the settings, once."""
        if not self.path.exists():
            self._append(dict(params))

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write values."""
        self._append({"step": step, **metrics})

    def _append(self, values: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
