"""The picture of the study `budgets`: every score at its task, decoder and budget."""

from __future__ import annotations

from statistics import fmean

import pytest

import draw_budgets
from decoderlab.studies.reporting.panels import Panels
from redraw_study import FOLDER, committed
from tests.contracts.test_quotes import cells

DECODERS = ["repeat_vector", "every_input", "initial_state", "peek", "luong"]


def test_a_line_has_the_scores_of_its_decoder_by_budget():
    analysis, runs = committed("budgets"), cells("budgets")
    known = draw_budgets.points(analysis)
    figure = draw_budgets.drawn(Panels(analysis, FOLDER), known)
    tasks = {"echo": "echo", "addition_2digits": "addition", "g2p": "g2p"}
    assert [axis.get_title(loc="left") for axis in figure.axes] == list(tasks)
    for axis, name in zip(figure.axes, tasks.values(), strict=True):
        lines = dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))
        assert list(lines) == DECODERS
        for decoder, line in lines.items():
            budgets, means = line.lines[0].get_data()
            assert list(budgets) == [1500, 5000, 15000]
            for budget, mean in zip(budgets, means, strict=True):
                scores = runs["test_exact_match", f"{name}_{budget}", decoder].values()
                assert mean == pytest.approx(fmean(scores))
