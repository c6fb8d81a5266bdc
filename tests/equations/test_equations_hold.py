"""Each printed equation is computed from the weights, and must give what the module gives."""

from __future__ import annotations

import pytest

from tests.equations.cases import Case, decoder_cases, encoder_cases
from tests.equations.comparison import check


@pytest.mark.parametrize("case", [*decoder_cases(), *encoder_cases()], ids=str)
def test_a_models_equations_compute_what_it_computes(case: Case):
    check(case)
