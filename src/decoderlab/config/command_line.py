"""The words of a command line, checked before Hydra composes a config of them.

Hydra answers some of them with an error of Python's own, or not at all: a part that is chosen by a
number, a range without an end, an option that unpickles a file.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.errors import HydraException

from decoderlab.common import process
from decoderlab.common.bounded_reading import has_half_characters
from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import check_own_folder, conf_dir
from decoderlab.config.messages import explain
from decoderlab.config.plain_values import check_plain

CHARACTERS = 100_000  # of a word
NAME = 200  # of a YAML
BRACKETS = 50  # in each other; Hydra's parser takes exponentially long for some more
VALUES = 100_000  # of a range, and runs of a sweep
# Options of Hydra's that make no sense here, and what to do instead.
REFUSED = {
    "experimental_rerun": "it would run whatever a pickle says; give the same command again",
    "config_path": "give a folder of your own YAMLs as --config-dir",
    "config_name": "choose YAMLs by their groups: study=NAME, preset=NAME, task=NAME",
}
# Where Hydra would make folders of its own.
SET_BY_COMMANDS = (
    "hydra.run",
    "hydra.sweep",
    "hydra.output_subdir",
    "hydra.job.chdir",
    "hydra.runtime",
)
BUDGETS = ("training.max_steps", "training.max_epochs", "training.max_seconds")
# Of these only one at a time.
ACTIONS = ("run", "multirun", "cfg", "shell_completion", "info")


def check_options(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for options that cannot be, alone or together.

    Args:
        arguments: as Hydra's parser returns them.
    """
    for name, instead in REFUSED.items():
        if getattr(arguments, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} is not an option here: {instead}")
    actions = [name for name in ACTIONS if getattr(arguments, name) not in (None, False)]
    if len(actions) > 1:
        shown = " and ".join(f"--{name.replace('_', '-')}" for name in actions)
        raise ConfigError(f"{shown} are given together; give one of them")
    if arguments.resolve and arguments.cfg is None and not arguments.help:
        raise ConfigError("--resolve is about --cfg; give both: --cfg job --resolve")
    if arguments.package is not None and arguments.cfg is None:
        raise ConfigError("--package is about --cfg; give both: --cfg job --package decoder")
    if arguments.config_dir is not None:
        check_own_folder("--config-dir", arguments.config_dir)


def without_config_dir(flags: list[str]) -> list[str]:
    """Return flags without the user's own folder, which Hydra would read its own way.

    Args:
        flags: of a command line.
    """
    kept, skip = [], False
    for flag in flags:
        if not skip and not re.match(r"(--config-d(i|ir)?|-cd)(=|$)", flag):
            kept.append(flag)
        skip = not skip and flag in ("--config-dir", "--config-di", "--config-d", "-cd")
    return kept


def left_to_cells(settings: Sequence[str], error: Exception, sweep: bool) -> list[str]:
    """Return settings of which one that Hydra's default choices have not is left to the cells.

    Hydra composes a sweep once before its cells, with the default choice of what is swept: there
    `task=echo,reverse task.num_values=6` has no `task.num_values`. A sweep of one value is only
    looked at in the cells, where it is set or refused. Hydra has to know that it is a sweep, also
    of a study, whose YAML says so: give it `--multirun`.

    Args:
        settings: as on the command line.
        error: of Hydra, that one of them is unknown.
        sweep: whether there are cells.

    Raises:
        Exception: the error, where no cell may have another choice.
    """
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    name = unknown[1] if unknown else ""
    group = re.split(r"[./]", name)[0]
    chosen = re.compile(rf"study=|{re.escape(group)}=.*,")
    fixed = re.compile(rf"\A({re.escape(name)})=((?!choice\().*)\Z", re.DOTALL)
    left = [fixed.sub(r"\1=choice(\2)", word) for word in settings]
    if not sweep or left == [*settings] or not any(map(chosen.match, settings)):
        raise error
    return left


def check_words(words: Sequence[str]) -> None:
    """Raise ConfigError for a setting of a command line that cannot be composed."""
    parser = OverridesParser.create()
    for word in words:
        check_text(word)
        try:
            (override,) = parser.parse_overrides([word])
        except HydraException as error:
            raise ConfigError(explain(error)) from error
        except RecursionError as error:
            raise ConfigError(
                f"{word:.80} is nested too deep; give a YAML by --config-dir"
            ) from error
        check_override(override)


