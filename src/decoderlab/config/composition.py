"""From a command line's settings to a run's config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import conf_dir, own_folder
from decoderlab.common.process import hidden_interrupt, one_at_a_time
from decoderlab.config.command_line import check_words, with_one_budget
from decoderlab.config.messages import explain
from decoderlab.config.run_config import RunConfig


@one_at_a_time
def compose_config(overrides: Sequence[str], *, config_dir: str | Path | None = None) -> RunConfig:
    """Return the config that a command line of these settings would give, without one.

    Args:
        overrides: as for decoderlab-train: `["task=echo", "decoder=luong", "seed=1"]`.
        config_dir: folder of your own YAMLs and classes, as `--config-dir`; None for none. Give it
            to `train` too, which imports the classes.

    Returns:
        The config, complete and checked.

    Raises:
        ConfigError: for a setting that cannot be read, a folder that is not there, or as
            `RunConfig.from_composed`.

    Example:
        >>> compose_config(["task=echo", "decoder=luong", "seed=3"]).choices.decoder
        'luong'
    """
    with own_folder(config_dir):
        check_words(overrides)
        try:
            with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
                composed = hydra.compose(
                    "train", with_one_budget(overrides), return_hydra_config=True
                )
        except (HydraException, OmegaConfBaseException) as error:
            if hidden := hidden_interrupt(error):
                raise hidden from None
            raise ConfigError(explain(error, overrides)) from error
        return RunConfig.from_composed(composed, composed.hydra.runtime.choices)
