"""Whether gradients are derivatives, by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from decoderlab.testing.differences import Seen, Skipped, dense

Leaves = Sequence[tuple[str, Tensor]]


def check_derivatives(values: Callable[[], Tensor], leaves: Leaves, where: str = "") -> None:
    """Raise Seen unless gradients are what finite differences say.

    Args:
        values: computes a tensor from the leaves as they are; all of it is looked at.
        leaves: the tensors that want a gradient, each with its name.
        where: for the message.
    """
    # A kink may lie in one direction's way, hardly in that of three.
    for width, seed in ((1e-5, 0), (1e-6, 1), (1e-6, 2)):
        if not _derivative_is_wrong(values, leaves, width, seed):
            return
    wrong = [leaf[0] for leaf in leaves if _derivative_is_wrong(values, [leaf], 1e-6, 3)]
    names = ", ".join(dict.fromkeys(wrong or [name for name, _ in leaves]))
    raise Seen(
        f"{where}the gradient of {names} is not the derivative; is something detached, rounded, or "
        "computed in another precision? What is so on purpose declares `surrogate_gradients`"
    )


def _derivative_is_wrong(
    values: Callable[[], Tensor], leaves: Leaves, width: float, seed: int
) -> bool:
    generator = torch.Generator().manual_seed(seed)
    tensors = [leaf for _, leaf in leaves]
    outputs = values()
    weights = torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)
    infinite = outputs.isinf()  # as what is never generated may be
    directions = [
        torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) for tensor in tensors
    ]
    norm = sum(_inner(tensor, tensor) for tensor in directions) ** 0.5
    loss, expected = (outputs.masked_fill(infinite, 0.0) * weights).sum(), 0.0
    if loss.requires_grad:
        gradients = torch.autograd.grad(loss, tensors, allow_unused=True)
        expected = sum(
            _inner(dense(gradient), direction) / norm
            for gradient, direction in zip(gradients, directions, strict=True)
            if gradient is not None
        )
    kept = [tensor.detach().clone() for tensor in tensors]

    @torch.no_grad()
    def slope(distance: float) -> float:
        ends = []
        for sign in (1, -1):
            for tensor, middle, direction in zip(tensors, kept, directions, strict=True):
                tensor.copy_(middle + sign * distance / norm * direction)
            ends.append(values())
        for tensor, middle in zip(tensors, kept, strict=True):
            tensor.copy_(middle)
        # Outputs are subtracted before they are summed, so that little is lost to rounding.
        gaps = (ends[0] - ends[1]).masked_fill(infinite, 0.0)
        return float((gaps * weights).sum()) / (2 * distance)

    def differs(seen: float) -> bool:
        return not abs(seen - expected) <= 1e-7 + 1e-6 * abs(seen)

    near = slope(width)
    # Where it is strongly curved, as layer normalisation is, the difference of the fourth order.
    return differs(near) and differs((4 * near - slope(2 * width)) / 3)


def _inner(value: Tensor, other: Tensor) -> float:
    """Return the sum of products; of complex numbers, that of both parts."""
    if value.is_complex():
        value, other = (torch.view_as_real(part.resolve_conj()) for part in (value, other))
    return float((value * other).sum())


def skip_surrogates(module: nn.Module) -> None:
    """Raise Skipped if a module, or one inside it, declares that its gradient is a surrogate."""
    for name, part in module.named_modules():
        if getattr(part, "surrogate_gradients", False):
            raise Skipped(f"{name or 'it'} declares surrogate_gradients")
