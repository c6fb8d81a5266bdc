"""Initial weights by parameter name: variants of one seed share every weight they have in common.

The values are those of torch's own `reset_parameters` (same distributions), or Keras's, or one
range for all parameters as early papers used; only the random numbers come from a stream per
parameter name.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.common.randomness import stream_seed, torch_generator
from decoderlab.layers.unfused_cells import UnfusedCell

SCHEMES = ("torch", "keras")


@torch.no_grad()
def initialise(
    model: nn.Module, seed: int, uniform_range: float | None = None, scheme: str = "torch"
) -> None:
    """Draw all weights of `model` anew, each parameter from the stream of its name.

    A parameter of a module type that is not known here keeps that module's own
    `reset_parameters` (drawn from a stream of the module's name), or, without one, the value it
    was built with. Layer normalisation begins with ones and zeros whatever `uniform_range` says.

    Args:
        model: the module to initialise, in place.
        seed: the run's seed.
        uniform_range: if given, every floating parameter is drawn from U(-range, range), as in
            Sutskever et al. 2014 (0.08) and Luong et al. 2015 (0.1); None for those of `scheme`.
        scheme: `torch`, or `keras`: Glorot's uniform distribution (Glorot and Bengio 2010, eq. 16)
            for matrices, orthogonal ones from state to state, zeros for biases but ones for an
            LSTM's forget gate, and U(-0.05, 0.05) for embeddings.

    Raises:
        ValueError: if `uniform_range` is not positive, or `scheme` unknown.
    """
    require.choice("scheme", scheme, SCHEMES)
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
            generator = torch_generator(seed, "init", f"{module_name}.{name}")
            if scheme == "keras" and uniform_range is None:
                _fill_as_keras(module, name, parameter, generator)
                continue
            bound = _bound(module, name) if uniform_range is None else uniform_range
            _fill(parameter, bound, generator)
        if getattr(module, "padding_idx", None) is not None:  # a table of embeddings
            module.weight[module.padding_idx].zero_()


def _bound(module: nn.Module, name: str) -> float | None:
    """Return the half-width of the uniform distribution, inf for N(0, 1), None if unknown."""
    match module:
        case nn.RNNBase() | nn.RNNCellBase() | UnfusedCell():
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


def _fill_as_keras(
    module: nn.Module, name: str, parameter: Tensor, generator: torch.Generator
) -> None:
    recurrent = isinstance(module, nn.RNNBase | nn.RNNCellBase | UnfusedCell)
    if isinstance(module, nn.Embedding):
        _fill(parameter, 0.05, generator)
    elif parameter.dim() < 2:
        parameter.zero_()
        has_cell = recurrent and parameter.numel() == 4 * module.hidden_size
        if has_cell and "hh" not in name:  # of torch's two biases, which are added, one
            parameter[module.hidden_size : 2 * module.hidden_size] = 1.0
    elif recurrent and "hh" in name:
        values = torch.empty(parameter.shape)
        parameter.copy_(nn.init.orthogonal_(values, generator=generator))
    else:
        _fill(parameter, math.sqrt(6 / sum(parameter.shape)), generator)


def _reset(module: nn.Module, seed: int) -> None:
    if callable(getattr(module, "reset_parameters", None)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module.reset_parameters()
