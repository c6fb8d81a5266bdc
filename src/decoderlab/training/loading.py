"""Opening finished runs: from a run folder back to model and task."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor
from yaml import YAMLError

from decoderlab.common.completion import call, targets_in
from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import BUILT, RunConfig
from decoderlab.config.settings import TRAINING_PARTS
from decoderlab.contract import ImageSpace, ValueSpace
from decoderlab.data.batches import by_length
from decoderlab.data.task import Task
from decoderlab.data.task_data import TaskData
from decoderlab.data.values import Values
from decoderlab.generation.search import Search, beam
from decoderlab.records.run_folder import Invalid, RunFolder
from decoderlab.records.run_result import RunResult
from decoderlab.training.assembly import build_model, build_task, construct_task
from decoderlab.training.model_evaluation import load_best
from decoderlab.training.module import EncoderDecoder, strip


class LoadedRun(NamedTuple):
    """A finished run: `module` with the weights chosen on validation, ready to generate.

    Both are Lightning's: `pl.Trainer().test(run.module, datamodule=run.task)` measures as the run
    was measured, `.predict` returns texts, and `.fit` goes on from the weights with a new
    optimizer; give it `pl.Trainer(max_steps=...)`, since training batches never end.

    Args:
        module: the LightningModule.
        task: the data module.
        config: of the run.
        result: of the run.
    """

    module: EncoderDecoder
    task: Task
    config: RunConfig
    result: RunResult


def load_run(path: str | Path, *, data: bool = True, trust: bool = False) -> LoadedRun:
    """Open a finished run. Nothing outside the run is changed: no random state, no threads.

    Args:
        path: the run folder.
        data: load or make the task's data too, and check that they are those of the run; without
            them the task has its vocabularies alone, which is enough to predict.
        trust: build classes from outside decoderlab that the folder's config names. A config that
            comes from somewhere can name any code on the Python path: trust it only if it is yours.

    Returns:
        The run, its module in evaluation mode.

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
    config = _config_of(folder)
    if not trust:
        for name, target in targets_in(_built(config)):
            if not _is_ours(target):
                raise ConfigError(
                    f"{folder.config} names {name} {target!r}, which is no class of "
                    "decoderlab; pass --trust (in Python: trust=True) if that code is yours"
                )
    if data:
        task = build_task(config)
        if task.data.fingerprint != result.data.fingerprint:
            raise ConfigError(f"the data of {path} have changed since it was trained")
    else:
        task = construct_task(config)
        try:
            task.adopt(TaskData.recorded(json.loads(folder.vocabularies.read_text())))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(f"{folder.vocabularies} is damaged ({error})") from error
        if task.data.fingerprint != result.data.fingerprint:
            raise ConfigError(f"{folder.vocabularies} is of other data than the run's result")
    model = build_model(config, task)
    try:
        load_best(model, folder, Path(result.best_checkpoint).name)
    except Invalid as error:
        raise ConfigError(str(error)) from error
    return LoadedRun(model.eval(), task, config, result)


