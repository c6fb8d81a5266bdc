"""Keras as a peer: the model of its example `addition_rnn`, and two loops that write outputs.

Started by `python scripts/benchmark.py --peers keras`, which sets KERAS_BACKEND. Requests:
train (updates), predict_rows (rows), predict_tokens (rows); see `answering`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from answering import Answer, Work, serve

if os.environ["KERAS_BACKEND"] == "tensorflow":
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)


SILENT: Any = 0  # annotated as a text in Keras


def one_hot(generator: np.random.Generator, rows: int, length: int, size: int) -> np.ndarray:
    """Return random characters as (rows, length, size) float32."""
    return np.eye(size, dtype=np.float32)[generator.integers(0, size, (rows, length))]


def addition_model(
    size: int, hidden: int, source_length: int, target_length: int
) -> keras.Sequential:
    """Return the article's model: LSTM, RepeatVector, LSTM, a dense softmax at each step."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((source_length, size)),
            layers.LSTM(hidden),
            layers.RepeatVector(target_length),
            layers.LSTM(hidden, return_sequences=True),
            layers.TimeDistributed(layers.Dense(size, activation="softmax")),
        ]
    )
    model.compile(optimizer="adam", loss="categorical_crossentropy")
    return model


def step_models(size: int, hidden: int, source_length: int) -> tuple[keras.Model, keras.Model]:
    """Return an encoder to states, and a decoder that takes a character and states and gives both.

    They are the two models for inference of Keras's example `lstm_seq2seq`.
    """
    layers = keras.layers
    source = keras.Input((source_length, size))
    _, *states = layers.LSTM(hidden, return_state=True)(source)
    before = [keras.Input((hidden,)), keras.Input((hidden,))]
    character = keras.Input((1, size))
    written = layers.LSTM(hidden, return_sequences=True, return_state=True)
    outputs, *after = written(character, initial_state=before)
    probabilities = layers.Dense(size, activation="softmax")(outputs)
    return keras.Model(source, states), keras.Model([character, *before], [probabilities, *after])


def written_tokens(
    encoder: keras.Model, decoder: keras.Model, source: np.ndarray, length: int
) -> list[int]:
    """Write `length` characters for a source (1, S, V), with a call for each, as the example."""
    states = encoder.predict(source, verbose=SILENT)
    character = np.zeros((1, 1, source.shape[2]), dtype=np.float32)
    character[0, 0, 0] = 1.0
    written = []
    for _ in range(length):
        probabilities, *states = decoder.predict([character, *states], verbose=SILENT)
        token = int(np.argmax(probabilities[0, -1]))
        written.append(token)
        character = np.zeros_like(character)
        character[0, 0, token] = 1.0
    return written


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def prepare(settings: dict[str, Any]) -> dict[str, Work]:
    """Build and warm up what the settings ask for."""
    generator = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    size, batch = settings["size"], settings["batch_size"]
    hidden, lengths = settings["hidden_size"], (settings["source"], settings["target"])
    model = addition_model(size, hidden, *lengths)
    encoder, decoder = step_models(size, hidden, lengths[0])

    def train(request: dict[str, Any]) -> Answer:
        rows = request["updates"] * batch
        sources, targets = (one_hot(generator, rows, length, size) for length in lengths)
        seconds = timed(lambda: model.fit(sources, targets, batch_size=batch, verbose=SILENT))
        return {"seconds": seconds, "amount": rows}

    def predict_rows(request: dict[str, Any]) -> Answer:
        sources = one_hot(generator, request["rows"], lengths[0], size)

        def work() -> None:
            for row in range(len(sources)):
                np.argmax(model.predict(sources[row : row + 1], verbose=SILENT), axis=-1)

        return {"seconds": timed(work), "amount": len(sources)}

    def predict_tokens(request: dict[str, Any]) -> Answer:
        sources = one_hot(generator, request["rows"], lengths[0], size)

        def work() -> None:
            for row in range(len(sources)):
                written_tokens(encoder, decoder, sources[row : row + 1], lengths[1])

        return {"seconds": timed(work), "amount": len(sources)}

    works: dict[str, Work] = {
        "train": train,
        "predict_rows": predict_rows,
        "predict_tokens": predict_tokens,
    }
    for _ in range(2):  # compilation, and what a second call still prepares
        works[settings["does"]]({"updates": 20, "rows": 2})
    return works


if __name__ == "__main__":
    serve(prepare)
