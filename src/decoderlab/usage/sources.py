"""Lines of text, of numbers, or names of images: as the sources that a run reads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decoderlab.common.errors import ConfigError
from decoderlab.common.part_building import call
from decoderlab.contract import ImageSpace
from decoderlab.data.batches import by_length
from decoderlab.data.pictures import read_image
from decoderlab.data.unknown_slots import words_of_slots
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.training.loading import LoadedRun

Rows = Sequence[Sequence[int] | np.ndarray]


def batches(
    run: LoadedRun, lines: Sequence[str], folder: Path | None = None, first_row: int = 0
) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]:
    """Yield the lines that are not empty in batches of one length: their index and the batch.

    Args:
        run: from `load_run`.
        lines: source texts; of images, names of files.
        folder: in which the images lie; None for the working directory.
        first_row: number of the first line, counted from 0, for messages.
    """
    if isinstance(run.task.data.source_vocabulary, ImageSpace):
        yield from _images(run, run.task.data.source_vocabulary, lines, folder or Path())
        return
    rows, dtype = _encoded(run, lines, first_row), run.module.dtype
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    for index in by_length(lengths, run.task.evaluation_batch_size, np.flatnonzero(lengths)):
        kept = torch.as_tensor(np.array([rows[number] for number in index]))
        yield torch.from_numpy(index), (_as(dtype, kept), torch.from_numpy(lengths[index]))


def words_of_lines(run: LoadedRun, lines: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the unknown words of each line that have a slot; see `data.unknown_slots`."""
    source = run.task.data.source_vocabulary
    if not isinstance(source, Vocabulary) or not source.unknown_slots:
        return [()] * len(lines)
    return [words_of_slots(_tokens(run, line), source) for line in lines]


def source_tokens(run: LoadedRun, line: str) -> list[str]:
    """Return what stands at each position of a source, for people; nothing of an image."""
    source = run.task.data.source_vocabulary
    if isinstance(source, ImageSpace):
        return []
    return line.split() if isinstance(source, Values) else list(run.task.source_tokens(line))


def _images(
    run: LoadedRun, space: ImageSpace, lines: Sequence[str], folder: Path
) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]:
    """Yield batches of images, which are read a batch at a time."""
    if space.channels not in (1, 3):
        raise ConfigError(
            f"the images of this run have {space.channels} channels, but files have colours; in "
            "Python: load_run(RUN).module(images, lengths)"
        )
    names = [line.strip() for line in lines]
    named = np.flatnonzero([bool(name) for name in names])
    size = run.task.evaluation_batch_size
    for start in range(0, len(named), size):
        index = named[start : start + size]
        arrays = [_image(folder / names[row], space) for row in index.tolist()]
        kept = torch.from_numpy(np.stack(arrays))
        read = _as(run.module.dtype, kept)
        yield torch.from_numpy(index), (read, torch.ones(len(index), dtype=torch.int64))


def _as(dtype: Any, source: Tensor) -> Tensor:
    """Return a source in the precision of the model; ids stay whole numbers."""
    return source.to(dtype) if source.is_floating_point() else source


def _image(path: Path, space: ImageSpace) -> np.ndarray:
    try:
        image = read_image(path, space.width, space.height)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return image if space.channels == 3 else image.mean(axis=0, keepdims=True)


def _tokens(run: LoadedRun, line: str) -> Sequence[str]:
    return run.task.source_tokens(line) if line.strip() else []


def _encoded(run: LoadedRun, lines: Sequence[str], first_row: int) -> Rows:
    """Return each line as ids or standardised values; warn of what training never saw."""
    source = run.task.data.source_vocabulary
    if isinstance(source, Values):
        rows = [
            source.encode(call(f"line {number} of the input", source.parse, text=line))
            for number, line in enumerate(lines, start=first_row + 1)
        ]
        odd = {len(row) for row in rows} - {0, run.task.source_length}
        if run.task.source_length is not None and odd:
            warnings.warn(
                f"every source of training has {run.task.source_length} positions, but here are "
                f"some with {', '.join(map(str, sorted(odd)[:5]))}",
                stacklevel=5,
            )
        return rows
    if isinstance(source, ImageSpace):
        raise ConfigError("the sources of this run are images, not lines of text")
    tokens = [_tokens(run, line) for line in lines]
    words = words_of_lines(run, lines)
    rows = [source.encode(line, own) for line, own in zip(tokens, words, strict=True)]
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
        warnings.warn(f"never seen in training, read as unknown: {shown}", stacklevel=5)
    return rows
