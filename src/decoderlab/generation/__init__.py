"""From an encoding to a target, through start, step and reorder alone.

Example:
    >>> import torch
    >>> from decoderlab.generation import beam, greedy, sample
    >>> from decoderlab.contract import Encoded, TokenSpace
    >>> class Coin:  # EOS (id 2) with probability 0.6, else the token 4
    ...     def start(self, encoded):
    ...         return None
    ...     def step(self, previous, state):
    ...         return torch.tensor([0, 0, 0.6, 0, 0.4]).log().expand(len(previous), 5), None
    ...     def reorder(self, state, index):
    ...         return None
    >>> encoded = Encoded(torch.zeros(1, 1, 1), torch.ones(1, 1).bool(), torch.zeros(1, 1), None)
    >>> settings = {"tokens": TokenSpace(5), "max_length": 3}
    >>> greedy(Coin(), encoded, **settings).tolist()
    [[2]]
    >>> best = beam(Coin(), encoded, beam_width=2, num_best=2, **settings)
    >>> best.tokens.tolist(), [round(p, 2) for p in best.log_probabilities.exp()[0].tolist()]
    ([[[2, 0], [4, 2]]], [0.6, 0.24])
    >>> sample(Coin(), encoded, seed=5, **settings).tolist()
    [[4, 2]]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderlab.common.lazy_names import names_of

if TYPE_CHECKING:
    from decoderlab.generation.beam_search import Hypotheses, beam
    from decoderlab.generation.diverse_search import diverse_beam
    from decoderlab.generation.exact_search import Mode, exact
    from decoderlab.generation.forced_prefix import ForcedPrefix
    from decoderlab.generation.given_lengths import GivenLengths
    from decoderlab.generation.greedy_search import greedy
    from decoderlab.generation.minimum_bayes_risk import least_risk
    from decoderlab.generation.sampling import roll_forward, sample
    from decoderlab.generation.search import Search

__all__ = [
    "ForcedPrefix",
    "GivenLengths",
    "Hypotheses",
    "Mode",
    "Search",
    "beam",
    "diverse_beam",
    "exact",
    "greedy",
    "least_risk",
    "roll_forward",
    "sample",
]
__getattr__ = names_of(
    __name__,
    {
        "beam_search": ["Hypotheses", "beam"],
        "diverse_search": ["diverse_beam"],
        "exact_search": ["Mode", "exact"],
        "forced_prefix": ["ForcedPrefix"],
        "given_lengths": ["GivenLengths"],
        "greedy_search": ["greedy"],
        "minimum_bayes_risk": ["least_risk"],
        "sampling": ["roll_forward", "sample"],
        "search": ["Search"],
    },
)
