"""The map of the study `sizes`: every cell at its place, with its colour and words."""

from __future__ import annotations

import doctest
import re
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import draw_map
from decoderlab.studies.statistics import summarise

SVG = "{http://www.w3.org/2000/svg}"


def drawn(differences: list[float]) -> ET.Element:
    """Return the map whose cells are all the same."""
    known = dict.fromkeys(draw_map.places().values(), summarise(differences))
    return ET.fromstring(draw_map.picture(dict.fromkeys(draw_map.REPEATING, known)))


def test_a_place_has_the_differences_of_its_own_seeds():
    scores = {"repeat_vector": 0.5, "every_input": 0.2, "initial_state": 0.4}
    rows = [
        SimpleNamespace(cell=SimpleNamespace(variant=variant, task=task, seed=seed), score=score)
        for variant, score in scores.items()
        for number, task in enumerate(draw_map.places())
        for seed, score in enumerate([score, score + number / 100])
        if (variant, seed) != ("every_input", 1)  # which failed without a score
    ]
    known = draw_map.maps(SimpleNamespace(rows=rows, score=lambda row: row.score))
    assert {round(each.mean, 6) for each in known["repeat_vector"].values()} == {0.1}
    assert {each.n for each in known["repeat_vector"].values()} == {2}
    assert {(each.n, round(each.mean, 6)) for each in known["every_input"].values()} == {(1, -0.2)}


def test_each_task_of_the_study_has_a_place_of_its_own():
    places = draw_map.places()
    assert len(set(places.values())) == len(places) == 36
    assert places["reverse_16_gru_128"] == ("reverse, GRU", 128, 16)


def test_a_colour_says_who_is_ahead_and_none_where_nobody_is_shown_to_be():
    for differences, side in (
        ([0.1, 0.2, 0.15], "repeating"),
        ([-0.1, -0.2, -0.15], "starting"),
        ([-0.1, 0.2, 0.0], "open"),
        ([0.0, 0.0, 0.0], "open"),  # of which there is no interval
    ):
        squares = drawn(differences).findall(f"{SVG}rect")
        assert [square.get("class") for square in squares] == [side] * 72


def test_words_and_cells_say_the_same():
    picture = drawn([0.1, 0.2, 0.3])
    words = picture.findtext(f"{SVG}desc")
    assert words is not None
    assert len(re.findall(r"\+0\.20 \[-0\.05, \+0\.45\]\.", words)) == 72
    texts = [text.text for text in picture.findall(f"{SVG}text")]
    assert (texts.count("+0.20"), texts.count("-0.05, +0.45")) == (72, 72)
    equal = drawn([0.0, 0.0])
    assert [text.text for text in equal.findall(f"{SVG}text")].count("all equal") == 72
    assert (equal.findtext(f"{SVG}desc") or "").count("+0.00 [all equal].") == 72
    assert doctest.testmod(draw_map).failed == 0
