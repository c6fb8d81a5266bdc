"""Configs composed in this process in a fraction of Hydra's time: each of our YAMLs is read once.

Hydra reads and parses some forty YAMLs for each config, merges them one into the other, and before
each of them writes down all choices made so far, for names that are interpolated from them. What
was merged of our YAMLs alone is kept here, and gone on from. Processes of their own, as of a
command that is started, compose without this.
"""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import version
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import (
    CachingConfigRepository,
    ConfigRepository,
    IConfigRepository,
)
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from decoderlab.common import part_building
from decoderlab.common.folders import conf_dir

Plugins.instance()  # registers what reads files
PACKAGES = SourcesRegistry.instance().resolve("pkg")
PARSE = OverridesParser.parse_rule
LOAD = ConfigRepository.load_config
CHOICES = defaults_list._create_interpolation_map
OURS = str(conf_dir())
# Flags of Hydra's: that what is merged is taken and not copied, and that a list is dropped.
MOVES, STRIPPED = "no_deepcopy_set_nodes", "HYDRA_REMOVE_TOP_LEVEL_DEFAULTS"
FOREIGN = -1  # a YAML that may be another one tomorrow
_parsed: dict[tuple[str, str], bytes] = {}
_read: dict[tuple[str, str], bytes] = {}
_numbers: dict[tuple[Any, ...], int] = {}
# By the numbers of the YAMLs that were merged: the config; and which lists any began with.
_merged: dict[tuple[int, ...], bytes] = {}
_begun: set[tuple[int, ...]] = set()
_keeping_all: list[bool] = []


def _load_once(self: ConfigRepository, config_path: str) -> ConfigResult | None:
    source = self._find_object_source(config_path=config_path, object_type=ObjectType.CONFIG)
    if source is None or not is_ours(source.full_path()):
        return LOAD(self, config_path)
    key = (source.path, config_path)
    if key not in _read:
        _read[key] = pickle.dumps(LOAD(self, config_path))
    found = pickle.loads(_read[key])
    found.provider = source.provider
    return found


def _looked_for_once(look: Callable[[ConfigSource, str], bool]) -> Callable[..., bool]:
    """Look into a package, which stays as it is, once for each name."""
    seen: dict[tuple[str, str], bool] = {}

    def known(self: ConfigSource, config_path: str) -> bool:
        key = (self.path, config_path)
        if key not in seen:
            seen[key] = look(self, config_path)
        return seen[key]

    return known


def is_ours(path: str) -> bool:
    """Whether a source of configs is ours or Hydra's own; tests write YAMLs of their own."""
    return not path.startswith("file://") or path == f"file://{OURS}"


def _choices_if_asked_for(overrides: Any, defaults: Sequence[Any], self_added: bool) -> Any:
    if any(default.is_interpolation() for default in defaults if not default.is_self()):
        return CHOICES(overrides, defaults, self_added)
    return None


def _without_copies_of_sources(self: CachingConfigRepository, delegate: IConfigRepository) -> None:
    self.delegate = copy.copy(delegate)  # its list of sources is set anew, and never changed
    self.cache = {}


def _merged_from_the_last_known(
    self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository
) -> DictConfig:
    names = tuple(_name(default, repo) for default in defaults)
    ours = names.index(FOREIGN) if FOREIGN in names else len(names)
    known = next((n for n in range(ours, 0, -1) if names[:n] in _merged), 0)
    config = pickle.loads(_merged[names[:known]]) if known else OmegaConf.create()
    # Kept are all of ours, and as many as another config had too.
    shared = next((n for n in range(ours, known, -1) if names[:n] in _begun), known)
    kept = range(ours + 1) if _keeping_all else (shared, ours)
    config._set_flag(MOVES, True)
    for number, default in enumerate(defaults[known:], known + 1):
        try:
            config.merge_with(self._load_single_config(default, repo).config)
        except OmegaConfBaseException as error:  # as Hydra does
            raise ConfigCompositionException(
                f"In '{default.config_path}': {type(error).__name__} raised while"
                f" composing config:\n{error}"
            ) from None
        if number in kept:
            _merged[names[:number]] = pickle.dumps(config)
        if number <= ours:
            _begun.add(names[:number])
    config._set_flag(MOVES, None)
    _without_defaults(config)
    return config


@contextmanager
def every_beginning() -> Iterator[None]:
    """Keep of what is composed meanwhile all that others could go on from."""
    _keeping_all.append(True)
    try:
        yield
    finally:
        _keeping_all.pop()


def _name(default: ResultDefault, repo: IConfigRepository) -> int:
    """Return a number for all that the config of a YAML of ours, or of Hydra's, depends on."""
    found = repo.load_config(config_path=str(default.config_path))
    if found is None or not is_ours(found.path):
        return FOREIGN
    name = (found.path, default.config_path, default.package, default.primary)
    return _numbers.setdefault(name, len(_numbers))


def _without_defaults(config: Any) -> None:
    if not isinstance(config, DictConfig) or config._is_missing() or config._is_none():
        return
    if config._get_flag(STRIPPED):
        with flag_override(config, ["readonly", "struct"], False):
            config._set_flag(STRIPPED, None)
            config.pop("defaults", None)
    for _, value in config.items_ex(resolve=False):
        _without_defaults(value)


def _parsed_once(self: OverridesParser, text: str, rule: str) -> Any:
    key = (text, rule)
    if key not in _parsed:
        parsed = PARSE(self, text, rule)
        _parsed[key] = pickle.dumps(parsed)
        return parsed
    return pickle.loads(_parsed[key])


def _known(read: Callable[..., Any]) -> Callable[..., Any]:
    """Read a constructor once, for which Python evaluates its annotations or looks for it in C."""
    seen: dict[Any, Any] = {}

    def known(*given: Any) -> Any:
        target = given[-1]
        key = (target, getattr(target, "__init__", None))
        try:
            hash(key)
        except Exception:  # a callable of somebody's
            return read(*given)
        if key not in seen:
            seen[key] = read(*given)
        return seen[key]

    return known


def _copy(default: InputDefault, seen: Any) -> InputDefault:
    """Copy an entry of a defaults list, which has texts and lists of texts in it."""
    new = default.__class__.__new__(default.__class__)
    for name, value in default.__dict__.items():
        new.__dict__[name] = list(value) if isinstance(value, list) else value
    return new


def compose_faster() -> None:
    """Do so from now on."""
    CachingConfigRepository.__init__ = _without_copies_of_sources
    ConfigRepository.load_config = _load_once
    defaults_list._create_interpolation_map = _choices_if_asked_for
    ConfigLoaderImpl._compose_config_from_defaults_list = _merged_from_the_last_known
    PACKAGES.is_config = _looked_for_once(PACKAGES.is_config)
    PACKAGES.is_group = _looked_for_once(PACKAGES.is_group)
    OverridesParser.parse_rule = _parsed_once
    part_building._hints = _known(part_building._hints)
    part_building._parameters = _known(part_building._parameters)
    InputDefault.__deepcopy__ = _copy
    version._get_version = functools.cache(version._get_version)
