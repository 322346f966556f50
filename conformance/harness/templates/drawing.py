"""Where things stand in the pictures of the report: colours, lanes, bars and curves.

Positions are worked out here, in plain numbers; the templates only write them down.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.harness.run import kin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conformance.harness.records import Case, Fault, Span, Worker

_WIDTH: Final = 10_000  # of a timeline in its own units, so that every position is an integer
BARS: Final = 3_000  # drawn in one timeline: more cannot be told apart on any screen
_BINS: Final = 120  # points of the curve above a timeline
_TELLING: Final = 20  # tasks, of which a curve says more than their bars
CURVE: Final = 64  # its height in pixels
_SHADES: Final = 4  # of one colour, by step
_LANE: Final = 96  # pixels that a lane should not exceed
_ROWS: Final = 100  # of a lane, after which tasks are drawn over each other
_LEAST: Final = 8  # units that the shortest task is drawn with
_SEEN: Final = 4  # units between two bars that nobody could see; they are drawn as one
_IDLE: Final = 0.15  # of the time before the first task, beyond which it is left out
_LEAD: Final = 0.03  # of the rest, which is kept of it
_NUMBERED: Final = 30  # faults, in one picture

# A colour is a hue here, and its lightness is the style sheet's business, by light and dark.
_HUES: Final = {
    "python": 217,
    "typescript": 32,
    "javascript": 48,
    "elixir": 276,
    "go": 186,
    "rust": 14,
    "ruby": 340,
    "java": 200,
    "kotlin": 262,
    "csharp": 292,
    "php": 235,
}
_OTHER_HUES: Final = (160, 310, 90, 60, 190)


@dataclass(frozen=True, slots=True)
class Color:
    """A worker's colour: the hue of its language, and which of that language's workers it is."""

    hue: int
    nth: int


@dataclass(frozen=True, slots=True)
class Bars:
    """The tasks of one step that ended the same way, as one SVG path."""

    step: str
    status: str
    shade: int
    count: int
    path: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was done to a worker, or to all; `at` is in percent of the width.

    Attributes:
        number: of its line in the list below the picture, or 0 where there are too many to number.
    """

    at: float
    number: int
    what: str


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, for the list below a picture: once with its time, or several times."""

    when: float
    times: int
    worker: str
    what: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One worker's tasks; tasks that ran at the same time are in different rows of the lane."""

    worker: str
    marks: tuple[Mark, ...]
    height: int
    bar: int
    bars: tuple[Bars, ...]
    tasks: int
    failed: int
    open: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """Who worked on what and when, ready to be drawn.

    Attributes:
        curves: for each worker, the tasks in its hands as an area on top of the workers before it.
        peak: the most tasks in hand at a time, which is as high as the curves go.
        ticks: position in percent and label.
        faults: what was done to the workers.
        tasks: how many there are, of which `drawn` are in the picture, in `bars` lines.
    """

    seconds: float
    lanes: tuple[Lane, ...]
    curves: tuple[tuple[str, str], ...]
    peak: float
    ticks: tuple[tuple[float, str], ...]
    faults: tuple[Done, ...]
    drawn: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Moment:
    """A line of what happened, in words; `kind` is the status it led to, or `fault`."""

    at: float
    worker: str
    said: str
    kind: str


def moments(case: Case, limit: int) -> tuple[tuple[Moment, ...], int]:
    """What happened around the trouble, in order, and how much else there was.

    Trouble is whatever was done to the workers, and tasks that failed or were never reported; where
    there is none, it is the end.
    """
    found = [Moment(one.at, one.worker or "all", one.what, "fault") for one in case.faults]
    for span in case.timeline:
        task = f"{span.step} of run {span.run}"
        found.append(Moment(span.start, span.worker, f"takes {task}", "started"))
        if span.end is not None:
            found.append(Moment(span.end, span.worker, f"{_ENDS[span.status]} {task}", span.status))
        elif span.status == "started":
            found.append(Moment(span.start, span.worker, f"never reports {task}", "lost"))
    found.sort(key=lambda moment: moment.at)
    trouble = [at for at, one in enumerate(found) if one.kind in {"fault", "failed", "lost"}]
    near = trouble[:limit] or [len(found) - 1]
    order = sorted(range(len(found)), key=lambda at: min(abs(at - bad) for bad in near))
    kept = sorted(order[:limit])
    return tuple(found[at] for at in kept), len(found) - len(kept)


_ENDS: Final = {"completed": "completes", "failed": "fails", "started": "lets go of"}


