"""The check of initial weights: what a constructor sets is what training starts from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decoderlab.layers.drawn_weights import initialise, watched
from decoderlab.testing.differences import Seen
from decoderlab.testing.subjects import Subject


def what_the_constructor_sets_is_what_training_starts_from(subject: Subject[nn.Module]) -> None:
    """Weights that are loaded or constant stay, all others are the same for the same seed."""
    weights, other = (dict(_built(subject, seed).named_parameters()) for seed in (0, 1))
    constant = {name: values for name, values in weights.items() if _equal(values, other[name])}
    started = []
    for _ in range(2):
        with watched() as drawn:
            module = _built(subject, seed=2)
        initialise(module, drawn, seed=0)
        started.append({name: values.detach() for name, values in module.named_parameters()})
    for name, values in started[0].items():
        if not _equal(values, started[1][name]):
            raise Seen(
                f"{name} differs between two models of one seed; draw it with torch's own "
                "functions, which are seeded, or from a generator with a fixed seed"
            )
        if name in constant and not _equal(values, constant[name]):
            raise Seen(f"the constructor sets {name}, but training starts from other values")


def _built(subject: Subject[nn.Module], seed: int) -> nn.Module:
    torch.default_generator.manual_seed(seed)
    return subject.make(**subject.spaces, **subject.settings)


def _equal(value: Tensor, other: Tensor) -> bool:
    return value.shape == other.shape and bool((value == other).all())
