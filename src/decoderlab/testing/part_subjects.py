"""Parts of decoders as subjects of checks, and the checks that all kinds of parts share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from decoderlab.common.part_choice import Choice
from decoderlab.testing.checked_modules import Built
from decoderlab.testing.differences import Seen
from decoderlab.testing.subjects import Subject


@dataclass(frozen=True)
class PartSubject(Subject[Built]):
    """A part, and what the decoder lets its constructor know: `spaces`."""

    @classmethod
    def of(
        cls, make: Callable[..., Built], settings: Mapping[str, Any], known: Mapping[str, Any]
    ) -> Self:
        """Return the subject: of what is known, a constructor gets what it has keywords for."""
        choice = Choice.of(functools.partial(make, **settings))
        taken = {name: value for name, value in known.items() if choice.takes(name)}
        return cls(choice.target, taken, choice.settings)

    @classmethod
    def accepted(
        cls,
        make: Callable[..., Built],
        settings: Mapping[str, Any],
        every_known: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, Self]:
        """Return the subjects, by name, whose constructor does not refuse what is known.

        Raises:
            Seen: if all are refused.
        """
        subjects, refusal = {}, ""
        for name, known in every_known.items():
            subject = cls.of(make, settings, known)
            try:
                subject.build()
            except ValueError as error:
                refusal = str(error)
                continue
            subjects[name] = subject
        if not subjects:
            raise Seen(f"it cannot be built for {', '.join(every_known)}: {refusal}")
        return subjects


def normal(*shape: int, seed: int = 1) -> Tensor:
    """Return random numbers, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def trained(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the parameters that are trained, by name."""
    return [parameter for parameter in module.named_parameters() if parameter[1].requires_grad]


def refuse_spare(without: list[str]) -> None:
    """Raise Seen if any parameter got no gradient."""
    if without:
        raise Seen(f"{without[0]} gets no gradient; leave it out, or freeze it")
