"""Real-valued sequences: between the data's units, what a network gets, and lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from decoderlab.contract import ValueSpace

ROUNDING = 1e-12  # of a mean in float64, with room


class Values:
    """The counterpart of `Vocabulary` for real values: positions of F numbers, standardised.

    Args:
        mean, deviation: (F,) of each number, in the data's units; a deviation is above 0, by more
            than the rounding of the mean.

    Raises:
        ValueError: for a deviation that is not above 0, and for what is not finite.

    Example:
        >>> values = Values([10.0], [2.0])
        >>> values.encode([[12.0], [9.0]]).tolist(), values.text([[1.0], [-0.5]])
        ([[1.0], [-0.5]], '12 9')
    """

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        self.mean = np.asarray(mean, dtype=np.float64)
        self.deviation = np.asarray(deviation, dtype=np.float64)
        if not np.isfinite([self.mean, self.deviation]).all():
            raise ValueError(
                f"the means are {self.mean.tolist()} and the standard deviations "
                f"{self.deviation.tolist()}, which is out of range; give the data smaller units"
            )
        level = np.abs(self.mean)
        if not (self.deviation > ROUNDING * level).all():
            raise ValueError(
                f"the standard deviations are {self.deviation.tolist()}; a number that is constant "
                "in training tells nothing, so leave it out of the data"
            )
        self.space = ValueSpace(size=len(self.mean))
        # As many digits as show differences that are small beside the deviation.
        far = np.log10(np.maximum(level / self.deviation, 1.0))
        self._digits = 6 + np.ceil(far - 1).clip(min=0).astype(int)

    @classmethod
    def of(cls, sequences: Iterable[np.ndarray]) -> Values:
        """Take mean and deviation of each number over all positions of `sequences` (length, F)."""
        positions = np.concatenate(list(sequences)).astype(np.float64)
        with np.errstate(over="ignore"):  # which is refused
            return cls(positions.mean(axis=0), positions.std(axis=0))

    def encode(self, sequence: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
        """Return values (length, F) as the network gets them, float32."""
        return ((np.asarray(sequence) - self.mean) / self.deviation).astype(np.float32)

    def decode(self, sequence: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
        """Return what the network gave (length, F) in the data's units, float64."""
        return np.asarray(sequence, dtype=np.float64) * self.deviation + self.mean

    def text(self, sequence: Sequence[Sequence[float]] | np.ndarray) -> str:
        """Return what the network got or gave as text in the data's units; see `parse`."""
        return " ".join(
            ",".join(f"{value:.{digits}g}" for value, digits in zip(row, self._digits, strict=True))
            for row in self.decode(sequence)
        )

    def parse(self, text: str) -> np.ndarray:
        """Return a line of text in the data's units (length, F), as the data have it.

        Raises:
            ValueError: if that is not what the line holds; see `parse_values`.
        """
        return parse_values(text, self.space.size)


def parse_values(text: str, size: int) -> np.ndarray:
    """Return a line of text as (length, size) numbers.

    Positions are separated by spaces, the numbers of one by commas.

    Raises:
        ValueError: if that is not what the line holds.

    Example:
        >>> parse_values("1,2 3,4", size=2).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    try:
        if "_" in text:  # which Python passes over
            raise ValueError("it has a '_'")
        rows = [[float(number) for number in position.split(",")] for position in text.split()]
    except ValueError as error:
        raise ValueError(f"the line {text[:40]!r} is not all numbers ({error})") from error
    if any(len(row) != size or not np.isfinite(row).all() for row in rows):
        raise ValueError(
            f"the line {text[:40]!r} must hold {size} finite number(s) a position, with commas "
            "between them, and spaces between positions"
        )
    return np.array(rows, dtype=np.float64).reshape(-1, size) + 0.0  # no -0, which is 0
