"""A model's own equations, written from the modules that compute them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from torch import nn

# Of each left side, the name of the parameter that each letter of the line stands for, such as
# "head.weight", or of the module for LN and heads; {l} is the layer, from 0, and {even} twice that.
Letters = dict[str, dict[str, str]]


class Equation(NamedTuple):
    """One line: `left = right`.

    Args:
        left: what is computed.
        right: how.
        size: width of the left side, for one position of one example; empty where it has none.
        parameters: numbers that are trained in this line and in no other.
    """

    left: str
    right: str
    size: int | str = ""
    parameters: int = 0


@runtime_checkable
class WithEquations(Protocol):
    """A module that states its own equations.

    One of ours says, besides, in a static method `equation_letters()`, which parameters their
    letters are: a test computes the equations with them. Those of a recurrent stack are known.
    """

    def equations(self) -> list[Equation]:
        """Return them, in the order in which they are computed."""
        ...


def count(*modules: nn.Module | nn.Parameter | None) -> int:
    """Return how many numbers are trained in modules and parameters.

    Example:
        >>> count(nn.Linear(3, 2), None)
        8
    """
    parts = [module for module in modules if module is not None]
    parameters = [
        parameter
        for part in parts
        for parameter in ([part] if isinstance(part, nn.Parameter) else part.parameters())
    ]
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad)


def concatenation(parts: Iterable[str | None]) -> str:
    """Return several things side by side, `0` for none.

    Example:
        >>> concatenation(["s_t", None, "c"]), concatenation(["s_t"]), concatenation([])
        ('[s_t; c]', 's_t', '0')
        >>> concatenation(["[s_t; a_t]", "c"]), concatenation(["[s_t; a_t] + W c", "e"])
        ('[s_t; a_t; c]', '[[s_t; a_t] + W c; e]')
    """
    there = [part for part in parts if part]
    if len(there) < 2:
        return "".join(there) or "0"
    # [[a; b]; c] is [a; b; c].
    opened = [part[1:-1] if _is_list(part) else part for part in there]
    return f"[{'; '.join(opened)}]"


def _is_list(text: str) -> bool:
    return text.startswith("[") and text.find("]") == len(text) - 1


def embedding_equation(left: str, of: str, embedding: nn.Module, size: int) -> Equation:
    """Return how the position `of` becomes the vector `left`."""
    match embedding:
        case nn.Embedding():
            right = f"row {of} of a table {tuple(embedding.weight.shape)}"
        case nn.Linear():
            right = f"W_e {of} + b_e"
        case nn.Identity():
            right = of
        case _ if count(embedding):
            right = f"row {of} of a table, times {embedding.scale:.4g}"
        case _:
            right = f"one-hot({of})"
    return Equation(left, right, size, count(embedding))


def equations_of(module: nn.Module) -> list[Equation]:
    """Return a module's equations; of a class that has none, its name and its parts.

    A class of yours joins in with a method `equations() -> list[Equation]`.
    """
    if isinstance(module, WithEquations):
        return module.equations()
    own = [
        Equation(name, type(part).__name__, "", count(part))
        for name, part in module.named_children()
    ]
    return [
        Equation(
            type(module).__name__,
            "has no equations() of its own",
            "",
            count(module) - sum(equation.parameters for equation in own),
        ),
        *own,
    ]


def as_text(equations: Sequence[Equation]) -> str:
    """Return aligned lines: equation, width, parameters.

    Example:
        >>> print(as_text([Equation("c", "tanh(V h_S)", 8, 72), Equation("s_0", "c", 8)]))
        c   = tanh(V h_S)  8  72
        s_0 = c            8
    """
    left = max(len(equation.left) for equation in equations)
    lines = [f"{equation.left:<{left}} = {equation.right}" for equation in equations]
    sizes = [str(equation.size) for equation in equations]
    counts = [f"{equation.parameters:,}" if equation.parameters else "" for equation in equations]
    widths = [max(map(len, column)) for column in (lines, sizes, counts)]
    return "\n".join(
        f"{line:<{widths[0]}}  {size:>{widths[1]}}  {number:>{widths[2]}}".rstrip()
        for line, size, number in zip(lines, sizes, counts, strict=True)
    )
