"""Sides that take turns at the same work, and the ratios of their speeds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, Protocol

SILENT_SECONDS = 5.0


class Turn(NamedTuple):
    """What one side did in one turn.

    Args:
        amount: samples or words.
        seconds: of the clock, above 0.
        note: a remark for whoever watches, such as how long the outputs were.
    """

    amount: float
    seconds: float
    note: str = ""

    @property
    def speed(self) -> float:
        """The amount a second."""
        return self.amount / self.seconds


class Side(Protocol):
    """One of those that take turns."""

    name: str

    def turn(self) -> Turn:
        """Do the work once."""
        ...


@dataclass(frozen=True)
class Ratio:
    """How much faster ours is than a peer, from speeds of the same turns.

    Args:
        ours, peer: names of the two sides.
        our_speed, peer_speed: medians over the turns.
        turns: our speed over the peer's, of each turn.
    """

    ours: str
    peer: str
    our_speed: float
    peer_speed: float
    turns: tuple[float, ...]

    @property
    def median(self) -> float:
        """The ratio that is shown; below 1 the peer is faster."""
        return statistics.median(self.turns)


def take_turns(
    sides: Sequence[Side], repeats: int, say: Callable[[str], None]
) -> dict[str, list[Turn]]:
    """Let every side do its work once, then every side once more, and so on.

    Args:
        sides: with names of their own.
        repeats: turns of each.
        say: is given a line after each turn that took long.
    """
    done: dict[str, list[Turn]] = {side.name: [] for side in sides}
    if len(done) < len(sides):
        raise ValueError(f"two sides have one name: {', '.join(side.name for side in sides)}")
    for number in range(repeats):
        for side in sides:
            began = time.perf_counter()
            turn = side.turn()
            done[side.name].append(turn)
            if turn.note or time.perf_counter() - began > SILENT_SECONDS:
                note = f", {turn.note}" if turn.note else ""
                say(
                    f"  turn {number + 1} of {repeats}, {side.name}: {turn.seconds:.2f} s, "
                    f"{turn.speed:.0f} a second{note}"
                )
    return done


def ratios(done: dict[str, list[Turn]], ours: Sequence[str], peers: Sequence[str]) -> list[Ratio]:
    """Return the ratio of each of ours to each peer, both of the same turns.

    Example:
        >>> done = {"a": [Turn(10, 1), Turn(10, 2)], "b": [Turn(10, 2), Turn(10, 2)]}
        >>> ratios(done, ["a"], ["b"])[0].turns
        (2.0, 1.0)
    """
    made = []
    for our, peer in product(ours, peers):
        speeds, others = ([turn.speed for turn in done[name]] for name in (our, peer))
        both = tuple(speed / other for speed, other in zip(speeds, others, strict=True))
        middle = (statistics.median(speeds), statistics.median(others))
        made.append(Ratio(our, peer, *middle, both))
    return made
