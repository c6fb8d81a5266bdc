"""Each printed equation is computed from the weights, and must give what the module gives."""

from __future__ import annotations

import re

import numpy as np
import pytest

from decoderlab.layers.equations import Equation
from tests.conftest import composed, variants
from tests.equations.cases import EQUAL, Case, decoder_cases, encoder_cases
from tests.equations.comparison import check, printed
from tests.equations.mutations import mutations
from tests.equations.notation import Unreadable

CASES = [*decoder_cases(), *encoder_cases()]


@pytest.mark.thinned(4)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_models_equations_compute_what_it_computes(case: Case):
    check(case)


PARTS = ("attention", "bridge", "cell", "combine", "feedback", "head")


@pytest.mark.long
def test_every_part_of_a_decoder_is_in_a_model():
    chosen = {one.lstrip("/") for case in decoder_cases() for one in case.overrides}
    for name in variants("decoder"):
        choices = composed(f"decoder={name}").hydra.runtime.choices
        chosen |= {f"{part}={choices.get(f'decoder/{part}')}" for part in PARTS}
    there = {f"{part}={name}" for part in PARTS for name in variants(f"decoder/{part}")}
    assert there - chosen == set(), "add a line to tests/equations/cases.py"


# Wrong right sides that compute the same in this line, and why: part of the left side, of the right
# one, of the wrong one.
HARMLESS = {
    ("y_{t-1}", "1000 updates", "1001 updates"): "no coin falls otherwise",
    ("g", "W_g x_t without c", "W_g x_0 without c"): "all of the input is c, nothing is left",
    ("n_j", " + i k", " - i k"): "n begins as 0 there, and counts by the absolute value of n q",
}
CONSTANT = re.compile(r" [-+] (b_i|[skn]_0)\)$")
DIFFERS = (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError)


@pytest.fixture(scope="module")
def tried() -> set[tuple[str, str, str]]:
    """Wrong lines that were tried in a model before, and need not be tried in another."""
    return set()


@pytest.mark.thinned(18)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_wrong_letter_is_caught(case: Case, tried):
    equations = printed(case)
    missed = []
    for number, wrong in mutations(equations):
        line = equations[number]
        if (line.left, line.right, wrong) in tried:
            continue
        tried.add((line.left, line.right, wrong))
        if not differs(case, [*equations[:number], line._replace(right=wrong)], number + 1):
            missed.append((line.left, line.right, wrong))
    assert [one for one in missed if not harmless(*one, equations)] == []


# Lines that say what is understood without them, by their left sides.
UNDERSTOOD = {"y_{t-1}": "it is the target's where no line says something else"}


@pytest.mark.thinned(5)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_missing_line_a_wrong_width_and_a_wrong_number_are_caught(case: Case, tried):
    equations, missed = printed(case), []
    for number, line in enumerate(equations):
        if (*line[:2], "") in tried:
            continue
        tried.add((*line[:2], ""))
        wrong: list[list[Equation]] = [[], [line._replace(parameters=line.parameters + 1)]]
        if isinstance(line.size, int):
            wrong.append([line._replace(size=line.size + 1)])
        for changed in wrong:
            if not differs(case, [*equations[:number], *changed], number + 1):
                missed.append((line.left, changed))
    assert [one for one in missed if one[1] or one[0] not in UNDERSTOOD] == []


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("logits_t", "W_o s_t + b_o, or so"),
        ("logits_t", "W_q s_t + b_o"),
        ("logits_t", "W_o z_t + b_o"),
        ("logits_t", "relu(W_o s_t + b_o)"),
        ("y_{t-1}", "whatever was generated"),
        ("s_0", "the encoder's first h"),
    ],
)
def test_words_and_letters_that_are_not_known_are_refused(left, right):
    case = Case("decoder", "initial_state", shape=EQUAL)
    equations = [one._replace(right=right) if one.left == left else one for one in printed(case)]
    with pytest.raises(Unreadable):
        check(case, equations)


def differs(case: Case, changed: list[Equation], rest: int) -> bool:
    """Whether a model is not what changed equations, and the rest of its own, say."""
    try:
        with np.errstate(all="ignore"):  # what is wrong may divide by 0
            check(case, [*changed, *printed(case)[rest:]])
    except DIFFERS:
        return True
    return False


def harmless(left: str, right: str, wrong: str, equations: list[Equation]) -> bool:
    """Whether a change is in `HARMLESS`, in a constant factor of both k and n of k / n, or of 0."""
    if any(one[:2] == ("s_0", "0") for one in equations):
        if left in ("C_0", "n_0") or (left == "n_t" and wrong == right.replace(" + i k", " - i k")):
            return True
    if left == "i" and right.startswith("exp("):
        return CONSTANT.sub(")", wrong) == CONSTANT.sub(")", right)
    return any(
        left == where and before in right and after in wrong for where, before, after in HARMLESS
    )
