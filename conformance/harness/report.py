"""One stream of results as one HTML page that needs nothing else: no network, no other file.

The page is a Jinja template with style and script inlined; this module works out what the template
shows: which case stands in which row, what share of the work a worker did, and where in a timeline
a task is drawn. All text comes from elsewhere (worker logs, error messages), so everything is
escaped, and a content security policy lets the page's own script run and nothing more.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from markupsafe import Markup

from conformance.harness.pages import TEMPLATES, environment
from conformance.harness.records import (
    OUTCOMES,
    Case,
    printable,
)
from conformance.harness.run import SYMBOLS, WORDS, Run, fleet, percent
from conformance.harness.templates.drawing import BARS, CURVE, colors, draw

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2 import Environment

_ALL_BARS: Final = 60_000  # drawn in one page, at about 12 bytes each
_LOG: Final = 12_000  # characters of one worker's log
_LOG_OF_PASSED: Final = 2_000


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker did of a case's tasks."""

    worker: str
    tasks: int
    part: float


@dataclass(frozen=True, slots=True)
class Row:
    """One case on one core with all the sets of workers that it ran with."""

    id: str
    core: str
    group: str
    promise: str
    reference: str
    results: tuple[Case, ...]


def render_page(run: Run) -> str:
    """Make the page's HTML."""
    script = _source("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    drawn = sum(1 for case in run.cases if case.timeline)
    limit = min(BARS, max(BARS // 10, _ALL_BARS // max(drawn, 1)))
    alone = {case.workers for case in run.cases}
    return (
        _environment(run.suite.usual.version if run.suite else "")
        .get_template("report.html.j2")
        .render(
            run=run,
            verdict=run.verdict,
            outcomes=OUTCOMES,
            words=WORDS,
            symbols=SYMBOLS,
            workers=run.workers,
            columns=[name for name in run.workers if (name,) in alone],
            fleet={name for case in run.cases for name in case.workers},
            colors=colors(run.suite.workers if run.suite else (), run.workers),
            groups=_groups(run),
            together=_together(run),
            featured=max(
                (case for case in run.mixed if case.timeline),
                key=lambda case: len(case.timeline),
                default=None,
            ),
            curve=CURVE,
            timeline=lambda case: draw(case, limit),
            style=Markup(_source("style.css")),  # noqa: S704 (a file of ours)
            script=Markup(script),  # noqa: S704 (a file of ours)
            digest=digest,
        )
    )


def _source(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _environment(core: str) -> Environment:
    def name(case_id: str, of: str) -> str:
        return printable(case_id if of == core else f"{case_id}@{of}")

    made = environment()
    filters: dict[str, Callable[..., object]] = {
        "percent": percent,
        "seconds": seconds,
        "moment": moment,
        "fleet": fleet,
        "shares": shares,
        "name": lambda row: name(row.id, row.core),
        "anchor": lambda row: quote(name(row.id, row.core), safe=""),
        "log": lambda log, case: tail(log, _LOG_OF_PASSED if case.outcome == "passed" else _LOG),
    }
    made.filters.update(filters)
    made.globals["is_link"] = is_link
    return made


def is_link(text: str) -> bool:
    """Whether a reference is an address that a page may link to (never `javascript:`)."""
    return text.startswith(("https://", "http://")) and not any(map(str.isspace, text))


def seconds(value: float) -> str:
    r"""Say a duration in the unit that fits it, with spaces at which no line breaks.

    Example:
        >>> [seconds(value) for value in (0.0123, 7.25, 184.3)]
        ['12\xa0ms', '7.2\xa0s', '3\xa0min 4\xa0s']
    """
    if value < 1:
        return f"{value * 1000:.0f}\xa0ms"
    if value < 60:  # noqa: PLR2004 (seconds in a minute)
        return f"{value:.1f}\xa0s"
    return f"{value // 60:.0f}\xa0min {value % 60:.0f}\xa0s"


def moment(text: str) -> str:
    """Say an ISO time to the minute, or the text itself where it is none."""
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return text
    return f"{when:%Y-%m-%d %H:%M} {when.tzname() or ''}".rstrip()


def tail(log: str, limit: int) -> tuple[str, int]:
    """Keep the end of a log, from the start of a line, and tell how many lines are left out."""
    log = printable(log).rstrip()
    if len(log) <= limit:
        return log, 0
    cut = log.find("\n", len(log) - limit) + 1 or len(log) - limit
    return log[cut:], log.count("\n", 0, cut)


def shares(tasks: Mapping[str, int]) -> tuple[Share, ...]:
    """Who did how much."""
    total = sum(tasks.values()) or 1
    return tuple(Share(worker, number, number / total) for worker, number in tasks.items())


def _groups(run: Run) -> dict[str, list[Row]]:
    """The rows by group, both in the order in which they came first."""
    found: dict[tuple[str, str], list[Case]] = {}
    for case in run.cases:
        found.setdefault((case.id, case.core), []).append(case)
    groups: dict[str, list[Row]] = {}
    for results in found.values():
        first = results[0]
        row = Row(first.id, first.core, first.group, first.promise, first.reference, tuple(results))
        groups.setdefault(first.group, []).append(row)
    return groups


def _together(run: Run) -> dict[str, int]:
    """The tasks of all mixed cases by worker."""
    sums: Counter[str] = Counter()
    for case in run.mixed:
        sums.update(run.work(case))
    return {name: sums[name] for name in run.workers if name in sums}
