"""What a config that Hydra composed says, as plain and typed values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from decoderlab.common.errors import ConfigError
from decoderlab.config.plain_values import check_plain
from decoderlab.config.secret_settings import with_names


def plain_values(composed: DictConfig) -> dict[str, Any]:
    """Return a composed config as plain values, without Hydra's own.

    Raises:
        ConfigError: for a value that is missing, cannot be resolved, or is not plain.
    """
    if "hydra" in composed:
        composed = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    try:
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        where = error.full_key or "the config"
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{where}: {reason}; give it as {where}=VALUE") from error
    if not isinstance(plain, dict):
        raise ConfigError(f"the config is {plain!r}; it must be a mapping of settings")
    check_plain(plain)
    return with_names(composed, {str(key): value for key, value in plain.items()})


def setting_of(composed: DictConfig, name: str) -> Any:
    """Return a setting that a user names, such as `training.objective`; None without it.

    Args:
        composed: by Hydra.
        name: of the setting, with dots.
    """
    value = OmegaConf.select(composed, name)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def section_of(composed: DictConfig, group: str) -> Any:
    """Return a section of a composed config as plain values; the others are not resolved.

    Raises:
        ConfigError: as `plain_values`, or where the section is missing.
    """
    if group not in composed:
        raise ConfigError(f"{group} is missing; leave it in the config")
    return plain_values(OmegaConf.masked_copy(composed, [group]))[group]


def setting_in(record: Mapping[str, Any], name: str) -> Any:
    """Return a setting that a user names from the dictionaries of a config; None without it.

    Args:
        record: as `RunConfig.to_dict` returns it.
        name: of the setting, with dots.

    Example:
        >>> setting_in({"decoder": {"hidden_size": 8}}, "decoder.hidden_size")
        8
    """
    value: Any = record
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def may_follow(name: str, composed: DictConfig) -> bool:
    """Whether other settings may depend on one of the first level, by what is interpolated.

    Args:
        name: of that setting, such as `seed`.
        composed: by Hydra, not resolved.
    """
    others = re.compile(rf"\$\{{(?!{name}\}})\w+(\.\w+)*\}}")  # references to other settings
    texts = _texts(OmegaConf.to_container(composed, resolve=False))
    return any("${" in others.sub("", text) for text in texts)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
