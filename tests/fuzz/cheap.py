"""What all cases have in common is done once, in the process that they are forked from.

A case costs what is its own: our configs are parsed once, and a command line that is composed twice
in a process, first to learn its mode, is composed once. Nothing of a case is kept.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from functools import cache, partialmethod
from pathlib import Path

from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from decoderlab.common.folders import conf_dir
from decoderlab.config.code_identity import PACKAGE, definitions
from decoderlab.config.strangers import shipped
from decoderlab.studies.reporting import figures as drawing
from decoderlab.studies.reporting import render
from decoderlab.studies.reporting.panels import Panels
from decoderlab.training.prepared_run import prepare as prepare_run
from tests.composing import every_beginning
from tests.conftest import composed
from tests.fuzz import commands
from tests.undrawn.sitecustomize import empty_figure

# What many cases begin with.
BASES = (
    ("task=echo",),
    ("task=tsv",),
    ("task=echo", "decoder=luong"),
    ("study=task_echo",),
    ("study=task_copy",),
    ("study=adhoc",),
)
TEMPLATES = {
    ".html": render.page_template,
    ".md": render._markdown_template,
    ".tex": render._latex_template,
}
_compose = ConfigLoaderImpl.load_configuration
_picture = drawing._picture
_made: dict[str, DictConfig] = {}
_known: dict[str, bytes] = {}
_done: dict[str, bytes] = {}
_drawn: set[str] = set()


class Figures(Enum):
    """What is done about the figures of a report, which most of its time goes into."""

    NONE, MADE, DRAWN = range(3)


@cache
def prepare() -> None:
    """Do what depends on no case."""
    names = {name for group in shipped().values() for name in group}
    definitions(frozenset(names), PACKAGE)
    for kind in ("png", "pdf", "svg"):
        empty_figure(kind)
    for words in (commands.QUICK, (*commands.QUICK, "decoder=luong")):
        config = composed(*words)
        prepare_run(config, config.hydra.runtime.choices)
    for path in Path(render.__file__).with_name("templates").glob("*.jinja"):
        TEMPLATES[path.suffixes[0]](path.name)
    root = conf_dir()
    with initialize_config_dir(str(root), version_base="1.3"):
        with every_beginning():
            for words in BASES:
                _compose_as_commands(words)
        parser = OverridesParser.create()
        for value in (*commands.SCALARS, *commands.NESTED, *commands.SWEEPS):
            with suppress(HydraException):  # the parser learns from what it reads, or does not
                parser.parse_overrides([f"seed={value}"])
        repository = GlobalHydra.instance().config_loader().repository
        for path in sorted(root.rglob("*.yaml")):
            repository.load_config(path.relative_to(root).as_posix())
            repository.load_config(path.relative_to(root).with_suffix("").as_posix())


def _compose_as_commands(words: Sequence[str]) -> None:
    loader = GlobalHydra.instance().config_loader()
    for mode in RunMode:
        loader.load_configuration("train", list(words), run_mode=mode)


def learn(path: Path) -> None:
    """Take over what a command that went well has imported late and composed.

    Args:
        path: what `kept` returned in its process.
    """
    names, composed, figures = pickle.loads(path.read_bytes())
    _known.update(composed)
    _drawn.update(figures)
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)


def kept(before: set[str]) -> bytes:
    """Return what can be taken over from this process.

    Args:
        before: the names of what was imported when it was forked.
    """
    return pickle.dumps((sorted(set(sys.modules) - before), _done, _drawn))


def in_child(figures: Figures, learning: bool) -> None:
    """Take the short cuts in this process, which a case has for itself.

    Args:
        figures: of a report.
        learning: whether what it composes is kept for others.
    """
    gc.disable()  # looking through all that was forked takes longer than most commands
    ConfigLoaderImpl.load_configuration = partialmethod(_composed_once, learning)
    os.fsync = lambda file: None  # nobody cuts the power
    if figures is Figures.MADE:
        drawing._parts = lambda drawing, panels: []
        drawing._picture = _noted_picture
    elif figures is Figures.NONE:
        drawing._picture = _empty_picture


def _noted_picture(of: drawing.Drawing, panels: Panels, number: int) -> drawing.Picture | None:
    picture = _picture(of, panels, number)
    _drawn.update([of.name] if picture else [])
    return picture


def _empty_picture(of: drawing.Drawing, panels: Panels, number: int) -> drawing.Picture | None:
    empty = empty_figure("png"), empty_figure("pdf")
    return drawing.Picture(of.name, of.title, of.caption, *empty) if of.name in _drawn else None


def _composed_once(
    self: ConfigLoaderImpl,
    learning: bool,
    config_name: str | None,
    overrides: list[str],
    run_mode: RunMode,
    from_shell: bool = True,
    validate_sweep_overrides: bool = True,
) -> DictConfig:
    """Compose as Hydra does, but once where it asks for the mode first and then for the config."""
    key = repr((config_name, overrides, run_mode))
    given = (config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
    if validate_sweep_overrides and (key in _made or key in _known):
        parsed = OverridesParser.create().parse_overrides(overrides)
        self.validate_sweep_overrides_legal(parsed, run_mode, from_shell)
    if key in _made:
        return _made.pop(key)
    if key in _known:
        config = pickle.loads(_known[key])
        config.hydra.runtime.cwd = os.getcwd()
        return config
    if not validate_sweep_overrides:  # for its mode: for one run it will be composed like this
        single = repr((config_name, overrides, RunMode.RUN))
        try:
            config = _compose(self, config_name, overrides, RunMode.RUN, from_shell, False)
            _made[single] = _made[key] = config
        except Exception:
            config = _compose(self, *given)
    else:
        config = _compose(self, *given)
    if learning:
        _done[key] = pickle.dumps(config)
    return config
