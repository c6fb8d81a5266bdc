"""A run that goes on where a finished one ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import copyfileobj
from typing import Any

from pytorch_lightning.callbacks import WeightAveraging

from decoderlab.common.bounded_reading import LINE_BYTES, LINES_BYTES, opened
from decoderlab.common.digests import MAX_FILE_BYTES, file_sha256
from decoderlab.common.errors import ConfigError
from decoderlab.common.progress import say
from decoderlab.config.run_identity import difference_of_validations, parent_id
from decoderlab.records.checkpoints import AtomicCheckpointIO, hash_file, recorded_sha256, verify
from decoderlab.records.metrics_file import beginning
from decoderlab.records.opened_run import OpenedRun
from decoderlab.records.run_folder import RunFolder, write_atomic, write_text
from decoderlab.training.assembly import build_callbacks
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.optimizers import is_constant, make_schedule, rate_factors
from decoderlab.training.parents import open_parent
from decoderlab.training.prepared_run import Prepared
from decoderlab.training.recorder import Recorder
from decoderlab.training.resumption import newest_whole

RECORDER_KEY = Recorder.__qualname__  # of the recorder's state in a checkpoint
VALIDATION = b'"validation/'  # in each line of metrics that is of a validation


def begin_from_parent(prepared: Prepared, model: EncoderDecoder) -> None:
    """Copy into a run's folder what it continues from, if it names a parent and has not begun.

    These are the parent's metrics, its best weights and its last checkpoint, whole: an update of
    the run is what it would have been had the parent's budget been as large. The learning rate of
    update n is that of the run's own schedule and budget; callbacks begin anew, but for averages of
    weights, which go on. A run of which no checkpoint is intact begins with the parent again. Where
    the evaluation is another one, the parent's validations are left out: no score is compared with
    one that means something else, and the run's scores with none of a run that had these steps to
    choose from.

    Args:
        prepared: of the run.
        model: of the run, for its sizes.

    Raises:
        ConfigError: if the parent's checkpoint is missing or damaged.
    """
    config, folder = prepared.config, prepared.folder
    if config.training.from_run is None or _goes_on(prepared, model):
        return
    parent = open_parent("training.from_run", config.training.from_run)
    if parent.manifest.run_id != parent_id(prepared.identity):
        raise ConfigError("training.from_run names another run than when this run was planned")
    path = last_checkpoint(parent, model)
    if path is None:
        raise ConfigError(
            f"training.from_run: the last checkpoint of {parent.folder.path}, of update "
            f"{parent.result.steps:,}, is missing or damaged; training cannot continue from there"
        )
    saved = AtomicCheckpointIO().load_checkpoint(path)
    memory = saved["callbacks"][RECORDER_KEY]
    if other := difference_of_validations(parent.manifest.identity, prepared.identity):
        memory |= {"best": None, "last": None, "metrics": _take_training(parent, folder, memory)}
        memory["chosen_after"] = parent.result.steps
        say(f"{other}: the validations of {parent.folder.path} are left out, and no step of it")
    else:
        take_best(parent, folder, memory)
    for damaged in folder.resume_checkpoints():
        AtomicCheckpointIO().remove_checkpoint(damaged)
    memory |= {"run_id": prepared.run_id, "finished": False, "restarts": restarts_of(memory)}
    memory.pop("trained_by", None)  # what goes on is this run's own training
    callbacks = build_callbacks(config, prepared.task)
    averaging = {each.state_key for each in callbacks if isinstance(each, WeightAveraging)}
    kept = {key: state for key, state in saved["callbacks"].items() if key in averaging}
    saved["callbacks"] = {RECORDER_KEY: memory} | kept
    if not averaging:
        # Lightning's callback keeps what is trained beside the averages that it saves.
        saved["state_dict"] = saved.pop("current_model_state", saved["state_dict"])
    _set_rates(prepared, saved)
    AtomicCheckpointIO().save_checkpoint(saved, folder.checkpoints / path.name)
    say(f"continuing {parent.folder.path}, which has {parent.result.steps:,} updates")


def last_checkpoint(run: OpenedRun, model: EncoderDecoder) -> Path | None:
    """Return the checkpoint of a finished run's last update; None where it is not intact.

    Args:
        run: that has finished.
        model: of a run that is trained alike, for its sizes.
    """
    path = newest_whole(run.folder, run.manifest.run_id, model, RECORDER_KEY)
    whole = path is not None and int(path.stem.partition("-")[2]) == run.result.steps
    return path if whole else None


def restarts_of(memory: Mapping[str, Any]) -> int:
    """Return the restarts that a run has counted when it begins with the checkpoint of another one.

    Going on counts one, which this is not; a run that took the checkpoint over has not counted it.

    Args:
        memory: of the recorder of the other run.
    """
    return memory["restarts"] - (not memory.get("trained_by"))


def take_best(parent: OpenedRun, folder: RunFolder, memory: dict[str, Any]) -> None:
    """Copy a parent's metrics, and its best weights so far.

    Args:
        parent: the other run.
        folder: of the run that takes them.
        memory: of the parent's recorder.

    Raises:
        Invalid: if the weights are damaged.
    """
    write_atomic(
        folder.metrics,
        lambda file: file.writelines(beginning(parent.folder.metrics, memory["metrics"]["bytes"])),
    )
    best = memory["best"]["file"]
    source = parent.folder.checkpoints / best
    verify(source, memory["best"]["sha256"], MAX_FILE_BYTES)
    with opened(source, MAX_FILE_BYTES) as content:
        write_atomic(folder.checkpoints / best, lambda file: copyfileobj(content, file))
    write_text(hash_file(folder.checkpoints / best), recorded_sha256(source) + "\n")


def _take_training(
    parent: OpenedRun, folder: RunFolder, memory: dict[str, Any]
) -> dict[str, int | str]:
    """Copy a parent's metrics without its validations; return their length and sha256."""
    length = memory["metrics"]["bytes"]
    write_atomic(
        folder.metrics,
        lambda file: file.writelines(_training_lines(parent.folder.metrics, length)),
    )
    return {"bytes": folder.metrics.stat().st_size, "sha256": file_sha256(folder.metrics)}


