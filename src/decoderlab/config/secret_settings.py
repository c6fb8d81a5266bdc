"""Secrets stay in the environment: files of runs and studies have their names, never their values.

A logger or callback takes one as `'${oc.env:NAME}'`. The text is kept as it is, in a config, a plan
and all that a logger records, and read when the logger is built. What a callback is given else may
change a result, so that its value has to stand there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from decoderlab.common.errors import ConfigError

# Sections that may keep the name of what the environment holds.
KEEPING = ("logger", "callbacks")
SECRET = re.compile(
    r"(^|[_.])(token|secret|password|passwd|passphrase|api_?key|access_?key|private_?key|"
    r"credentials?|webhook|dsn)($|[_.])",
    re.IGNORECASE,
)
IN_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@")
ENVIRONMENT_VARIABLE = re.compile(r"\$\{oc\.env:([^,}]+)(?:,([^}]*))?\}")
SHORTEST = 6  # characters of what is taken for a secret's value in a text
# Stand for the braces while a config is resolved: private characters, which no config has.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"


def with_names(composed: DictConfig, plain: dict[str, Any]) -> dict[str, Any]:
    """Return resolved settings in which loggers and callbacks name what the environment holds.

    Args:
        composed: the config, not resolved.
        plain: the same, resolved.

    Raises:
        ConfigError: for a secret that would be written into a file, and a callback's setting that
            would be in none.
    """
    named: Any = plain
    if "oc.env:" in str(OmegaConf.to_container(composed, resolve=False)):
        with _named():
            named = OmegaConf.to_container(composed, resolve=True)
    for path, text in _leaves(named):
        if not isinstance(text, str):
            continue
        where, text = ".".join(path), text.replace(_OPEN, "${oc.env:").replace(_CLOSE, "}")
        secret = SECRET.search(path[-1]) or IN_URL.search(text)
        names = [match[1] for match in ENVIRONMENT_VARIABLE.finditer(text)]
        secrets = secret or any(map(SECRET.search, names))
        if path[0] in KEEPING:
            if names and path[0] == "callbacks" and not secrets:
                raise ConfigError(
                    f"{where} is {text}: what a callback is given may change the result, so that "
                    "it has to stand in the run's settings; give the value, or, if it is a "
                    f"secret, call the variable so, such as {names[0]}_TOKEN"
                )
            if names:
                _put(plain, path, text)
            elif secret and text:
                raise ConfigError(
                    f"{where} is a secret that would be written into the files of the run; put it "
                    f"into the environment and give {where}='${{oc.env:NAME}}'"
                )
        elif names and secrets:
            raise ConfigError(
                f"{where} is {text}, a secret, and would be written into the files of the run; "
                f"only settings of {' and '.join(KEEPING)} keep its name"
            )
    return plain


def from_environment(where: str, value: Any) -> Any:
    """Return a setting with what the environment holds in place of its names.

    Args:
        where: its name, for messages.
        value: a text, or dictionaries and lists of texts.

    Raises:
        ConfigError: if a variable is not there.
    """
    if isinstance(value, Mapping):
        return {key: from_environment(f"{where}.{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [from_environment(where, item) for item in value]

    def read(match: re.Match[str]) -> str:
        held = os.environ.get(match[1], match[2])
        if held is None:
            raise ConfigError(
                f"{where} is {value}, but the environment has no {match[1]}; set it: export "
                f"{match[1]}=..."
            )
        return held

    return ENVIRONMENT_VARIABLE.sub(read, value) if isinstance(value, str) else value


def redacted(text: str, settings: object = None) -> str:
    """Return a text with the names of secrets of the environment in place of their values.

    Args:
        text: to be written or shown.
        settings: of loggers and callbacks; the variables that they name count as secrets too.
    """
    named = {match[1] for match in ENVIRONMENT_VARIABLE.finditer(str(settings))}
    # The longest first: a value may be the beginning of another one.
    for name, value in sorted(os.environ.items(), key=lambda item: -len(item[1])):
        if len(value) >= SHORTEST and (name in named or SECRET.search(name)):
            text = text.replace(value, f"${{{name}}}")
    return text


@contextmanager
def _named() -> Iterator[None]:
    """Let interpolations of the environment yield its names."""

    def name(key: str, *default: Any) -> str:
        return f"{_OPEN}{','.join(map(str, (key, *default)))}{_CLOSE}"

    OmegaConf.register_new_resolver("oc.env", name, replace=True)
    OmegaConf.register_new_resolver("oc.decode", lambda text: text, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)
        OmegaConf.register_new_resolver("oc.decode", oc.decode, replace=True)


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _leaves(item, (*path, str(key)))
    elif path:
        yield path, value


def _put(plain: Any, path: tuple[str, ...], text: str) -> None:
    for key in path[:-1]:
        plain = plain[int(key)] if isinstance(plain, list) else plain[key]
    plain[int(path[-1]) if isinstance(plain, list) else path[-1]] = text
