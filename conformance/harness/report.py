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
from conformance.harness.records import BAD, OUTCOMES, Case, printable
from conformance.harness.run import SYMBOLS, WORDS, Run, astray, fleet, percent, short
from conformance.harness.templates.drawing import BARS, CURVE, colors, draw, moments
from conformance.harness.templates.graph import draw_flow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jinja2 import Environment

    from conformance.harness.records import Loss, Outcome
    from conformance.harness.templates.drawing import Timeline

_ALL_BARS: Final = 60_000  # drawn in one page, at about 12 bytes each
_ALL_PICTURES: Final = 600  # after which those of workers that passed alone are left out
_MOMENTS: Final = 60  # lines of what happened around a failure
_OPENED: Final = 5  # failures that are shown with their logs and pictures open
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
    pictures = _Pictures(run)
    alone = {case.workers for case in run.cases}
    return (
        _environment(run)
        .get_template("report.html.j2")
        .render(
            run=run,
            verdict=run.verdict,
            outcomes=OUTCOMES,
            bad=BAD,
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
            timeline=pictures.of,
            graph=draw_flow,
            moments=lambda case: moments(case, _MOMENTS),
            opened=_OPENED,
            losses=_losses(run),
            ways=tuple(dict.fromkeys(loss.route for loss in run.losses)),
            by_core=_by_core(run),
            matrix=run.matrix(),
            style=Markup(_source("style.css")),  # noqa: S704 (a file of ours)
            script=Markup(script),  # noqa: S704 (a file of ours)
            digest=digest,
        )
    )


class _Pictures:
    """Draws what is worth a picture, within what a page can carry."""

    def __init__(self, run: Run) -> None:
        drawn = [case for case in run.cases if case.timeline]
        self._all = len(drawn) <= _ALL_PICTURES
        sizes = [len(case.timeline) for case in drawn if self._all or _special(case)]
        self._limit = fair_limit(sizes, _ALL_BARS, BARS)

    def of(self, case: Case) -> Timeline | None:
        """The picture of a case, or None."""
        return draw(case, self._limit) if self._all or _special(case) else None


def fair_limit(sizes: Sequence[int], budget: int, most: int) -> int:
    """How much of each may be taken, at most, so that all together keep within a budget.

    Example:
        >>> fair_limit([10, 500, 500], budget=410, most=300), fair_limit([10, 20], 410, 300)
        (200, 300)
    """
    left = budget
    for taken, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - taken)
        if size >= share:
            return min(share, most)
        left -= size
    return most


def _special(case: Case) -> bool:
    """Whether a case has a picture even in a run of very many."""
    return case.mixed or bool(case.faults) or case.outcome in BAD


def _source(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _environment(run: Run) -> Environment:
    core = run.suite.usual.version if run.suite else ""
    numbers = {id(case): number for number, case in enumerate(run.failures, start=1)}

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
        "number_of_failure": lambda case: numbers[id(case)],
        "short": short,
        "first_up": lambda text: text[:1].upper() + text[1:],
        "astray": astray,
        "log": lambda log, case: tail(log, _LOG_OF_PASSED if case.outcome == "passed" else _LOG),
    }
    made.filters.update(filters)
    made.globals["is_link"] = is_link
    made.tests["harmful"] = lambda ways: any(loss.came for loss in ways.values())
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
    """The rows by group and case, in the order in which they came; a case's cores together."""
    found: dict[str, dict[str, list[Case]]] = {}
    for case in run.cases:
        found.setdefault(case.id, {}).setdefault(case.core, []).append(case)
    groups: dict[str, list[Row]] = {}
    for name, by_core in found.items():
        for core, results in by_core.items():
            one = results[0]
            row = Row(name, core, one.group, one.promise, one.reference, tuple(results))
            groups.setdefault(one.group, []).append(row)
    return groups


def _losses(run: Run) -> dict[str, dict[tuple[str, ...], Loss]]:
    """What became of each value, by its name and way; values that came to harm first."""
    found: dict[str, dict[tuple[str, ...], Loss]] = {}
    for loss in run.losses:
        found.setdefault(loss.value, {})[loss.route] = loss

    def harm(value: str) -> int:
        losses = found[value].values()
        return 2 * any(one.came and not one.excuse for one in losses) + any(
            one.came for one in losses
        )

    return {value: found[value] for value in sorted(found, key=lambda value: -harm(value))}


def _by_core(run: Run) -> dict[str, Counter[Outcome]]:
    """How often each outcome came on each core."""
    return {core: Counter(c.outcome for c in run.cases if c.core == core) for core in run.cores}


def _together(run: Run) -> dict[str, int]:
    """The tasks of all mixed cases by worker."""
    sums: Counter[str] = Counter()
    for case in run.mixed:
        sums.update(run.shares(case))
    return {name: sums[name] for name in run.workers if name in sums}
