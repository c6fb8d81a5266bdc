"""What a person reads when a command line is wrong."""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

from decoderlab.common import require
from decoderlab.common.folders import conf_dir
from decoderlab.common.part_building import find_target


def validated_once(steps: int | None, every_steps: int) -> str:
    """Return that a run has a single validation, and why; empty for others.

    Args:
        steps: its updates; None for a budget of seconds.
        every_steps: `evaluation.every_steps`.

    Example:
        >>> validated_once(200, 500)
        'validated once, at update 200, since evaluation.every_steps is 500'
        >>> validated_once(1000, 500)
        ''
    """
    if steps is None or steps >= every_steps:
        return ""
    return f"validated once, at update {steps:,}, since evaluation.every_steps is {every_steps:,}"


def never_begun(steps: int | None, objective: Mapping[str, Any]) -> str:
    """Return that training ends before its objective begins; empty where it does not.

    Args:
        steps: its updates; None for a budget of seconds.
        objective: settings of `training.objective`.

    Example:
        >>> never_begun(200, {"start_step": 2000})
        'trained by likelihood alone: training.objective.start_step is 2,000, of 200 updates'
        >>> never_begun(200, {})
        ''
    """
    start = objective.get("start_step")
    if steps is None or not isinstance(start, int) or start < steps:
        return ""
    what = f"training.objective.start_step is {start:,}, of {steps:,} updates"
    return f"trained by likelihood alone: {what}"


def unread_note(weights: str, rows: Sequence[str]) -> str:
    """Return what to say of weights that count as parameters and change nothing.

    Args:
        weights: their names.
        rows: of a study that have them.
    """
    return (
        f"{', '.join(rows)}: the loss does not depend on the weights {weights}, so that settings "
        "of them change nothing, but they count among the parameters; leave these settings out"
    )


def training_notes(steps: int | None, every_steps: int, objective: Mapping[str, Any]) -> list[str]:
    """Return what is worth saying before a run: see `validated_once` and `never_begun`."""
    return [*filter(None, (validated_once(steps, every_steps), never_begun(steps, objective)))]


def explain(error: Exception, overrides: Sequence[str] | None = None) -> str:
    """Return Hydra's message on a wrong config, with a suggestion where that can be made.

    Args:
        error: of Hydra or OmegaConf.
        overrides: that were composed; None for those of the command line.
    """
    given = sys.argv[1:] if overrides is None else overrides
    if isinstance(error, OverrideParseException) and "=" not in error.override:
        before = next((a for a, b in pairwise(given) if b == error.override and a[-1:] == ","), "")
        space = f"; or is there a space after {before!r}? leave it out" if before else ""
        return f"{error.override!r} has no '='; write SETTING=VALUE, as in decoder=luong{space}"
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override!r} cannot be read ({str(error).splitlines()[0]}); put a value with "
            "any of = , [ ] { } ( ) ' or a letter beyond a to z in quotes, as in: 'key=\"value\"'"
        )
    ambiguous = re.search(r"Ambiguous value for argument '([^']+)'", str(error))
    if ambiguous:
        return (
            f"{ambiguous[1]!r} has several values, which is a sweep: decoderlab-train -m ... ; "
            "for a list, write [a,b]"
        )
    if of_hydra := re.search(r"Sweeping over Hydra's configuration .*'(.+)'", str(error)):
        return (
            f"{of_hydra[1]!r} has several values, but a sweep has one launcher and one sweeper; "
            "give one value"
        )
    lines = [str(error).strip()]
    if error.__cause__ is not None and str(error.__cause__) not in lines[0]:
        lines.append(str(error.__cause__).splitlines()[0])
    # Where Hydra looks is of no use to whom the folder is known.
    text = "\n".join(lines).split("\n\nConfig search path:")[0].split("\nConfig search path:")[0]
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        if part := _choice_of(unknown[1], given):
            return f"{unknown[1]} is not a setting: a part is chosen by its name; write {part}"
        # The cause names the very key, where a mapping was given.
        inner = re.search(rf"full_key: ({re.escape(unknown[1])}\.\S+)", str(error.__cause__))
        return _explain_key(inner[1] if inner else unknown[1], given)
    choice = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    options = re.search(r"Available options in '[^']+':\n((?:\t.*\n?)+)", text)
    if choice and options:
        names = options[1].split()
        return (
            f"{choice[1]} is {choice[2]!r}; it must be one of {', '.join(names)}."
            + require.did_you_mean(choice[2], names)
        )
    return text


