"""A person's own YAMLs, from `--config-dir`: read within bounds, with errors that say where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decoderlab.common.bounded_reading import read_text
from decoderlab.common.bounded_yaml import YAML_BYTES, parse_yaml
from decoderlab.common.errors import ConfigError, Invalid

HEADER_LINES = 10


def read_user_yaml(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a YAML and the mapping in it.

    Args:
        path: of the file.

    Raises:
        ConfigError: if it is not a file, cannot be read, is too large, is not a YAML of settings,
            or has a list of defaults that is none; with the path and, where known, the line.
    """
    try:
        text = read_text(path, YAML_BYTES).removeprefix("\ufeff")
        content = parse_yaml(text, path, may_be_empty=True)
    except Invalid as error:
        raise ConfigError(f"{_located(path, error)}; correct it, or choose another YAML") from error
    _check_header(path, text)
    _check_defaults(path, content.get("defaults"))
    return text, content


def _located(path: Path, error: Invalid) -> str:
    """Return what is wrong, with line and column where a parser knows them."""
    mark = getattr(error.__cause__, "problem_mark", None)
    if mark is None:
        return str(error)
    problem = getattr(error.__cause__, "problem", None) or "it is no YAML"
    if "cannot start any token" in problem:
        problem += ", such as a tab: write spaces"
    return f"{path}:{mark.line + 1}:{mark.column + 1}: {problem}"


def _check_header(path: Path, text: str) -> None:
    for line in text.splitlines()[:HEADER_LINES]:
        words = line.strip().lstrip("#").split()
        if line.strip().startswith("#") and words and words[0].startswith("@"):
            if words[0] != "@package" or len(words) != 2:
                raise ConfigError(
                    f"{path} begins with {line.strip()!r}; the line is '# @package _global_', or "
                    "there is none"
                )


def _check_defaults(path: Path, defaults: Any) -> None:
    """Raise ConfigError unless a list of defaults is one."""
    if defaults is None:
        return
    fix = "write a list, as in - override /task: echo"
    if not isinstance(defaults, list):
        raise ConfigError(f"{path}: defaults is {_shown(defaults)}; {fix}")
    for index, entry in enumerate(defaults):
        where = f"{path}: defaults[{index}] is {_shown(entry)}"
        if isinstance(entry, str) and entry:
            continue
        if not isinstance(entry, Mapping) or not entry:
            raise ConfigError(f"{where}, which names no YAML; {fix}")
        for group, chosen in entry.items():
            names = chosen if isinstance(chosen, list) else [chosen]
            named = all(isinstance(name, str) and name for name in names)
            if not group.split() or not (named or chosen is None or group == "optional"):
                raise ConfigError(f"{where}, but a YAML is chosen by its name; {fix}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
