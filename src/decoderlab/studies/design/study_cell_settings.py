"""Whether a cell of a plan says what the config of its run says, setting by setting.

A name of a bundle (a variant, a reference, a level of a named factor) counts as its settings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

from decoderlab.config.composed_values import setting_in
from decoderlab.config.named_files import may_name_file
from decoderlab.config.run_config import BUILT
from decoderlab.config.study_settings import Budget, Study
from decoderlab.decoders.route_settings import Normalised
from decoderlab.studies.design.grid import as_value

# What a class may set back to its default where it has no effect, see `normalised` of classes.
SET_BACK = {field.name for field in fields(Normalised)}
SET_BACK |= {"last_ratio", "decay_steps", "embedding_size", "curriculum_steps", "mix_ratio"}
OWN = "decoderlab."
QUOTES = "'\""


def given_in(cell: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that a cell gives on its command line, by name, as texts."""
    parts = (override.lstrip("+").partition("=") for override in cell["overrides"])
    return {key: value for key, _, value in parts if not key.startswith("~")}


def alike(cells: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the settings that all cells of a plan give, with one value."""
    shared: dict[str, str] = {}
    for index, cell in enumerate(cells):
        given = given_in(cell)
        shared = given if not index else dict(shared.items() & given.items())
    return set(shared)


def contradiction(
    cell: Mapping[str, Any],
    study: Study,
    budget: Budget,
    config: Mapping[str, Any],
    shared: Collection[str],
) -> str | None:
    """Return in what a cell contradicts itself, its study or the config of its run, or None.

    Args:
        cell: of the plan.
        study: settings of the plan.
        budget: settings of the plan.
        config: of the run, as in `configs.jsonl`.
        shared: from `alike`.
    """
    given = given_in(cell)
    for key, value in cell["factors"].items():
        bundle = _bundle(key, value, study)
        if bundle is None:
            if given.get(key.lstrip("+")) != value:
                return f"its cell has the factor {key}={value:.60}, which its overrides have not"
            continue
        for name, setting in bundle.items():
            name = str(name).lstrip("+")
            own = name in cell["factors"] or name in shared  # the command line holds for bundles
            if not own and given.get(name) != as_value(setting):
                return (
                    f"its cell is {key}={value:.60}, which means {name}={as_value(setting):.60}, "
                    f"but its overrides have {name}={given.get(name)!s:.60}"
                )
    solved = _solved(budget)
    for key, text in given.items():
        known = _setting(key, config)
        if key not in solved and known is not None and _differs(text, known):
            return f"its cell has {key}={text:.60}, but its config has {known!r:.60}"
    return None


def _bundle(factor: str, name: str, study: Study) -> Mapping[str, Any] | None:
    """Return the settings that a level of a factor stands for; None for a setting itself."""
    if factor == "variant":
        bundles = {**(study.variants or {}), **(study.references or {})}
    else:
        bundles = (study.factors or {}).get(factor)
        if not isinstance(bundles, Mapping):
            return None
    known = {str(key): bundle for key, bundle in bundles.items()}.get(name, {"?": name})
    return known if isinstance(known, Mapping) else {"?": name}


def _solved(budget: Budget) -> set[str]:
    """Return the settings that are solved for, so that budgets match."""
    if budget.match == "parameters":
        return {*budget.widths}
    return {"training.max_steps", "training.max_epochs"} if budget.match == "flops" else set()


def _setting(key: str, config: Mapping[str, Any]) -> Any:
    """Return a setting of a config that can be compared; None where there is none."""
    if key in BUILT:
        return setting_in(config, f"choices.{key}")
    group, *path = key.split(".")
    if group in ("seed", "training", "evaluation") or group in BUILT:
        target = str(setting_in(config, f"{group}._target_"))
        if (group in BUILT and not target.startswith(OWN)) or SET_BACK & {*path}:
            return None
        value = setting_in(config, key)
        if path and may_name_file(path[-1], value):
            return None
        return value if isinstance(value, bool | int | float | str) else None
    return None


def _differs(text: str, known: bool | float | str) -> bool:
    """Whether the text of an override, as far as it is a plain value, is another value."""
    if text.startswith(("[", "{")) or "$" in text or text.lower() in ("null", "", "???"):
        return False
    if isinstance(known, bool):
        return text.lower() != str(known).lower()
    if isinstance(known, int | float):
        try:
            return float(text.strip(QUOTES)) != float(known)
        except (ValueError, OverflowError):
            return True
    plain = text[1:-1] if text[:1] in QUOTES and text[-1:] == text[:1] else text
    return "\\" not in plain and plain != known
