"""Training that several runs share: they differ in how the test generates, and in nothing else."""

from __future__ import annotations

import time
from collections.abc import Sequence

from decoderlab.common.errors import Invalid
from decoderlab.common.progress import say
from decoderlab.config.scientific import training_of
from decoderlab.records.checkpoints import AtomicCheckpointIO
from decoderlab.records.opened_run import OpenedRun, open_run
from decoderlab.records.run_folder import RunFolder
from decoderlab.training.code_changes import changed_code
from decoderlab.training.continued_training import (
    RECORDER_KEY,
    last_checkpoint,
    restarts_of,
    take_best,
)
from decoderlab.training.interruption import Interruption
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.prepared_run import Prepared

LOOK_AGAIN_SECONDS = 0.5


def take_training(
    prepared: Prepared,
    model: EncoderDecoder,
    siblings: Sequence[RunFolder],
    interruption: Interruption,
) -> None:
    """Copy into a run's folder the finished training of a run that was trained alike, if any was.

    That is a run whose identity differs in settings of the test's search alone, with validations
    that do without them: in the same process it would have been trained to the same bits. A run
    that is being trained is waited for. What is damaged, or made by other code, is not taken.

    Args:
        prepared: of the run.
        model: of the run, for its sizes.
        siblings: runs that may have been trained alike; of two of them only one may wait for the
            other.
        interruption: asked while another run is waited for.

    Raises:
        Interrupted: by a signal.
    """
    wanted = training_of(prepared.identity)
    if wanted is None or prepared.folder.resume_checkpoints():
        return
    for folder in siblings:
        _wait_for(folder, interruption)
        try:
            if folder.status()["status"] != "FINISHED":
                continue
            sibling = open_run(folder)
            if training_of(sibling.manifest.identity) == wanted and _is_of_this_code(sibling):
                _take(prepared, model, sibling)
                return
        except Invalid as error:  # also for what cannot be read now: the run trains by itself
            say(f"{error}; the training of {folder.path} is not taken over")


def _wait_for(folder: RunFolder, interruption: Interruption) -> None:
    said = False
    while folder.locked(unknown=False):
        if not said:
            say(f"waiting for the training of {folder.path}, which is also this run's")
            said = True
        time.sleep(LOOK_AGAIN_SECONDS)
        interruption.check()


def _is_of_this_code(sibling: OpenedRun) -> bool:
    return not (sibling.result.code_changes or changed_code(sibling.folder, sibling.config))


def _take(prepared: Prepared, model: EncoderDecoder, sibling: OpenedRun) -> None:
    """Copy metrics, best weights and last checkpoint, which says that training has finished."""
    path = last_checkpoint(sibling, model)
    if path is None:
        return
    saved = AtomicCheckpointIO().load_checkpoint(path)
    memory = saved["callbacks"][RECORDER_KEY]
    take_best(sibling, prepared.folder, memory)
    trained_by = memory.get("trained_by") or sibling.manifest.run_id
    own = {"run_id": prepared.run_id, "trained_by": trained_by, "restarts": restarts_of(memory)}
    saved["callbacks"] = {RECORDER_KEY: memory | own}
    AtomicCheckpointIO().save_checkpoint(saved, prepared.folder.checkpoints / path.name)
    where = sibling.folder.path
    say(f"trained as {where}, which differs in its search alone: only the test is done")
