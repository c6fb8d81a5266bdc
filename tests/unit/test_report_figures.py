"""What a report draws and says where names are long, validations few, or seeds in two groups."""

from __future__ import annotations

import json

import numpy as np

from decoderlab.metrics.shipped import recorded_scores
from decoderlab.studies.reporting.blocks import Bullets, Paragraph
from decoderlab.studies.reporting.cautions import cautions
from decoderlab.studies.reporting.curve_figures import learning
from decoderlab.studies.reporting.explore_charts import _difference
from decoderlab.studies.reporting.forest_figure import forest
from decoderlab.studies.reporting.headline import headline
from decoderlab.studies.reporting.panels import MAX_NAME, Panels
from decoderlab.studies.reporting.score_figures import scores
from tests.unit.studies import analysis

A = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50, 0.53, 0.47]
TWO = [0.99, 0.05, 0.98, 1.0, 0.04, 0.06, 0.99, 0.03]


def test_rows_that_differ_in_their_last_setting_alone_can_be_told_apart(tmp_path):
    rates = (0.001, 0.003, 0.01)
    names = [
        f"encoder.hidden_size=128 decoder.attention=location training.learning_rate={rate}"
        for rate in rates
    ]
    scores = {name: [one + index / 10 for one in A] for index, name in enumerate(names)}
    made = analysis(tmp_path, scores, baseline=names[0])
    (axis,) = forest(Panels(made, tmp_path)).axes
    labels = [text.get_text() for text in axis.texts if "size" in text.get_text()]
    assert labels == [
        f"hidden_size=128 attention=location\nlearning_rate={rate}" for rate in rates[1:]
    ]
    assert max(len(line) for label in labels for line in label.split("\n")) <= MAX_NAME
    best = "hidden_size=128 attention=location learning_rate=0.01"
    assert headline(made)[0] == f"Highest mean exact match: {best}."


def test_seeds_in_two_groups_are_not_called_outliers(tmp_path):
    made = analysis(tmp_path, {"a": [*A[:7], 0.9], "b": TWO})
    said = [block for block in cautions(made) if isinstance(block, Paragraph | Bullets)]
    heads = [block.strong for block in said if isinstance(block, Paragraph)]
    lists = [block.items for block in said if isinstance(block, Bullets)]
    assert heads == ["Two groups: ", "Outliers: "]
    assert lists[0] == ["b on echo: 4/8 seeds solved"]
    assert [item.partition(":")[0] for item in lists[1]] == ["a on echo, seed 7"]


def test_the_dotted_line_of_a_rule_runs_through_no_name(tmp_path):
    names = ["a", "b", "encoder.hidden_size=128 decoder.attention=location task.length=12 x=1"]
    rule = {"counts": {"train": 1, "test": 100, "repeated_pairs": 0}, "fingerprint": "d0"}
    rule["baselines"] = {"copying": {"exact_match": 0.47}}
    made = analysis(tmp_path, dict.fromkeys(names, A), result_changes={"data": rule})
    (axis,) = scores(Panels(made, tmp_path)).axes
    dotted = [line for line in axis.lines if line.get_linestyle() == ":"]
    assert [set(line.get_xdata()) for line in dotted] == [{0.47}] * len(names)
    axis.figure.canvas.draw()
    boxes = [text.get_window_extent().transformed(axis.transData.inverted()) for text in axis.texts]
    for line in dotted:
        low, high = sorted(line.get_ydata())
        for box in boxes:
            ends = sorted((box.y0, box.y1))
            assert high < ends[0] or low > ends[1]


def joined(axis) -> list[bool]:
    """Return of each variant's mean whether a line joins its points."""
    containers = [bar.lines[0] for bar in axis.containers]
    of = containers or [line for line in axis.lines if line.get_label()[0] != "_"]
    return [line.get_linestyle() != "None" for line in of]


def test_few_validations_are_marks_and_fifteen_a_curve_with_the_training_loss_below(tmp_path):
    made = analysis(tmp_path, {"a": A, "b": [one + 0.1 for one in A]})
    (axis,) = learning(Panels(made, tmp_path)).axes
    assert joined(axis) == [False, False]
    for row in made.rows:
        lines = [
            {"step": step, "train/loss": 1 / step, "validation/exact_match": step / 20}
            for step in range(1, 16)
        ]
        file = row.cell.run_folder(tmp_path).metrics
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    above, below = learning(Panels(made, tmp_path)).axes
    assert joined(above) == joined(below) == [True, True]
    assert (above.get_ylabel(), below.get_ylabel()) == ("validation exact match", "training loss")
    np.testing.assert_allclose(below.lines[0].get_ydata(), [1 / step for step in range(1, 16)])


def test_the_title_of_the_differences_fits_a_telephone():
    for scale in recorded_scores({}).values():
        lines = _difference({"metric": scale.label})
        assert max(map(len, lines)) <= 31
        assert " ".join(lines) == f"{scale.label} minus the baseline's, same seed"
