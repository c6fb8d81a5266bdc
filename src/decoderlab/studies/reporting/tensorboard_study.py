"""A whole study in TensorBoard: every run's scores, means with their bands, what models do."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

# protoc writes this module without its classes, which are made when it is imported.
from tensorboard.plugins.projector.projector_config_pb2 import (
    ProjectorConfig,  # pyright: ignore[reportAttributeAccessIssue]
)
from torch.utils.tensorboard import SummaryWriter

from decoderlab.common.escapes import one_line
from decoderlab.common.progress import track
from decoderlab.records.run_folder import RunFolder, lock_held
from decoderlab.records.tensorboard import add_attention, add_samples, add_session
from decoderlab.studies.analysis.curves import Curve, learning_curve
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import StudyCell, study_folder
from decoderlab.studies.reporting.appendix import samples
from decoderlab.studies.reporting.variant_names import short_names
from decoderlab.studies.reporting.variant_styles import shown_first, shown_variants, styles
from decoderlab.training import probes

NUM_SAMPLES = 10
# In the folder of a study's events: its runs in their order, each with its variant's colour and how
# many variants have the same before it: a report tells those apart by lines, TensorBoard cannot.
RUN_COLOURS = "colours.json"
# Behind the address of a TensorBoard: it opens on the charts of the means, which are selected.
MEANS = "#custom_scalars&regexInput=%5Emean%2F"


def write_board(analysis: Analysis, output_dir: Path) -> Path:
    """Write the TensorBoard events of a study, instead of those written before.

    HPARAMS lists every finished run; Custom Scalars shows the validation scores of each variant
    with their 95 % interval; Images, Text and Projector show what the first seed's models do. Of
    more than 40 runs TensorBoard selects none by itself: `MEANS` in its address finds the means.

    Args:
        analysis: of the study.
        output_dir: as in `run.output_dir`.

    Returns:
        The folder to give to `tensorboard --logdir`, or to `serve_board`.
    """
    folder = study_folder(output_dir, analysis.plan.name) / "tensorboard"
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".tensorboard.{word}") for word in ("new", "old"))
    with lock_held(folder.with_name(".tensorboard.lock")):
        for left_over in (new, old):  # of a process that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        try:
            new.mkdir()
            _write(analysis, output_dir, new)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _write(analysis: Analysis, output_dir: Path, folder: Path) -> None:
    # TensorBoard lists runs as they were written: the few means come before the many seeds. A
    # variant's means of all tasks are one run, which has one colour.
    shown = shown_variants(analysis)
    names = short_names(analysis.variants)
    coloured, colours = _coloured(analysis), {}
    charts: dict[str, Sequence[Any]] = {}
    for variant in track(shown, "averaging the runs"):
        curves = {
            task: learning_curve(analysis.by_cell[variant, task], output_dir, analysis.metric)
            for task in analysis.tasks
            if (variant, task) in analysis.by_cell
        }
        name = Path("mean", _safe(names[variant]))
        if tags := _add_means(folder / name, analysis.metric, curves):
            colours[name.as_posix()] = coloured[variant]
        charts |= {task: ["Margin", ends] for task, ends in tags.items()}
    if charts:
        metric = analysis.scale.label
        with SummaryWriter(str(folder)) as writer:
            writer.add_custom_scalars({f"Validation {metric}: mean, 95 % interval": charts})
        colours["."] = ("black", 0)
    for variant, name in _write_runs(analysis, output_dir, folder, names, set(shown)):
        colours[name.as_posix()] = coloured[variant]
    (folder / RUN_COLOURS).write_text(json.dumps(colours, indent=1), encoding="utf-8")


def _coloured(analysis: Analysis) -> dict[str, tuple[str, int]]:
    """Return the colour of each variant in the report, with the number of those before it."""
    drawn, seen, coloured = styles(analysis), Counter(), {}
    for variant in shown_first(analysis):
        colour = drawn[variant]["color"]
        coloured[variant] = (colour, seen[colour])
        seen[colour] += 1
    return coloured


def _write_runs(
    analysis: Analysis, output_dir: Path, folder: Path, names: Mapping[str, str], shown: set[str]
) -> Iterator[tuple[str, Path]]:
    """Write every finished run; yield its variant and where it lies in the folder."""
    done = [(row.cell, row.result) for row in analysis.rows if row.result is not None]
    firsts = {(cell.variant, cell.task): cell.run_id for cell, _ in reversed(done)}
    examples = {run_id for (variant, _), run_id in firsts.items() if variant in shown}
    projector = ProjectorConfig()
    runs = list(zip(done, _hyperparameters([cell for cell, _ in done]), strict=True))
    for (cell, result), hyperparameters in track(runs, "writing the runs"):
        name = Path(_safe(cell.task), _safe(names[cell.variant]))
        yield cell.variant, name / f"seed {cell.seed}"
        with SummaryWriter(str(folder / name / f"seed {cell.seed}")) as writer:
            scores = result.metrics.test.items()
            metrics = {f"test/{metric}": value for metric, value in scores}
            add_session(
                writer, hyperparameters, metrics | {"parameters": result.parameters["total"]}
            )
            if cell.run_id in examples:
                run = cell.run_folder(output_dir)
                arrays = {} if result.probes is None else probes.read(run.probes)
                add_attention(writer, name.parts[0], arrays)
                add_samples(writer, f"{name.parts[0]}/predictions", samples(run, NUM_SAMPLES))
                _add_summaries(projector, folder, name, run, arrays)
    if projector.embeddings:
        config = text_format.MessageToString(projector)
        (folder / "projector_config.pbtxt").write_text(config, encoding="utf-8")


def _hyperparameters(cells: Sequence[StudyCell]) -> list[dict[str, str | float]]:
    """Return what was varied, by run; numbers as such if all values of a factor are numbers."""
    values: dict[str, list[str]] = {}
    for cell in cells:
        for name, value in cell.factors.items():
            values.setdefault(name, []).append(value)
    numbers = {name for name, some in values.items() if all(map(_is_number, some))}
    hyperparameters: list[dict[str, str | float]] = []
    for cell in cells:
        factors = cell.factors.items()
        typed = {name: float(value) if name in numbers else value for name, value in factors}
        hyperparameters.append(
            typed | {"variant": cell.variant, "task": cell.task, "seed": cell.seed}
        )
    return hyperparameters


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _add_summaries(
    projector: ProjectorConfig,
    folder: Path,
    name: Path,
    run: RunFolder,
    arrays: dict[str, np.ndarray],
) -> None:
    """Write the summaries of a run's test examples where the projector finds them.

    Instead of `SummaryWriter.add_embedding`, in which a tab in a label shifts the columns.
    """
    records = samples(run, len(arrays.get("summaries", ())))
    if not records or len(records) < len(arrays["summaries"]):
        return
    inside = "projector" / name
    (folder / inside).mkdir(parents=True)
    vectors = np.nan_to_num(arrays["summaries"]).astype(float)
    np.savetxt(folder / inside / "tensors.tsv", vectors, fmt="%.6g", delimiter="\t")
    lines = [["source", "target", "length", "first token", "correct"]]
    for record, length, first in zip(records, arrays["lengths"], arrays["first"], strict=True):
        right = {True: "yes", False: "no"}.get(record["correct"], "")
        lines.append([record["source"], record["target"], str(length), str(first), right])
    text = "".join("\t".join(map(one_line, line)) + "\n" for line in lines)
    (folder / inside / "metadata.tsv").write_text(text, encoding="utf-8")
    projector.embeddings.add(
        tensor_name=name.as_posix(),
        tensor_path=(inside / "tensors.tsv").as_posix(),
        metadata_path=(inside / "metadata.tsv").as_posix(),
    )


def _add_means(folder: Path, metric: str, curves: Mapping[str, Curve]) -> dict[str, list[str]]:
    """Write the means and intervals of a variant as a run; return the tags of each task.

    A margin chart shows all runs that have its tags: the task is in them, so that each has its own.
    """
    there = {task: curve for task, curve in curves.items() if len(curve.positions)}
    tags: dict[str, list[str]] = {}
    if not there:
        return tags
    with SummaryWriter(str(folder)) as writer:
        for task, curve in there.items():
            ends = {"mean": curve.mean, "low": curve.low, "high": curve.high}
            tags[task] = [f"{_safe(task)}/validation {metric}, {end}" for end in ends]
            for tag, values in zip(tags[task], ends.values(), strict=True):
                for step, value in zip(curve.positions.tolist(), values.tolist(), strict=True):
                    writer.add_scalar(tag, value, step)
    return tags


def _safe(name: str) -> str:
    """Return a name as that of a folder and in a tag; other names remain other names.

    Brackets go too: TensorBoard finds a line's run between them.

    Example:
        >>> _safe("echo max_length=9"), _safe("a/b")
        ('echo max_length=9', 'a_b c14cddc0')
    """
    safe = re.sub(r"[^\w .,=+@\[\]-]", "_", name).encode()[:180].decode(errors="ignore")
    safe = safe.strip(" .")
    return safe if safe == name else f"{safe} {sha256(name.encode()).hexdigest()[:8]}"
