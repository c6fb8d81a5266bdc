"""Of which cells a study consists: factors, named variants, seeds, less what is excluded."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override

from decoderlab import checks
from decoderlab.config import ConfigError

Parse = Callable[[list[str]], list[Override]]


@dataclass(frozen=True)
class GridCell:
    """One combination, before it is composed.

    Args:
        variant: name of the bundle, None without bundles.
        given: setting to value as text, as on the command line: what makes this cell.
        bundled: the settings among them that the variant's name stands for.
    """

    variant: str | None
    given: dict[str, str]
    bundled: frozenset[str] = frozenset()

    @property
    def overrides(self) -> list[str]:
        """The cell as a command line."""
        return [f"{key}={value}" for key, value in self.given.items()]

    @property
    def named(self) -> dict[str, str]:
        """The cell as a person tells it from the others: the variant's name for its bundle."""
        own = {key: value for key, value in self.given.items() if key not in self.bundled}
        return own if self.variant is None else {"variant": self.variant} | own

    def text(self, varied: Sequence[str]) -> str:
        """Return how to find the cell in the sweep, by the settings that vary in it."""
        return " ".join(f"{key}={self.named[key]}" for key in varied if key in self.named)


def grid(
    study: Mapping[str, Any], params: Mapping[str, Any], arguments: Sequence[str], parse: Parse
) -> list[GridCell]:
    """Return the cells of a sweep, those that run first before the others.

    Args:
        study: the settings of `decoderlab.settings.Study`.
        params: `hydra.sweeper.params`: settings with their values, as on the command line.
        arguments: of the command line; they take the place of what the study says.
        parse: of Hydra's override grammar.

    Raises:
        ConfigError: for axes without values, or exclusions that exclude nothing.
    """
    declared = dict(params) | dict(study.get("factors") or {})
    if study.get("seeds") is not None:
        declared["seed"] = study["seeds"]
    lines = [f"{key}={as_sweep(f'study.factors.{key}', value)}" for key, value in declared.items()]
    axes = _axes(parse([*lines, *arguments]))
    on_command_line = set(_axes(parse(list(arguments))))
    bundles: dict[str | None, dict[str, str]] = {None: {}}
    if study.get("variants"):
        bundles = {name: _bundle(name, value) for name, value in study["variants"].items()}
    cells = []
    for (name, bundle), values in itertools.product(
        bundles.items(), itertools.product(*axes.values())
    ):
        swept = dict(zip(axes, values, strict=True))
        bundled = {key: value for key, value in bundle.items() if key not in on_command_line}
        cells.append(GridCell(name, swept | bundled, frozenset(bundled)))
    return _without(cells, study.get("exclude") or [])


def as_sweep(name: str, values: Any) -> str:
    """Return the values of an axis in Hydra's grammar.

    Example:
        >>> as_sweep("seed", "range(0,3)"), as_sweep("a", [1, None, ["x", "y z"], 1e-3])
        ('range(0,3)', "1,null,[x,'y z'],0.001")
    """
    if isinstance(values, Iterable) and not isinstance(values, str | Mapping):
        texts = [as_value(value) for value in values]
        if not texts:
            raise ConfigError(f"{name} is an empty list; give at least one value, or leave it out")
        return ",".join(texts)
    return values if isinstance(values, str) else as_value(values)


def as_value(value: Any) -> str:
    """Return a YAML value as Hydra's grammar writes it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case Mapping():
            inner = ",".join(f"{key}:{as_value(one)}" for key, one in value.items())
            return f"{{{inner}}}"
        case str():
            words = ("null", "true", "false", "nan", "inf")
            if re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value.lower() not in words:
                return value
            quoted = value.replace("\\", "\\\\").replace("'", "\\'")
            return f"'{quoted}'"
    return "[" + ",".join(map(as_value, value)) + "]"


def _axes(overrides: Sequence[Override]) -> dict[str, list[str]]:
    """Return each setting with its values as text, a later one in the place of an earlier."""
    axes: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            axes[key] = [override.get_value_element_as_str()]
            continue
        if not override.is_discrete_sweep():
            raise ConfigError(f"{override.input_line} has no list of values; give key=a,b,c")
        if re.split(r"[./@]", key)[0] in ("study", "budget"):
            raise ConfigError(
                f"{override.input_line} has several values, but a sweep is one study with one "
                "budget; launch one after the other, each with a study.name of its own"
            )
        axes[key] = list(override.sweep_string_iterator())
    return axes


def _bundle(name: str, settings: Any) -> dict[str, str]:
    if not isinstance(settings, Mapping) or "seed" in settings:
        raise ConfigError(
            f"study.variants.{name} is {settings!r}; give a mapping of settings to values, without "
            "seed"
        )
    return {key: as_value(value) for key, value in settings.items()}


def _without(cells: list[GridCell], exclude: Sequence[Mapping[str, Any]]) -> list[GridCell]:
    for place, combination in enumerate(exclude):
        wanted = {
            key: {as_value(one) for one in (values if isinstance(values, list) else [values])}
            for key, values in combination.items()
        }
        known = {key for cell in cells for key in (*cell.given, *cell.named)}
        for key in wanted:
            if key not in known:
                raise ConfigError(
                    f"study.exclude[{place}] names {key}, which is none of this study's: "
                    f"{', '.join(sorted(known))}.{checks.did_you_mean(key, known)}"
                )
        kept = [cell for cell in cells if not _matches(cell, wanted)]
        if len(kept) == len(cells):
            raise ConfigError(
                f"study.exclude[{place}] is {dict(combination)}, which is no cell of this study; "
                "correct it, or leave it out"
            )
        cells = kept
    if not cells:
        raise ConfigError("study.exclude leaves no run; exclude less")
    return cells


def _matches(cell: GridCell, wanted: Mapping[str, set[str]]) -> bool:
    values = cell.given | cell.named
    return all(values.get(key) in allowed for key, allowed in wanted.items())
