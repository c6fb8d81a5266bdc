"""Initial weights by parameter name: variants of one seed share every weight they have in common.

The values are those of torch's own `reset_parameters` (same distributions), or Keras's, or one
range for all parameters as early papers used; only the random numbers come from a stream per
parameter name. What a constructor sets otherwise is kept: weights that it loads, a gate that it
sets to zero, a distribution that it prefers.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from decoderlab.common.part_choice import Choice
from decoderlab.common.randomness import (
    generators_kept,
    seed_process,
    stream_seed,
    torch_generator,
)
from decoderlab.layers.attention_blocks import ScaledEmbedding
from decoderlab.layers.initialisation import SCHEMES, InitialWeights
from decoderlab.layers.torch_weights import _fill
from decoderlab.layers.unfused_cells import UnfusedCell

# Classes of ours that draw their weights as torch's do: in `reset_parameters`, when constructed.
OURS = (UnfusedCell, ScaledEmbedding)
RESET = "reset_parameters"
NORMALISATIONS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


@dataclass
class Drawn:
    """The parameters that a module's own class drew when it was constructed; see `watched`."""

    _records: dict[int, tuple[Tensor, nn.Module, str, bytes]] = field(default_factory=dict)

    def note(self, module: nn.Module) -> None:
        """Note the values that a module's parameters have now."""
        for name, parameter in module.named_parameters(recurse=False):
            # The parameter itself is kept, so that no other one gets its id.
            self._records[id(parameter)] = (parameter, module, name, _digest(parameter))

    def owner(self, parameter: Tensor) -> tuple[nn.Module, str] | None:
        """Return the module that drew a parameter, and its name there; None if it was changed."""
        if id(parameter) not in self._records:
            return None
        _, module, name, digest = self._records[id(parameter)]
        return (module, name) if digest == _digest(parameter) else None


@contextmanager
def watched() -> Iterator[Drawn]:
    """Notice which parameters torch's own modules draw, while modules are constructed within.

    Every `reset_parameters` of torch's modules, and of ours that do the same, notes the values that
    it drew. A parameter that has them still when all is constructed was left to chance, and
    `initialise` draws it anew. Any other was set by a constructor, in whatever way.
    """
    drawn = Drawn()
    with_reset = [
        kind
        for kind in {*_subclasses(nn.Module), *OURS}
        if RESET in vars(kind) and (kind in OURS or kind.__module__.startswith("torch.nn."))
    ]
    originals = {kind: getattr(kind, RESET) for kind in with_reset}

    def noting(original):
        @functools.wraps(original)
        def reset_parameters(module: nn.Module) -> None:
            original(module)
            drawn.note(module)

        return reset_parameters

    try:
        for kind, original in originals.items():
            setattr(kind, RESET, noting(original))
        yield drawn
    finally:
        for kind, original in originals.items():
            setattr(kind, RESET, original)


@torch.no_grad()
def initialise(
    model: nn.Module,
    drawn: Drawn,
    seed: int,
    uniform_range: float | None = None,
    scheme: str | InitialWeights = "torch",
) -> None:
    """Draw all weights of `model` anew that are left to chance, each from the stream of its name.

    A parameter of a module type that is not known here keeps that type's own `reset_parameters`,
    drawn from a stream of the module's name. Normalisation begins with ones and zeros whatever
    `uniform_range` says.

    Args:
        model: the module to initialise, in place.
        drawn: from `watched`, within which the model was constructed.
        seed: the run's seed.
        uniform_range: if given, every such parameter is drawn from U(-range, range), as in
            Sutskever et al. 2014 (0.08) and Luong et al. 2015 (0.1); None for those of `scheme`.
        scheme: a name of `SCHEMES`, or what draws in its own way.

    Raises:
        ValueError: if `uniform_range` is not positive, or `scheme` unknown.
    """
    weights: InitialWeights
    if isinstance(scheme, str):
        weights = Choice.named("training.initial_weights", scheme, SCHEMES).build()
    else:
        weights = scheme
    if uniform_range is not None and not uniform_range > 0:
        raise ValueError(f"uniform_range is {uniform_range}; it must be positive, or null")
    seen: set[int] = set()
    for module_name, module in model.named_modules():
        unknown = []
        for name, parameter in module.named_parameters(recurse=False):
            owner = drawn.owner(parameter)
            if owner is None or id(parameter) in seen or isinstance(owner[0], NORMALISATIONS):
                continue
            seen.add(id(parameter))
            generator = torch_generator(seed, "init", f"{module_name}.{name}")
            if uniform_range is not None:
                _fill(parameter, uniform_range, generator)
            elif not weights.draw(*owner, parameter, generator):
                unknown.append(name)
            if (padding := getattr(owner[0], "padding_idx", None)) is not None:
                parameter[padding].zero_()  # of a table of embeddings
        if unknown:
            _reset(module, unknown, stream_seed(seed, "init", module_name))


def _digest(parameter: Tensor) -> bytes:
    values = parameter.detach()
    if values.device.type == "meta":
        return b""
    record = hashlib.sha256(f"{values.dtype} {tuple(values.shape)}".encode())
    record.update(values.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return record.digest()


def _subclasses(kind: type) -> Iterator[type]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _reset(module: nn.Module, names: list[str], seed: int) -> None:
    """Draw some of a module's parameters anew by its own `reset_parameters`."""
    kept = {
        name: parameter.clone()
        for name, parameter in module.named_parameters(recurse=False)
        if name not in names
    }
    with generators_kept():
        seed_process(seed)
        getattr(module, RESET)()
    for name, values in kept.items():
        getattr(module, name).copy_(values)
