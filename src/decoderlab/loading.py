"""Opening finished runs: from a run folder back to model and task."""

from __future__ import annotations

import inspect
import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import get_object
from omegaconf import OmegaConf

from decoderlab.assembly import build_model, build_task, construct_task
from decoderlab.config import BUILT, ConfigError
from decoderlab.contract import ImageSpace
from decoderlab.module import EncoderDecoder
from decoderlab.records import Invalid, RunFolder
from decoderlab.runs import load_best
from decoderlab.tasks.batches import Ragged, Split
from decoderlab.tasks.task import Task, TaskData
from decoderlab.tasks.vocabulary import Vocabulary


class LoadedRun(NamedTuple):
    """A finished run: `model` with the weights chosen on validation, ready to generate."""

    model: EncoderDecoder
    task: Task
    config: dict[str, Any]
    result: dict[str, Any]


def load_run(path: str | Path, *, data: bool = True, trust: bool = False) -> LoadedRun:
    """Open a finished run.

    Args:
        path: the run folder.
        data: load or make the task's data too, and check that they are those of the run; without
            them the task has its vocabularies alone, which is enough to predict.
        trust: build classes from outside decoderlab that the folder's config names. A config that
            was found somewhere can name any code on the Python path: trust it only if it is yours.

    Raises:
        ConfigError: if the folder is not a finished run, is damaged, names foreign code without
            `trust`, or its data have changed.
    """
    folder = RunFolder(Path(path))
    if not folder.path.is_dir():
        raise ConfigError(f"{path} does not exist; give the folder of a run: outputs/runs/...")
    try:
        result = folder.result()
    except Invalid as error:
        raise ConfigError(str(error)) from error
    if result is None or not folder.config.is_file():
        status = folder.status()["status"]
        raise ConfigError(f"{path} is not the folder of a finished run (its status is {status})")
    config = OmegaConf.to_container(OmegaConf.load(folder.config))
    if not trust:
        for group in BUILT:
            target = str(config[group]["_target_"])
            # The name alone proves nothing: decoderlab.records.os.system begins like one of ours.
            ours = target.startswith("decoderlab.") and inspect.isclass(get_object(target))
            if not ours or get_object(target).__module__.split(".")[0] != "decoderlab":
                raise ConfigError(
                    f"{folder.config} names {group}._target_ {target!r}, which is no class of "
                    "decoderlab; pass --trust (in Python: trust=True) if that code is yours"
                )
    if data:
        task = build_task(config)
        if task.data.fingerprint != result["data"]["fingerprint"]:
            raise ConfigError(f"the data of {path} have changed since it was trained")
    else:
        task = construct_task(config)
        task.adopt(_vocabularies_alone(folder))
    torch.set_num_threads(config["run"]["threads"])
    model = build_model(config, task)
    try:
        load_best(model, folder, Path(result["best_checkpoint"]).name)
    except Invalid as error:
        raise ConfigError(str(error)) from error
    return LoadedRun(model.eval(), task, config, result)


def _vocabularies_alone(folder: RunFolder) -> TaskData:
    record = json.loads(folder.vocabularies.read_text())
    nothing = Split(Ragged.of([]), Ragged.of([]))
    images = record["source"] is None
    return TaskData(
        ImageSpace(**record["images"]) if images else Vocabulary(record["source"]),
        Vocabulary(record["target"]),
        {"train": nothing},
        record["max_target_length"],
        fingerprint=record["fingerprint"],
    )


def predict(run: LoadedRun, lines: list[str]) -> list[str]:
    """Return the prediction for each line of source text; an empty line for an empty one.

    Args:
        run: from `load_run`.
        lines: source texts as the task writes them. Tokens that training never saw are read as
            unknown, with a warning.
    """
    source, target = run.task.data.source_vocabulary, run.task.data.target_vocabulary
    if isinstance(source, ImageSpace):
        raise ConfigError(
            "the sources of this run are images, not lines of text; in Python: "
            "load_run(RUN).model(images, lengths), with images (B, C, height, width)"
        )
    rows = [source.encode(run.task.source_tokens(line)) for line in lines]
    unknown = sorted(
        {
            token
            for line, row in zip(lines, rows, strict=True)
            for token, number in zip(run.task.source_tokens(line), row, strict=True)
            if number == source.space.unk_id
        }
    )
    if unknown:
        shown = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        warnings.warn(f"never seen in training, read as unknown: {shown}", stacklevel=2)
    filled = [place for place, row in enumerate(rows) if row]
    predictions = [""] * len(lines)
    if filled:
        batch, lengths = Ragged.of([rows[place] for place in filled]).take(
            slice(None), source.space.pad_id
        )
        for place, generated in zip(filled, run.model(batch, lengths), strict=True):
            predictions[place] = run.task.target_text(target.decode(generated))
    return predictions
