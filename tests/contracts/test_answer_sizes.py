"""Where repeating and where starting is ahead is counted from the committed studies of sizes."""

from __future__ import annotations

import re
from statistics import fmean

import pytest

import draw_map
from tests.contracts.test_answer_counts import NUMBERS, PAGE
from tests.contracts.test_quotes import ROOT, cells, compared, rows

STUDIES = [name for name in draw_map.PANELS if (ROOT / "docs/studies" / name).is_dir()]
ECHO, GRU = "sizes_echo_lstm", "sizes_echo_gru"
BACKWARDS, LSTM_BACKWARDS = "sizes_reverse_gru", "sizes_reverse_lstm"
DECODERS = ("repeat_vector", "every_input", "initial_state", "peek")


def errors(study: str, size: str, decoder: str) -> dict[int, float]:
    """Return the symbol error rates of a decoder by seed."""
    return cells(study)["test_symbol_error_rate", size, decoder]


def ahead(study: str, size: str, one: str, other: str) -> int:
    """Return 1 where one decoder has fewer errors than another, -1 where more, 0 if not shown."""
    return compared(errors(study, size, other), errors(study, size, one)).sign


def fewest(study: str, size: str) -> str:
    """Return the decoder with the fewest errors by mean."""
    return min(DECODERS, key=lambda each: fmean(errors(study, size, each).values()))


def exact_match(study: str, size: str) -> dict[str, float]:
    """Return the mean exact match of each decoder."""
    scores = cells(study)
    return {each: fmean(scores["test_exact_match", size, each].values()) for each in DECODERS}


def sizes(length: int) -> list[str]:
    return [f"{length}_tokens_{width}_units" for width in (32, 128, 256)]


@pytest.mark.parametrize("study", STUDIES)
def test_each_size_has_all_decoders_and_seeds(study):
    for size in (size for length in (8, 16, 32) for size in sizes(length)):
        assert [len(errors(study, size, each)) for each in DECODERS] == [
            6 if study == ECHO else 7
        ] * 4


@pytest.mark.parametrize("study", STUDIES)
def test_the_map_has_the_committed_results(study):
    picture = (ROOT / "docs/sizes.svg").read_text(encoding="utf-8")
    assert picture == draw_map.drawn()
    assert draw_map.PANELS[study] in picture


LONG, SHORT = [*sizes(16), *sizes(32)], sizes(8)


def test_where_starting_is_behind_and_ahead_is_counted():
    gaps = []
    for other in ("repeat_vector", "every_input", "peek"):
        assert [ahead(ECHO, size, other, "initial_state") for size in LONG] == [1] * 6
        pairs = [[errors(ECHO, size, each) for each in ("initial_state", other)] for size in LONG]
        gaps += [compared(*pair).mean for pair in pairs]
    assert f"and than `peek`, by {min(gaps):.3f} to {max(gaps):.3f}." in PAGE
    for other in ("repeat_vector", "every_input"):
        assert [ahead(ECHO, size, "initial_state", other) for size in SHORT] == [1] * 3
    assert [ahead(ECHO, size, "initial_state", "peek") for size in SHORT] == [-1, 1, 0]
    assert "At all six sizes it has more errors than repeating, with feedback and without," in PAGE
    assert "symbol errors so than by starting [at all six sizes](#with-longer-sources)" in PAGE
    assert "at all three widths, by 0.02 or more with 32 units alone, and of `peek` with" in PAGE
    for size, large in zip(SHORT, (True, False, False), strict=True):
        start = errors(ECHO, size, "initial_state")
        for other in ("repeat_vector", "every_input"):
            gap = fmean(errors(ECHO, size, other).values()) - fmean(start.values())
            assert (gap >= 0.02) is large
    none = [size for size in LONG if not any(exact_match(ECHO, size).values())]
    assert none == ["16_tokens_32_units", *sizes(32)]
    assert "no output of 32 integers is right as a whole, nor any of 16 with 32 units" in PAGE


