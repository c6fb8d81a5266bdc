"""Trackio as a logger of Lightning's: a local file, to be shown by `trackio show`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, cast

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger


class TrackioLogger(Logger):
    """Writes metrics and settings into a local Trackio project, without the network.

    Args:
        project: of Trackio, such as a study.
        save_dir: the folder of the run; its name is that of the run in Trackio.
        directory: of Trackio's files, for all runs; None for `trackio/` in the folder of the run.
    """

    def __init__(
        self,
        *,
        project: str = "decoderlab",
        save_dir: str = ".",
        directory: str | None = None,
    ) -> None:
        super().__init__()
        self._project, self._folder = project, Path(save_dir)
        self._directory = Path(directory) if directory else self._folder / "trackio"
        self._run: Any = None
        self._settings: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The project."""
        return self._project

    @property
    def version(self) -> str:
        """The run."""
        return self._folder.absolute().name

    @property
    def save_dir(self) -> str:
        """The folder of Trackio's files."""
        return str(self._directory)

    @property
    def experiment(self) -> Any:
        """Trackio's run; begun or continued at the first use."""
        if self._run is None:
            import trackio  # pyright: ignore[reportMissingImports] - an extra

            # Its modules read the folder from the environment when they are imported; a process
            # can have several runs.
            folder = self._directory.absolute()
            os.environ["TRACKIO_DIR"] = str(folder)
            for name, module in list(sys.modules.items()):
                if name.startswith("trackio.") or name == "trackio":
                    if hasattr(module, "TRACKIO_DIR"):
                        cast("Any", module).TRACKIO_DIR = folder
            with redirect_stdout(StringIO()):  # it prints where it writes
                self._run = trackio.init(
                    project=self._project,
                    name=self.version,
                    resume="allow",
                    config=self._settings,
                    embed=False,
                    auto_log_gpu=False,
                    auto_log_cpu=False,
                )
        return self._run

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any], *_: Any, **__: Any) -> None:
        """Keep the settings for the beginning of the run."""
        self._settings |= dict(params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write values at an update."""
        values = {name: value for name, value in metrics.items() if name not in ("epoch", "step")}
        self.experiment.log(values, step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End Trackio's run, which writes what is left."""
        if self._run is not None:
            with redirect_stdout(StringIO()):
                self._run.finish()
            self._run = None
