"""Of some samples, the one that is most like all of them."""

from __future__ import annotations

import pytest
import torch

from decoderlab.generation import least_risk, sample
from tests.unit.test_search import EOS, SIX, Table, encoded, unpadded


def edit_distance(one, other):
    """By the recursion of Wagner and Fischer 1974."""
    row = list(range(len(other) + 1))
    for i, first in enumerate(one, 1):
        before, row = row, [i]
        for j, second in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (first != second)))
    return row[-1]


def similarity(one, other):
    longer = max(len(one), len(other))
    return 1 - edit_distance(one, other) / longer if longer else 1.0


@pytest.mark.parametrize("settings", [{}, {"temperature": 2.0, "top_k": 2}, {"min_p": 0.3}])
def test_it_is_the_sample_with_the_highest_mean_similarity(settings):
    decoder, rows = Table(3, scale=0.7), torch.tensor([5, 0, 2, 9])
    source, settings = encoded(0, 1, 2, 3), settings | SIX | {"seed": 1, "rows": rows}
    samples = [unpadded(sample(decoder, source, number=n, **settings)) for n in range(7)]
    found = unpadded(least_risk(decoder, source, num_samples=7, **settings))
    for row, taken in enumerate(found):
        drawn = [[token for token in one[row] if token != EOS] for one in samples]
        means = [sum(similarity(one, other) for other in drawn) / 7 for one in drawn]
        assert max(means) - min(means) > 0.01  # it matters which is taken
        assert taken == samples[means.index(max(means))][row]


def test_samples_of_one_seed_differ_and_a_row_has_its_own_whoever_is_beside_it():
    decoder, settings = Table(scale=0.3, end=-9.0), SIX | {"seed": 3}
    drawn = [sample(decoder, encoded(0), number=n, **settings).tolist() for n in range(4)]
    assert len({str(one) for one in drawn}) == 4
    assert drawn[0] == sample(decoder, encoded(0), **settings).tolist()
    rows = torch.arange(6) + 3
    together = least_risk(decoder, encoded(*range(6)), num_samples=5, rows=rows, **settings)
    alone = least_risk(decoder, encoded(4), num_samples=5, rows=rows[4:5], **settings)
    assert unpadded(together)[4] == unpadded(alone)[0]