def with_one_budget(words: Sequence[str]) -> list[str]:
    """Return settings in which a budget of training replaces the YAMLs' budget of another kind.

    Args:
        words: settings as they are given; the kinds of budget that are not among them become null
            if there is a value for one.

    Example:
        >>> with_one_budget(["training.max_epochs=2", "training.max_seconds=null"])[2:]
        ['training.max_steps=null']
    """
    given = dict(word.lstrip("+").split("=", 1) for word in words if "=" in word)
    if all(given.get(name, "null") == "null" for name in BUDGETS):
        return list(words)
    return [*words, *(f"{name}=null" for name in BUDGETS if name not in given)]


def as_given(words: Sequence[str]) -> list[str]:
    """Return settings without what `with_one_budget` has added to them.

    Example:
        >>> as_given(with_one_budget(["seed=1", "training.max_epochs=2"]))
        ['seed=1', 'training.max_epochs=2']
    """
    added = {f"{name}=null" for name in BUDGETS}
    end = len(words)
    while end and words[end - 1] in added:
        end -= 1
    return list(words[:end])


def check_text(word: str) -> None:
    """Raise ConfigError for a word that is too long, too deep or no text."""
    shown = ascii(word) if len(word) <= 80 else ascii(word[:80]) + "..."
    if has_half_characters(word):
        raise ConfigError(f"{shown} is not UTF-8; write it in UTF-8")
    if "\0" in word:
        raise ConfigError(f"{shown} has a zero byte; leave it out")
    deepest = depth = 0
    for character in word:
        depth += (character in "[{(") - (character in "]})")
        deepest = max(deepest, depth)
    if len(word) > CHARACTERS or deepest > BRACKETS:
        raise ConfigError(
            f"{shown} has {len(word):,} characters and {deepest} brackets in each other; at most "
            f"{CHARACTERS:,} and {BRACKETS} can be read: put it into a YAML of your own and choose "
            "that by its group, with --config-dir"
        )


def check_override(override: Override) -> None:
    """Raise ConfigError for a parsed setting whose value its key cannot have.

    Args:
        override: of Hydra's parser.
    """
    text, group = override.input_line or "", override.key_or_group
    if not group.strip("./"):
        raise ConfigError(f"{text!r} names no setting; write SETTING=VALUE, as in decoder=luong")
    if any(group == name or group.startswith(f"{name}.") for name in SET_BY_COMMANDS):
        raise ConfigError(
            f"{text!r:.120}: {group} is not a setting here; runs and studies lie below "
            "run.output_dir"
        )
    value = override.value()
    if isinstance(value, RangeSweep):
        _check_range(text, value)
    if not _is_group(group):
        check_plain({group: [item for item in _values(value) if isinstance(item, list | dict)]})
        return
    for chosen in _values(value):
        names = chosen if isinstance(chosen, list) and not override.is_delete() else [chosen]
        by_name = all(
            isinstance(name, str) and name.strip("/.") and len(name) <= NAME for name in names
        )
        if by_name or isinstance(chosen, dict) or (chosen is None and override.is_delete()):
            continue
        shown = "null" if chosen is None else f"{chosen!r:.80}"
        raise ConfigError(
            f"{text!r:.120}: {group} is chosen by the name of a YAML, which {shown} is not; write "
            f"{group}=NAME with one of {', '.join(_options(group))}"
        )


def range_length(given: RangeSweep) -> float:
    """Return the number of values in a range without making them; infinite for an endless range.

    Args:
        given: of Hydra's parser.
    """
    ends = (given.start or 0, given.stop or 0, given.step)
    if not all(map(math.isfinite, ends)) or given.step == 0:
        return math.inf
    return (ends[1] - ends[0]) / given.step


def _check_range(text: str, given: RangeSweep) -> None:
    number = range_length(given)
    if not math.isfinite(number):
        raise ConfigError(f"{text!r} has no end; give finite numbers: range(START,STOP,STEP)")
    if number > VALUES:
        raise ConfigError(
            f"{text!r} is a range of {number:,.0f} values, and at most {VALUES:,} can be planned; "
            "give fewer"
        )


def _values(value: Any) -> Iterator[Any]:
    """Yield what a setting would have, one value after another."""
    if isinstance(value, ChoiceSweep):
        yield from (Override._convert_value(choice) for choice in value.list)
    elif isinstance(value, RangeSweep):
        yield from list(value.range())[:1]
    else:
        yield value


def _folders(group: str) -> list[Path]:
    roots = [Path(folder) for folder in (process.user_config_dir, conf_dir()) if folder is not None]
    try:
        return [root / group for root in roots if (root / group).is_dir()]
    except (OSError, ValueError):  # a name that no file can have
        return []


def _is_group(key: str) -> bool:
    return bool(_folders(key)) or key.startswith("hydra/") or key == "hydra"


def _options(group: str) -> list[str]:
    return sorted({path.stem for folder in _folders(group) for path in folder.glob("*.yaml")})
