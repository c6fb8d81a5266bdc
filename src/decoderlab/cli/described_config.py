"""A config as YAML in which every setting has its description from the docstring of its class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from decoderlab.common.folders import conf_dir
from decoderlab.config.argument_texts import ArgumentTexts, arguments_in
from decoderlab.config.encoder_start import EncoderStart
from decoderlab.config.lightning_settings import TrainerSettings
from decoderlab.config.run_config import SECTIONS, RunConfig

KEY = re.compile(r"( *)([A-Za-z_]\w*):(?= |$)")
# The column from which descriptions stand, unless a setting needs more room.
COLUMN = 34
# What is not built from a class that the config names, and the classes that say what it means.
KINDS: dict[str, type] = {
    **SECTIONS,
    "": RunConfig,
    "encoder": EncoderStart,
    "trainer": TrainerSettings,
}


def described_config(config: DictConfig, *, width: int, config_dir: str | None = None) -> str:
    """Return a config as YAML, with a comment of one line behind each setting that has one.

    Args:
        config: composed by Hydra; interpolations stay.
        width: of the lines, in characters, where a description fills one.
        config_dir: folder of a user's own classes; None for none.

    Example:
        >>> budget = OmegaConf.create({"budget": {"width": "decoder.hidden_size"}})
        >>> print(described_config(budget, width=80))
        budget:                           # What the variants of a study are given...
          width: decoder.hidden_size      # the setting that `parameters` changes...
    """
    settings = OmegaConf.to_container(config, resolve=False)
    texts, lines = ArgumentTexts(config_dir), []
    path: list[str] = []
    for line in OmegaConf.to_yaml(config).rstrip().splitlines():
        if (key := KEY.match(line)) is not None:
            path = [*path[: len(key[1]) // 2], key[2]]
            line = _commented(line, _text(texts, settings, path), width)
        lines.append(line)
    return "\n".join(lines)


def _text(texts: ArgumentTexts, settings: Any, path: list[str]) -> str:
    """Return what is said of the setting at a path."""
    *above, name = path
    if not above and name in SECTIONS:
        return (SECTIONS[name].__doc__ or "").partition("\n")[0]
    for key in above:
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    target = settings.get("_target_") if isinstance(settings, Mapping) else None
    if name == "_target_":
        return texts.summary(target) if isinstance(target, str) else ""
    if isinstance(target, str) and (text := texts.of(target).get(name)):
        return text
    if (kind := KINDS.get(".".join(above))) is not None:
        if text := arguments_in(kind.__doc__).get(name):
            return text
    return _in_group(texts, "/".join(above), name)


def _in_group(texts: ArgumentTexts, group: str, name: str) -> str:
    """Return what is said of a setting that other classes of a group have, or else its YAMLs."""
    comments = []
    for path in sorted((conf_dir() / group).glob("*.yaml")) if group else []:
        content = path.read_text(encoding="utf-8")
        comments += re.findall(rf"^{name}:[^#\n]*# (.+)", content, re.MULTILINE)
        for target in re.findall(r"^_target_: ([\w.]+)", content, re.MULTILINE):
            if text := texts.of(target).get(name):
                return f"of {target.rpartition('.')[2]}: {text}"
    return comments[0] if comments else ""


def _commented(line: str, text: str, width: int) -> str:
    """Return a line with what fits of a text's first sentence behind it."""
    text = re.sub(r"\bNone\b", "null", " ".join(text.split()))
    sentence = re.split(r"\. (?=[A-Z`])", text)[0].removesuffix(".")
    if not sentence:
        return line
    begin = f"{line:<{COLUMN - 2}}  # "
    room = max(width - len(begin), 24)
    if len(sentence) > room:
        sentence = sentence[: room - 3].rsplit(" ", 1)[0].rstrip(" ,;:(") + "..."
    return begin + sentence