def unfit(what: str) -> str:
    """Return a message about settings that Hydra cannot put where they are given."""
    return (
        f"{what} cannot be put where it is given: there is a list, or a bare value, without names "
        "in it; give the whole of it, as in decoder.routes=[output]"
    )


def is_about_settings(error: Exception) -> bool:
    """Whether an error was raised by Hydra or OmegaConf, who handle nothing but settings."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    module = "" if at is None else str(at.tb_frame.f_globals.get("__name__", ""))
    return module.split(".")[0] in ("hydra", "omegaconf")


def _choice_of(key: str, overrides: Sequence[str]) -> str | None:
    """Return how a part is chosen whose name was given in a key such as decoder.bridge.kind."""
    given = next((text for text in overrides if text.lstrip("+").startswith(f"{key}=")), "=")
    group, name = "/".join(key.split(".")[:2]), given.split("=", 1)[1]
    folder = conf_dir() / group
    options = {path.stem for path in folder.glob("*.yaml")}
    named = all(option in options for option in name.split(","))
    return f"{group}={name}" if named else None


def _explain_key(key: str, overrides: Sequence[str]) -> str:
    """Return what a key that does not exist might have meant."""
    arguments = [
        argument for argument in overrides if re.match(r"[a-z_]+(/[a-z_]+)?=[^\[{]*$", argument)
    ]
    parent, _, name = key.rpartition(".")
    config, names = DictConfig({}), []
    node = config
    try:
        groups = [argument for argument in arguments if "." not in argument.split("=")[0]]
        known = [text for text in groups if "," not in text and text.split("=")[0] != key]
        running = GlobalHydra.instance().is_initialized()  # in the midst of a sweep
        with (
            contextlib.nullcontext()
            if running
            else hydra.initialize_config_dir(str(conf_dir()), version_base="1.3")
        ):
            config = hydra.compose("train", overrides=known)
        node, *rest = config, *key.split(".")
        while len(rest) > 1 and rest[0] in node:
            node = node[rest.pop(0)]
            if not isinstance(node, DictConfig):
                given = key.removesuffix("." + ".".join(rest))
                inner = f"{given}={{{rest[0]}: ..., ...}}"
                return f"{given} is {node!r} there, without settings of its own; write '{inner}'"
        name = rest[0]
        parent = key.removesuffix(".".join(rest)).rstrip(".")
        names = [str(inner) for inner in node if not str(inner).startswith("_")]
    except Exception:  # only a suggestion: the message below stands without it
        names = []
    if name in names and parent:
        return (
            f"{parent} is given as a bare value too, which has no {name}; give each of its "
            f"settings by itself: {parent}.{names[0]}=... {key}=..."
        )
    groups = map(str, config) if names else ()
    elsewhere = [f"{group}.{key}" for group in groups if _has(config, group, key)]
    if elsewhere:
        return f"{key} is not a setting by itself; write {' or '.join(elsewhere)}"
    if inner := [f"{parent}.{part}.{name}" for part in names if parent and _has(node, part, name)]:
        return f"{key} is not a setting by itself; write {' or '.join(inner)}"
    text = f"{key} is not a setting"
    if _takes(node, parent, name):
        return f"{text}, but its class takes {name}: list it in its YAML, or write +{key}=..."
    if names:
        text += f"; {parent or 'the config'} has {', '.join(names)}"
    return f"{text}.{require.did_you_mean(name, names)}"


def _takes(node: Any, group: str, name: str) -> bool:
    """Whether the class of a part has an argument that its YAML does not list."""
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    try:
        return bool(target) and name in inspect.signature(find_target(group, target)).parameters
    except Exception:  # only a suggestion
        return False


def _has(config: DictConfig, group: str, name: str) -> bool:
    """Whether a group of settings has one of that name."""
    if OmegaConf.is_missing(config, group):
        return False
    settings = config[group]
    return isinstance(settings, DictConfig) and name in settings
