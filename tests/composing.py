"""Configs composed in this process in half of Hydra's time: each of our YAMLs is read once.

Hydra reads and parses some forty YAMLs for each config, and before each of them writes down all
choices made so far, for names that are interpolated from them. Processes of their own, as of a
command that is started, compose without this.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource

from decoderlab.common.folders import conf_dir

Plugins.instance()  # registers what reads files
FILES = SourcesRegistry.instance().resolve("file")
LOAD = FILES.load_config
CHOICES = defaults_list._create_interpolation_map
OURS = str(conf_dir())
_read: dict[tuple[str, str], ConfigResult] = {}


def _load_once(source: ConfigSource, config_path: str) -> ConfigResult:
    if source.path != OURS:  # tests write YAMLs of their own
        return LOAD(source, config_path)
    key = (source.provider, config_path)
    if key not in _read:
        _read[key] = LOAD(source, config_path)
    return copy.deepcopy(_read[key])


def _choices_if_asked_for(overrides: Any, defaults: Sequence[Any], self_added: bool) -> Any:
    if any(default.is_interpolation() for default in defaults if not default.is_self()):
        return CHOICES(overrides, defaults, self_added)
    return None


def _without_copies_of_sources(self: CachingConfigRepository, delegate: IConfigRepository) -> None:
    self.delegate = copy.copy(delegate)  # its list of sources is set anew, and never changed
    self.cache = {}


def compose_faster() -> None:
    """Do so from now on."""
    CachingConfigRepository.__init__ = _without_copies_of_sources
    FILES.load_config = _load_once
    defaults_list._create_interpolation_map = _choices_if_asked_for
