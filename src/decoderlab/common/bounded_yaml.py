"""Reading YAML from untrusted files: its values are counted before anything is built."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader  # what a config means is what Hydra reads in it

from decoderlab.common.bounded_reading import MAX_DEPTH, MIB, has_half_characters, read_text
from decoderlab.common.errors import Invalid

YAML_BYTES = 4 * MIB
# Scalars, lists and mappings, those behind aliases counted each time.
NODES = 100_000
# In C where that is there.
EVENT_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
HYDRAS = get_yaml_loader()
RESOLVER = HYDRAS("")
DIGITS = 400  # of a number that a setting can be, in any notation
# 010 is 8 in YAML 1.1, and 1:40 is 100.
OTHER_BASE = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")


class Plain(EVENT_LOADER):  # pyright: ignore[reportGeneralTypeIssues]
    """Hydra's loader in C where there is one, without the paths that Hydra's would build."""

    yaml_implicit_resolvers = HYDRAS.yaml_implicit_resolvers
    yaml_constructors = yaml.SafeLoader.yaml_constructors

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a duplicate name.

        Raises:
            ConstructorError: for a duplicate key.
        """
        names: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in names:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"duplicate key {key.value}", key.start_mark
                    )
                names.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path, limit: int = YAML_BYTES) -> dict[str, Any]:
    """Return the mapping in a YAML file, as Hydra reads it; nothing in it is resolved or built.

    Args:
        path: of the file.
        limit: in bytes.

    Raises:
        Missing: if nothing is there.
        Invalid: if it cannot be read, is no YAML, names Python objects, is too large, too deep, or
            no mapping with names.
    """
    return parse_yaml(read_text(path, limit), path)


def parse_yaml(text: str, path: Path, *, may_be_empty: bool = False) -> dict[str, Any]:
    """Return the mapping in the YAML text that a file holds; see `read_yaml`.

    Args:
        text: to parse.
        path: of the file, for messages.
        may_be_empty: whether a text of comments alone holds an empty mapping.

    Raises:
        Invalid: if it is not YAML, holds no mapping, or is out of bounds.
    """
    if not check_yaml(text, path) and may_be_empty:
        return {}
    try:
        value = yaml.load(text, Loader=Plain)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise Invalid(path, f"is no YAML that can be read: {_one_line(error)}") from error
    if not isinstance(value, dict):
        raise Invalid(path, "holds no mapping")
    _check_plain(value, path)
    return value


def check_yaml(text: str, path: Path) -> int:
    """Return the number of values in a YAML text; an alias counts each time it is used.

    Args:
        text: to check; its events are read, nothing is built.
        path: of the file, for messages.

    Raises:
        Invalid: if it is no YAML, or would become larger or deeper than a config can be.
    """
    sizes: dict[str, int] = {}  # of what each anchor names, when it is complete
    open_: list[tuple[str | None, int]] = []  # (anchor, nodes before) of what is not complete
    nodes = 0
    try:
        for event in yaml.parse(text, Loader=EVENT_LOADER):
            if isinstance(event, yaml.AliasEvent):
                if event.anchor not in sizes:
                    raise Invalid(path, f"has an alias *{event.anchor} of nothing before it")
                nodes += sizes[event.anchor]
            elif isinstance(event, yaml.ScalarEvent):
                nodes += 1
                _check_number(event, path)
                if event.anchor is not None:
                    sizes[event.anchor] = 1
            elif isinstance(event, yaml.CollectionStartEvent):
                open_.append((event.anchor, nodes))
                nodes += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = open_.pop()
                if anchor is not None:
                    sizes[anchor] = nodes - before
            if nodes > NODES:
                raise Invalid(path, f"would have more than {NODES:,} values with its aliases")
            if len(open_) > MAX_DEPTH:
                raise Invalid(path, f"nests deeper than {MAX_DEPTH} levels")
    except (yaml.YAMLError, ValueError) as error:
        raise Invalid(path, f"is no YAML: {_one_line(error)}") from error
    return nodes


def _check_number(event: yaml.ScalarEvent, path: Path) -> None:
    """Raise Invalid for a number that is too long, or that YAML reads to another base."""
    if len(event.value) > DIGITS and _is_number(event):
        raise Invalid(path, f"has a number of {len(event.value):,} letters")
    if OTHER_BASE.fullmatch(event.value) and _is_number(event):
        line, value = event.start_mark.line + 1, yaml.load(event.value, Loader=Plain)
        what = f"has {event.value} in line {line}, which YAML reads as {value}"
        raise Invalid(path, f"{what}: write that, or put it in quotes")


def _is_number(event: yaml.ScalarEvent) -> bool:
    """Whether a value would be read as a number: 1:11:11:... takes YAML quadratic time."""
    tag = event.tag or (
        event.implicit[0] and RESOLVER.resolve(yaml.ScalarNode, event.value, (True, False))
    )
    return str(tag).endswith((":int", ":float"))


def _check_plain(value: Any, path: Path, name: str = "") -> None:
    """Raise Invalid unless a value is made of what JSON has too, with texts as names."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise Invalid(path, f"has a name that is not a text: {key!r:.40}")
            _check_text(key, path, key)
            _check_plain(item, path, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_plain(item, path, f"{name}[{index}]")
    elif isinstance(value, str):
        _check_text(value, path, name)
    elif isinstance(value, float) and not math.isfinite(value):
        raise Invalid(path, f"has {name}: {value}, which is not a number")
    elif not isinstance(value, int | float | bool | type(None)):
        raise Invalid(path, f"has {name}: a {type(value).__name__}, which no setting is")


def _check_text(text: str, path: Path, name: str) -> None:
    if has_half_characters(text):
        raise Invalid(path, f"has {name!r:.40}: half a character (a lone surrogate)")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
