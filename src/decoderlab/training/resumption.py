"""The checkpoint from which an interrupted run goes on: the newest that is undamaged."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from decoderlab.common.bounded_reading import LOOK
from decoderlab.common.bounded_yaml import read_yaml
from decoderlab.common.errors import Invalid, Unreadable
from decoderlab.common.progress import say
from decoderlab.config.run_config import RunConfig
from decoderlab.records.checkpoints import (
    checkpoint_limit,
    load_checkpoint_of,
    recorded_sha256,
    verify,
)
from decoderlab.records.metrics_file import check_beginning
from decoderlab.records.run_folder import RunFolder
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.optimizer_states import check_optimizers

SHOWN = 3
# What to do about a checkpoint that stays as it is.
ELSE = "if it stays so, delete that file: the run goes on from the checkpoint before"


def newest_whole(
    folder: RunFolder,
    run_id: str,
    model: EncoderDecoder,
    key: str,
    *,
    anew: str = "from update 0",
) -> Path | None:
    """Return the checkpoint to go on from; None for a run that begins, or has to begin again.

    A checkpoint counts only if the metrics until then and the best weights that it names are whole
    too; else the next older one is tried. A message names each that is passed over. What cannot be
    read now is not passed over: the run would go on from less, and delete what is newer.

    Args:
        folder: of the run.
        run_id: of the run.
        model: of the run.
        key: of the recorder's state in a checkpoint.
        anew: where a run starts of which no checkpoint is intact, for the message.

    Raises:
        Unreadable: for a checkpoint, or what it needs, that cannot be read now.
    """
    candidates = folder.resume_checkpoints()
    for path in sorted(folder.checkpoints.glob("step-*.ckpt")):
        if path not in candidates:
            say(f"{path} is not a checkpoint of this run; it is ignored")
    for path in candidates:
        try:
            _check(folder, run_id, model, key, path)
        except Unreadable as error:  # to go on without it would be to delete it
            raise Unreadable(error.path, error.what, f"{LOOK}; {ELSE}") from error
        except Invalid as error:
            say(f"{error}; it is not used")
        else:
            return path
    if candidates:
        say(f"no checkpoint of {folder.path} is intact: the run starts again {anew}")
    return None


def _check(folder: RunFolder, run_id: str, model: EncoderDecoder, key: str, path: Path) -> None:
    """Raise Invalid unless a run can go on from a checkpoint as if nothing had happened."""
    saved = load_checkpoint_of(model, path, recorded_sha256(path))
    memory = _memory(path, saved, key)
    if memory["run_id"] != run_id:
        raise Invalid(path, f"is of run {memory['run_id'][:12]}; expected {run_id[:12]}")
    step = int(path.stem.partition("-")[2])
    if saved.get("global_step") != step:
        raise Invalid(path, f"is of update {saved.get('global_step')!r:.20}")
    _check_steps(folder, path, memory, step, model)
    if not memory["finished"]:
        if unsaved := memory["unsaved"]:
            raise Invalid(
                path,
                f"lacks what {', '.join(unsaved[:SHOWN])} was by then, as no checkpoint has it; "
                "give the class state_dict and load_state_dict, or watches_only = True if no "
                "result depends on it, and its runs can go on",
            )
        _check_loops(path, saved, step)
        check_optimizers(path, saved, model)
    check_beginning(folder.metrics, memory["metrics"]["bytes"], memory["metrics"]["sha256"])
    best = memory["best"]
    if best is not None:
        verify(folder.checkpoints / best["file"], best["sha256"], checkpoint_limit(model))


def _memory(path: Path, saved: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return what the recorder keeps in a checkpoint, if every field is what it writes."""
    callbacks = saved.get("callbacks")
    memory = callbacks.get(key) if isinstance(callbacks, Mapping) else None
    if not isinstance(memory, dict):
        raise Invalid(path, "keeps no state of a run; another version may have written it")
    for name, is_right in MEMORY_FIELDS.items():
        if name not in memory or not is_right(memory[name]):
            shown = f"{memory[name]!r:.60}" if name in memory else "missing"
            raise Invalid(path, f"keeps no state of a run: its {name} is {shown}")
    return memory