def _training_lines(path: Path, length: int) -> Iterator[bytes]:
    """Yield the lines among the first bytes of some metrics that are of no validation."""
    with opened(path, LINES_BYTES) as file:
        while length > 0 and (line := file.readline(LINE_BYTES)):
            length -= len(line)
            if VALIDATION not in line:
                yield line


def _goes_on(prepared: Prepared, model: EncoderDecoder) -> bool:
    """Whether a run has a checkpoint of its own to go on from."""
    folder = prepared.folder
    if not folder.resume_checkpoints():
        return False
    known = (folder, prepared.run_id, model, RECORDER_KEY)
    return newest_whole(*known, anew="from its parent (training.from_run)") is not None


def _set_rates(prepared: Prepared, saved: dict[str, Any]) -> None:
    """Give a checkpoint the learning rate that the run's own settings have at its update."""
    training, step = prepared.config.training, saved["global_step"]
    schedule = make_schedule(training)
    constant = is_constant(training, schedule)
    factor = 1.0 if constant else rate_factors(training, schedule, prepared.total_steps)(step)
    rate = training.learning_rate
    for state in saved["optimizer_states"]:
        for group in state["param_groups"]:
            group["lr"] = rate * factor
            if "weight_decay" in group:
                group["weight_decay"] = training.weight_decay
            group.pop("initial_lr", None)
            if not constant:
                group["initial_lr"] = rate
    number = len(saved["optimizer_states"][0]["param_groups"])
    scheduler = {
        "base_lrs": [rate] * number,
        "last_epoch": step,
        "_step_count": step + 1,
        "_get_lr_called_within_step": False,
        "_last_lr": [rate * factor] * number,
        "lr_lambdas": [None] * number,
    }
    before = (saved.get("lr_schedulers") or [{}])[0]
    saved["lr_schedulers"] = [] if constant else [before | scheduler]
