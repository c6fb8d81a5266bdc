"""What can be said of a config before its classes are imported, which takes seconds.

It is what `RunConfig.from_composed` says later, in the same words, of the same annotations and
sections; whatever cannot be decided without the classes is left to it. Of the constructors of our
own classes the source is read, and plain types alone are compared.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from omegaconf import DictConfig

from decoderlab.common.annotations import kinds_of
from decoderlab.common.part_building import _hints, _typed, is_part
from decoderlab.config.bounds import check_bounds
from decoderlab.config.code_identity import PACKAGE
from decoderlab.config.composed_values import plain_values
from decoderlab.config.definitions import Definition, Package
from decoderlab.config.run_config import BUILT, _checked_seed, section
from decoderlab.config.run_sections import TRAINING_PARTS, Evaluation, Run, Training
from decoderlab.config.study_settings import Budget
from decoderlab.layers.initialisation import TorchWeights

SECTIONS = {"training": Training, "evaluation": Evaluation, "run": Run, "budget": Budget}
PLAIN = {"int": int, "float": float, "bool": bool, "str": str, "None": None}
OURS = f"{PACKAGE.name}."


def check_before_imports(composed: DictConfig) -> None:
    """Raise ConfigError for a wrong value that can be known without torch.

    Args:
        composed: by Hydra.
    """
    plain = plain_values(composed)
    for group in BUILT:
        settings = plain.get(group)
        if not isinstance(settings, Mapping):
            continue
        target = settings.get("_target_")
        if isinstance(target, str) and target.startswith(OURS):
            for name, hint in _plain_hints(target):
                if settings.get(name) is not None:  # null may stand for the task's own
                    _typed(f"{group}.{name}", settings[name], hint)
    task = plain.get("task")
    if not (isinstance(task, Mapping) and str(task.get("_target_")).startswith(OURS)):
        return  # a task of a user's own may give a meaning to any null
    check_bounds(plain)
    for group, kind in SECTIONS.items():
        settings = plain.get(group)
        if isinstance(settings, Mapping) and (kind is not Training or _names_parts(settings)):
            section(group, kind, _filled(settings, _hints(kind)))
    _checked_seed(plain.get("seed"))


def _names_parts(training: Mapping[str, Any]) -> bool:
    """Whether the section has all its classes; what is said without them is not said here."""
    return all(is_part(training.get(name)) for name in TRAINING_PARTS)


def _filled(settings: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which what only classes can tell is something that is allowed."""
    filled = dict(settings)
    for name, value in settings.items():
        if value is None and kinds_of(hints.get(name, Any)) == [str]:
            filled[name] = ""  # the task's own
        elif name == "initial_weights" and is_part(value):
            filled[name] = TorchWeights.SHORT
    return filled


def _plain_hints(target: str) -> Iterator[tuple[str, Any]]:
    """Yield the arguments of a class's own constructor whose annotation is of plain types."""
    definition = _source().follow(target)
    if not isinstance(definition, Definition):
        return
    for node in _source().module(definition.module).defined.get(definition.name, []):
        made = getattr(node, "body", []) if isinstance(node, ast.ClassDef) else []
        for function in made:
            if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                for argument in [*function.args.args, *function.args.kwonlyargs]:
                    kinds = _kinds(argument.annotation)
                    if kinds is not None:
                        yield argument.arg, kinds


def _kinds(annotation: ast.expr | None) -> Any:
    """Return the type, or union of types, that an annotation says; None for any other."""
    names = [name.strip() for name in ast.unparse(annotation).split("|")] if annotation else [""]
    if not set(names) <= set(PLAIN):
        return None
    hint = PLAIN[names[0]]
    for name in names[1:]:
        hint = hint | PLAIN[name]
    return hint


@cache
def _source() -> Package:
    return Package(PACKAGE)
