"""Of which cells a study consists: factors, named variants, seeds, less what is excluded."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep

from decoderlab.common import require
from decoderlab.common.errors import ConfigError
from decoderlab.config.command_line import VALUES, range_length
from decoderlab.config.study_settings import Study

OF_THE_SWEEP = ("study", "budget", "run", "hydra")
GRIDS = 5  # so many times `study.max_runs` is not even planned: it would take minutes
Parse = Callable[[list[str]], list[Override]]


@dataclass(frozen=True)
class GridCell:
    """One combination, before it is composed.

    Args:
        variant: name of the bundle, or of the reference; None without.
        given: setting to value as text, as on the command line: what makes this cell.
        bundled: the settings among them that the variant's name stands for.
        prefixes: of settings that were given with Hydra's `+`, `++` or `~`.
        levels: of the factors whose values have names: which of them.
    """

    variant: str | None
    given: dict[str, str]
    bundled: frozenset[str] = frozenset()
    prefixes: Mapping[str, str] = field(default_factory=dict)
    levels: Mapping[str, str] = field(default_factory=dict)

    @property
    def overrides(self) -> list[str]:
        """The cell as a command line."""
        return [f"{self.prefixes.get(key, '')}{key}={value}" for key, value in self.given.items()]

    @property
    def named(self) -> dict[str, str]:
        """The cell as a person tells it from the others: names for what they stand for."""
        own = {key: value for key, value in self.given.items() if key not in self.bundled}
        names = {} if self.variant is None else {"variant": self.variant}
        return names | dict(self.levels) | own

    def text(self, varied: Sequence[str]) -> str:
        """Return how to find the cell in the sweep, by the settings that vary in it."""
        return " ".join(f"{key}={self.named[key]}" for key in varied if key in self.named)


def grid(
    study: Study, params: Mapping[str, Any], arguments: Sequence[str], parse: Parse
) -> list[GridCell]:
    """Return the cells of a sweep, those that run first before the others.

    Args:
        study: its settings.
        params: `hydra.sweeper.params`: settings with their values, as on the command line.
        arguments: of the command line; they replace what the study says.
        parse: of Hydra's override grammar.

    Raises:
        ConfigError: for axes without values, or exclusions that exclude nothing.
    """
    factors = dict(study.factors or {})
    named = {key: value for key, value in factors.items() if isinstance(value, Mapping)}
    declared = dict(params) | {key: value for key, value in factors.items() if key not in named}
    if study.seeds is not None:
        declared["seed"] = study.seeds
    where = {"seed": "study.seeds"} if study.seeds is not None else {}
    lines = [
        f"{key}={as_sweep(where.get(key, f'study.factors.{key}'), value)}"
        for key, value in declared.items()
    ]
    own, given = _axes(parse(lines)), _axes(parse(list(arguments)))
    axes = {name: axis.values for name, axis in (own | given).items()}
    prefixes = {name: axis.prefix for name, axis in (own | given).items() if axis.prefix}
    rows = _rows(study, named)
    _check_size(study, len(rows), axes)
    cells = []
    for row, values in itertools.product(rows, itertools.product(*axes.values())):
        swept = dict(zip(axes, values, strict=True))
        # What is given on the command line holds for all bundles.
        bundled = {key: value for key, value in row.settings.items() if key not in given}
        cell = GridCell(row.variant, swept | bundled, frozenset(bundled), prefixes, row.levels)
        cells.append(cell)
    known = {name: {*axis.values} for name, axis in own.items()}
    for name, values in axes.items():
        known.setdefault(name, set()).update(values)
    for name, value in itertools.chain.from_iterable(row.settings.items() for row in rows):
        known.setdefault(name, set()).add(value)
    known = {name: values for name, values in known.items() if _group(name) not in OF_THE_SWEEP}
    for row in rows:
        if row.variant is not None:
            known.setdefault("variant", set()).add(row.variant)
        for factor, level in row.levels.items():
            known.setdefault(factor, set()).add(level)
    return _without(cells, study.exclude or [], known)


def _check_size(study: Study, rows: int, axes: Mapping[str, Sequence[str]]) -> None:
    """Raise ConfigError for a grid that nobody can mean, before a cell of it is made."""
    number = rows * math.prod(map(len, axes.values()))
    if number > GRIDS * study.max_runs:
        sizes = {"rows": rows} | {name: len(values) for name, values in axes.items()}
        shown = ", ".join(f"{name} has {size:,}" for name, size in sizes.items() if size > 1)
        raise ConfigError(
            f"the grid has {number:,} runs ({shown}), which is above {GRIDS} times "
            f"study.max_runs={study.max_runs}; if that is intended, give study.max_runs={number}"
        )


class _Row(NamedTuple):
    """What a row of the table sets, and the names that say so."""

    variant: str | None
    levels: dict[str, str]
    settings: dict[str, str]


def _rows(study: Study, named: Mapping[str, Mapping[str, Any]]) -> list[_Row]:
    """Return every variant with every level of the named factors, then the references."""
    variants = _bundles("variants", study.variants) if study.variants else {None: {}}
    levels = [
        [
            (factor, str(name), _bundle(f"factors.{factor}.{name}", bundle))
            for name, bundle in all_.items()
        ]
        for factor, all_ in named.items()
    ]
    for factor, all_ in named.items():
        if not all_ or not str(factor).isidentifier() or factor in ("variant", "seed"):
            raise ConfigError(
                f"study.factors.{factor} is {dict(all_)!r}; give a list of values, or, under a "
                "name of its own, at least one level by name: {level: {setting: value}}"
            )
    number = len(variants) * math.prod(map(len, levels))
    if number > VALUES:
        _refuse_size("the combinations of variants and factors are", number)
    rows = []
    for (name, bundle), combination in itertools.product(
        variants.items(), itertools.product(*levels)
    ):
        settings = dict(bundle)
        for factor, level, own in combination:
            if twice := settings.keys() & own.keys():
                raise ConfigError(
                    f"study.factors.{factor}.{level} sets {', '.join(sorted(twice))}, which "
                    "another factor or the variant sets too; set it in one of them only"
                )
            settings |= own
        rows.append(_Row(name, {factor: level for factor, level, _ in combination}, settings))
    if study.references:
        references = _bundles("references", study.references)
        if both := references.keys() & variants.keys():
            raise ConfigError(
                f"study.references and study.variants both have {sorted(both)}; rename them in one"
            )
        # A reference stands beside the rows on each task, also on those that have names.
        tasks = [(level, own) for each in levels for factor, level, own in each if factor == "task"]
        for name, bundle in references.items():
            rows += [_Row(name, {"task": level}, bundle | own) for level, own in tasks]
            if not tasks:
                rows.append(_Row(name, {}, bundle))
    return rows


def _bundles(group: str, bundles: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    return {str(name): _bundle(f"{group}.{name}", bundle) for name, bundle in bundles.items()}


def as_sweep(name: str, values: Any) -> str:
    """Return the values of an axis in Hydra's grammar.

    Raises:
        ConfigError: for a text that is not a range, or an empty list.

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
            inner = ",".join(f"{key}:{as_value(item)}" for key, item in value.items())
            return f"{{{inner}}}"
        case str():
            words = ("null", "true", "false", "nan", "inf")
            if re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value.lower() not in words:
                return value
            # A backslash is itself but before a quote, where two stand for it.
            quoted = re.sub(r"\\+(?='|\Z)", r"\g<0>\g<0>", value).replace("'", "\\'")
            return f"'{quoted}'"
    return "[" + ",".join(map(as_value, value)) + "]"


