"""The settings of a class as a JSON Schema: types, ranges, defaults, names, descriptions."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from decoderlab.common.annotations import part_kind, takes_nothing
from decoderlab.config.argument_schemas import argument_limits, argument_texts
from decoderlab.config.bounds import count_limit
from decoderlab.config.plain_values import MAX_INT64

Schema = dict[str, Any]
# What stands for a value: another setting, or that the value is still to be given.
INTERPOLATION: Schema = {"type": "string", "pattern": r"^(\?\?\?$|.*\$\{)"}
SIMPLE: dict[Any, str] = {int: "integer", float: "number", bool: "boolean", str: "string"}
RANGE_KEYWORDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def schemas_of_settings(
    position: str,
    target: Callable,
    part: Callable[[str, type], Schema],
    *,
    without: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
    short_names: Callable[[str], Collection[str]] = lambda _: (),
) -> tuple[dict[str, Schema], bool]:
    """Return the schema of each setting of a class, and whether it takes any other besides.

    Args:
        position: of the class in a config, with dots: decoder.bridge.
        target: the class.
        part: gives the schema of a part, by its position and kind.
        without: keywords that are no settings.
        defaults: values that stand for the constructor's own.
        short_names: gives those of the parts at a position; `OWN_NAMES` of the class has further.
    """
    texts, limits = argument_texts(target), argument_limits(target)
    function = target.__init__ if inspect.isclass(target) else target
    if takes_nothing(target):
        return {}, False
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # of a class that does not say what it takes
        return {}, True
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):  # what they name is not there; names and defaults are known
        hints = {}
    settings: dict[str, Schema] = {}
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or name in without:
            continue
        here = f"{position}.{name}"
        hint = hints.get(name, Any)
        if (kind := part_kind(hint)) is not None:
            schema = part(here, kind)
            if str in typing.get_args(hint):
                own = getattr(target, "OWN_NAMES", {}).get(name, ())
                names = {"enum": sorted({*short_names(here), *own})}
                schema = {"anyOf": [schema, names, {"$ref": "#/definitions/interpolation"}]}
        else:
            schema = _of_hint(here, hint, part, limits.get(name, {}))
        default = (defaults or {}).get(name, parameter.default)
        said: Schema = {"description": texts[name]} if name in texts else {}
        if default is None or isinstance(default, bool | int | float | str | list):
            said["default"] = default
        settings[name] = {**said, "allOf": [schema]} if "$ref" in schema else {**schema, **said}
    return settings, any(item.kind is item.VAR_KEYWORD for item in parameters.values())


def _of_hint(position: str, hint: Any, part: Callable, limits: Schema) -> Schema:
    """Return the schema of a value that is annotated so; {} where any value is allowed."""
    branches = _branches(position, hint, part, limits)
    if {} in branches:
        return {}
    if branches != [{"type": "string"}]:
        branches.append({"$ref": "#/definitions/interpolation"})
    return {"anyOf": branches} if len(branches) > 1 else branches[0]


def _branches(position: str, hint: Any, part: Callable, limits: Schema) -> list[Schema]:
    """Return the schemas of the kinds of value that an annotation admits, as `part_building`."""
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        branches = [_branches(position, member, part, limits) for member in members]
        return [branch for some in branches for branch in some]
    if hint is None or hint is type(None):
        return [{"type": "null"}]
    if origin is Literal:
        return [{"enum": list(members)}]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _of_dataclass(position, hint, part)
    if hint in SIMPLE:
        return [_simple(position, hint, limits)]
    if origin in (list, Sequence) or hint is list:
        items = _of_hint(f"{position}[]", members[0], part, {}) if members else {}
        return [{"type": "array", "items": items, **_only(limits, ("items", "uniqueItems"))}]
    if origin in (dict, Mapping) or hint is dict:
        entry = _of_hint(f"{position}.*", members[1], part, {}) if len(members) > 1 else {}
        return [{"type": "object", "additionalProperties": entry}]
    return [{}]


def _simple(position: str, kind: Any, limits: Schema) -> Schema:
    if kind is str and "enum" in limits:
        return {"enum": limits["enum"]}
    schema: Schema = {"type": SIMPLE[kind]}
    if kind in (int, float):
        if kind is int and (most := count_limit(position)) < MAX_INT64:
            schema["maximum"] = most
        schema |= _only(limits, RANGE_KEYWORDS)
    return schema


def _of_dataclass(position: str, kind: Any, part: Callable) -> list[Schema]:
    """Return the schema of a part's settings, and of the first of them, which a bare value is."""
    properties, _ = schemas_of_settings(position, kind, part)
    required = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is field.default_factory is dataclasses.MISSING
    ]
    whole = {"type": "object", "properties": properties, "additionalProperties": False}
    whole |= {"required": required} if required else {}
    first = dataclasses.fields(kind)[0].name
    return [whole] if required != [first] else [whole, properties[first]]


def _only(limits: Schema, names: Collection[str]) -> Schema:
    return {name: value for name, value in limits.items() if name in names}
