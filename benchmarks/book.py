"""The figures of one run: every measurement with its round, and the ratios between them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks.pairs import Spread, ratios

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT: Final = 1
"""Of the JSON that `Book.to_json` writes."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured under one name.

    Attributes:
        unit: of the values; empty for a ratio.
        values: by round.
    """

    unit: str
    values: dict[int, float]

    @property
    def spread(self) -> Spread:
        """Its median, with the least and the most."""
        return Spread.of(list(self.values.values()))


@dataclass
class Book:
    """All figures of one run.

    Attributes:
        about: what they were measured on and with, for people: machine, versions, date.
        figures: by name, in the order in which they were first noted.

    Example:
        >>> book = Book()
        >>> for name, value in ("a", 6.0), ("b", 3.0):
        ...     book.note(name, 0, value, "tasks/s")
        >>> book.compare("a / b", "a", "b")
        >>> book.medians()
        {'a': 6.0, 'b': 3.0, 'a / b': 2.0}
    """

    about: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)

    def note(self, name: str, round_number: int, value: float, unit: str) -> None:
        """Keep one measurement."""
        figure = self.figures.setdefault(name, Figure(unit, {}))
        figure.values[round_number] = value

    def compare(self, name: str, above: str, below: str) -> None:
        """Keep the ratio of two figures, round by round.

        Raises:
            KeyError: one of them was not measured.
            ValueError: there is no round in which both were.
        """
        measured = ratios(self.figures[above].values, self.figures[below].values)
        self.figures[name] = Figure("", dict(enumerate(measured)))

    def medians(self) -> dict[str, float]:
        """The median of each figure, by name."""
        return {name: figure.spread.median for name, figure in self.figures.items()}

    def named(self, start: str) -> Iterable[tuple[str, Figure]]:
        """The figures whose names begin so, with the rest of their names."""
        for name, figure in self.figures.items():
            if name.startswith(start):
                yield name[len(start) :], figure

    def to_json(self) -> str:
        """All of it, as text that `from_json` reads."""
        figures = {
            name: {"unit": one.unit, "values": list(one.values.items())}
            for name, one in self.figures.items()
        }
        whole: dict[str, Any] = {"format": FORMAT, "about": self.about, "figures": figures}
        return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Book:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is of another format.
        """
        given = json.loads(text)
        if not isinstance(given, dict) or given.get("format") != FORMAT:
            raise ValueError(f"these are no results of format {FORMAT}; measure again")
        figures = {
            name: Figure(one["unit"], {int(number): value for number, value in one["values"]})
            for name, one in given["figures"].items()
        }
        return cls(given["about"], figures)
