"""The drawing of a flow: its steps in layers from left to right, and its dependencies as curves.

A step stands one layer behind the last of its dependencies; within a layer, steps are put where
their neighbours are, a few times to and fro, so that few curves cross. A dependency that passes
over layers has a place in each of them, so that it goes around the steps there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conformance.harness.records import Step

_MOST: Final = 80  # steps: beyond that, no eye finds anything in a drawing
_SWEEPS: Final = 6
_HEIGHT: Final = 28  # of a box, in pixels
_PITCH: Final = 40  # from box to box in a layer
_BEND: Final = 20  # of a dependency within a layer that it only passes
_GAP: Final = 44  # between layers
_LETTER: Final = 7.3  # pixels, in the font of the boxes
_LETTERS: Final = 22  # of a slug that is shown
_MARGIN: Final = 3

_Name: TypeAlias = "str | tuple[str, str, int]"
"""A step's slug, or the place of a dependency in a layer that it passes: from, to, layer."""


@dataclass(frozen=True, slots=True)
class Box:
    """A step, as a rectangle; all in pixels."""

    slug: str
    shown: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Graph:
    """A flow, ready to be drawn.

    Attributes:
        curves: SVG paths, from a step's right side to the left side of one that depends on it.
    """

    width: int
    height: int
    boxes: tuple[Box, ...]
    curves: tuple[str, ...]
    said: str


def draw_flow(steps: Sequence[Step]) -> Graph | None:
    """Work out the drawing; None where there is nothing to draw, or it would not help."""
    needs: dict[str, list[str]] = {step.slug: [] for step in steps}
    for step in steps:
        needs[step.slug] = [slug for slug in dict.fromkeys(step.depends_on) if slug in needs]
    layers = _layers(needs)
    if not 1 < len(needs) <= _MOST or layers is None:
        return None
    columns, links = _columns(needs, layers)
    _untangle(columns, links)
    return _place(columns, links, needs)


def _layers(needs: Mapping[str, Sequence[str]]) -> dict[str, int] | None:
    """The layer of each step; None for what is no flow, as it goes round in circles."""
    found: dict[str, int] = {}
    waiting = dict(needs)
    while waiting:
        ready = [slug for slug, before in waiting.items() if all(one in found for one in before)]
        if not ready:
            return None
        for slug in ready:
            found[slug] = 1 + max((found[one] for one in waiting.pop(slug)), default=-1)
    return found


def _columns(
    needs: Mapping[str, Sequence[str]], layers: Mapping[str, int]
) -> tuple[list[list[_Name]], list[tuple[_Name, _Name]]]:
    """What stands in each layer, and what is linked with what in the next one."""
    columns: list[list[_Name]] = [[] for _ in range(max(layers.values()) + 1)]
    for slug, layer in layers.items():
        columns[layer].append(slug)
    links: list[tuple[_Name, _Name]] = []
    for slug, before in needs.items():
        for one in before:
            last: _Name = one
            for layer in range(layers[one] + 1, layers[slug]):
                passed = (one, slug, layer)
                columns[layer].append(passed)
                links.append((last, passed))
                last = passed
            links.append((last, slug))
    return columns, links


def _untangle(columns: list[list[_Name]], links: Sequence[tuple[_Name, _Name]]) -> None:
    """Order each layer by where the neighbours of its members stand."""
    before: dict[_Name, list[_Name]] = {}
    after: dict[_Name, list[_Name]] = {}
    for left, right in links:
        before.setdefault(right, []).append(left)
        after.setdefault(left, []).append(right)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        neighbours = before if forward else after
        for column in columns if forward else reversed(columns):
            # Relative places, so that layers of different sizes can be compared.
            place = {
                name: (at + 0.5) / len(other) for other in columns for at, name in enumerate(other)
            }

            def middle(name: _Name, place: Mapping[_Name, float] = place) -> float:
                near = [place[one] for one in neighbours.get(name, [])]  # noqa: B023 (called at once)
                return sum(near) / len(near) if near else place[name]

            column.sort(key=middle)


def _place(
    columns: Sequence[Sequence[_Name]],
    links: Sequence[tuple[_Name, _Name]],
    needs: Mapping[str, Sequence[str]],
) -> Graph:
    heights = [sum(map(_room, column)) for column in columns]
    height = max(heights) + 2 * _MARGIN
    boxes: list[Box] = []
    ends: dict[_Name, tuple[int, int, int]] = {}  # left, right, middle
    left = _MARGIN
    for column, used in zip(columns, heights, strict=True):
        width = max(_width(name) for name in column)
        top = (height - used) // 2
        for name in column:
            middle = top + _room(name) // 2
            top += _room(name)
            if isinstance(name, str):
                box = Box(name, _shown(name), left, middle - _HEIGHT // 2, width, _HEIGHT)
                boxes.append(box)
            ends[name] = (left, left + width, middle)
        left += width + _GAP
    edges = sum(map(len, needs.values()))
    return Graph(
        width=left - _GAP + _MARGIN,
        height=height,
        boxes=tuple(boxes),
        curves=tuple(_curve(ends[a], ends[b], passes=not isinstance(b, str)) for a, b in links),
        said=f"{len(needs)} steps in {_counted(len(columns), 'layer')},"
        f" {_counted(edges, 'dependency', 'dependencies')}",
    )


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _room(name: _Name) -> int:
    return _PITCH if isinstance(name, str) else _BEND


def _width(name: _Name) -> int:
    return round(len(_shown(name)) * _LETTER) + 20 if isinstance(name, str) else 0


def _shown(slug: str) -> str:
    return slug if len(slug) <= _LETTERS else f"{slug[: _LETTERS - 1]}…"


def _curve(a: tuple[int, int, int], b: tuple[int, int, int], *, passes: bool) -> str:
    (_, x1, y1), (x2, right, y2) = a, b
    half = (x1 + x2) // 2
    # A link that goes on beyond this layer is drawn straight through it.
    return f"M{x1} {y1}C{half} {y1} {half} {y2} {x2} {y2}" + (f"H{right}" if passes else "")
