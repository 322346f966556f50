"""Subjects taken in turns, and the ratios between them.

A machine drifts: another process wakes up, a disk slows down. So subjects that are compared are
measured in rounds, each once in a round, and a ratio is only ever made of two figures of one round.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

LEAST_ROUNDS: Final = 5
"""How often subjects are taken in turns, at least, for a figure that is published."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several measurements, with the least and the most of them.

    Example:
        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, least=1.0, most=3.0, count=3)
    """

    median: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up the measurements of one figure.

        Raises:
            ValueError: there are none.
        """
        if not values:
            raise ValueError("there is no measurement to sum up; measure at least one round")
        return cls(statistics.median(values), min(values), max(values), len(values))


def order(subjects: Sequence[str], round_number: int) -> list[str]:
    """The subjects in the order of one round: each round begins one further.

    Example:
        >>> order(["a", "b", "c"], 1)
        ['b', 'c', 'a']
    """
    first = round_number % len(subjects) if subjects else 0
    return [*subjects[first:], *subjects[:first]]


def in_turns(
    subjects: Mapping[str, Callable[[], float]], rounds: int
) -> Iterator[tuple[int, str, float]]:
    """Measure each subject once a round; give the round, the name and the figure, as they come.

    Example:
        >>> list(in_turns({"a": lambda: 1.0, "b": lambda: 2.0}, rounds=1))
        [(0, 'a', 1.0), (0, 'b', 2.0)]
    """
    for number in range(rounds):
        for name in order(list(subjects), number):
            yield number, name, subjects[name]()


def ratios(above: Mapping[int, float], below: Mapping[int, float]) -> list[float]:
    """One figure divided by another, for each round in which both were measured.

    Args:
        above: figures by round.
        below: the figures that they are divided by; above zero.

    Raises:
        ValueError: no round has both, or a figure to divide by is not above zero.

    Example:
        >>> ratios({0: 6.0, 1: 4.0}, {0: 3.0, 1: 4.0, 2: 9.0})
        [2.0, 1.0]
    """
    both = sorted(above.keys() & below.keys())
    if not both:
        raise ValueError("no round has both figures, so there is no ratio between them")
    for number in both:
        if below[number] <= 0:
            raise ValueError(f"round {number} would be divided by {below[number]}")
    return [above[number] / below[number] for number in both]
