"""A whole study in TensorBoard: every run's scores, means with their bands, what models do."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from google.protobuf import text_format
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# protoc writes this module without its classes, which are made when it is imported.
from tensorboard.plugins.projector.projector_config_pb2 import (
    ProjectorConfig,  # pyright: ignore[reportAttributeAccessIssue]
)
from torch.utils.tensorboard import SummaryWriter

from decoderlab.common.progress import track
from decoderlab.records.run_folder import RunFolder
from decoderlab.records.tensorboard import add_samples, add_session
from decoderlab.studies.analysis.curves import Curve, learning_curve
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import Cell
from decoderlab.studies.reporting.appendix import samples
from decoderlab.studies.reporting.variant_styles import shown_variants
from decoderlab.training import probes

NUM_SAMPLES = 10
MAX_INCHES = 12.0


def write_board(analysis: Analysis, output_dir: Path) -> Path:
    """Write the TensorBoard events of a study, instead of those written before.

    HPARAMS lists every finished run; Custom Scalars shows the validation scores of each variant
    with their 95 % interval; Images, Text and Projector show what the first seed's models do. Of
    more than 40 runs TensorBoard selects none by itself: `^mean/` in its filter finds the means.

    Args:
        analysis: of the study.
        output_dir: as in `run.output_dir`.

    Returns:
        The folder to give to `tensorboard --logdir`.
    """
    folder = output_dir / "studies" / analysis.plan.name / "tensorboard"
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".tensorboard.{word}") for word in ("new", "old"))
    with FileLock(folder.with_name(".tensorboard.lock")):
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
    # TensorBoard lists runs as they were written: the few means come before the many seeds.
    shown = set(shown_variants(analysis))
    cells = [(key, rows) for key, rows in analysis.by_cell.items() if key[0] in shown]
    charts: dict[str, Sequence[Any]] = {}
    for (variant, task), rows in track(cells, "averaging the runs"):
        mean_folder = folder / "mean" / _safe(task) / _safe(variant)
        curve = learning_curve(rows, output_dir, analysis.metric)
        if tags := _add_means(mean_folder, _safe(task), analysis.metric, curve):
            charts[task] = ["Margin", tags]
    if charts:
        metric = analysis.scale.label
        with SummaryWriter(str(folder)) as writer:
            writer.add_custom_scalars({f"Validation {metric}: mean, 95 % interval": charts})
    _write_runs(analysis, output_dir, folder, shown)


def _write_runs(analysis: Analysis, output_dir: Path, folder: Path, shown: set[str]) -> None:
    done = [(row.cell, row.result) for row in analysis.rows if row.result is not None]
    firsts = {(cell.variant, cell.task): cell.run_id for cell, _ in reversed(done)}
    examples = {run_id for (variant, _), run_id in firsts.items() if variant in shown}
    projector = ProjectorConfig()
    runs = list(zip(done, _hyperparameters([cell for cell, _ in done]), strict=True))
    for (cell, result), hyperparameters in track(runs, "writing the runs"):
        name = Path(_safe(cell.task), _safe(cell.variant))
        with SummaryWriter(str(folder / name / f"seed {cell.seed}")) as writer:
            scores = result.metrics.test.items()
            metrics = {f"test/{metric}": value for metric, value in scores}
            add_session(writer, hyperparameters, metrics | {"parameters": cell.parameters})
            if cell.run_id in examples:
                run = RunFolder(output_dir / cell.folder)
                arrays = probes.read(run.probes)
                _add_attention(writer, name.parts[0], arrays)
                add_samples(writer, f"{name.parts[0]}/predictions", samples(run, NUM_SAMPLES))
                _add_summaries(projector, folder, name, run, arrays)
    if projector.embeddings:
        config = text_format.MessageToString(projector)
        (folder / "projector_config.pbtxt").write_text(config, encoding="utf-8")


def _hyperparameters(cells: Sequence[Cell]) -> list[dict[str, str | float]]:
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


def _add_attention(writer: SummaryWriter, task: str, arrays: dict[str, np.ndarray]) -> None:
    """Add an image for each example: a row is a generated token, dark is 1."""
    for index, weights in enumerate(arrays.get("attention", ())):
        source, target = (
            json.loads(str(arrays[f"attention_{side}"][index])) for side in ("source", "target")
        )
        width, height = (min(1.2 + 0.3 * len(side), MAX_INCHES) for side in (source, target))
        figure = Figure(figsize=(width, height), layout="constrained")
        axis = figure.subplots()
        weights = weights[: len(target), : len(source)].astype(float)
        axis.imshow(weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
        # A token such as $x$ is no formula.
        axis.set_xticks(range(len(source)), source, fontsize=8, parse_math=False)
        axis.set_yticks(range(len(target)), target, fontsize=8, parse_math=False)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[..., :3]
        writer.add_image(f"{task}/attention, example {index + 1}", picture, dataformats="HWC")


def _one_line(text: str) -> str:
    return " ".join(text.split())


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
    text = "".join("\t".join(map(_one_line, line)) + "\n" for line in lines)
    (folder / inside / "metadata.tsv").write_text(text, encoding="utf-8")
    projector.embeddings.add(
        tensor_name=name.as_posix(),
        tensor_path=(inside / "tensors.tsv").as_posix(),
        metadata_path=(inside / "metadata.tsv").as_posix(),
    )


def _add_means(folder: Path, task: str, metric: str, curve: Curve) -> list[str]:
    """Write a mean and its interval as a run of their own; return their tags, [] without any.

    A margin chart shows all runs that have its tags: the task is in them, so that each has its own.
    """
    if not len(curve.positions):
        return []
    ends = {"mean": curve.mean, "low": curve.low, "high": curve.high}
    tags = {end: f"{task}/validation {metric}, {end}" for end in ends}
    with SummaryWriter(str(folder)) as writer:
        for end, values in ends.items():
            for step, value in zip(curve.positions.tolist(), values.tolist(), strict=True):
                writer.add_scalar(tags[end], value, step)
    return list(tags.values())


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
