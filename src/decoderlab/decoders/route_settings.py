"""The settings of a recurrent decoder that depend on each other, once they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from decoderlab.common.part_choice import Choice

# Where the summary enters. The set is closed: a recurrent step has no other way in. How the summary
# enters there is open: see `Bridge` and `Combination`.
ROUTES = ("initial_state", "first_input", "every_input", "output")
PARTS = ("bridge", "feedback", "attention", "head")
Part = Callable[..., Any] | Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Normalised:
    """Settings of a `RecurrentDecoder` that depend on each other; see there."""

    routes: frozenset[str]
    cell: Callable | Mapping[str, Any]
    combine: str | Part
    bridge: Choice
    feedback: Choice
    attention: Choice | None
    head: Choice
    embedding_size: int | None

    def as_settings(self) -> dict[str, Any]:
        """Return the settings as a config has them."""
        parts = {name: getattr(self, name) for name in PARTS}
        return {
            # A set has no order; that of ROUTES is as good as any.
            "routes": [route for route in ROUTES if route in self.routes],
            "cell": self.cell,
            "combine": self.combine,
            "embedding_size": self.embedding_size,
            **{name: part and part.as_mapping() for name, part in parts.items()},
        }
