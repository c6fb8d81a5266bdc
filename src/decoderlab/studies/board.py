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
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from decoderlab import probes
from decoderlab.progress import track
from decoderlab.records import RunFolder
from decoderlab.studies.analysis import Analysis
from decoderlab.studies.document import samples
from decoderlab.studies.figures import shown_variants
from decoderlab.studies.profiles import learning_curve
from decoderlab.studies.rows import Row

NUM_SAMPLES = 10
MAX_INCHES = 12.0


def write_board(analysis: Analysis, output_dir: Path) -> Path:
    """Write the TensorBoard events of a study, in place of those written before.

    HPARAMS lists every finished run; Custom Scalars shows the validation scores of each variant
    with their 95 % interval; Images, Text and Projector show what the first seed's models do.

    Args:
        analysis: of the study.
        output_dir: as in `run.output_dir`.

    Returns:
        The folder to give to `tensorboard --logdir`.
    """
    folder = output_dir / "studies" / analysis.plan.study["name"] / "tensorboard"
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".tensorboard.{word}") for word in ("new", "old"))
    with FileLock(folder.with_name(".tensorboard.lock")):
        for left_over in (new, old):  # of a process that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        try:
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
    shown = set(shown_variants(analysis))
    by_cell = {key: rows for key, rows in analysis.by_cell.items() if key[0] in shown}
    done = [row for row in analysis.rows if row.result is not None]
    firsts = {(row.cell.variant, row.cell.task): row for row in reversed(done)}
    projector = ProjectorConfig()
    for row, hyperparameters in track(
        list(zip(done, _hyperparameters(done), strict=True)), "writing the runs"
    ):
        key = row.cell.variant, row.cell.task
        run = RunFolder(output_dir / row.cell.folder)
        name = _safe(row.cell.task), _safe(row.cell.variant)
        with SummaryWriter(str(folder.joinpath(*name, f"seed {row.cell.seed}"))) as writer:
            _add_session(writer, row, hyperparameters)
            if key in by_cell and firsts[key] is row:
                arrays = probes.read(run.probes)
                _add_attention(writer, name[0], arrays)
                _add_samples(writer, name[0], samples(run, NUM_SAMPLES))
                _add_summaries(projector, folder, name, run, arrays)
    if projector.embeddings:
        (folder / "projector_config.pbtxt").write_text(text_format.MessageToString(projector))
    charts: dict[str, Sequence[Any]] = {}
    for (variant, task), rows in track(list(by_cell.items()), "averaging the runs"):
        if tags := _add_means(analysis.metric, rows, output_dir, folder, (task, variant)):
            charts[task] = ["Margin", tags]
    with SummaryWriter(str(folder)) as writer:
        if charts:
            title = f"Validation {analysis.metric.replace('_', ' ')}: mean over seeds, 95 % interval"
            writer.add_custom_scalars({title: charts})


def _hyperparameters(rows: Sequence[Row]) -> list[dict[str, str | float]]:
    """Return what was varied, by run; numbers as such if all values of a factor are numbers."""
    values: dict[str, list[str]] = {}
    for row in rows:
        for name, value in row.cell.factors.items():
            values.setdefault(name, []).append(value)
    numbers = {name for name, some in values.items() if all(map(_is_number, some))}
    return [
        {
            **{
                name: float(value) if name in numbers else value
                for name, value in row.cell.factors.items()
            },
            "variant": row.cell.variant,
            "task": row.cell.task,
            "seed": row.cell.seed,
        }
        for row in rows
    ]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _add_session(writer: SummaryWriter, row: Row, hyperparameters: dict[str, Any]) -> None:
    """Add a run's line in HPARAMS.

    Without torch's summary of the experiment: TensorBoard would believe the first that it finds,
    and show no column that this one run lacks.
    """
    for summary in hparams(hyperparameters, {})[1:]:
        writer.file_writer.add_summary(summary)
    scores = {f"test/{name}": value for name, value in row.result["metrics"]["test"].items()}
    for name, value in (scores | {"parameters": row.cell.parameters}).items():
        writer.add_scalar(name, value, new_style=True, double_precision=True)


