"""Old worker, new core; new worker, old core: who may be upgraded first?

Two kinds of workers are tried. Those of their time (`dated.py`) make the calls of one of the two
cores and look at nothing. Those that were asked for are what they are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from conformance.harness.cases import Case, RunOf
from conformance.harness.databases import template_of
from conformance.harness.trial import Trial
from conformance.mixed.oracle import expected
from conformance.regress.dated import look
from conformance.regress.findings import CannotRun, Finding
from conformance.regress.ground import ground

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from conformance.harness.adapters import Adapter
    from conformance.regress.findings import Kind
    from conformance.regress.ground import Ground
    from conformance.regress.sides import Side

WORKERS: Final = ("python", "deno")
"""The workers that are tried, where none is asked for."""

FLOW: Final[Mapping[str, Any]] = {
    "slug": "crossing",
    "base_delay": 1,
    "steps": [
        {"slug": "root", "handler": [{"pick": ["run", "n"]}]},
        {
            "slug": "again",
            "depends_on": ["root"],
            "handler": [{"fail": "not yet", "attempts": 1}, {"sum": [["root"], ["run", "n"]]}],
        },
        {"slug": "once", "depends_on": ["root"], "handler": [{"pick": {"it": ["root"]}}]},
        {
            "slug": "join",
            "depends_on": ["again", "once"],
            "handler": [{"pick": {"sum": ["again"], "once": ["once"]}}],
        },
    ],
}
"""A diamond, with a step that is tried twice."""

_PROMISE: Final = "A worker does all tasks of a flow, once each and rightly, and stops when asked."


@dataclass(frozen=True)
class Crossed:
    """How a worker got on on a core.

    Attributes:
        works: whether it did all that was to be done.
        refused: the calls that the core did not take.
        problems: what else was not as it should be.
        unsupported: why it was not even tried, or empty.
    """

    works: bool
    refused: tuple[Mapping[str, str], ...] = ()
    problems: tuple[str, ...] = ()
    unsupported: str = ""


def compare(
    base: Side,
    candidate: Side,
    workers: Sequence[str],
    say: Callable[[str], None],
    pgmq: str | None = None,
) -> list[Finding]:
    """Try workers of either core's time on the other, and the workers of today on both.

    Args:
        base: the one core.
        candidate: the other.
        workers: names of adapters; none: `WORKERS`.
        say: is told what takes long.
        pgmq: the pgmq that both get, or None for the usual one.

    Raises:
        CannotRun: a worker is not there, or one that is built for the base does not run on it.
        PgflowError: a core cannot be installed.
    """
    with ground(base, candidate, workers or WORKERS, say, pgmq) as place:
        built = {}
        for one in place.cores:
            with place.cluster.connect(template_of(one.core)) as connection:
                built[one.label] = look(connection, one.label).adapter
        crossed = {
            (age, one.label): _cross(place, adapter, one, say)
            for age, adapter in built.items()
            for one in place.cores
        }
        today = {
            adapter.name: {one.label: _cross(place, adapter, one, say) for one in place.cores}
            for adapter in place.session.adapters
        }
    return [
        *findings(base.label, candidate.label, crossed),
        *(
            finding
            for name, on in today.items()
            for finding in of_today(name, base.label, candidate.label, on)
        ),
    ]


def case_of(runs: int = 3) -> Case:
    """The case that every worker is tried with."""
    told = [(RunOf({"n": n}, {}), expected(FLOW, {"n": n})) for n in range(1, runs + 1)]
    return Case(
        id="crossing.diamond",
        promise=_PROMISE,
        reference="pgflow.start_tasks, complete_task and fail_task, core 0.5.0",
        flow=FLOW,
        worker={"max_concurrency": 4, "batch_size": 4, "heartbeat_interval": 0.2},
        runs=tuple(
            RunOf(
                run.input,
                {
                    "status": one.status,
                    "output": one.output(FLOW),
                    "steps": {
                        slug: {"attempts": count, "calls": count}
                        for slug, count in one.attempts.items()
                    },
                },
            )
            for run, one in told
        ),
        acts=({"start": "first"}, {"work": "first"}, {"wait": "over"}, {"stop": "all"}),
        within=30,
    )


def _cross(place: Ground, adapter: Adapter, on: Side, say: Callable[[str], None]) -> Crossed:
    """Try a worker on a core; what fails though no call was refused may be chance: once more."""
    how = _once(place, adapter, on, say)
    if how.works or how.refused or how.unsupported:
        return how
    return _once(place, adapter, on, say, "-again")


def _once(
    place: Ground, adapter: Adapter, on: Side, say: Callable[[str], None], suffix: str = ""
) -> Crossed:
    say(f"{adapter.name} on core {on.label}{', once more' if suffix else ''}")
    folder = place.place(f"{adapter.name}-on-{on.label}{suffix}")
    trial = Trial(case_of(), [adapter], folder, place.session.patience, on.core)
    trial.run(place.cluster)
    said = [line for worker in trial.workers for line in worker.stderr().splitlines()]
    return Crossed(
        works=trial.outcome == "passed",
        refused=tuple(_refusals(said)),
        problems=tuple(trial.problems),
        unsupported=" ".join(trial.problems) if trial.outcome == "unsupported" else "",
    )


def _refusals(lines: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """What a worker of its time says of calls that were refused, each once."""
    told = set()
    for line in lines:
        try:
            given = json.loads(line)
        except ValueError:
            continue
        if isinstance(given, dict) and "doing" in given and given["doing"] not in told:
            told.add(given["doing"])
            yield given


def findings(
    base: str, candidate: str, crossed: Mapping[tuple[str, str], Crossed]
) -> Iterator[Finding]:
    """What the workers of their time come to. Pure.

    Args:
        base: what the one core is called.
        candidate: what the other is called.
        crossed: how a worker that is built for the first of two cores got on on the second.

    Raises:
        CannotRun: a worker does not run on the base that it is built for.
    """
    own = crossed[base, base]
    if not own.works or own.refused:
        said = _said(own)
        raise CannotRun(f"a worker that makes the calls of {base} does not run on it: {said}")
    if base == candidate:
        return
    old, new = crossed[base, candidate], crossed[candidate, base]
    yield from _pair("broken", "old worker, new core", base, candidate, old)
    own = crossed[candidate, candidate]
    if not own.works:
        detail = (
            f"A worker that makes the calls which {candidate} has, as far as they are known, does"
            f" not do its work there: {_said(own)}."
        )
        script = own.refused[0]["sql"] + ";" if own.refused else None
        what = "new worker, new core"
        yield Finding("broken", "workers", what, detail, case_of().id, script)
        return
    yield from _pair("changed", "new worker, old core", candidate, base, new)
    yield _order(base, candidate, old, new)


def _said(how: Crossed) -> str:
    return "; ".join([*(one["said"] for one in how.refused[:1]), *how.problems[:3]])


def _pair(kind: Kind, what: str, age: str, core: str, how: Crossed) -> Iterator[Finding]:
    """One worker on the other core: each call that is refused, and what comes of it."""
    who = f"A worker built for {age}"
    if how.works and not how.refused:
        detail = f"{who} does all its work on {core}, and no call of it is refused."
        yield Finding("same", "workers", what, detail, case_of().id)
        return
    so = "It does its work for all that." if how.works else "It does no work there."
    for one in how.refused:
        state = f" (SQLSTATE {one['sqlstate']})" if one["sqlstate"] else ""
        detail = f"{who} cannot {one['doing']} on {core}: {one['said']}{state}. {so}"
        subject = f"{what}: {one['doing']}"
        yield Finding(kind, "workers", subject, detail, case_of().id, one["sql"] + ";")
    if not how.refused:
        detail = f"{who} does not do its work on {core}: {'; '.join(how.problems[:3])}."
        yield Finding(kind, "workers", what, detail, case_of().id)


def _order(base: str, candidate: str, old: Crossed, new: Crossed) -> Finding:
    """What may be upgraded first."""
    kind: Kind = "changed"
    if old.works and new.works:
        kind, detail = "same", "Core and workers may be upgraded in any order."
    elif old.works:
        detail = (
            f"The core first, then the workers: those built for {candidate} do not work on {base}."
        )
    elif new.works:
        detail = (
            f"The workers first, then the core: those built for {base} do not work on {candidate}."
        )
    else:
        kind = "broken"
        detail = (
            f"Workers built for {base} do not work on {candidate}, nor the other way round: stop"
            " them, upgrade the core, and start the new ones; or use workers that look at the core."
        )
    return Finding(kind, "operators", "order of an upgrade", detail, case_of().id)


def of_today(name: str, base: str, candidate: str, on: Mapping[str, Crossed]) -> Iterator[Finding]:
    """What a worker of today comes to. Pure.

    Args:
        name: what it is called.
        base: what the one core is called.
        candidate: what the other is called.
        on: how it got on on each.
    """
    before, after = on[base], on[candidate]
    what, both = f"worker {name}", base if base == candidate else f"{base} and {candidate}"
    if before.works and after.works:
        yield _today("same", what, f"It does all its work on {both}.")
    elif not before.works and not after.works:
        yield _today("same", what, f"It does not work on {both}: {_why(after)}.")
    elif before.works:
        detail = f"It does all its work on {base}, and not on {candidate}: {_why(after)}."
        yield _today("broken", what, detail)
    else:
        detail = f"It does all its work on {candidate}, and not on {base}: {_why(before)}."
        yield _today("changed", what, detail)


def _today(kind: Kind, what: str, detail: str) -> Finding:
    return Finding(kind, "workers", what, detail, case_of().id)


def _why(how: Crossed) -> str:
    return f"not supported: {how.unsupported}" if how.unsupported else "; ".join(how.problems[:3])