def test_where_repeating_differs_from_peek_and_from_feedback_is_counted():
    fewer = []
    for study in (ECHO, GRU, BACKWARDS, LSTM_BACKWARDS):
        peek = [ahead(study, size, "peek", "every_input") for size in SHORT + LONG]
        assert min(peek) >= 0
        fewer.append(NUMBERS[sum(peek)])
    assert fewer[2] == fewer[3]
    assert [at for at in LONG if ahead(ECHO, at, "peek", "every_input")] == ["16_tokens_128_units"]
    assert "`peek` is ahead of `every_input` at one of the six sizes, and at four no" in PAGE
    for size in sizes(16):
        for other in ("initial_state", "repeat_vector"):
            assert ahead(ECHO, size, "peek", other) == 1
    assert "than starting and RepeatVector at all three widths, and than repeating with" in PAGE
    said = "In order it has fewer at {} of nine of LSTMs, three of them of 8 integers, and at {} of"
    rest = f"nine of GRUs; backwards at all {fewer[2]} of either."
    assert f"{said.format(*fewer)} {rest}" in PAGE
    assert [ahead(ECHO, size, "peek", "every_input") for size in SHORT] == [1] * 3
    plain = {size: ahead(ECHO, size, "repeat_vector", "every_input") for size in SHORT + LONG}
    behind = NUMBERS[list(plain.values()).count(-1)]
    assert f"are behind those that repeat with feedback at {behind} of the nine sizes, and" in PAGE
    assert [size for size, sign in plain.items() if sign > 0] == ["8_tokens_256_units"]
    for size in SHORT + LONG:
        assert fewest(ECHO, size) != "repeat_vector"
    pair = (errors(ECHO, "8_tokens_256_units", each) for each in ("every_input", "repeat_vector"))
    assert f"8 integers with 256 units, by {compared(*pair).mean:.3f}." in PAGE


def test_where_a_gru_that_starts_is_behind_and_ahead_is_counted():
    for width, (repeating, peek) in {32: (-1, -1), 128: (1, -1), 256: (1, 1)}.items():
        pair = [f"{length}_tokens_{width}_units" for length in (16, 32)]
        signs = [ahead(GRU, size, "initial_state", "every_input") for size in pair]
        assert signs == [repeating] * 2
        assert [ahead(GRU, size, "initial_state", "peek") for size in pair] == [peek] * 2
    counts = [ahead(GRU, size, "every_input", "initial_state") for size in LONG]
    few, more = (NUMBERS[counts.count(sign)] for sign in (1, -1))
    assert (
        f"errors with `every_input` at {few} of the six sizes and more at {more}, with `peek`"
        in PAGE
    )


def test_the_fewest_errors_of_grus_are_where_the_page_says():
    for width, decoder in ((32, "peek"), (256, "initial_state")):
        for length in (8, 16, 32):
            assert fewest(GRU, f"{length}_tokens_{width}_units") == decoder
    with_128 = [fewest(GRU, f"{length}_tokens_128_units") for length in (8, 16, 32)]
    assert with_128 == ["initial_state", "repeat_vector", "repeat_vector"]
    others = [each for each in DECODERS if each != "repeat_vector"]
    beaten = {
        (study, size): [ahead(study, size, "repeat_vector", each) for each in others]
        for study in STUDIES
        for size in SHORT + LONG
    }
    assert [at for at, signs in beaten.items() if min(signs) == 1] == [
        (GRU, "32_tokens_128_units"),
        (BACKWARDS, "8_tokens_256_units"),
    ]


