"""Runs started from Python: the same runs, folders and ids as those of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from decoderlab.common.folders import own_folder
from decoderlab.common.process import one_at_a_time
from decoderlab.config.composition import compose_config
from decoderlab.config.run_config import RunConfig
from decoderlab.records.outcome import outcome
from decoderlab.training.loading import LoadedRun, load_run
from decoderlab.training.prepared_run import prepare_config
from decoderlab.training.recorder import ProgressReport
from decoderlab.training.run_lifecycle import execute


class RunFailed(RuntimeError):
    """A run did not end well: its status, its reason and its folder are in the message."""


@one_at_a_time
def train(
    settings: Sequence[str] | RunConfig,
    *,
    report: ProgressReport | None = None,
    config_dir: str | Path | None = None,
) -> LoadedRun:
    """Bring a run to its end and open it, as decoderlab-train does.

    A finished run is opened at once, an interrupted or failed one goes on from its last checkpoint.

    Args:
        settings: of the run, as on the command line: `["task=echo", "decoder=luong", "seed=1"]`;
            or a complete config.
        report: called with (step, values) as training goes on; None for silence.
        config_dir: folder of your own YAMLs and classes, as `--config-dir`; None for none. The
            Python path is afterwards as before.

    Returns:
        What `load_run` returns of it.

    Raises:
        ConfigError: if the settings are wrong; nothing has been written then.
        RunFailed: if the run failed or its loss became infinite.
        Interrupted: by a signal, such as Ctrl-C, once the state is saved; the same call goes on.
    """
    with own_folder(config_dir):
        config = settings if isinstance(settings, RunConfig) else compose_config(settings)
        prepared = prepare_config(config)
        status = execute(
            prepared,
            report=report or (lambda step, values: None),
            retry=True,
            allow_changes=config.study.allow_changes,
        )
        if status != "FINISHED":
            raise RunFailed(f"{prepared.title}: {status}: {outcome(prepared.folder)}")
        return load_run(prepared.folder.path, trust=True)