def _check_steps(
    folder: RunFolder, path: Path, memory: Mapping[str, Any], step: int, model: EncoderDecoder
) -> None:
    """Raise Invalid where the recorder's numbers of updates and scores contradict each other."""
    best, last, finished = memory["best"], memory["last"], memory["finished"]
    wanted = {"loss", *model.measured()[0].scores}
    scores = [validation["metrics"] for validation in (best, last) if validation is not None]
    steps = [validation["step"] for validation in (best, last) if validation is not None]
    in_order = steps == sorted(steps) and all(earlier <= step for earlier in steps)
    validated = last is not None and last["step"] == step
    if (
        (best is None) != (last is None)
        or not in_order
        or any(not wanted <= metrics.keys() for metrics in scores)
        or (finished and not validated)
    ):
        raise Invalid(path, "keeps a state of a run that contradicts itself")
    if finished:
        return
    config = RunConfig.from_dict(read_yaml(folder.config))
    total = config.total_steps(model.measured()[0].train_dataloader().batches_per_epoch)
    if total is not None and step >= total:
        raise Invalid(path, f"is of update {step} of {total}, but says that training goes on")


def _check_loops(path: Path, saved: Mapping[str, Any], step: int) -> None:
    """Raise Invalid unless Lightning's loops stand where the checkpoint says that they stand."""
    try:
        fit = saved["loops"]["fit_loop"]
        updates = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]
        batches = fit["epoch_loop.batch_progress"]["total"]["ready"]
        right = updates["total"]["completed"] == step
        right &= _is_count(batches) and batches >= step and not batches % max(step, 1)
        right &= all(map(_is_progress, _progress_of(saved["loops"])))
    except (LookupError, TypeError, AttributeError):
        right = False
    losses = saved.get("losses", [])
    if not right or not isinstance(losses, list) or not all(map(_is_number, losses)):
        raise Invalid(path, f"does not hold the state of training after update {step}")


def _progress_of(loops: Mapping[str, Any]) -> Iterator[Any]:
    for loop in loops.values():
        yield from (value for name, value in loop.items() if name.endswith("progress"))


def _is_progress(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_progress, value.values()))
    return _is_count(value) or isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_seconds(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_written(value: Any) -> bool:
    return isinstance(value, dict) and all(
        (_is_count(value.get("bytes")), _is_sha256(value.get("sha256")))
    )


def _is_validation(value: Any) -> bool:
    """Whether a value is a step and its scores."""
    if value is None:
        return True
    scores = value.get("metrics") if isinstance(value, dict) else None
    return (
        isinstance(scores, dict)
        and all(isinstance(name, str) and _is_number(score) for name, score in scores.items())
        and _is_count(value.get("step"))
    )


def _is_best(value: Any) -> bool:
    return value is None or (
        _is_validation(value)
        and _is_number(value.get("score"))
        and _is_sha256(value.get("sha256"))
        and isinstance(value.get("file"), str)
        and re.fullmatch(r"best-[0-9]{1,18}\.ckpt", value["file"]) is not None
    )


def _is_restarts(value: Any) -> bool:
    """Whether a value counts restarts: -1 of a run that begins where its parent ended."""
    return type(value) is int and -1 <= value < 2**63


# The fields of the recorder's memory, and whether a value can be one.
MEMORY_FIELDS: dict[str, Callable[[Any], bool]] = {
    "run_id": _is_sha256,
    "metrics": _is_written,
    "best": _is_best,
    "last": _is_validation,
    "train_seconds": _is_seconds,
    "evaluation_seconds": _is_seconds,
    "examples_seen": _is_count,
    "tokens_seen": _is_count,
    "restarts": _is_restarts,
    "finished": lambda value: isinstance(value, bool),
    "unsaved": lambda value: isinstance(value, list) and all(isinstance(x, str) for x in value),
}