def test_repeat_vector_has_the_lowest_exact_match_but_at_three_sizes():
    known = {(study, size): exact_match(study, size) for study in STUDIES for size in SHORT + LONG}
    others = {
        at: min(of, key=of.__getitem__)
        for at, of in known.items()
        if of["repeat_vector"] > min(of.values())
    }
    two = [(ECHO, f"16_tokens_{width}_units") for width in (128, 256)]
    one = {(BACKWARDS, "8_tokens_256_units"): "every_input"}
    assert others == dict.fromkeys(two, "initial_state") | one
    assert "backwards and 256 units, where repeating with feedback has." in PAGE
    assert "LSTMs with 16 integers in order and 128 or 256 units, where starting has" in PAGE


def test_where_an_lstm_that_writes_backwards_does_better_by_starting_is_counted():
    signs = {
        other: [ahead(LSTM_BACKWARDS, size, "initial_state", other) for size in SHORT + LONG]
        for other in ("every_input", "repeat_vector", "peek")
    }
    assert signs["every_input"] == [1] * 9
    unlike = {
        (other, size): sign
        for other, common in (("repeat_vector", 1), ("peek", 0))
        for size, sign in zip(SHORT + LONG, signs[other], strict=True)
        if sign != common
    }
    assert unlike == {
        ("repeat_vector", "16_tokens_256_units"): 0,
        ("peek", "8_tokens_32_units"): 1,
        ("peek", "32_tokens_32_units"): -1,
        ("peek", "32_tokens_256_units"): 1,
    }
    gaps = {
        other: [
            compared(
                errors(LSTM_BACKWARDS, size, other), errors(LSTM_BACKWARDS, size, "initial_state")
            ).mean
            for size in SHORT + LONG
        ]
        for other in ("every_input", "repeat_vector")
    }
    few, most = min(gaps["every_input"]), max(gaps["every_input"])
    assert f"feedback at all nine sizes, by {few:.3f} [0.003, 0.005] to {most:.3f} [" in PAGE
    assert f"fewer at eight, by up to {max(gaps['repeat_vector']):.3f} [0.435" in PAGE
    failed = errors(LSTM_BACKWARDS, "16_tokens_256_units", "repeat_vector").values()
    assert sum(error > 0.6 for error in failed) == 1
    harmed = {
        (study, size)
        for study in (ECHO, LSTM_BACKWARDS)
        for size in SHORT + LONG
        if ahead(study, size, "repeat_vector", "every_input") > 0
    }
    assert harmed == {(ECHO, "8_tokens_256_units"), (LSTM_BACKWARDS, "8_tokens_256_units")}
    for at in harmed:
        scores = [cells(at[0])["test_exact_match", at[1], each] for each in DECODERS[:2]]
        assert compared(*scores).sign == 0


def test_where_a_gru_that_writes_backwards_does_better_by_starting_is_counted():
    all_sizes = SHORT + LONG
    signs = {
        other: {size: ahead(BACKWARDS, size, "initial_state", other) for size in all_sizes}
        for other in ("every_input", "repeat_vector", "peek")
    }
    assert set(signs["every_input"].values()) == {1}
    counts = {other: [*of.values()].count(1) for other, of in signs.items()}
    assert (counts["repeat_vector"], counts["peek"]) == (8, 3)
    behind = {other: [at for at, sign in of.items() if sign < 0] for other, of in signs.items()}
    assert behind == {
        "every_input": [],
        "repeat_vector": ["8_tokens_256_units"],
        "peek": ["8_tokens_32_units"],
    }
    gaps = {
        other: [
            compared(errors(BACKWARDS, size, other), errors(BACKWARDS, size, "initial_state")).mean
            for size in all_sizes
        ]
        for other in signs
    }
    few, most = min(gaps["every_input"]), max(gaps["every_input"])
    assert f"feedback at all nine sizes, by {few:.3f} [" in PAGE
    assert f"to {most:.3f} [0.134" in PAGE
    assert f"fewer at eight, by up to {max(gaps['repeat_vector']):.3f} [" in PAGE
    assert (
        "LSTMs and GRUs alike make fewer by starting than with `every_input` at all nine sizes"
        in PAGE
    )
    harmed = [
        size for size in all_sizes if ahead(BACKWARDS, size, "repeat_vector", "every_input") > 0
    ]
    scores = [
        cells(BACKWARDS)["test_exact_match", harmed[0], each]
        for each in ("repeat_vector", "every_input")
    ]
    assert (harmed, compared(*scores).sign) == (["8_tokens_256_units"], 1)


