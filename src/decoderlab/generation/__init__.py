"""From an encoding to a target, through start, step and reorder alone.

Example:
    >>> import torch
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

from decoderlab.generation.beam_search import Hypotheses, Search, beam
from decoderlab.generation.greedy import greedy
from decoderlab.generation.sampling import roll_forward, sample

__all__ = ["Hypotheses", "Search", "beam", "greedy", "roll_forward", "sample"]
