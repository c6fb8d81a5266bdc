"""Yoyodyne as a peer: its LSTM models on pairs from TSV files, trained by its own data module.

Started by `python scripts/benchmark.py --peers yoyodyne`. Requests: train (updates, with one
validation at their end) and predict (beam_width); see `answering`.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from answering import Answer, Work, serve
from yoyodyne import callbacks, data, models, trainers
from yoyodyne.models import modules

KINDS = {"lstm": models.LSTMModel, "attentive_lstm": models.SoftAttentionLSTMModel}
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class Clock(lightning.Callback):
    """Seconds from the first batch to the end of training, and from the start of predicting on.

    The starting of the processes that load data is not counted.
    """

    began: float | None = None
    seconds = 0.0
    starting = 0.0  # seconds from the last batch to the validation
    batch_ended = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the clock at the first batch (Lightning's hook)."""
        self.began = self.began or time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        """Note when it was (Lightning's hook)."""
        self.batch_ended = time.perf_counter()

    def on_validation_start(self, *_: Any) -> None:
        """Note what the processes took that load the validation's data (Lightning's hook)."""
        self.starting = time.perf_counter() - self.batch_ended

    def on_train_end(self, *_: Any) -> None:
        """Stop it after the validation (Lightning's hook)."""
        self.seconds = time.perf_counter() - (self.began or 0.0) - self.starting

    def on_predict_start(self, *_: Any) -> None:
        """Start the clock (Lightning's hook)."""
        self.began = time.perf_counter()

    on_predict_end = on_train_end


def pairs(settings: dict[str, Any], folder: str) -> data.DataModule:
    """Return the data module over the TSV files of the settings."""
    paths = settings["paths"]
    return data.DataModule(
        model_dir=folder,
        train=paths["train"],
        val=paths["validation"],
        predict=paths["test"],
        target_sep=" ",
        batch_size=settings["batch_size"],
    )


def model_of(settings: dict[str, Any], words: data.DataModule) -> models.BaseModel:
    """Return the model of the settings, without dropout."""
    size = settings["embedding_size"]
    encoder = modules.LSTMEncoder(
        hidden_size=settings["encoder_size"], bidirectional=True, embedding_size=size, dropout=0.0
    )
    return KINDS[settings["kind"]](
        source_encoder=encoder,
        embedding_size=size,
        decoder_hidden_size=settings["decoder_size"],
        decoder_dropout=0.0,
        vocab_size=words.vocab_size,
        target_vocab_size=words.target_vocab_size,
        max_target_length=settings["max_target_length"],
    )


def prepare(settings: dict[str, Any]) -> dict[str, Work]:
    """Build and warm up what the settings ask for."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    folder = tempfile.mkdtemp(dir=settings["folder"])
    words = pairs(settings, folder)
    model = model_of(settings, words)

    def train(request: dict[str, Any]) -> Answer:
        clock, updates = Clock(), request["updates"]
        trainer = trainers.Trainer(
            **QUIET,
            callbacks=[clock],
            max_steps=updates,
            val_check_interval=updates,
            gradient_clip_val=settings["gradient_clip_norm"],
        )
        model.beam_width = 1
        trainer.fit(model, datamodule=words)
        return {"seconds": clock.seconds, "amount": updates * settings["batch_size"]}

    def predict(request: dict[str, Any]) -> Answer:
        clock, path = Clock(), Path(folder) / "written.txt"
        writer = callbacks.PredictionWriter(str(path), target_sep=" ")
        trainer = trainers.Trainer(**QUIET, callbacks=[writer, clock])
        model.beam_width = request["beam_width"]
        trainer.predict(model, datamodule=words)
        best = [line.split("\t")[0].split() for line in path.read_text().splitlines()]
        mean = sum(map(len, best)) / len(best)
        note = f"{mean:.1f} tokens an output"
        return {"seconds": clock.seconds, "amount": len(best), "note": note}

    train({"updates": settings["warm_up"]})
    return {"train": train, "predict": predict}


if __name__ == "__main__":
    serve(prepare)