def colors(workers: Sequence[Worker], names: Sequence[str]) -> dict[str, Color]:
    """Give every worker the colour of its language, and each of one language another shade."""
    languages = {worker.name: worker.language.lower() for worker in workers}
    others: dict[str, int] = {}
    used: dict[str, int] = {}
    chosen = {}
    for name in names:
        language = languages.get(kin(name, languages), name)
        nth = used.get(language, 0)
        used[language] = nth + 1
        other = others.setdefault(language, len(others)) if language not in _HUES else 0
        hue = _HUES.get(language, _OTHER_HUES[other % len(_OTHER_HUES)])
        chosen[name] = Color(hue, nth % 3)
    return chosen


def draw(case: Case, limit: int = BARS) -> Timeline | None:
    """Work out the picture of a case; None where there is nothing to draw."""
    if not case.timeline:
        return None
    axis = _axis(case)
    by_worker: dict[str, list[Span]] = {name: [] for name in case.workers}
    for span in sorted(case.timeline, key=lambda span: span.start):
        by_worker.setdefault(span.worker, []).append(span)
    for fault in case.faults:
        if fault.worker:
            by_worker.setdefault(fault.worker, [])
    shown = _thin(case.timeline, limit)
    steps = tuple(dict.fromkeys(span.step for span in case.timeline))
    telling = len(by_worker) > 1 and len(case.timeline) >= _TELLING
    curves, peak = _curves(by_worker, axis) if telling else ((), 0.0)
    return Timeline(
        seconds=axis.length,
        lanes=tuple(
            _lane(
                (name, _marks(name, case.faults, axis)),
                spans,
                [span for span in spans if id(span) in shown],
                steps,
                axis,
            )
            for name, spans in by_worker.items()
        ),
        curves=curves,
        peak=peak,
        ticks=_ticks(axis),
        faults=_done(case.faults),
        drawn=len(shown),
        tasks=len(case.timeline),
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    """The time that a picture shows, in seconds of the case."""

    origin: float
    length: float

    def part(self, seconds: float) -> float:
        """Where a moment is, from 0 to 1."""
        return min(max(seconds - self.origin, 0.0) / self.length, 1.0)

    @property
    def end(self) -> float:
        """The last moment that is shown."""
        return self.origin + self.length


def _axis(case: Case) -> _Axis:
    """From the start of a case to its end, but without a long time in which nothing happens."""
    faults = [fault.at for fault in case.faults]
    end = max(*(max(span.start, span.end or 0.0) for span in case.timeline), *faults, 0.001)
    begin = max(min(*(span.start for span in case.timeline), *faults, end), 0.0)
    origin = begin - _LEAD * (end - begin) if begin > _IDLE * end else 0.0
    return _Axis(max(origin, 0.0), max(end - max(origin, 0.0), 0.001))


def _marks(worker: str, faults: Sequence[Fault], axis: _Axis) -> tuple[Mark, ...]:
    """The faults of a lane: its worker's own, and what was done to all."""
    numbered = len(faults) <= _NUMBERED
    return tuple(
        Mark(
            round(100 * axis.part(fault.at), 2),
            number if numbered else 0,
            f"{fault.at:.2f} s: {fault.what}",
        )
        for number, fault in enumerate(faults, start=1)
        if fault.worker in ("", worker)
    )


def _done(faults: Sequence[Fault]) -> tuple[Done, ...]:
    """The list of faults; of many, how often each was done to whom."""
    if len(faults) <= _NUMBERED:
        return tuple(Done(fault.at, 1, fault.worker, fault.what) for fault in faults)
    found: dict[tuple[str, str], list[float]] = {}
    for fault in faults:
        found.setdefault((fault.worker, fault.what), []).append(fault.at)
    return tuple(Done(min(at), len(at), *key) for key, at in found.items())


def _thin(spans: Sequence[Span], limit: int) -> set[int]:
    """Choose the spans to draw, by identity: evenly, but rather what failed than what went well."""
    if len(spans) <= limit:
        return {id(span) for span in spans}
    rare = [span for span in spans if span.status != "completed"]
    plain = [span for span in spans if span.status == "completed"]
    # By worker and time, so that every n-th of them keeps the workers' shares as they are.
    plain.sort(key=lambda span: (span.worker, span.start))
    some = _every_nth(rare, max(limit // 2, limit - len(plain)))
    return {id(span) for span in (*some, *_every_nth(plain, limit - len(some)))}


def _every_nth(spans: Sequence[Span], number: int) -> Sequence[Span]:
    if len(spans) <= number:
        return spans
    return [spans[at * len(spans) // number] for at in range(number)]


def _lane(
    worker: tuple[str, tuple[Mark, ...]],
    spans: Sequence[Span],
    shown: Sequence[Span],
    steps: Sequence[str],
    axis: _Axis,
) -> Lane:
    rows = _rows(shown, axis)
    pitch = max(2, min(14, _LANE // (max(rows, default=0) + 1)))
    found: dict[tuple[str, str], dict[int, list[list[int]]]] = {}
    for span, row in zip(shown, rows, strict=True):
        left = round(_WIDTH * axis.part(span.start))
        right = max(round(_WIDTH * axis.part(_end(span, axis))), left + _LEAST)
        lines = found.setdefault((span.step, span.status), {}).setdefault(row, [])
        if lines and left - lines[-1][1] <= _SEEN:
            lines[-1][1] = max(lines[-1][1], right)
        else:
            lines.append([left, right])
    counts: Counter[tuple[str, str]] = Counter((span.step, span.status) for span in shown)
    name, marks = worker
    return Lane(
        worker=name,
        marks=marks,
        height=(max(rows, default=0) + 1) * pitch,
        bar=max(1, pitch - 1),
        bars=tuple(
            Bars(step, status, steps.index(step) % _SHADES, counts[step, status], _path(by, pitch))
            for (step, status), by in found.items()
        ),
        tasks=len(spans),
        failed=sum(span.status == "failed" for span in spans),
        open=sum(span.status == "started" for span in spans),
    )


def _path(by_row: Mapping[int, Sequence[Sequence[int]]], pitch: int) -> str:
    """Thick lines from left to right, which are half as long to write as rectangles."""
    return "".join(
        f"M{left} {row * pitch + pitch // 2}h{right - left}"
        for row, lines in by_row.items()
        for left, right in lines
    )


def _end(span: Span, axis: _Axis) -> float:
    """Where a span ends in the picture: what was never reported goes on to the edge."""
    return axis.end if span.end is None else max(span.end, span.start)


def _rows(spans: Sequence[Span], axis: _Axis) -> list[int]:
    """Give each span, in order of their starts, the topmost row that is free at its start."""
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    rows = []
    for span in spans:
        while busy and busy[0][0] <= span.start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        row = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (_end(span, axis), row))
        rows.append(row % _ROWS)
    return rows


def _curves(
    by_worker: Mapping[str, Sequence[Span]], axis: _Axis
) -> tuple[tuple[tuple[str, str], ...], float]:
    """The number of tasks in each worker's hands over time, one area on top of the other."""
    base = [0.0] * _BINS
    layers = []
    for worker, spans in by_worker.items():
        top = [low + high for low, high in zip(base, _in_hand(spans, axis), strict=True)]
        layers.append((worker, base, top))
        base = top
    peak = max(base) or 1.0
    return tuple((worker, _area(low, high, peak)) for worker, low, high in layers), max(base)


def _in_hand(spans: Sequence[Span], axis: _Axis) -> list[float]:
    """The mean number of tasks in hand, for each of the bins that the time is cut into."""
    width = axis.length / _BINS
    sums = [0.0] * _BINS
    for span in spans:
        if span.end is None:
            continue  # whose worker is gone, so it is in nobody's hands for most of that time
        start, end = max(span.start - axis.origin, 0.0), span.end - axis.origin
        for at in range(min(int(start / width), _BINS - 1), min(int(end / width), _BINS - 1) + 1):
            sums[at] += max(0.0, min(end, (at + 1) * width) - max(start, at * width)) / width
    return sums


def _area(low: Sequence[float], high: Sequence[float], peak: float) -> str:
    def points(values: Sequence[float]) -> list[str]:
        step = _WIDTH / (_BINS - 1)
        return [
            f"{round(at * step)} {CURVE - value / peak * CURVE:.1f}"
            for at, value in enumerate(values)
        ]

    return f"M{'L'.join([*points(high), *reversed(points(low))])}z"


def _ticks(axis: _Axis) -> tuple[tuple[float, str], ...]:
    """At most nine round times, none so near the right edge that its label would be cut."""
    rough = axis.length / 8
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.ceil(axis.origin / step), int((axis.origin + axis.length * 0.93) / step)
    times = [round(at * step, 9) for at in range(first, last + 1)]
    return tuple((100 * axis.part(time), f"{time:.10g} s") for time in times)
