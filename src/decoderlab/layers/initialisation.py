"""The distributions that initial weights are drawn from; `drawn_weights` draws them.

A config names them, and is checked without torch, which is imported when weights are drawn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class InitialWeights:
    """How weights that are left to chance are drawn; one of your own is a subclass with `draw`."""

    INJECTED: ClassVar[tuple[str, ...]] = ()

    def draw(
        self, module: nn.Module, name: str, parameter: Tensor, generator: torch.Generator
    ) -> bool:
        """Draw a parameter in place; return False to leave it to the module's own distribution.

        Args:
            module: whose class made the parameter, such as a `torch.nn.Linear`.
            name: of the parameter there.
            parameter: to be filled, without a gradient, with numbers of `generator` alone.
            generator: on the CPU, of this parameter's stream.
        """
        raise NotImplementedError


class TorchWeights(InitialWeights):
    """The distributions of torch's own `reset_parameters`."""

    SHORT = "torch"

    def draw(
        self, module: nn.Module, name: str, parameter: Tensor, generator: torch.Generator
    ) -> bool:
        """Draw from the distribution of the module's class, if it is known here."""
        from decoderlab.layers.torch_weights import _bound, _fill

        bound = _bound(module, name)
        if bound is not None:
            _fill(parameter, bound, generator)
        return bound is not None


class KerasWeights(InitialWeights):
    """Keras's distributions.

    Glorot's uniform distribution for matrices (Glorot and Bengio 2010, eq. 16), orthogonal ones
    from state to state, zeros for biases but ones for an LSTM's forget gate, and U(-0.05, 0.05) for
    embeddings.
    """

    SHORT = "keras"

    def draw(
        self, module: nn.Module, name: str, parameter: Tensor, generator: torch.Generator
    ) -> bool:
        """Draw as Keras does, where the module's class is known here."""
        import torch
        from torch import nn

        from decoderlab.layers.torch_weights import _bound, _declared, _fill, _forget_bias

        if _bound(module, name) is None:
            return False
        declared = _declared(module)
        if isinstance(module, nn.Embedding):
            _fill(parameter, 0.05, generator)
        elif parameter.dim() < 2:
            parameter.zero_()
            if (bias := _forget_bias(module, name, parameter)) is not None:
                bias.fill_(1.0)
        elif declared is not None and name.startswith(declared.from_state):
            values = torch.empty(parameter.shape)
            parameter.copy_(nn.init.orthogonal_(values, generator=generator))
        else:
            _fill(parameter, math.sqrt(6 / sum(parameter.shape)), generator)
        return True


class ForgetBiasWeights(InitialWeights):
    """Torch's distributions, with a constant bias of the forget gates of LSTMs.

    Paper: Jozefowicz, Zaremba and Sutskever 2015, section 3.1: a bias of 1 or 2 (before them Gers
    et al. 2000).
    Differs: a torch LSTM adds two bias vectors; the other one is drawn as always.

    Args:
        bias: of each forget gate.

    Raises:
        ValueError: for a bias that is not a finite number.
    """

    def __init__(self, bias: float) -> None:
        if not math.isfinite(bias):
            raise ValueError(f"bias is {bias}; give a finite number, such as 1")
        self.bias = bias

    def draw(
        self, module: nn.Module, name: str, parameter: Tensor, generator: torch.Generator
    ) -> bool:
        """Draw as torch does, then set the bias of a forget gate."""
        from decoderlab.layers.torch_weights import _forget_bias

        drawn = TorchWeights().draw(module, name, parameter, generator)
        if drawn and (bias := _forget_bias(module, name, parameter)) is not None:
            bias.fill_(self.bias)
        return drawn


SCHEMES = {kind.SHORT: kind for kind in (TorchWeights, KerasWeights)}
