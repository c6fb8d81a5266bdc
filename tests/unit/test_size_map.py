"""The map of the study `sizes`: every cell at its place, with its colour and words."""

from __future__ import annotations

import doctest
import re
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import pytest

import draw_map
from decoderlab.config.composition import compose_config
from decoderlab.studies.statistics import summarise

SVG = "{http://www.w3.org/2000/svg}"


SIZES = [f"{length}_tokens_{width}_units" for length in (8, 16, 32) for width in (32, 128, 256)]


def drawn(differences: list[float]) -> ET.Element:
    """Return the map whose cells are all the same."""
    places = [draw_map.place(study, size) for study in draw_map.PANELS for size in SIZES]
    known = dict.fromkeys(places, summarise(differences))
    return ET.fromstring(draw_map.picture(dict.fromkeys(draw_map.REPEATING, known)))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_place_has_the_differences_of_its_own_seeds(sign):
    scores = {"repeat_vector": 0.5, "every_input": 0.2, "peek": 0.3, "initial_state": 0.4}
    by_cell = {
        (variant, size): [
            SimpleNamespace(cell=SimpleNamespace(seed=seed), score=score)
            for seed, score in enumerate(
                [score, None if variant == "every_input" else score + number / 100]
            )
        ]
        for variant, score in scores.items()
        for number, size in enumerate(SIZES)
    }
    study = SimpleNamespace(tasks=SIZES, by_cell=by_cell, score=lambda row: row.score, sign=sign)
    known = draw_map.maps({"sizes_echo_gru": study})
    assert {round(each.mean, 6) for each in known["repeat_vector"].values()} == {sign * 0.1}
    assert {each.n for each in known["repeat_vector"].values()} == {2}
    assert {(each.n, round(each.mean, 6)) for each in known["every_input"].values()} == {
        (1, sign * -0.2)
    }


def test_each_size_of_each_study_has_a_place_of_its_own():
    places = set()
    for study, panel in draw_map.PANELS.items():
        config = compose_config([f"study={study}"])
        cell = config.encoder["cell"]["_target_"].rpartition(".")[2]
        order = {"given": "echo", "reversed": "reverse"}[config.task["order"]]
        assert panel == f"{order}, {cell}"
        assert config.decoder["cell"] == config.encoder["cell"]
        for size, given in config.study.factors["task"].items():
            place = draw_map.place(study, size)
            places.add(place)
            assert given == {
                "task.min_length": place.length,
                "task.max_length": place.length,
                "encoder.hidden_size": place.width,
                "decoder.hidden_size": place.width,
            }
    assert len(places) == 36


def test_a_colour_says_who_is_ahead_and_none_where_nobody_is_shown_to_be():
    for differences, side in (
        ([0.1, 0.2, 0.15], "repeating"),
        ([-0.1, -0.2, -0.15], "starting"),
        ([-0.1, 0.2, 0.0], "open"),
        ([0.0, 0.0, 0.0], "open"),  # of which there is no interval
    ):
        squares = drawn(differences).findall(f"{SVG}rect")
        assert [square.get("class") for square in squares] == [side] * 108


def test_words_and_cells_say_the_same():
    picture = drawn([0.1, 0.2, 0.3])
    words = picture.findtext(f"{SVG}desc")
    assert words is not None
    assert len(re.findall(r"\+0\.200 \[-0\.048, \+0\.448\]\.", words)) == 108
    texts = [text.text for text in picture.findall(f"{SVG}text")]
    assert (texts.count("+0.200"), texts.count("-0.048, +0.448")) == (108, 108)
    equal = drawn([0.0, 0.0])
    assert [text.text for text in equal.findall(f"{SVG}text")].count("all equal") == 108
    assert (equal.findtext(f"{SVG}desc") or "").count("+0.000 [all equal].") == 108
    assert doctest.testmod(draw_map).failed == 0