def test_where_peek_is_behind_at_all_sizes_is_counted():
    behind = {
        other: {
            (study, size)
            for study in STUDIES
            for size in SHORT + LONG
            if ahead(study, size, other, "peek") > 0
        }
        for other in ("initial_state", "repeat_vector")
    }
    total = len(STUDIES) * len(SHORT + LONG)
    grus = sum(study in (GRU, BACKWARDS) for study, _ in behind["initial_state"])
    lstms = len(behind["initial_state"]) - grus
    assert f"at [{NUMBERS[grus + lstms]} of {total} sizes](#with-longer-sources)," in PAGE
    assert f"{NUMBERS[grus]} of GRUs and {NUMBERS[lstms]} of LSTMs," in PAGE
    assert {study for study, _ in behind["repeat_vector"]} == {GRU, BACKWARDS}
    number = NUMBERS[len(behind["repeat_vector"])]
    assert f"at {number} [sizes of GRUs](#with-longer-sources), and, with equal" in PAGE


def test_where_a_gru_that_starts_is_ahead_of_repeat_vector_is_counted():
    signs = {size: ahead(GRU, size, "initial_state", "repeat_vector") for size in SHORT + LONG}
    few, more = (NUMBERS[list(signs.values()).count(sign)] for sign in (1, -1))
    assert (
        f"Against RepeatVector starting has fewer errors at {few} of the nine sizes and more at"
        f" {more}, 16 and 32 integers with 128 units." in PAGE
    )
    behind = [size for size, sign in signs.items() if sign < 0]
    assert behind == ["16_tokens_128_units", "32_tokens_128_units"]


def test_what_feedback_does_to_grus_is_said_by_both_measures():
    for length in (8, 16, 32):
        assert ahead(GRU, f"{length}_tokens_32_units", "every_input", "repeat_vector") == 1
    scores = {size: exact_match(GRU, size) for size in SHORT + LONG}
    none = [at for at, of in scores.items() if not of["every_input"] + of["repeat_vector"]]
    assert none == ["16_tokens_32_units", *sizes(32)]
    for size in (*SHORT, *sizes(16)[1:]):
        pair = [cells(GRU)["test_exact_match", size, each] for each in DECODERS[1::-1]]
        assert compared(*pair).sign == 1


def test_declared_comparisons_of_studies_with_seven_seeds_are_counted():
    counts = dict.fromkeys(("better", "worse", "better barring", "worse barring"), 0)
    number = 0
    for study in set(STUDIES) - {ECHO}:
        report = (ROOT / f"docs/studies/{study}/report.md").read_text(encoding="utf-8")
        found = re.search(r"Of (\d+) comparisons with [^:]+: ([^;]+);", report)
        assert found is not None
        number += int(found[1])
        for each, words in re.findall(r"(\d+) ((?:better|worse)(?: barring)?)\b", found[2]):
            counts[words] += int(each)
    certain, barring = (
        counts[f"better{more}"] + counts[f"worse{more}"] for more in ("", " barring")
    )
    assert (
        f"of the {number} of the three studies with seven seeds {certain} are, and {barring} unless"
        in PAGE
    )


def test_most_parameters_are_those_of_a_study_of_sizes():
    most = max(int(row["parameters"]) for study in STUDIES for row in rows(study))
    names = ("converged_g2p", "converged_translation")
    to_the_end = max(int(row["parameters"]) for study in names for row in rows(study))
    assert (
        f"in the studies of sizes up to {round(most, -3):,}, in those until validation no longer"
        f" improves up to {round(to_the_end, -3):,}." in PAGE
    )
