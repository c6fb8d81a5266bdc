"""The settings of every config group as Markdown tables, made from the schemas that editors get."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from decoderlab.config.group_schemas import WHOLE, GroupSchemas
from decoderlab.config.setting_schemas import Schema

HEAD = ("setting", "type", "default", "range, or choices", "meaning")
NOT_SHOWN = ("_target_", "defaults")
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def settings_reference(folder: Path) -> str:
    """Return the page: of every group its classes, their settings, and its YAMLs.

    Args:
        folder: of the YAMLs.
    """
    schemas = GroupSchemas([folder])
    lines = [
        "# Settings",
        "",
        "Every setting of every YAML of `conf/`, by group. Any of them can be given or swept. A "
        "default is the constructor's; where a YAML gives a value, that counts. The YAMLs of a "
        "group stand below its tables.",
        "",
    ]
    for group in [WHOLE, *schemas.groups]:
        lines += [f"## {group}", ""]
        tables = list(tables_of(schemas, group))
        for title, settings in tables:
            lines += [f"### `{title}`", ""] if title else []
            lines += [*_table(schemas, settings), ""]
        if not tables:
            lines += ["YAMLs of settings of several groups.", ""]
        below = folder if group == WHOLE else folder / group
        for path in sorted(below.glob("*.yaml")):
            chosen = path.stem if group == WHOLE else f"{group}={path.stem}"
            lines += [f"### `{chosen}`", "", "```yaml", path.read_text().rstrip(), "```", ""]
    return "\n".join(lines)


def tables_of(schemas: GroupSchemas, group: str) -> Iterator[tuple[str, Mapping[str, Schema]]]:
    """Yield the settings of a group with their schemas: of each class, or of the group itself.

    Args:
        schemas: of all groups.
        group: such as decoder/bridge, or `train` for what belongs to none.

    Yields:
        A class and its settings; an empty name where the group is not built from a class. Classes
        of parts that no group has, such as a score, follow with the name of their setting.
    """
    definitions = schemas.of_group(group)["definitions"]
    if group == WHOLE:
        yield "", {"seed": definitions["whole"]["properties"]["seed"]}
        return
    position = group.replace("/", ".")
    own = f"{position}.*" if group in ("logger", "callbacks") else position
    parts = [
        name
        for name in definitions
        if name.startswith(f"{position}.") and _group_of(name, schemas) == group and name != own
    ]
    for name in (own, *parts):
        before = "" if name == own else f"{name.removeprefix(f'{position}.')}: "
        for title, settings in _classes(definitions.get(name, {})):
            yield f"{before}{title}", settings


def _classes(made: Schema) -> Iterator[tuple[str, Mapping[str, Schema]]]:
    common = made.get("properties", {})
    if common and "allOf" not in made:
        yield "", {name: schema for name, schema in common.items() if _shown(name)}
    for branch in made.get("allOf", []):
        if "then" in branch:
            settings = {**branch["then"]["properties"], **common}
            title = branch["if"]["properties"]["_target_"]["const"]
            yield title, {name: schema for name, schema in settings.items() if _shown(name)}


def _group_of(position: str, schemas: GroupSchemas) -> str:
    """Return the nearest group that a position of a part is in; empty for what is no position."""
    words = position.split(".")
    groups = ["/".join(words[:end]) for end in range(len(words), 0, -1)]
    known = [group for group in groups if group in schemas.groups]
    return known[0] if known and re.fullmatch(r"[\w.]+", position) else ""


def _shown(name: str) -> bool:
    return name not in NOT_SHOWN


def _table(schemas: GroupSchemas, settings: Mapping[str, Schema]) -> list[str]:
    if not settings:
        return ["It has no settings."]
    rows = [HEAD, ("---",) * len(HEAD)]
    for name, schema in settings.items():
        # What stands for a setting that may be null besides says it inside.
        said = [schema, *schema.get("anyOf", [])]
        default = next(
            (f"`{json.dumps(kind['default'])}`" for kind in said if "default" in kind), ""
        )
        meaning = next((kind["description"] for kind in said if "description" in kind), "")
        kinds, limits = zip(*_values(schemas, schema), strict=True)
        row = (f"`{name}`", _joined(kinds), default, _joined(limits), meaning)
        rows.append(tuple(" ".join(cell.split()).replace("|", r"\|") for cell in row))
    return [f"| {' | '.join(row)} |" for row in rows]


def _joined(texts: tuple[str, ...]) -> str:
    return " or ".join(dict.fromkeys(filter(None, texts)))


def _values(schemas: GroupSchemas, schema: Schema) -> list[tuple[str, str]]:
    """Return the type and the range, or the choices, of each kind of value that is allowed."""
    if "anyOf" in schema or "allOf" in schema:
        branches = schema.get("anyOf") or schema["allOf"]
        pairs = [pair for branch in branches for pair in _values(schemas, branch)]
        return [pair for pair in pairs if pair != ("", "")] or [("any", "")]
    if "$ref" in schema:
        part = schema["$ref"].rpartition("/")[2]
        if part == "interpolation":
            return [("", "")]
        group = part.replace(".", "/")
        return [("class", f"of the group `{group}`" if group in schemas.groups else "")]
    if "enum" in schema:
        return [("text", ", ".join(f"`{choice}`" for choice in schema["enum"]))]
    kinds = schema.get("type", "any")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "items" in schema and schema["items"]:
        ((inner, limits), *_) = _values(schemas, schema["items"])
        return [(f"list of {inner}", limits)]
    limits = ", ".join(
        f"{sign} {_number(schema[key])}" for key, sign in BOUNDS.items() if key in schema
    )
    return [(kind, limits if kind != "null" else "") for kind in map(str, kinds)]


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