class Axis(NamedTuple):
    """The values of a setting as text, and the prefix that it was given with."""

    values: list[str]
    prefix: str


def _axes(overrides: Sequence[Override]) -> dict[str, Axis]:
    """Return each setting with its values, a later value instead of an earlier."""
    axes: dict[str, Axis] = {}
    for override in overrides:
        element = override.get_key_element()
        name = element.lstrip("+~")
        prefix = element.removesuffix(name)
        if not override.is_sweep_override():
            axes[name] = Axis([override.get_value_element_as_str()], prefix)
            continue
        if not override.is_discrete_sweep():
            raise ConfigError(f"{override.input_line} has no list of values; give key=a,b,c")
        _demand_scientific(name, override.input_line or name)
        axes[name] = Axis(swept_values(override), prefix)
        if not axes[name].values:
            raise ConfigError(f"{override.input_line} has no values; give at least one")
    return axes


def swept_values(override: Override) -> list[str]:
    """Return the values of a sweep as texts.

    Raises:
        ConfigError: for more of them than a sweep can have; they are counted, not made.
    """
    swept, number = override.value(), 0.0
    if isinstance(swept, RangeSweep):
        number = range_length(swept)
    elif isinstance(swept, ChoiceSweep):
        number = len(swept.list)
    if number > VALUES:
        _refuse_size(f"{override.input_line or override.key_or_group} has", number)
    return list(override.sweep_string_iterator())


