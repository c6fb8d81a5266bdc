"""Composing many cells as Hydra does, at a fraction of its time."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from decoderlab.common.errors import ConfigError
from decoderlab.config.command_line import check_override, check_text, with_one_budget
from decoderlab.config.composed_values import may_follow
from decoderlab.config.messages import unfit
from decoderlab.config.run_config import RunConfig

SEED = re.compile(r"seed=(0|[1-9]\d*)")


class Composed(NamedTuple):
    """A composed config without its `hydra` node, and the choices of config groups."""

    config: DictConfig
    choices: dict[str, Any]


class ReadOnce(ConfigRepository):
    """Hydra's reader of YAMLs, which reads each of them once for all that is composed with it.

    Hydra reads those of a config anew each time it composes one. What it gets is its own to change.
    A config of a class that cannot be pickled is read each time.

    Args:
        repository: whose YAMLs are read; it is left alone.
    """

    def __init__(self, repository: ConfigRepository) -> None:
        self.sources = repository.sources
        self._read: dict[tuple[str, ...], bytes] = {}

    def __deepcopy__(self, memo: object) -> ReadOnce:
        """Return a reader that knows what this one has read, and may have other sources."""
        return copy.copy(self)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return a YAML with its defaults list; None if there is none."""
        key = (*(source.path for source in self.sources), config_path)
        if key in self._read:
            return pickle.loads(self._read[key])
        config = super().load_config(config_path)
        with suppress(pickle.PicklingError, AttributeError, TypeError):
            self._read[key] = pickle.dumps(config)
        return config


class Composer:
    """Composes cells; each combination of config groups is composed once, of YAMLs read once.

    Hydra first composes the chosen YAMLs and then sets the values that were given. The first step
    takes nearly all of the time and is the same for all cells that choose the same YAMLs; the
    second is Hydra's own function, on a copy, which unpickling makes in a tenth of `deepcopy`'s
    time.

    Args:
        loader: of the application.
        master: the config of the sweep, which says what `hydra.*` is.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        if isinstance(loader, ConfigLoaderImpl):
            loader = copy.copy(loader)
            loader.repository = ReadOnce(loader.repository)
        self.loader, self.master = loader, master
        self.parser = OverridesParser.create(config_loader=loader)
        self._parsed: dict[str, Override] = {}
        self._composed: dict[tuple[str, ...], tuple[bytes, dict[str, Any]]] = {}
        self._groups: dict[str, bool] = {}

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Parse overrides, each text once.

        Raises:
            ConfigError: for a value that the setting cannot have.
            HydraException: for a text that is none of Hydra's grammar.
        """
        for text in overrides:
            if text not in self._parsed:
                check_text(text)
                (override,) = self.parser.parse_overrides([text])
                check_override(override)
                self._parsed[text] = override  # once it is right: other cells have it too
        return [self._parsed[text] for text in overrides]

    def __call__(self, overrides: Sequence[str]) -> Composed:
        """Compose one cell.

        Raises:
            ConfigError: for a setting that does not fit where it is given.
            HydraException: as Hydra does.
        """
        overrides = with_one_budget(overrides)
        parsed = self.parse(overrides)
        key = tuple(
            text
            for text, override in zip(overrides, parsed, strict=True)
            if self._is_group(override)
        )
        if key not in self._composed:
            config = self.loader.load_sweep_config(self.master, list(key))
            choices = dict(config.hydra.runtime.choices)
            names = [str(name) for name in config if name != "hydra"]
            self._composed[key] = pickle.dumps(OmegaConf.masked_copy(config, names)), choices
        pickled, choices = self._composed[key]
        config = pickle.loads(pickled)
        values = [override for override in parsed if not self._is_group(override)]
        OmegaConf.set_struct(config, True)
        for override in values:
            try:
                ConfigLoaderImpl._apply_overrides_to_config([override], config)
            except (ValueError, TypeError, AttributeError) as error:
                raise ConfigError(unfit(f"{override.input_line!r:.120}")) from error
        return Composed(config, choices)

    def _is_group(self, override: Override) -> bool:
        if override.is_hydra_override():
            return True
        key = override.key_or_group
        if key not in self._groups:
            self._groups[key] = bool(self.loader.get_group_options(key))
        return self._groups[key] and not isinstance(override.value(), dict)


class ConfigMaker:
    """Makes the configs of cells; one is composed for cells that differ in their seeds alone.

    Args:
        compose: from overrides to a config.
    """

    def __init__(self, compose: Callable[[Sequence[str]], Composed]) -> None:
        self.compose = compose
        self._made: dict[tuple[str, ...], RunConfig] = {}

    def __call__(self, overrides: Sequence[str]) -> RunConfig:
        """Return the checked config of a cell.

        Raises:
            ConfigError, HydraException: as `Composer` and `RunConfig.from_composed` do.
        """
        rest = tuple(text for text in overrides if not SEED.fullmatch(text))
        seeds = [text for text in overrides if SEED.fullmatch(text)]
        if len(seeds) == 1 and rest in self._made:
            return replace(self._made[rest], seed=int(seeds[0].partition("=")[2]))
        composed = self.compose(overrides)
        config = RunConfig.from_composed(composed.config, composed.choices)
        if len(seeds) == 1 and not may_follow("seed", composed.config):
            self._made[rest] = config
        return config
