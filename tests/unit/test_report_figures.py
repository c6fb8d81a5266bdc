"""What a report draws and says where names are long, validations few, or seeds in two groups."""

from __future__ import annotations

import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from decoderlab.metrics.shipped import recorded_scores
from decoderlab.studies.reporting.blocks import Bullets, Paragraph
from decoderlab.studies.reporting.cautions import cautions
from decoderlab.studies.reporting.curve_figures import learning, learning_caption
from decoderlab.studies.reporting.explore_charts import _difference
from decoderlab.studies.reporting.figures import _drawn, pictures
from decoderlab.studies.reporting.forest_figure import forest
from decoderlab.studies.reporting.headline import headline
from decoderlab.studies.reporting.model_figures import attention
from decoderlab.studies.reporting.panels import MAX_NAME, Panels
from decoderlab.studies.reporting.score_figures import scores
from decoderlab.studies.reporting.undrawn_figures import undrawn
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
    assert headline(made)[1] == f"Highest mean exact match: {best}."


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


def validated(made, folder, steps, logged=()):
    """Give each run its validations and its training losses anew."""
    for row in made.rows:
        lines = [{"step": step, "train/loss": 1 / step} for step in logged]
        lines += [{"step": step, "validation/exact_match": step / 20} for step in steps]
        file = row.cell.run_folder(folder).metrics
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_single_validation_is_no_figure_and_the_report_says_so(tmp_path):
    made = analysis(tmp_path, {"a": A, "b": [one + 0.1 for one in A]})
    assert said_of(made, tmp_path) == ""
    validated(made, tmp_path, [7])
    assert learning(Panels(made, tmp_path)) is None
    assert "validated once; a smaller evaluation.every_steps" in said_of(made, tmp_path)
    validated(made, tmp_path, [7], logged=range(1, 16))
    panels = Panels(made, tmp_path)
    (axis,) = learning(panels).axes
    assert axis.get_ylabel() == "training loss"
    assert learning_caption(panels).startswith("Training loss by update;")
    validated(made, tmp_path, [7, 8], logged=range(1, 16))
    assert len(learning(Panels(made, tmp_path)).axes) == 2
    assert "validated once" not in said_of(made, tmp_path)


def said_of(made, folder) -> str:
    section = undrawn(made, folder)
    return " ".join(item for block in section.blocks for item in block.items) if section else ""


def maps(*sources: list[str]) -> dict[str, np.ndarray]:
    most = max(map(len, sources))
    weights = np.zeros((len(sources), 2, most))
    weights[..., 0] = 1
    texts = np.array([json.dumps(source) for source in sources])
    targets = np.array(['["x", "<eos>"]'] * len(sources))
    return {"attention": weights, "attention_source": texts, "attention_target": targets}


def test_a_map_of_one_position_is_not_drawn_and_the_report_says_so(tmp_path, monkeypatch):
    made = analysis(tmp_path, {"a": A, "b": [one + 0.1 for one in A]})
    probes = {"a": maps(["one"], ["two"]), "b": maps(["one"], ["two", "words"])}
    monkeypatch.setattr(Panels, "_first_probes", lambda self, variant, task: probes[variant])
    (axis,) = attention(Panels(made, tmp_path)).axes
    assert axis.get_title(loc="left") == "echo: b, example 2"
    assert [label.get_text() for label in axis.get_xticklabels()] == ["two", "words"]
    assert "Where attention looks, of a: each of the first test sources" in said_of(made, tmp_path)
    probes["b"] = maps(["one"], ["two"])
    assert attention(Panels(made, tmp_path)) is None
    assert "Where attention looks, of a, b:" in said_of(made, tmp_path)
    probes["a"] = probes["b"] = maps(["two", "words"])
    assert "attention" not in said_of(made, tmp_path)


def test_numbers_below_an_axis_do_not_run_into_each_other(tmp_path):
    # Differences of hundredths, whose numbers have many letters.
    made = analysis(tmp_path, {"a": A, "b": [*A[1:], A[0]]}, minimum_effect=0.02)
    panels = Panels(made, tmp_path)
    for part in (panels.part("echo"), panels.part("echo", inches=9)):
        (axis,) = forest(part).axes
        axis.figure.canvas.draw()
        low, high = axis.get_xlim()
        labels = zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
        boxes = [label.get_window_extent() for at, label in labels if low <= at <= high]
        assert len(boxes) >= 3
        gaps = [right.x0 - left.x1 for left, right in itertools.pairwise(boxes)]
        assert min(gaps) > 10
        assert 0 <= boxes[0].x0
        assert boxes[-1].x1 <= axis.figure.bbox.width


@pytest.mark.parametrize(
    ("words", "shown", "turned"),
    [
        (["a", "b", "c"], 3, 0),
        (["jump", "around", "left", "twice", "after"], 5, 90),
        (list("abcdefghijklmnop"), 16, 0),
        (list(20 * "ab"), 20, 90),
    ],
)
def test_words_beside_a_map_of_attention_do_not_overlap(
    tmp_path, monkeypatch, words, shown, turned
):
    made = analysis(tmp_path, {"a": A})
    monkeypatch.setattr(Panels, "_first_probes", lambda self, variant, task: maps(words))
    (axis,) = _drawn(attention, Panels(made, tmp_path).part("echo")).axes
    axis.figure.canvas.draw()
    labels = axis.get_xticklabels()
    assert [label.get_rotation() for label in labels] == [turned] * shown
    assert [label.get_text() for label in labels] == words[:: -(-len(words) // shown)]
    boxes = [label.get_window_extent() for label in labels]
    assert all(right.x0 > left.x1 for left, right in itertools.pairwise(boxes))
    assert boxes[0].y0 > -2


@pytest.mark.slow
def test_a_page_has_the_rows_of_a_figure_side_by_side_and_a_file_has_them_whole(tmp_path):
    made = analysis(tmp_path, {"a": A, "b": [one + 0.1 for one in A]})
    validated(made, tmp_path, range(1, 16), logged=range(1, 16))
    drawn = {picture.name: picture for picture in pictures(made, tmp_path)}
    learnt, differences = drawn["learning"], drawn["forest"]
    assert (len(learnt.svgs), learnt.columns) == (2, 2)
    kinds = [svg.split('"')[1] for svg in differences.svgs]
    assert (kinds, differences.columns) == (["plot rows narrow1", "plot rows broad1"], 1)
    width, height = Image.open(io.BytesIO(learnt.png)).size
    assert height > width  # both rows


def test_the_title_of_the_differences_fits_a_telephone():
    for scale in recorded_scores({}).values():
        lines = _difference({"metric": scale.label})
        assert max(map(len, lines)) <= 31
        assert " ".join(lines) == f"{scale.label} minus the baseline's, same seed"
