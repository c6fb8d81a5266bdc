"""decoderlab-train: one run, or with -m or study=... a sweep and its report."""

from __future__ import annotations

import sys

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from decoderlab.cli.app import guarded, with_hydra
from decoderlab.common import process
from decoderlab.common.errors import ConfigError


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(guarded(lambda: with_hydra(train)))


def train(config: DictConfig) -> str:
    """Bring the run of a composed config to its end and return its status.

    Raises:
        ConfigError: if the config is wrong; nothing has been written then.
    """
    if "cell" in config:  # of a sweep: it was composed when the sweep was planned
        from decoderlab.studies.execution.launchers import train_cell

        return train_cell(config.cell)
    from decoderlab.common import progress
    from decoderlab.records.outcome import outcome
    from decoderlab.training.distributed import Ranks
    from decoderlab.training.prepared_run import prepare
    from decoderlab.training.run_lifecycle import execute

    prepared = prepare(config, HydraConfig.get().runtime.choices)
    settings = prepared.config
    process.silent = progress.console.quiet = Ranks.of(settings.trainer).rank > 0
    if (paper := settings.paper) is not None:
        progress.say(
            f"after {paper.authors} {paper.year}, whose task is {paper.task}; "
            f"{settings.choices.task} here"
        )
    finished_before = prepared.folder.status()["status"] == "FINISHED"
    status = None
    shown = progress.RunProgress(
        prepared.title, prepared.total_steps, settings.training.max_seconds
    )
    try:
        with shown:
            drift = settings.study.allow_drift
            status = execute(prepared, report=shown, retry=True, allow_drift=drift)
    except ConfigError:
        raise
    except BaseException:
        now = prepared.folder.status()["status"]
        progress.print_outcome(prepared.title, now, outcome(prepared.folder))
        raise
    again = "before, nothing to do; " if finished_before else ""
    progress.print_outcome(prepared.title, status, again + outcome(prepared.folder))
    return status


if __name__ == "__main__":
    main()
