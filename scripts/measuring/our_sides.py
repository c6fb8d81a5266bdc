"""Our sides of the comparison with peers: runs, bare loops and outputs of decoderlab."""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl

from decoderlab.data.batches import as_ragged
from decoderlab.data.task import Task
from decoderlab.generation import Search
from decoderlab.records.run_folder import RunFolder
from decoderlab.training.assembly import build_model
from decoderlab.training.model_evaluation import quiet
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.prepared_run import Prepared
from decoderlab.training.run_lifecycle import execute
from measuring.timed_runs import bare_seconds, prepared_run
from measuring.turns import Turn


class OurRun:
    """A run as decoderlab-train carries it out, records and the validation at its end included.

    Its test and the writing of its result are left out of the seconds: they come once a run.

    Args:
        name: of the side.
        overrides: as for decoderlab-train.
        updates: of a turn.
        validated: whether the validation counts.
    """

    def __init__(
        self, name: str, overrides: Sequence[str], *, updates: int, validated: bool = False
    ) -> None:
        self.name, self.validated = name, validated
        self.prepared = prepared_run(list(overrides), updates, Path("unused"))
        self.turn()  # warm-up

    def turn(self) -> Turn:
        """Train a new model from the start."""
        moments: dict[str, float] = {}

        def report(step: int, values: dict[str, float]) -> None:
            kind = "validated" if any("validation" in name for name in values) else "trained"
            moments[kind] = time.perf_counter()

        with tempfile.TemporaryDirectory() as folder:
            prepared = replace(self.prepared, folder=RunFolder(Path(folder) / "run"))
            with redirect_stderr(StringIO()) as said:  # which is the same each turn
                status = execute(prepared, report=report, retry=True)
            result = prepared.folder.result()
        if status != "FINISHED" or result is None:
            raise SystemExit(f"{self.name}: the run ended {status}; it said {said.getvalue()}")
        seconds = result.train_seconds
        if self.validated:  # from the record of the last update to that of the validation
            seconds += moments["validated"] - moments["trained"]
        return Turn(result.examples_seen, seconds)


class BareLoop:
    """The plainest loop of PyTorch over the modules of a run.

    Args:
        name: of the side.
        prepared: the run.
        updates: of a turn.
    """

    def __init__(self, name: str, prepared: Prepared, *, updates: int) -> None:
        self.name, self.prepared, self.updates = name, prepared, updates
        batches = islice(prepared.task.train_dataloader(), updates)
        self.examples = sum(len(batch.index) for batch in batches)

    def turn(self) -> Turn:
        """Train a new model from the start."""
        return Turn(self.examples, bare_seconds(self.prepared, self.updates))


class PredictionClock(pl.Callback):
    """Notes when predicting begins and ends."""

    seconds = 0.0

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock (Lightning's hook)."""
        self._began = time.perf_counter()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop it (Lightning's hook)."""
        self.seconds = time.perf_counter() - self._began


class OurOutputs:
    """Texts that a model writes for the test split.

    Args:
        name: of the side.
        task: whose test split is the work.
        model: the model.
        batch_size: sources at a time.
        beam_width: 1 for greedy.
        spaced: whether texts have a space between tokens; the mean number of these is noted then.
    """

    def __init__(
        self,
        name: str,
        task: Task,
        model: EncoderDecoder,
        *,
        batch_size: int,
        beam_width: int = 1,
        spaced: bool = False,
    ) -> None:
        self.name, self.task, self.batch_size, self.spaced = name, task, batch_size, spaced
        self.model = model.with_settings(search=Search(beam_width=beam_width))
        self.turn()  # warm-up

    def turn(self) -> Turn:
        """Write all texts once."""
        clock = PredictionClock()
        self.task.evaluation_batch_size = self.batch_size
        batches = cast("Any", self.task.evaluation_batches("test"))
        with quiet():
            trainer = pl.Trainer(
                accelerator="cpu",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[clock],
            )
            written = cast("list[list[str]]", trainer.predict(self.model, batches))
        texts = [text for batch in written for text in batch]
        mean = sum(len(text.split()) for text in texts) / len(texts)
        note = f"{mean:.1f} tokens an output" if self.spaced else ""
        return Turn(len(texts), clock.seconds, note)


def trained_model(prepared: Prepared, updates: int) -> EncoderDecoder:
    """Return the model of a run after so many updates in a bare loop, ready to generate."""
    model = build_model(prepared.config, prepared.task)
    bare_seconds(prepared, updates, model)
    return model.eval()


def write_pairs(task: Task, folder: Path) -> dict[str, str]:
    """Write each split of a task as a TSV of two columns, without a header; return their paths.

    Of a source with several right targets in validation or test the first is written.
    """
    data, paths = task.data, {}
    for name, split in data.splits.items():
        sources, path = as_ragged(split.source), folder / f"{name}.tsv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            for row in range(len(sources)):
                target = split.target[row][:-1] if task.append_eos else split.target[row]
                writer.writerow([task.shown_source(name, row), task.text_of(target)])
        paths[name] = str(path)
    return paths
