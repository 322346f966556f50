"""One stream of results as a badge: what it was tried on, and how many results are as promised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.harness.pages import environment
from conformance.harness.records import printable
from conformance.harness.run import short

if TYPE_CHECKING:
    from conformance.harness.run import Run

# Widths in pixels at 11 pixels of Verdana, near enough: the text is stretched to what is reserved.
_NARROW: Final = 4.0
_WIDE: Final = 7.0
_DIGIT: Final = 7.0
_PADDING: Final = 6
_COLORS: Final = {"passed": "#18794e", "failed": "#b91c3c", "unproven": "#7a5a00"}


def to_badge(run: Run) -> str:
    """Make the SVG.

    The left half says the versions of the core, the right half how many of the results are as
    promised; its colour is that of the verdict, which a known deviation does not change.
    """
    left = short(printable(f"pgflow {' '.join(run.cores)}".strip()), 40)
    right = f"{run.counts['passed']:,} of {len(run.cases):,}" if run.cases else "no results"
    halves = [(text, _width(text)) for text in (left, right)]
    return (
        environment()
        .get_template("badge.svg.j2")
        .render(
            left=halves[0],
            right=halves[1],
            padding=_PADDING,
            color=_COLORS[run.verdict.level],
            said=f"{left}: {right}, {run.verdict.title.lower()}",
        )
    )


def _width(text: str) -> int:
    return round(
        sum(_NARROW if one in " .,:-il|" else _DIGIT if one.isdigit() else _WIDE for one in text)
    )
