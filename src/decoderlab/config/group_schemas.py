"""JSON Schemas of the YAMLs of every config group, for editors.

A class that a YAML names by `_target_` gives the settings of its constructor. A YAML without it
builds on another of its group, and may have the settings of any class there. The class of somebody
else, which cannot be checked from here, may have any.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import group_yamls
from decoderlab.common.part_building import find_target
from decoderlab.config.encoder_start import EncoderStart
from decoderlab.config.lightning_settings import SET_BY_THE_RUN, TrainerSettings
from decoderlab.config.run_config import BUILT, INJECTED, LIGHTNING, OPTIONAL, SECTIONS, Paper
from decoderlab.config.setting_schemas import INTERPOLATION, Schema, schemas_of_settings
from decoderlab.config.user_yaml import read_user_yaml

DIALECT = "http://json-schema.org/draft-07/schema#"
WHOLE = "train"  # the schema of YAMLs of several groups
GLOBAL = ("study", "preset", "debug")
OPEN: Schema = {"type": "object"}
CLASS_NAME = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"


class GroupSchemas:
    """The schemas of all groups of some folders of YAMLs.

    Args:
        folders: of configs, ours and a user's own, whose classes can be imported.

    Example:
        >>> from decoderlab.common.folders import conf_dir
        >>> schema = GroupSchemas([conf_dir()]).of_group("budget")
        >>> schema["definitions"]["budget"]["properties"]["match"]["anyOf"][0]["enum"]
        ['updates', 'parameters', 'flops', 'seconds']
    """

    def __init__(self, folders: list[Path]) -> None:
        self.names: dict[str, set[str]] = defaultdict(set)  # of YAMLs, by group
        self._classes: dict[str, set[str]] = defaultdict(set)  # by position
        self._default: dict[str, dict[str, Any]] = {}  # settings of the groups without a class
        for folder in folders:
            for group, path in group_yamls(folder):
                self._read(path, group)
        self.groups = sorted(group for group in self.names if not group.endswith("/base"))
        self._parts: dict[str, type] = {}  # kinds of parts by their positions
        self._definitions: dict[str, Schema] = {"interpolation": INTERPOLATION}
        for group in BUILT:  # which notes the parts
            self._class(group)

    def of_group(self, group: str) -> Schema:
        """Return the schema of a YAML of a group; `train` is that of a YAML of several groups."""
        root = self._root(group)
        return {
            "$schema": DIALECT,
            "title": f"decoderlab: {group}",
            "definitions": {name: self._definitions[name] for name in sorted(self._used(root))},
            "allOf": [root],
        }

    def _used(self, schema: Any) -> set[str]:
        """Return the names of the definitions that a schema refers to, and these in turn."""
        names, waiting = set(), [schema]
        while waiting:
            match waiting.pop():
                case {"$ref": str(path)}:
                    if (name := path.rpartition("/")[2]) not in names:
                        names.add(name)
                        waiting.append(self._definitions[name])
                case dict() as inner:
                    waiting += inner.values()
                case list() as inner:
                    waiting += inner
        return names

    def _read(self, path: Path, group: str) -> None:
        """Note the name of a YAML, and the classes in it."""
        if group == ".":
            return
        self.names[group].add(path.stem)
        _, content = read_user_yaml(path)
        if path.stem in ("default", "adhoc"):
            self._default[group] = {str(key): value for key, value in content.items()}
        self._note(group.removesuffix("/base").replace("/", "."), content)

    def _note(self, position: str, content: Mapping[Any, Any]) -> None:
        if isinstance(target := content.get("_target_"), str):
            self._classes[position].add(target)
        for key, value in content.items():
            if isinstance(value, dict):
                inner = "*" if position in ("logger", "callbacks") else key
                self._note(f"{position}.{inner}", value)

    def _root(self, group: str) -> Schema:
        """Return the schema of the top of a YAML."""
        if group == "study":  # study/adhoc.yaml has the settings of a study alone
            own = [field.name for field in fields(SECTIONS["study"])]
            alone = {"propertyNames": {"enum": own}}
            return {"if": alone, "then": self._section("study"), "else": self._whole()}
        if group in (WHOLE, *GLOBAL):
            return self._whole()
        if group in SECTIONS:
            return self._section(group)
        if group == "trainer":
            return self._trainer()
        if group in LIGHTNING:
            return self._named(group)
        return self._class(group.replace("/", "."))

    def _ref(self, name: str, made: Schema | None = None) -> Schema:
        if made is not None:
            self._definitions[name] = made
        return {"$ref": f"#/definitions/{name}"}

    def _class(self, position: str) -> Schema:
        """Return the schema of what is built from settings at a position: a class and its own."""
        if position in self._definitions:
            return self._ref(position)
        self._definitions[position] = OPEN  # a task can have a task
        kind = self._parts.get(position)
        without = (*INJECTED.get(position, ()), *getattr(kind, "INJECTED", ()))
        common = self._common(position)
        union, known, open_ended = dict(common), [], []
        for target in sorted(self._classes[position]):
            try:
                made = find_target(position, target)
            except ConfigError:  # of an extra that is not installed
                continue
            own, is_open = schemas_of_settings(
                position, made, self._part, without=without, short_names=self._short_names
            )
            if position in ("callbacks.*", "logger.*"):  # what null stands for is the run's
                own = {name: {"anyOf": [schema, {"type": "null"}]} for name, schema in own.items()}
            if is_open:
                open_ended.append((target, own))
                continue
            known.append((target, own))
            for name, schema in own.items():
                union[name] = _either(union[name], schema) if name in union else schema
        optional = (*OPTIONAL.get(position, ()), *getattr(kind, "OPTIONAL", ()))
        branches = [
            {
                "if": _is_class(target),
                "then": {
                    "properties": own,
                    "propertyNames": {"enum": sorted({*common, *own, *optional})},
                },
            }
            for target, own in known
        ]
        branches += [{"if": _is_class(target), "then": {"properties": own}}
                     for target, own in open_ended]  # fmt: skip
        without_class: Schema = {"properties": union}
        if len(known) == len(self._classes[position]):
            without_class["propertyNames"] = {"enum": sorted(union)}
        branches.append({"if": {"required": ["_target_"]}, "else": without_class})
        made = {"type": ["object", "null"], "properties": common, "allOf": branches}
        return self._ref(position, made)

    def _part(self, position: str, kind: type) -> Schema:
        """Return the schema of a part that a class has; see `schemas_of_settings`."""
        if group := getattr(kind, "GROUP", None):
            return self._class(group)
        self._parts[position] = kind
        return self._class(position)

    def _short_names(self, position: str) -> set[str]:
        """Return the names of the YAMLs of the parts at a position."""
        return self.names.get(position.replace(".", "/"), set())

    def _common(self, position: str) -> dict[str, Schema]:
        """Return what every mapping of a group may have, whatever its class."""
        common = {"_target_": _class_name(self._classes[position])}
        if (group := position.replace(".", "/")) in self.names:
            common["defaults"] = self._defaults(group)
        if position == "encoder":
            types: dict[str, Schema] = {
                "from_run": {"type": ["string", "null"], "description": "a run to begin with"},
                "frozen": {"type": "boolean", "description": "whether it stays as it is"},
            }
            common |= {
                name: {**types[name], "default": value}
                for name, value in EncoderStart()._asdict().items()
            }
        if position == "task":
            metric = self._class("metric")
            common["metrics"] = {"type": "object", "additionalProperties": metric}
        return common

    def _section(self, group: str) -> Schema:
        """Return the schema of a section of settings."""
        if group in self._definitions:
            return self._ref(group)
        properties, _ = schemas_of_settings(
            group,
            SECTIONS[group],
            self._part,
            defaults=self._default.get(group),
            short_names=self._short_names,
        )
        for name in properties:
            if (inner := f"{group}/{name}") in self.names:
                said = {"description": properties[name].get("description", "")}
                properties[name] = {"allOf": [self._class(inner.replace("/", "."))], **said}
        if group == "study":
            properties |= self._study_parts(properties)
        if group == "evaluation":
            properties["select"] = {**properties["select"], "type": ["string", "null"]}
        properties["defaults"] = self._defaults(group)
        return self._ref(
            group, {"type": "object", "properties": properties, "additionalProperties": False}
        )

    def _study_parts(self, properties: dict[str, Schema]) -> dict[str, Schema]:
        """Return the settings of a study that name settings of runs."""
        bundle = self._ref("bundle", {"type": ["object", "null"], **self._settings_by_name()})
        bundles: Schema = {"type": ["object", "null"], "additionalProperties": bundle}
        levels = {"anyOf": [{"type": "array"}, {"type": "object", "additionalProperties": bundle}]}
        listed = {
            group: {**levels, "anyOf": [{"type": "array", "items": self._chosen(group)},
                                        levels["anyOf"][1]]}
            for group in self.groups
        }  # fmt: skip
        factors = {"type": ["object", "null"], "properties": listed, "additionalProperties": levels}
        made = {"variants": bundles, "references": bundles, "factors": factors}
        return {
            name: {**schema, "description": properties[name].get("description", "")}
            for name, schema in made.items()
        }

    def _settings_by_name(self) -> Schema:
        """Return the schema of settings as on a command line: decoder.hidden_size, decoder/head."""
        named: dict[str, Schema] = {group: self._chosen(group) for group in self.groups}
        for group in (*BUILT, *SECTIONS):
            if group != "study":
                schema = self._section(group) if group in SECTIONS else self._class(group)
                named |= dict(self._dotted(group, schema))
        named |= {"seed": {"type": ["integer", "string"]}}
        return {
            "properties": named,
            "patternProperties": {r"^([+~]|trainer\.|logger|callbacks|hydra|.*@|.*\._target_)": {}},
            "additionalProperties": False,
        }

    def _dotted(self, name: str, schema: Schema, depth: int = 3) -> Iterator[tuple[str, Schema]]:
        """Yield the settings below a position by their dotted names."""
        for inner in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
            yield from self._dotted(name, inner, depth)
        if "$ref" in schema:
            yield from self._dotted(name, self._definitions[schema["$ref"].split("/")[-1]], depth)
        if "else" in schema:
            yield from self._dotted(name, schema["else"], depth)
        if depth:
            for key, value in schema.get("properties", {}).items():
                if key not in ("_target_", "defaults"):
                    yield f"{name}.{key}", value
                    yield from self._dotted(f"{name}.{key}", value, depth - 1)

    def _whole(self) -> Schema:
        """Return the schema of a YAML of several groups."""
        if "whole" in self._definitions:
            return self._ref("whole")
        paper, _ = schemas_of_settings("paper", Paper, self._part)
        paper["differs"] = {"type": "array", "items": {"type": "string"}}
        needed = ["authors", "year", "title", "url", "task"]
        properties: dict[str, Schema] = {
            "defaults": self._defaults(""),
            "seed": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1, "default": 0,
                     "description": "of initial weights, order and dropout"},
            "paper": {"type": "object", "properties": paper, "required": needed,
                      "additionalProperties": False},
            "trainer": self._trainer(),
            "hydra": OPEN,
        }  # fmt: skip
        properties |= {name: self._class(name) for name in BUILT}
        properties |= {name: self._section(name) for name in SECTIONS}
        properties |= {name: self._named(name) for name in LIGHTNING if name != "trainer"}
        return self._ref(
            "whole",
            {"type": "object", "properties": properties, "additionalProperties": False},
        )

    def _trainer(self) -> Schema:
        """Return the schema of the arguments of Lightning's Trainer."""
        if "trainer" in self._definitions:
            return self._ref("trainer")
        from pytorch_lightning import Trainer

        properties, _ = schemas_of_settings(
            "trainer",
            TrainerSettings,
            self._part,
            without=("further",),
            defaults=self._default.get("trainer"),
        )
        names = [
            name for name in inspect.signature(Trainer).parameters if name not in SET_BY_THE_RUN
        ]
        properties["defaults"] = self._defaults("trainer")
        allowed = {"propertyNames": {"enum": [*properties, *names]}}
        return self._ref("trainer", {"type": "object", "properties": properties, **allowed})

    def _named(self, group: str) -> Schema:
        """Return the schema of loggers or callbacks, each under a name of its own."""
        properties = {"defaults": self._defaults(group)}
        made = {
            "type": "object",
            "properties": properties,
            "additionalProperties": self._class(f"{group}.*"),
        }
        return self._ref(group, made)

    def _chosen(self, group: str) -> Schema:
        """Return the schema of the name of a YAML of a group, or of several."""
        name = {"enum": sorted(self.names[group])}
        several = {"type": "array", "items": name}
        either = [name, {"type": "null"}, several, {"$ref": "#/definitions/interpolation"}]
        return self._ref(f"{group.replace('/', '.')}=", {"anyOf": either})

    def _defaults(self, group: str) -> Schema:
        """Return the schema of a defaults list: which YAMLs of which groups there are."""
        name = f"{group.replace('/', '.')} defaults".strip()
        if name not in self._definitions:
            groups = {rf"/?{re.escape(other)}": self._chosen(other) for other in self.groups}
            inside = [other for other in self.groups if group and other.startswith(f"{group}/")]
            groups |= {
                re.escape(other.removeprefix(f"{group}/")): self._chosen(other) for other in inside
            }
            patterns: dict[str, Schema] = {
                rf"^(override |optional )*{written}(@[\w.]+)?$": chosen
                for written, chosen in groups.items()
            }
            patterns[r"^(override |optional )*/?hydra/"] = {}
            entry = {"type": "object", "patternProperties": patterns, "additionalProperties": False}
            word = {"type": "string", "pattern": r"^/?[\w./-]+(@[\w.]+)?$"}
            made = {"type": "array", "items": {"anyOf": [word, entry]}}
            self._definitions[name] = made
        return self._ref(name)


def _is_class(target: str) -> Schema:
    """Return the schema of settings that name a class."""
    return {"properties": {"_target_": {"const": target}}, "required": ["_target_"]}


def _class_name(known: Any) -> Schema:
    """Return the schema of a class's dotted name: of ours those that there are, or any other's."""
    foreign = {"type": "string", "pattern": CLASS_NAME, "not": {"pattern": r"^decoderlab\."}}
    return {"anyOf": [{"enum": sorted(known)}, foreign]} if known else foreign


def _either(first: Schema, second: Schema) -> Schema:
    """Return the schema of what either of two allows."""
    options = first["anyOf"] if set(first) == {"anyOf"} else [first]
    return first if second in options else {"anyOf": [*options, second]}
