"""What decoderlab adds to Hydra. Hydra imports this at every start, so it imports nothing heavy."""

from __future__ import annotations

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.search_path_plugin import SearchPathPlugin

from decoderlab import process


class UserConfigDir(SearchPathPlugin):
    """Puts the user's `--config-dir` before our conf/, so that a YAML of theirs wins."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder to the search path."""
        if process.user_config_dir is not None:
            search_path.prepend(
                "decoderlab-user",
                f"file://{process.user_config_dir}",
                SearchPathQuery(provider="main"),
            )


class StudySweeper(BasicSweeper):
    """Hydra's basic sweeper, which plans all runs before the first and reports after the last."""

    def sweep(self, arguments: list[str]) -> Any:
        """Expand the grid, plan it, run what is not finished with any launcher, report."""
        from decoderlab.studies.launch import launch

        given = [f"{key}={value}" for key, value in (self.params or {}).items()] + arguments
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        cells = self.split_arguments(parser.parse_overrides(given), None)[0]
        process.sweep_exit_code = launch(
            cells,
            compose=lambda cell: self.hydra_context.config_loader.load_sweep_config(
                self.config, list(cell)
            ),
            start=lambda batch: self.launcher.launch(batch, initial_job_idx=0),
            max_batch_size=self.max_batch_size,
        )
        return process.sweep_exit_code
