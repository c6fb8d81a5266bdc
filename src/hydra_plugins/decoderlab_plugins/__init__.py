"""What decoderlab adds to Hydra. Hydra imports this at every start, so it imports nothing heavy."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from decoderlab.common import process


class UserConfigDir(SearchPathPlugin):
    """Puts the user's `--config-dir` before our conf/, so that a YAML of theirs wins."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder to the search path."""
        if process.user_config_dir is not None:
            search_path.prepend(
                "decoderlab-user",
                f"{UserYamls.scheme()}://{process.user_config_dir}",
                SearchPathQuery(provider="main"),
            )


class UserYamls(FileConfigSource):
    """The YAMLs of a user's own folder, each read within bounds and checked."""

    @staticmethod
    def scheme() -> str:
        """Return what paths of such folders begin with."""
        return "decoderlab"

    def is_config(self, config_path: str) -> bool:
        """Whether something of that name is there, be it a file or not: `load_config` says so."""
        name = self._normalize_file_name(config_path)
        return "\0" not in name and os.path.lexists(os.path.join(self.path, name))

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a YAML.

        Raises:
            ConfigError: naming the file, and what is wrong with it where.
        """
        from decoderlab.config.user_yaml import read_user_yaml

        name = self._normalize_file_name(config_path)
        text, content = read_user_yaml(Path(self.path, name))
        return ConfigResult(
            config=OmegaConf.create(content),
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header=ConfigSource._get_header_dict(text),
        )


class StudySweeper(BasicSweeper):
    """Plans all runs before the first, runs what is not finished with any launcher, reports."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Find the launcher (Hydra's hook).

        Raises:
            ConfigError: if its package is not installed.
        """
        from decoderlab.common.errors import ConfigError

        try:
            super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        except RuntimeError as error:  # an unknown plug-in
            extra = re.search(r"hydra_plugins\.hydra_([a-z]+)_launcher", str(error))
            if extra is None:
                raise
            name = config.hydra.runtime.choices["hydra/launcher"]
            raise ConfigError(
                f"hydra/launcher is {name}, whose package is not installed; "
                f"pip install 'decoderlab[{extra[1]}]', or leave hydra/launcher out for pool, the "
                "processes of this machine"
            ) from error

    def sweep(self, arguments: list[str]) -> Any:
        """Do a study.

        Raises:
            ConfigError: if it cannot work; nothing has been written then.
        """
        from decoderlab.common.errors import ConfigError
        from decoderlab.config.run_config import study_of
        from decoderlab.studies.design.composed_cells import Composer
        from decoderlab.studies.design.grid import grid
        from decoderlab.studies.design.impossible_cells import refuse_before_imports
        from decoderlab.studies.execution.finished_launch import launch_key, shown_again
        from decoderlab.studies.execution.launch_reads import reads_noted

        process.stop_if_interrupted()
        if self.config is None or self.hydra_context is None or self.launcher is None:
            raise RuntimeError("sweep was called before setup; Hydra calls setup first")
        if not isinstance(self.params or {}, Mapping):
            raise ConfigError(
                f"hydra.sweeper.params is {self.params!r}; it must be a mapping of settings to "
                "values, as in {decoder: 'luong,peek'}"
            )
        key = None if process.plan_only else launch_key(self.config, self.params or {}, arguments)
        if shown_again(key, Path(self.config.run.output_dir)):
            process.sweep_exit_code = 0
            return 0
        with reads_noted() as reads:
            study = study_of(self.config)
            compose = Composer(self.hydra_context.config_loader, self.config)
            cells = grid(study, self.params or {}, arguments, compose.parse)
            refuse_before_imports(cells, compose)
            with process.without_collection():  # these import torch
                from decoderlab.studies.execution.launchers import starter
                from decoderlab.studies.execution.sweep import launch
            gc.freeze()  # what is there now stays

            start, jobs = starter(self.launcher, self.max_batch_size)
            process.sweep_exit_code = launch(
                cells,
                study=study,
                compose=compose,
                start=start,
                jobs=jobs,
                plan_only=process.plan_only,
                key=key,
                reads=reads,
            )
        return process.sweep_exit_code


class PoolLauncher(Launcher):
    """Each run in a worker process; what happens to one costs only itself.

    It holds the settings; the sweeper gives the runs to `run_all` and its workers, in
    `decoderlab.studies.execution.worker_pool`.

    Args:
        jobs: runs at a time; None for as many as there are cores, or GPUs.
        time_limit_seconds: of one run, None for none.
    """

    def __init__(self, *, jobs: int | None, time_limit_seconds: float | None) -> None:
        self.jobs, self.time_limit_seconds = jobs, time_limit_seconds

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Keep the config (Hydra's hook)."""
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Any:
        """Refuse Hydra's own sweepers, which do not plan."""
        from decoderlab.common.errors import ConfigError

        raise ConfigError(
            "hydra/launcher is pool, which does runs that were planned; leave hydra/sweeper at "
            "study, or take hydra/launcher=basic"
        )
