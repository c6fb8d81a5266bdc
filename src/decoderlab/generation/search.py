"""`Search`: which of greedy, beam search, exact search and sampling is used, with its settings.

Settings are checked without torch, which is imported when tokens are generated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decoderlab.common import require
from decoderlab.generation.limits_of_search import _check_beam, check_groups, check_sampling

if TYPE_CHECKING:
    from torch import Tensor

    from decoderlab.contract import Decoder, Encoded, TokenSpace
    from decoderlab.generation.beam_search import Hypotheses

# Of a diverse beam search where none is given: 0.2 to 0.8 work well (Vijayakumar et al. 2018).
DIVERSITY = 0.5
# What has an effect beside a wider beam alone, what is of a beam search, and what has an effect
# beside a temperature alone.
PENALTIES = ("length_penalty", "coverage_penalty")
OF_BEAMS = ("beam_width", *PENALTIES, "beam_groups", "diversity_penalty")
OF_SAMPLING = ("top_k", "top_p", "min_p", "mbr_samples")


@dataclass(frozen=True, kw_only=True)
class Search:
    """How target tokens are generated: greedily, unless a setting says otherwise.

    Args:
        beam_width: at least 1; above 1, the best hypothesis of a beam search is taken.
        length_penalty: of the beam search, -10 to 10.
        coverage_penalty: of the beam search, 0 to 10, for decoders with attention.
        beam_groups: of a diverse beam search, at least 2, of which the width is a multiple, see
            `diverse_beam`; None for a plain one.
        diversity_penalty: of the groups, in nats, above 0; None for 0.5.
        oracle_length: whether each output has the length of its target, see `GivenLengths`; of
            greedy and beam search.
        temperature: above 0; if given, tokens are sampled.
        top_k, top_p, min_p: of sampling, as for `sample`.
        mbr_samples: samples to draw of each row, at least 2, of which the one of minimum Bayes risk
            is taken, see `least_risk`; None for a single sample.
        exact_steps: if given, the most probable output of all is searched for, with so many steps
            of the decoder for a row at most, see `exact`; the beam search comes before and gives
            the bound, and its best is taken where the steps do not suffice.
        seed: of sampling; without a temperature nothing is drawn.

    Raises:
        ValueError: for settings out of range, or without effect beside the others.

    Example:
        >>> Search().signature, Search(beam_width=5, length_penalty=0.6).signature
        ('greedy', 'beam:5|length_penalty:0.6')
        >>> Search(temperature=1.0, top_k=10).signature
        'sample:temperature:1.0|top_k:10|seed:0'
        >>> Search(exact_steps=1000).signature
        'exact:1000|beam:1'
        >>> Search(oracle_length=True).signature
        'greedy|lengths:given'
    """

    beam_width: int = 1
    length_penalty: float = 0.0
    coverage_penalty: float = 0.0
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    mbr_samples: int | None = None
    exact_steps: int | None = None
    beam_groups: int | None = None
    diversity_penalty: float | None = None
    oracle_length: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        sampled = self.temperature is not None
        _check_beam(self.beam_width, self.length_penalty, self.coverage_penalty)
        temperature = 1.0 if self.temperature is None else self.temperature
        check_sampling(temperature, self.top_k, self.top_p, self.min_p)
        if self.mbr_samples is not None:
            require.at_least("mbr_samples", self.mbr_samples, 2)
        self._check_diversity()
        self._check_length()
        exact = self.exact_steps is not None
        if self.exact_steps is not None:
            require.at_least("exact_steps", self.exact_steps, 1)
        undrawn = () if sampled else self._of_sampling()
        penalties = [name for name in PENALTIES if getattr(self, name) != 0]
        for name, without_effect, companion in (
            *((name, self.beam_width == 1, "a wider beam") for name in penalties),
            *((name, True, "a temperature, such as 1.0") for name in undrawn),
            ("temperature", sampled and self.beam_width > 1, "beam_width 1"),
        ):
            if without_effect:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; it is allowed only with {companion}: "
                    f"give that, or leave {name} out"
                )
        for name in [*(["temperature"] if sampled else []), *penalties]:
            if exact:
                raise ValueError(
                    f"{name} is {getattr(self, name)} and exact_steps {self.exact_steps}, but an "
                    f"exact search has no {name}; leave one of them out"
                )

    def _check_diversity(self) -> None:
        """Raise ValueError for groups of beams that cannot be, or have no effect."""
        if self.beam_groups is None:
            if self.diversity_penalty is not None:
                raise ValueError(
                    f"diversity_penalty is {self.diversity_penalty}; it is allowed only with "
                    "beam_groups: give that, or leave diversity_penalty out"
                )
            return
        require.at_least("beam_groups", self.beam_groups, 2)
        require.positive("diversity_penalty", self._diversity)
        check_groups(self.beam_width, self.beam_groups, self._diversity)
        if self.coverage_penalty:
            raise ValueError(
                f"beam_groups is {self.beam_groups} and coverage_penalty {self.coverage_penalty}, "
                "but groups of beams have no such penalty; leave one of them out"
            )
        if self.exact_steps is not None:
            raise ValueError(
                f"beam_groups is {self.beam_groups} and exact_steps {self.exact_steps}, but an "
                "exact search has no groups; leave one of them out"
            )

    def _check_length(self) -> None:
        """Raise ValueError for given lengths in another search than a greedy one or with beams."""
        for name in ("temperature", "exact_steps"):
            if self.oracle_length and (value := getattr(self, name)) is not None:
                raise ValueError(
                    f"oracle_length is true and {name} {value}, but lengths are given in greedy "
                    f"and beam search alone; leave {name} out, or oracle_length at false"
                )

    @property
    def _diversity(self) -> float:
        return DIVERSITY if self.diversity_penalty is None else self.diversity_penalty

    def _of_sampling(self) -> dict[str, Any]:
        """Return the settings of sampling that are given."""
        settings = {name: getattr(self, name) for name in OF_SAMPLING}
        return {name: value for name, value in settings.items() if value is not None}

    def generate(
        self,
        decoder: Decoder,
        encoded: Encoded,
        *,
        tokens: TokenSpace,
        max_length: int,
        rows: Tensor | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        """Return tokens (B, T); `rows` names the rows' random streams, as for `sample`.

        Of `target` (B, T) the lengths alone count, and with `oracle_length` only.

        Raises:
            ValueError: as `greedy`, `beam`, `exact` and `sample` do; for lengths that are to be
                given without a target.
        """
        from decoderlab.generation.exact_search import exact
        from decoderlab.generation.given_lengths import GivenLengths, target_lengths
        from decoderlab.generation.greedy_search import greedy
        from decoderlab.generation.minimum_bayes_risk import least_risk
        from decoderlab.generation.sampling import sample

        settings: dict[str, Any] = {"tokens": tokens, "max_length": max_length}
        if self.oracle_length:
            if target is None:
                raise ValueError("oracle_length is true, but there is no target to give its length")
            decoder = GivenLengths(decoder, target_lengths(target, tokens), tokens)
        if self.temperature is not None:
            settings |= {"temperature": self.temperature, "seed": self.seed, "rows": rows}
            settings |= self._of_sampling()
            if num_samples := settings.pop("mbr_samples", None):
                return least_risk(decoder, encoded, num_samples=num_samples, **settings)
            return sample(decoder, encoded, **settings)
        if self.exact_steps is not None:
            settings |= {"beam_width": self.beam_width, "max_steps": self.exact_steps}
            return exact(decoder, encoded, **settings).tokens
        if self.beam_width > 1:
            return self.best(decoder, encoded, num_best=1, **settings).tokens[:, 0]
        return greedy(decoder, encoded, **settings)

    def best(
        self,
        decoder: Decoder,
        encoded: Encoded,
        *,
        tokens: TokenSpace,
        max_length: int,
        num_best: int,
    ) -> Hypotheses:
        """Return the best hypotheses of the beam search of each row.

        Raises:
            ValueError: as `beam` and `diverse_beam` do.
        """
        from decoderlab.generation.beam_search import beam
        from decoderlab.generation.diverse_search import diverse_beam

        settings: dict[str, Any] = {"tokens": tokens, "max_length": max_length}
        settings |= {"beam_width": self.beam_width, "length_penalty": self.length_penalty}
        settings["num_best"] = num_best
        if self.beam_groups is None:
            return beam(decoder, encoded, coverage_penalty=self.coverage_penalty, **settings)
        settings |= {"beam_groups": self.beam_groups, "diversity_penalty": self._diversity}
        return diverse_beam(decoder, encoded, **settings)

    @property
    def signature(self) -> str:
        """The settings on one line, for the record of what was measured."""
        if self.temperature is not None:
            parts = [f"{name}:{value}" for name, value in self._of_sampling().items()]
            return "|".join(
                [f"sample:temperature:{float(self.temperature)}", *parts, f"seed:{self.seed}"]
            )
        if self.exact_steps is not None:
            return f"exact:{self.exact_steps}|beam:{self.beam_width}"
        settings, given = "greedy", "|lengths:given" if self.oracle_length else ""
        if self.beam_width > 1:
            settings = f"beam:{self.beam_width}|length_penalty:{float(self.length_penalty)}"
            if self.coverage_penalty:
                settings += f"|coverage_penalty:{float(self.coverage_penalty)}"
            if self.beam_groups is not None:
                settings += f"|groups:{self.beam_groups}|diversity:{float(self._diversity)}"
        return settings + given
