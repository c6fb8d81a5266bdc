"""Where one kind of a union is needed, another is refused with a message that says which."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from decoderlab.contract import ImageSpace, State
from decoderlab.data.batches import Images, Ragged, as_ragged
from decoderlab.data.example import text_of_example
from decoderlab.data.task_data import of_tokens, writable
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.layers.cells import Cell, as_module

VOCABULARY, VALUES, IMAGES = Vocabulary(["a"]), Values([0.0], [1.0]), ImageSpace(1, 2, 2)


def test_what_fits_is_returned_as_it_is():
    rows, hidden, cell = Ragged.of([[4]]), torch.zeros(1), torch.ones(1)
    assert as_ragged(rows) is rows
    assert text_of_example("a b") == "a b"
    assert of_tokens(VOCABULARY) is writable(VOCABULARY) is VOCABULARY
    assert writable(VALUES) is VALUES
    assert State(hidden, cell).hidden_and_cell() == (hidden, cell)


class NoModule(Cell):
    """A cell that is not a torch module."""


@pytest.mark.parametrize(
    ("narrow", "given", "message"),
    [
        (as_ragged, Images(torch.zeros(1, 1, 2, 2)), "are images, but sequences"),
        (text_of_example, np.zeros((2, 1)), "is not a text"),
        (text_of_example, ["a", "b"], "is not a text"),
        (of_tokens, VALUES, "tokens are needed here, but there are real values"),
        (of_tokens, IMAGES, "tokens are needed here, but there are images"),
        (writable, IMAGES, "images, which no decoder writes"),
        (State.hidden_and_cell, State(torch.zeros(1)), "has no cell"),
        (as_module, NoModule(), "NoModule is not a torch module"),  # pyright: ignore[reportAbstractUsage]
    ],
)
def test_what_does_not_fit_is_refused(narrow, given, message):
    with pytest.raises(ValueError, match=message):
        narrow(given)