def _add_attention(writer: SummaryWriter, task: str, arrays: dict[str, np.ndarray]) -> None:
    """Add an image for each example: a row is a generated token, dark is 1."""
    for place, weights in enumerate(arrays.get("attention", ())):
        source, target = (
            json.loads(str(arrays[f"attention_{side}"][place])) for side in ("source", "target")
        )
        size = [min(1.2 + 0.3 * len(tokens), MAX_INCHES) for tokens in (source, target)]
        figure = Figure(figsize=size, layout="constrained")
        axis = figure.subplots()
        weights = weights[: len(target), : len(source)].astype(float)
        axis.imshow(weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
        # A token such as $x$ is no formula.
        axis.set_xticks(range(len(source)), source, fontsize=8, parse_math=False)
        axis.set_yticks(range(len(target)), target, fontsize=8, parse_math=False)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[..., :3]
        writer.add_image(f"{task}/attention, example {place + 1}", picture, dataformats="HWC")


def _add_samples(writer: SummaryWriter, task: str, records: Sequence[dict[str, Any]]) -> None:
    lines = ["| source | target | prediction |", "|---|---|---|"]
    for one in records:
        cells = [_plain(one[name]) for name in ("source", "target", "prediction")]
        lines.append(f"| {' | '.join(cells)}{'' if one['correct'] else ' ✗'} |")
    if records:
        writer.add_text(f"{task}/predictions", "\n".join(lines))


def _plain(text: str) -> str:
    """Return a text in which nothing is Markdown or HTML.

    Example:
        >>> _plain("a|b *")
        'a&#124;b &#42;'
    """
    return re.sub(r"[^\w ]", lambda found: f"&#{ord(found[0])};", _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _add_summaries(
    projector: ProjectorConfig,
    folder: Path,
    name: tuple[str, str],
    run: RunFolder,
    arrays: dict[str, np.ndarray],
) -> None:
    """Write the summaries of a run's test examples where the projector finds them.

    Differs from `SummaryWriter.add_embedding`, which lets a tab in a label shift the columns.
    """
    records = samples(run, len(arrays.get("summaries", ())))
    if not records or len(records) < len(arrays["summaries"]):
        return
    place = Path("projector", *name)
    (folder / place).mkdir(parents=True)
    vectors = np.nan_to_num(arrays["summaries"].astype(float))
    np.savetxt(folder / place / "tensors.tsv", vectors, fmt="%.6g", delimiter="\t")
    lines = [["source", "target", "length", "first token", "correct"]]
    for one, length, first in zip(records, arrays["lengths"], arrays["first"], strict=True):
        right = "yes" if one["correct"] else "no"
        lines.append([one["source"], one["target"], str(length), str(first), right])
    text = "".join("\t".join(map(_one_line, line)) + "\n" for line in lines)
    (folder / place / "metadata.tsv").write_text(text, encoding="utf-8")
    projector.embeddings.add(
        tensor_name="/".join(name),
        tensor_path=str(place / "tensors.tsv"),
        metadata_path=str(place / "metadata.tsv"),
    )


def _add_means(
    metric: str, rows: Sequence[Row], output_dir: Path, folder: Path, of: tuple[str, str]
) -> list[str]:
    """Add a variant's mean validation scores on a task, and return their tags; [] without any.

    A margin chart shows all runs that have its tags: the task is in them, so that each has its own.
    """
    profile = learning_curve(rows, output_dir, metric)
    if not len(profile.places):
        return []
    task, variant = map(_safe, of)
    ends = {"mean": profile.mean, "low": profile.low, "high": profile.high}
    tags = {end: f"{task}/validation {metric}, {end}" for end in ends}
    with SummaryWriter(str(folder / "mean" / task / variant)) as writer:
        for end, values in ends.items():
            for step, value in zip(profile.places.tolist(), values.tolist(), strict=True):
                writer.add_scalar(tags[end], value, step, new_style=True, double_precision=True)
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
