"""decoderlab-train: one run, or with -m or study=... a sweep and its report."""

from __future__ import annotations

import gc
import sys

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from decoderlab.cli.app import guarded, with_hydra
from decoderlab.common import process, progress
from decoderlab.common.errors import ConfigError, LaunchError
from decoderlab.config.messages import training_notes


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(guarded(lambda: with_hydra(train_composed)))


def train_composed(config: DictConfig) -> str:
    """Bring the run of a composed config to its end and return its status.

    Raises:
        ConfigError: if the config is wrong; nothing has been written then.
        LaunchError: if the disk or somebody else keeps it from going on.
    """
    if "cell" in config:  # of a sweep: it was composed when the sweep was planned
        from decoderlab.studies.execution.launchers import train_study_cell

        return train_study_cell(config.cell)
    with process.without_collection():
        from decoderlab.records.outcome import outcome
        from decoderlab.training.distributed import Ranks
        from decoderlab.training.prepared_run import prepare
        from decoderlab.training.run_lifecycle import execute

        prepared = prepare(config, HydraConfig.get().runtime.choices)
        gc.freeze()  # what is there now stays
    settings = prepared.config
    process.silent = progress.console.quiet = Ranks.of(settings.trainer).rank > 0
    if (paper := settings.paper) is not None:
        progress.say(
            f"after {paper.authors} {paper.year}, whose task is {paper.task}; "
            f"{settings.choices.task} here"
        )
    every, objective = settings.evaluation.every_steps, settings.training.objective
    finished_before = prepared.folder.status()["status"] == "FINISHED"
    for note in training_notes(prepared.total_steps, every, objective):
        if not finished_before:
            progress.say(note)
    status = None
    shown = progress.RunProgress(
        prepared.title,
        prepared.total_steps,
        settings.training.max_seconds,
        settings.evaluation.select,
    )
    try:
        with shown:
            allow = settings.study.allow_changes
            status = execute(prepared, report=shown, retry=True, allow_changes=allow)
    except (ConfigError, LaunchError):
        raise
    except BaseException:
        now = prepared.folder.status()["status"]
        progress.print_outcome(prepared.title, now, outcome(prepared.folder))
        raise
    again = "before, nothing to do; " if finished_before else ""
    asked_for = status == "FINISHED" and not process.silent
    on = progress.output() if asked_for else progress.console
    progress.print_outcome(prepared.title, status, again + outcome(prepared.folder), on)
    return status


if __name__ == "__main__":
    main()