def _config_of(folder: RunFolder) -> RunConfig:
    """Read a run's config; nothing that it names is imported."""
    try:
        record = OmegaConf.to_container(OmegaConf.load(folder.config))
        if not isinstance(record, dict):
            raise ValueError("it is no mapping")
        return RunConfig.from_dict({str(name): value for name, value in record.items()})
    except (ValueError, TypeError, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(
            f"{folder.config} is damaged: it is not the config of a run ({error})"
        ) from error


def _built(config: RunConfig) -> dict[str, Any]:
    """Return the settings that name classes."""
    built = {group: getattr(config, group) for group in BUILT}
    return built | {"training": {name: getattr(config.training, name) for name in TRAINING_PARTS}}


def _is_ours(target: str) -> bool:
    """Whether a dotted name is that of a class of decoderlab, or of an optimizer of torch."""
    # The name alone proves nothing: decoderlab.records.run_folder.os.system begins like ours.
    try:
        named = get_object(target) if target.startswith(("decoderlab.", "torch.optim.")) else None
    except (ImportError, ValueError):
        return False
    if not inspect.isclass(named):
        return False
    packages = named.__module__.split(".")
    return packages[0] == "decoderlab" or (
        packages[:2] == ["torch", "optim"] and issubclass(named, torch.optim.Optimizer)
    )


def search_with(run: LoadedRun, **settings: Any) -> LoadedRun:
    """Return the run, which generates from now on as `decoderlab.generation.search.Search` says.

    Args:
        run: from `load_run`.
        settings: of `Search`; the others stay as the run was evaluated, but that a temperature
            replaces a beam, and a beam a temperature.

    Returns:
        The same run.

    Raises:
        ConfigError: for settings out of range, or without effect beside the others.
    """
    if settings and run.module.writes_values:
        raise ConfigError(
            f"{', '.join(settings)} say how to search among tokens, but this run writes real "
            "values, which are rolled forward; leave them out"
        )
    before = asdict(run.module.search)
    if "temperature" in settings:
        before |= {"beam_width": 1, "length_penalty": 0.0}
    elif "beam_width" in settings or "length_penalty" in settings:
        before |= {"temperature": None, "top_k": None, "top_p": None}
    if settings.get("beam_width") == 1:
        before["length_penalty"] = 0.0
    search = call("generation", Search, **before | settings)
    if "seed" in settings and search.temperature is None:
        raise ConfigError(
            f"--seed is {settings['seed']}, but nothing is drawn without a temperature; give "
            "--temperature 1.0, or leave --seed out"
        )
    run.module.search = search
    return run


def predict(run: LoadedRun, lines: list[str], first_row: int = 0) -> list[str]:
    """Return the prediction for each line of source text; an empty line for an empty one.

    Args:
        run: from `load_run`; it generates as `run.module.search` says.
        lines: source texts as the task writes them; of real values, see `Values.parse`. Tokens
            that training never saw are read as unknown, with a warning.
        first_row: number of the first line; what sampling draws for a line depends on its number.

    Returns:
        A text for each line.

    Raises:
        ConfigError: if the sources of the run are images, or a line of numbers is none.
    """
    predictions = [""] * len(lines)
    for index, (source, lengths) in _batches(run, lines):
        outputs = run.module(source, lengths, index + first_row)
        if run.module.writes_values:
            outputs = outputs[:, : run.task.target_length(int(lengths[0]))]
        for number, generated in zip(index.tolist(), outputs, strict=True):
            predictions[number] = run.task.text_of(generated)
    return predictions


def predict_best(run: LoadedRun, lines: list[str], num_best: int) -> list[list[tuple[str, float]]]:
    """Return the best hypotheses of a beam search for each line, each with its score, best first.

    Args:
        run: from `load_run`; its `module.search` says how wide the beam is.
        lines: as for `predict`.
        num_best: hypotheses at most, 1 to the beam's width.

    Returns:
        For each line its (text, score), where the score is what the beam is ordered by.

    Raises:
        ConfigError: if there are more hypotheses than beams, or the sources are no text.
    """
    search, space = run.module.search, run.module.target_space
    if isinstance(space, ValueSpace):
        raise ConfigError("--num-best is for tokens, but this run writes real values; leave it out")
    if search.temperature is not None:
        raise ConfigError(
            "--num-best is for a beam search, which draws nothing; leave --temperature out"
        )
    if not 1 <= num_best <= search.beam_width:
        raise ConfigError(
            f"--num-best is {num_best}, but the beam holds {search.beam_width}; take a beam that "
            f"is at least as wide: --beam-width {max(num_best, 1)}"
        )
    best: list[list[tuple[str, float]]] = [[] for _ in lines]
    for index, batch in _batches(run, lines):
        with torch.no_grad():
            results = beam(
                run.module.decoder,
                run.module.encode(*batch),
                tokens=space,
                max_length=run.module.max_target_length,
                beam_width=search.beam_width,
                length_penalty=search.length_penalty,
                num_best=num_best,
            )
        for number, rows, scores in zip(
            index.tolist(), results.tokens, results.scores, strict=True
        ):
            best[number] = [
                (run.task.text_of(strip(row, space)), score)
                for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
                if score > float("-inf")
            ]
    return best


def _batches(run: LoadedRun, lines: list[str]) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]:
    """Yield the lines that are not empty in batches of one length: their index and the batch."""
    rows = _encoded(run, lines)
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    for index in by_length(lengths, run.task.evaluation_batch_size, np.flatnonzero(lengths)):
        kept = torch.as_tensor(np.array([rows[number] for number in index]))
        yield torch.from_numpy(index), (kept, torch.from_numpy(lengths[index]))


def _encoded(run: LoadedRun, lines: list[str]) -> Sequence[Sequence[int] | np.ndarray]:
    """Return each line as ids or standardised values; warn of what training never saw."""
    source = run.task.data.source_vocabulary
    if isinstance(source, ImageSpace):
        raise ConfigError(
            "the sources of this run are images, not lines of text; in Python: "
            "load_run(RUN).module(images, lengths), with images (B, C, height, width)"
        )
    if isinstance(source, Values):
        rows = [source.encode(call("standard input", source.parse, text=line)) for line in lines]
        odd = {len(row) for row in rows} - {0, run.task.source_length}
        if run.task.source_length is not None and odd:
            warnings.warn(
                f"every source of training has {run.task.source_length} positions, but here are "
                f"some with {', '.join(map(str, sorted(odd)[:5]))}",
                stacklevel=4,
            )
        return rows
    tokens = [run.task.source_tokens(line) if line.strip() else [] for line in lines]
    rows = [source.encode(one) for one in tokens]
    unknown = sorted(
        {
            token
            for line, row in zip(tokens, rows, strict=True)
            for token, number in zip(line, row, strict=True)
            if number == source.space.unk_id
        }
    )
    if unknown:
        shown = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        warnings.warn(f"never seen in training, read as unknown: {shown}", stacklevel=4)
    return rows
