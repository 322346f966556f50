"""Figures and targets as tables of a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from benchmarks.targets import Verdict, judge

if TYPE_CHECKING:
    from benchmarks.book import Book

_COLOURS = {Verdict.MET: "green", Verdict.MISSED: "red", Verdict.NOT_MEASURED: "yellow"}


def of_figures(book: Book) -> Table:
    """Every figure: median, least and most."""
    table = Table(title="measured")
    table.add_column("figure")
    for column in ("median", "least", "most"):
        table.add_column(column, justify="right")
    table.add_column("unit")
    for name, figure in book.figures.items():
        spread = figure.spread
        values = (spread.median, spread.least, spread.most)
        table.add_row(name, *map(shown, values), figure.unit)
    return table


def of_targets(book: Book) -> Table:
    """Every target, and whether it is met."""
    table = Table(title="targets")
    for column in ("target", "is", "measured", "verdict"):
        table.add_column(column)
    for target, measured, verdict in judge(book.medians()):
        limit = f"{target.bound} {target.limit:g} {target.unit}".rstrip()
        value = "-" if measured is None else shown(measured)
        colour = _COLOURS[verdict]
        table.add_row(target.says, limit, value, f"[{colour}]{verdict.value}[/]")
    return table


def all_met(book: Book) -> bool:
    """Whether no target that was measured is missed."""
    return all(verdict is not Verdict.MISSED for _, _, verdict in judge(book.medians()))


def shown(value: float) -> str:
    """A figure with three digits that mean something.

    Example:
        >>> [shown(value) for value in (1234.5, 12.345, 0.12345)]
        ['1,234', '12.3', '0.123']
    """
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3  # noqa: PLR2004
    return f"{value:,.{digits}f}"
