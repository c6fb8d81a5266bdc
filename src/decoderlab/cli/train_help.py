"""What `decoderlab-train --help` shows; Hydra's own help copies its search path for each group."""

from __future__ import annotations

import importlib.util
import textwrap
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import hydra
from omegaconf import OmegaConf

from decoderlab.cli.described_config import described_config
from decoderlab.common import process
from decoderlab.common.folders import conf_dir, group_yamls

# The longest lines, in characters, and those of what is no terminal.
WIDTH = 100
# Between names, and not wherever the window ends.
FOLDED: Any = {"width": WIDTH - 2, "subsequent_indent": "  "}
FOLDED |= {"break_long_words": False, "break_on_hyphens": False}


@process.without_collection()
def train_help(overrides: Sequence[str]) -> str:
    """Return how the command is called, which YAMLs there are, and the config of some settings.

    Args:
        overrides: as on the command line.

    Raises:
        HydraException: for settings that cannot be composed.
        OmegaConfBaseException: likewise.
    """
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = hydra.compose("train", list(overrides), return_hydra_config=True)
    header = config.hydra.help.header.rstrip()
    sections = [str(name) for name in config if name != "hydra"]
    composed = described_config(
        OmegaConf.masked_copy(config, sections),
        width=min(max(get_terminal_size((WIDTH, 24)).columns, 80), WIDTH),
        config_dir=process.user_config_dir,
    )
    sources = config.hydra.runtime.config_sources
    folders = [folder for source in sources for folder in _folders(source.schema, source.path)]
    return f"""{header}

== What can be chosen: group=name ==
{_groups(folders)}

== Config: setting=value changes a line; decoderlab-schema has the whole descriptions ==
{composed}

Hydra's own flags: decoderlab-train --hydra-help"""


def _folders(schema: str, path: str) -> list[Path]:
    """Return the folders of a source of configs: ours, `--config-dir`, or of `hydra.searchpath`."""
    if schema != "pkg":
        return [Path(path)] if path else []
    try:
        package = importlib.util.find_spec(path)
    except ModuleNotFoundError:  # Hydra has warned of it
        return []
    return [Path(folder) for folder in (package and package.submodule_search_locations) or ()]


def _groups(folders: Sequence[Path]) -> str:
    names: dict[str, set[str]] = {}
    for folder in folders:
        for group, path in group_yamls(folder):
            if group != "." and group.split("/")[0] != "hydra":
                names.setdefault(group, set()).add(path.stem)
    lines = (f"{group}: {', '.join(sorted(names[group]))}" for group in sorted(names))
    return "\n".join(textwrap.fill(line, **FOLDED) for line in lines)
