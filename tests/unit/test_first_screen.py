"""What a report says and draws first: three sentences, the forest plot, what figures choose."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest

from decoderlab.common import progress
from decoderlab.records import tensorboard
from decoderlab.records.outcome import outcome
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.analysis.seed_groups import better_group
from decoderlab.studies.reporting.appendix import sample_predictions, settings_and_equations
from decoderlab.studies.reporting.blocks import Grid, Linked, Marked
from decoderlab.studies.reporting.figures import _fewer
from decoderlab.studies.reporting.forest_figure import forest
from decoderlab.studies.reporting.headline import headline
from decoderlab.studies.reporting.model_figures import chosen_caption
from decoderlab.studies.reporting.panels import Panels
from decoderlab.studies.reporting.prediction_marks import marked_pieces
from decoderlab.studies.reporting.score_figures import interaction, scores
from decoderlab.studies.reporting.themed_svg import themed_svg
from tests.unit.studies import analysis

A = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50, 0.53, 0.47]
UP = [score + 0.1 + place / 100 for place, score in enumerate(A)]


def test_three_sentences_say_the_verdicts_the_best_and_what_is_missing(tmp_path):
    made = analysis(tmp_path, {"a": A, "b": UP, "c": [*A[:7], "FAILED"]}, minimum_effect=0.02)
    assert headline(made) == [
        "Of 2 comparisons with a: 1 better barring collapse, 1 inconclusive; "
        "the largest difference: b (+0.135).",
        "Highest mean exact match: b.",
        "Of 24 runs 1 failed (counted with the worst score).",
    ]


def test_a_row_that_is_ahead_and_not_shown_to_be_better_is_called_so(tmp_path):
    scores = {("a", "echo"): A, ("b", "echo"): UP, ("a", "copy"): A, ("b", "copy"): A[::-1]}
    made = analysis(tmp_path / "tasks", scores, minimum_effect=0.02)
    copied = made.entries["b", "copy"].summary.mean - made.entries["a", "copy"].summary.mean
    assert abs(copied) < 1e-12
    ahead = "Highest mean exact match: b (on echo); a and 1 more (equal) (on copy)."
    assert headline(made)[1] == ahead
    barely = [round(score + (0.02, -0.01)[place % 2], 2) for place, score in enumerate(A)]
    made = analysis(tmp_path / "one", {"a": A, "b": barely}, minimum_effect=0.02)
    assert headline(made)[:2] == [
        "Of 1 comparisons with a: 1 inconclusive.",
        "Highest mean exact match: b, not shown to be better.",
    ]
    turned = analysis(tmp_path / "turned", {"a": barely, "b": A}, minimum_effect=0.02)
    assert headline(turned)[1] == "Highest mean exact match: a, not shown to be better."
    shown = analysis(tmp_path / "shown", {"a": UP, "b": A}, minimum_effect=0.02)
    assert headline(shown)[1] == "Highest mean exact match: a."
    lacking = {("a", "echo"): A, ("b", "echo"): UP, ("b", "copy"): UP, ("c", "copy"): A}
    assert headline(analysis(tmp_path / "lacking", lacking))[1] == (
        "Highest mean exact match: b (on echo); b, compared with none (on copy)."
    )


@pytest.mark.long
def test_where_nothing_could_be_certain_that_is_the_answer(tmp_path):
    names = [f"v{number}" for number in range(27)]
    made = analysis(tmp_path, {name: [*A, 0.5, 0.5] for name in names}, baseline="v0")
    assert headline(made)[0] == (
        "Nothing can be called better or worse: 10 seeds cannot be certain of any among 26 "
        "comparisons; 11 seeds could be."
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"a": A[:5], "b": UP[:5]}, "With fewer than 6 seeds this is a pilot: nothing is claimed."),
        ({"a": ["FAILED"] * 6, "b": ["FAILED"] * 6}, "Every run failed or diverged."),
        ({"a": ["PLANNED"] * 6, "b": ["PLANNED"] * 6}, "No run is finished yet."),
    ],
)
def test_the_answer_of_a_study_that_can_say_little(tmp_path, values, said):
    sentences = headline(analysis(tmp_path, values))
    assert said in sentences
    assert len(sentences) <= 3


def points(axis, marker="o") -> list[list[float]]:
    """Return what is drawn with a mark, line by line."""
    return [list(line.get_xdata()) for line in axis.lines if line.get_marker() == marker]


def test_the_forest_plot_has_every_seed_the_interval_and_the_band(tmp_path):
    made = analysis(tmp_path, {"a": A, "b": UP, "c": A[::-1]}, minimum_effect=0.02)
    (axis,) = forest(Panels(made, tmp_path)).axes
    rows = points(axis)
    for row, variant in zip(rows, ("b", "c"), strict=True):
        seeds = made.entries[variant, "echo"].scores.values()
        expected = [score - base for score, base in zip(seeds, A, strict=True)]
        assert row == pytest.approx(expected)
    (band,) = axis.patches
    assert (band.get_x(), band.get_width()) == (-0.02, 0.04)
    bars = [list(line.get_xdata()) for line in axis.lines if line.get_linewidth() == 2.2]
    assert bars[0] == list(made.comparisons["b", "echo"].interval)
    texts = [text.get_text() for text in axis.texts]
    assert texts == ["b", "better barring collapse", "c", "inconclusive"]


def test_seeds_in_two_groups_are_counted_and_have_no_mean(tmp_path):
    two = [0.99, 0.05, 0.98, 1.0, 0.04, 0.06, 0.99, 0.03]
    made = analysis(tmp_path, {"a": A, "b": two})
    panels = Panels(made, tmp_path)
    (axis,) = scores(panels).axes
    assert [text.get_text() for text in axis.texts] == ["a", "0.500", "b", "4/8 seeds solved"]
    assert points(axis)[1] == pytest.approx(two)
    assert len(points(axis, "|")) == 1
    assert (panels.two_groups("a", "echo"), panels.two_groups("b", "echo")) == (False, True)
    assert better_group([1.0, 0.9, 0.2, 0.1], (0.0, 1.0), -1.0) == [0.1, 0.2]
    assert better_group([1.0, 90.0, 2.0, 91.0], (0.0, float("inf")), -1.0) == []


@pytest.mark.parametrize(("levels", "joined"), [(("first", "every"), False), (("8", "16"), True)])
def test_only_levels_that_are_numbers_are_joined(tmp_path, levels, joined):
    factors = {
        f"{one} {two}": {"route": one, "decoder": two} for one in levels for two in ("x", "y")
    }
    values = {name: [score + place / 50 for score in A] for place, name in enumerate(factors)}
    made = analysis(tmp_path, values, factors=factors, baseline=next(iter(factors)))
    (axis,) = interaction(Panels(made, tmp_path)).axes
    lines = [line for line in axis.lines if line.get_color() == "#808080"]
    assert [line.get_linestyle() for line in lines] == (["-"] if joined else ["None"]) * 2


def test_a_figure_says_which_rows_it_draws_and_why(tmp_path, monkeypatch):
    values = {f"v{place}": [place / 100, place / 100 + 0.01] for place in range(30)}
    made = analysis(tmp_path, values, baseline="v0")
    panels = Panels(made, tmp_path)
    assert _fewer(panels) == (
        " Drawn are 16 of 30 rows: the baseline, and those that have the highest means on any task."
    )
    assert panels.shown == ["v0", *(f"v{place}" for place in range(15, 30))]
    tokens = {f"attention_{side}": np.array(['["a", "b"]']) for side in ("source", "target")}
    arrays = {"attention": np.zeros((1, 2, 2)), **tokens}
    monkeypatch.setattr(Panels, "_first_probes", lambda self, variant, task: arrays)
    assert panels.chosen("attention", 4) == {"echo": ["v0", "v27", "v28", "v29"]}
    assert chosen_caption(panels, "attention") == (
        " Drawn are 4 of 16 rows that could be: on each task the baseline and the best, 4 at most."
    )


def test_a_figure_of_a_page_takes_its_colours_from_the_page_and_needs_no_font(tmp_path):
    made = analysis(tmp_path, {"a<b>": A, "--> c": UP}, baseline="a<b>")
    panels = Panels(made, tmp_path)
    drawn = [themed_svg(forest(panels.part("echo")), "f0.0") for _ in range(2)]
    assert drawn[0] == drawn[1]
    text = drawn[0]
    assert text.startswith("<svg")
    assert text.endswith("</svg>")
    assert "<text" not in text
    assert "--> c" not in text
    colours = {one.lower() for one in re.findall(r"#[0-9a-fA-F]{6}", text)}
    assert colours == {"#808080", panels.styles["--> c"]["color"].lower()}
    assert {"var(--ink)", "var(--grid)", "var(--back)"} <= set(re.findall(r"var\(--\w+\)", text))
    assert set(re.findall(r"(?:href=\"|url\()#([^\")]+)", text)) <= set(
        re.findall(r' id="([^"]+)"', text)
    )


def test_a_row_has_links_to_its_runs(tmp_path):
    made = analysis(tmp_path, {"a": [0.5, "FAILED"], "b": [0.25, "PLANNED"]})
    section = settings_and_equations(made, tmp_path)
    first, second = section.blocks[:2]
    ((name, links),) = first.links
    assert name == "Runs on echo:"
    assert [(str(link), link.href) for link in links] == [
        ("seed 0: 0.500", "../../runs/s0/"),
        ("seed 1: failed", "../../runs/s1/"),
    ]
    assert all((tmp_path / "studies/s" / link.href).resolve().is_dir() for link in links)
    assert second.text.endswith("equations: those of a")
    assert (first.anchor, second.anchor) == ("variant-1", "variant-2")
    assert isinstance(links[0], Linked)


def test_predictions_of_several_seeds_stand_side_by_side(tmp_path):
    made = analysis(tmp_path, {"a": [0.5, 0.6], "b": [0.5, "FAILED"]})
    (_, grid) = sample_predictions(made, tmp_path).blocks
    assert isinstance(grid, Grid)
    assert grid.header == ["variant", "source", "target", "seed 0", "seed 1"]
    of_a, of_b = (next(row for row in grid.rows if row[0] == name) for name in "ab")
    assert of_a == ["a", "1 2", "1", "1", "1 | 2 ✗"]
    assert of_b == ["b", "1 2", "1", "1", "–"]
    cell = of_a[4]
    assert isinstance(cell, Marked)
    assert cell.pieces[:2] == [("same", "1 ", "1"), ("insert", "| 2", "")]


@pytest.mark.parametrize(
    ("target", "prediction"),
    [("", ""), ("a", ""), ("", "a"), ("a b", "a b"), ("a b c", "b c d"), ("kitten", "sitting")],
)
def test_the_pieces_of_a_prediction_are_the_prediction(target, prediction):
    pieces = marked_pieces(target, prediction)
    kept = "".join(text for kind, text, _ in pieces if kind != "delete")
    assert kept.split() == prediction.split()
    assert (target == prediction) == all(kind == "same" for kind, *_ in pieces)


def test_a_plain_run_has_images_of_its_attention():
    class Writer(SimpleNamespace):
        def add_image(self, tag, picture, dataformats):
            self.images.append((tag, picture.shape[2], dataformats))

    writer = Writer(images=[])
    arrays = {
        "attention": np.eye(3)[None].repeat(2, 0),
        "attention_source": np.array(['["a", "$x$", "漢"]'] * 2),
        "attention_target": np.array(['["a", "b", "<eos>"]'] * 2),
    }
    tensorboard.add_attention(writer, "test", arrays)
    assert writer.images == [(f"test/attention, example {one}", 3, "HWC") for one in (1, 2)]
    tensorboard.add_attention(writer, "test", {"summaries": np.zeros((1, 2))})
    assert len(writer.images) == 2


@pytest.mark.parametrize("variant", ["luong", "a rather long name of a row"])
def test_a_finished_run_of_a_sweep_has_one_line_of_a_hundred_columns(
    tmp_path, monkeypatch, capfd, variant
):
    title = f"g2p · {variant} · seed 3"
    analysis(tmp_path, {"a": [0.5]})
    monkeypatch.setattr(
        progress, "tally", progress.Tally(total=64, reused=0, ended={"x": "FINISHED"})
    )
    told = outcome(RunFolder(tmp_path / "runs/s0"), "exact_match")
    assert told == "exact match 0.5, 2 s"
    progress.print_outcome(title, "FINISHED", told)
    printed = capfd.readouterr().err
    assert printed.count("\n") == 1
    assert len(printed.rstrip()) <= 100
    assert printed.rstrip().endswith(f"{title}: finished exact match 0.5, 2 s")
    progress.print_outcome(f"g2p · {variant * 9} · seed 3", "FINISHED", told)
    printed = capfd.readouterr().err.rstrip()
    assert len(printed) <= 100
    assert printed.startswith("g2p · ") or "g2p · " in printed
    assert printed.endswith(" · seed 3: finished exact match 0.5, 2 s")