def _refuse_size(what: str, number: float) -> NoReturn:
    raise ConfigError(
        f"{what} {number:,.0f} values; a sweep has at most {VALUES:,} runs: take fewer values"
    )


def _demand_scientific(name: str, text: str) -> None:
    """Raise ConfigError for a setting that is the sweep's, not a run's."""
    group = _group(name)
    if name == "study.seeds":
        raise ConfigError(f"{text} varies study.seeds; on the command line these are seed=0,1,2")
    if group in OF_THE_SWEEP:
        raise ConfigError(
            f"{text} varies {group}, but a sweep is one study, with one budget, in one folder; "
            "launch one after the other, each with a study.name of its own"
        )


def _group(name: str) -> str:
    return re.split(r"[./@]", name)[0]


def _bundle(name: str, settings: Any) -> dict[str, str]:
    if not isinstance(settings, Mapping) or "seed" in settings:
        raise ConfigError(
            f"study.{name} is {settings!r}; give a mapping of settings to values, without seed"
        )
    for key in settings:
        _demand_scientific(str(key), f"study.{name}.{key}")
    return {str(key): as_value(value) for key, value in settings.items()}


def _without(
    cells: list[GridCell], exclude: Sequence[Mapping[str, Any]], known: Mapping[str, set[str]]
) -> list[GridCell]:
    """Return the cells that no exclusion names.

    Args:
        cells: of the grid, as narrowed on the command line.
        exclude: see `decoderlab.config.study_settings.Study`.
        known: the values of each setting, declared or given.
    """
    for index, combination in enumerate(exclude):
        where = f"study.exclude[{index}]"
        if not isinstance(combination, Mapping) or not combination:
            raise ConfigError(
                f"{where} is {combination!r}; give a mapping, as in {{decoder: luong, task: echo}}"
            )
        wanted = {
            key: {
                # A level's own name is not written as a value is: 8_tokens would be quoted.
                str(value) if str(value) in known.get(key, ()) else as_value(value)
                for value in (values if isinstance(values, list) else [values])
            }
            for key, values in combination.items()
        }
        for key, values in wanted.items():
            if key not in known:
                raise ConfigError(
                    f"{where} names {key}, which is none of this study's: "
                    f"{', '.join(sorted(known))}.{require.did_you_mean(key, known)}"
                )
            for value in sorted(values - known[key]):
                raise ConfigError(
                    f"{where}.{key} has {value}, which is none of "
                    f"{', '.join(sorted(known[key]))}.{require.did_you_mean(value, known[key])}"
                )
        cells = [cell for cell in cells if not _matches(cell, wanted)]
    if not cells:
        raise ConfigError("study.exclude leaves no run; exclude less")
    return cells


def _matches(cell: GridCell, wanted: Mapping[str, set[str]]) -> bool:
    values = cell.given | cell.named
    return all(values.get(key) in allowed for key, allowed in wanted.items())
