"""The promises about speed, as data, and whether figures keep them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


class Verdict(enum.Enum):
    """What became of a target. One that was not measured is not met."""

    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Target:
    """What one figure has to be.

    Attributes:
        figure: the figure's name in the results.
        says: what it means, for people.
        bound: whether the figure is to be at least or at most the limit; the limit itself is kept.
        limit: in the figure's unit.
        unit: of figure and limit; empty for a ratio.
    """

    figure: str
    says: str
    bound: Literal["at least", "at most", "below"]
    limit: float
    unit: str = ""

    def verdict(self, measured: float | None) -> Verdict:
        """Whether a figure keeps the promise; None is one that was not measured.

        Example:
            >>> Target("x", "x", "at least", 2.5).verdict(2.5)
            <Verdict.MET: 'met'>
        """
        if measured is None or measured != measured:  # noqa: PLR0124  # so put, NaN is no figure
            return Verdict.NOT_MEASURED
        kept = {
            "at least": measured >= self.limit,
            "at most": measured <= self.limit,
            "below": measured < self.limit,
        }
        return Verdict.MET if kept[self.bound] else Verdict.MISSED


TARGETS: Final = (
    Target("tuned / ceiling", "tuned worker, to the one-connection ceiling", "at least", 1.0),
    Target("tuned / deno", "tuned worker, to Deno with the same settings", "at least", 2.5),
    Target("default / deno", "default worker, to Deno with its defaults", "at least", 1.5),
    Target("notify p50", "start_flow to the handler's start, median", "at most", 8.0, "ms"),
    Target("notify p99", "start_flow to the handler's start, p99", "at most", 30.0, "ms"),
    Target("idle cpu polling", "an idle worker that polls", "below", 0.5, "% of a core"),
    Target("idle cpu long_poll", "an idle worker, long_poll", "below", 0.5, "% of a core"),
    Target("idle cpu notify", "an idle worker, notify", "below", 0.5, "% of a core"),
    Target("start_flows / server", "start_flows, to one statement", "at least", 0.9),
    Target("overhead", "machine and execute, without a database", "at most", 40.0, "µs a task"),
    Target("million / none", "throughput with a million finished runs", "at least", 0.8),
    Target("soak: memory growth", "memory in the soak, last third to second", "at most", 0.02),
    Target("soak: latency growth", "latency in the soak, last third to second", "at most", 0.25),
    Target("soak: connections gained", "connections gained in the soak", "at most", 0),
    Target("soak: threads gained", "threads gained in the soak", "at most", 0),
    Target("soak: tasks gained", "asyncio tasks gained in the soak", "at most", 0),
)
"""Each is one figure against one limit. Growth is a share of what was there: 0 is flat."""


def judge(figures: Mapping[str, float]) -> list[tuple[Target, float | None, Verdict]]:
    """Every target with its figure and its verdict, in the order of `TARGETS`."""
    return [
        (target, measured := figures.get(target.figure), target.verdict(measured))
        for target in TARGETS
    ]
