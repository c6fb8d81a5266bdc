"""Initial weights by parameter name: variants of one seed share every weight they have in common.

The values are those of torch's own `reset_parameters` (same distributions), or one range for all
parameters as early papers used; only the random numbers come from a stream per parameter name.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from decoderlab.randomness import stream_seed, torch_generator
from decoderlab.stepped import SteppedCell


@torch.no_grad()
def initialise(model: nn.Module, seed: int, uniform_range: float | None = None) -> None:
    """Draw all weights of `model` anew, each parameter from the stream of its name.

    A parameter of a module type that is not known here keeps that module's own
    `reset_parameters` (drawn from a stream of the module's name), or, without one, the value it
    was built with. Layer normalisation begins with ones and zeros whatever `uniform_range` says.

    Args:
        model: the module to initialise, in place.
        seed: the run's seed.
        uniform_range: if given, every floating parameter is drawn from U(-range, range), as in
            Sutskever et al. 2014 (0.08) and Luong et al. 2015 (0.1); None for torch's defaults.

    Raises:
        ValueError: if `uniform_range` is not positive.
    """
    if uniform_range is not None and not uniform_range > 0:
        raise ValueError(f"uniform_range is {uniform_range}; it must be positive, or null")
    for module_name, module in model.named_modules():
        own = list(module.named_parameters(recurse=False))
        if not own:
            continue
        is_norm = isinstance(module, nn.LayerNorm)
        if is_norm or (uniform_range is None and _bound(module, own[0][0]) is None):
            _reset(module, stream_seed(seed, "init", module_name))
            continue
        for name, parameter in own:
            bound = _bound(module, name) if uniform_range is None else uniform_range
            generator = torch_generator(seed, "init", f"{module_name}.{name}")
            _fill(parameter, bound, generator)
        if getattr(module, "padding_idx", None) is not None:  # a table of embeddings
            module.weight[module.padding_idx].zero_()


def _bound(module: nn.Module, name: str) -> float | None:
    """Return the half-width of the uniform distribution, inf for N(0, 1), None if unknown."""
    match module:
        case nn.RNNBase() | nn.RNNCellBase() | SteppedCell():
            return 1 / math.sqrt(module.hidden_size)
        case nn.Linear():
            return 1 / math.sqrt(module.in_features)
        case nn.Embedding():
            return math.inf
    return None


def _fill(parameter: Tensor, bound: float, generator: torch.Generator) -> None:
    # Drawn on the CPU in float32, so that device and precision do not change the start.
    values = torch.empty(parameter.shape)
    if math.isinf(bound):
        values.normal_(generator=generator)
    else:
        values.uniform_(-bound, bound, generator=generator)
    parameter.copy_(values)


def _reset(module: nn.Module, seed: int) -> None:
    if callable(getattr(module, "reset_parameters", None)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module.reset_parameters()
