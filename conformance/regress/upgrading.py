"""A database is upgraded from one core to the other while workers of both languages run on it.

The migrations that the base lacks run in one transaction, with all locks taken first (`locks.py`
says why). Work is in hand when it begins, and more comes afterwards, for the same workers. What is
judged is what the suite judges by: the event log, and what handlers saw.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psycopg

from conformance.harness import eventlog
from conformance.harness.cases import Case, RunOf
from conformance.harness.databases import template_of
from conformance.harness.trial import Trial
from conformance.mixed.oracle import expected
from conformance.regress import locks
from conformance.regress.crossing import WORKERS
from conformance.regress.findings import CannotRun, Finding
from conformance.regress.ground import ground
from conformance.regress.sides import lacking
from pgflow_ref.compile import compile_flow
from pgflow_ref.install import catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from conformance.harness.databases import Connection
    from conformance.harness.stage import Stage
    from conformance.regress.findings import Kind, Who
    from conformance.regress.ground import Ground
    from conformance.regress.sides import Side
    from pgflow_ref.install.catalog import Catalog
    from pgflow_ref.install.sources import SqlFile

NOT_YET: Final = "not yet"
FLOW: Final[Mapping[str, Any]] = {
    "slug": "upgraded",
    "base_delay": 1,
    "steps": [
        {"slug": "first", "handler": [{"sleep": 0.02}, {"pick": ["run", "n"]}]},
        {
            "slug": "again",
            "depends_on": ["first"],
            "handler": [{"fail": NOT_YET, "attempts": 1}, {"sum": [["first"], ["run", "n"]]}],
        },
        {
            "slug": "slow",
            "depends_on": ["first"],
            "handler": [{"sleep": 0.3}, {"pick": {"it": ["first"]}}],
        },
        {
            "slug": "last",
            "depends_on": ["again", "slow"],
            "handler": [{"pick": {"sum": ["again"], "slow": ["slow"]}}],
        },
    ],
}
"""Some of its tasks are in hand at any time, and some wait for their second try."""

BEFORE, AFTER = 24, 12
"""Runs that are started before the upgrade, and after it."""

_MOST_TOLD: Final = 8
_LOOK_EVERY: Final = 0.01  # seconds
_WITHIN: Final = 30.0  # seconds for a worker to have something in hand
_ID: Final = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}\b")
_CASE: Final = "upgrading.live"
_PROMISE: Final = (
    "Workers go on through an upgrade of the core: no task is lost, and none is done twice."
)


@dataclass(frozen=True)
class Upgraded:
    """What an upgrade under way came to.

    Attributes:
        workers: who ran, in words.
        tries: how often it was tried until no worker was in the way.
        in_hand: how many tasks were started and not over when it began.
        refusal: why the server would not have the migrations, or empty.
        circle: the table for which a worker's call waits while the migrations, if they are just
            run, wait for the call; or empty.
        problems: what was not as it should be, with the runs and the workers.
        complaints: what workers said meanwhile and afterwards, by worker.
        catalogs: the core that came of it, and one that was installed at once.
        unsupported: why it could not be tried, or empty.
    """

    workers: str
    tries: int = 1
    in_hand: int = 1
    refusal: str = ""
    circle: str = ""
    problems: tuple[str, ...] = ()
    complaints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    catalogs: tuple[Mapping[str, tuple[str, ...]], ...] = ({}, {})
    unsupported: str = ""


def compare(
    base: Side,
    candidate: Side,
    workers: Sequence[str],
    say: Callable[[str], None],
    pgmq: str | None = None,
) -> list[Finding]:
    """Upgrade a database from one core to the other while workers run on it.

    Args:
        base: the core at the beginning.
        candidate: the core at the end.
        workers: names of adapters; none: one of each language.
        say: is told what takes long.
        pgmq: the pgmq that is there, or None for the usual one.

    Raises:
        CannotRun: a worker is not there, or nothing was in hand when the upgrade began.
        PgflowError: a core cannot be installed.
    """
    missing = lacking(base.files, candidate.files)
    if missing is None or not missing:
        return [_no_way(base.label, candidate.label, is_same=missing is not None)]
    with ground(base, candidate, workers or WORKERS, say, pgmq) as place:
        say(f"upgrading from {base.label} to {candidate.label} while workers run")
        trial = Upgrade(
            case_of(),
            place.session.adapters,
            place.place("upgrading"),
            place.session.patience,
            base.core,
            migrations=missing,
        )
        trial.run(place.cluster)
        with place.cluster.connect(template_of(candidate.core)) as connection:
            # While the workers' logs are there.
            fresh = catalog.read(connection)
        how = trial.upgraded(fresh, "" if trial.refusal else _circle(place, base, missing))
    return list(findings(base.label, candidate.label, missing, how))


def _circle(place: Ground, base: Side, migrations: Sequence[SqlFile]) -> str:
    """Where the migrations and workers wait for each other, if nothing is done about it."""
    with place.cluster.database(base.core) as database:
        for statement in compile_flow(case_of().shape):
            database.connection.execute(statement.encode())
        database.connection.execute("SELECT pgflow.start_flow(%s, %s)", [FLOW["slug"], '{"n": 1}'])
        return locks.circle(lambda: psycopg.connect(database.url, autocommit=True), migrations)


def case_of(before: int = BEFORE, after: int = AFTER) -> Case:
    """The case: what is started, and what must come of it whatever happens to the core.

    Args:
        before: how many runs are started before the upgrade.
        after: how many are started after it.
    """
    runs = []
    for number in range(1, before + after + 1):
        told = expected(FLOW, {"n": number})
        steps = {
            slug: {"status": "completed", "attempts": count, "calls": count}
            for slug, count in told.attempts.items()
        }
        expect = {"status": told.status, "output": told.output(FLOW), "steps": steps}
        runs.append(RunOf({"n": number}, expect))
    return Case(
        id=_CASE,
        promise=_PROMISE,
        reference="the migrations of @pgflow/core",
        flow=FLOW,
        # No message comes back while its task runs: what is done twice is not done twice for that.
        worker={
            "max_concurrency": 4,
            "batch_size": 4,
            "poll_interval": 0.1,
            "visibility_timeout": 30,
            "heartbeat_interval": 0.5,
        },
        runs=tuple(runs),
        acts=(
            {"start": {"by": "first", "runs": before}},
            {"work": "all"},
            {"wait": {"calls": 2}},
            {"upgrade": True},
            {"start": "all"},
            {"wait": "over"},
            {"stop": "all"},
        ),
        within=90,
    )


@dataclass
class Upgrade(Trial):
    """A trial in whose middle the core is upgraded.

    Attributes:
        migrations: what the base lacks.
        tries: how often it was tried until no worker was in the way.
        in_hand: how many tasks were started and not over when it began.
        refusal: why the server would not have them.
        made: the catalogs afterwards.
    """

    migrations: tuple[SqlFile, ...] = ()
    tries: int = 0
    in_hand: int = 0
    refusal: str = ""
    made: Catalog | None = None

    def upgraded(self, fresh: Catalog, circle: str = "") -> Upgraded:
        """What it came to.

        Args:
            fresh: the catalogs of a database in which the candidate was installed at once.
            circle: see `Upgraded`.
        """
        made = fresh if self.made is None else self.made
        unsupported = self.outcome == "unsupported"
        return Upgraded(
            workers=", ".join(adapter.name for adapter in self.adapters),
            tries=self.tries,
            in_hand=self.in_hand,
            refusal=self.refusal,
            circle=circle,
            problems=() if unsupported else tuple(self.problems),
            complaints={one.name: said for one in self.workers if (said := _said(one.stderr()))},
            catalogs=(made.core, fresh.core),
            unsupported="; ".join(self.problems) if unsupported else "",
        )

    def _perform(self, stage: Stage, acts: Sequence[Mapping[str, Any]]) -> None:
        at = next(index for index, act in enumerate(acts) if "upgrade" in act)
        super()._perform(stage, acts[:at])
        self._upgrade(stage.database.connection)
        super()._perform(stage, acts[at + 1 :])

    def _upgrade(self, connection: Connection) -> None:
        self.in_hand = _in_hand(connection)
        try:
            self.tries = locks.run(connection, self.migrations, eventlog.note_again)
        except psycopg.Error as error:
            said = error.diag.message_primary or str(error)
            self.refusal = f"{said} (SQLSTATE {error.sqlstate})"
        else:
            self.made = catalog.read(connection)


def _in_hand(connection: Connection) -> int:
    """How many tasks are started and not over: now, or as soon as there is one."""
    give_up_at = time.monotonic() + _WITHIN
    while True:
        tasks, runs = (
            len(connection.execute(query).fetchall())
            for query in (
                "SELECT FROM pgflow.step_tasks WHERE status = 'started'",
                "SELECT FROM pgflow.runs WHERE status = 'started'",
            )
        )
        if tasks or not runs or time.monotonic() > give_up_at:
            return tasks
        time.sleep(_LOOK_EVERY)


def _said(stderr: str) -> tuple[str, ...]:
    """What a worker said to people, each thing once."""
    lines = (_ID.sub("…", line.strip()).split(" LINE ")[0] for line in stderr.splitlines())
    return tuple(dict.fromkeys(line for line in lines if line and NOT_YET not in line))


def findings(
    base: str, candidate: str, migrations: Sequence[SqlFile], how: Upgraded
) -> Iterator[Finding]:
    """What an upgrade came to. Pure.

    Args:
        base: what the core at the beginning is called.
        candidate: what the core at the end is called.
        migrations: what was run.
        how: how it went.

    Raises:
        CannotRun: it proves nothing.
    """
    way = f"from {base} to {candidate}"
    if how.unsupported:
        raise CannotRun(f"the upgrade {way} could not be tried: {how.unsupported}")
    if how.refusal:
        names = ", ".join(file.name for file in migrations)
        detail = (
            f"The migrations {way} do not run while {how.workers} work: {how.refusal}."
            " All of it was rolled back."
        )
        yield _finding("broken", "operators", "live upgrade", detail, names)
        return
    if not how.in_hand:
        raise CannotRun("nothing was in hand when the upgrade began, so it proves nothing")
    if how.problems:
        yield from _problems(way, how)
    else:
        detail = (
            f"{how.workers} went on through the upgrade {way}, with {how.in_hand} tasks in hand:"
            " nothing was lost, nothing was done twice."
        )
        yield _finding("same", "workers", "live upgrade", detail)
    if how.circle:
        detail = (
            f"The migrations {way} want rows of runs, and have locked {how.circle} by then: a call"
            " of complete_task or fail_task that has its run waits for them, and they for it."
            " PostgreSQL ends one of the two, by chance; a worker whose call is ended may leave its"
            " task started for ever. Lock all tables first, at once or not at all, as is done here."
        )
        script = f"{locks.SAFELY.format('/* all tables of pgflow */')} -- then the migrations"
        yield _finding("changed", "operators", "live upgrade: deadlocks", detail, script)
    for name, said in how.complaints.items():
        detail = f"{name} said, and worked on: {'; '.join(said[:3])}."
        yield _finding("changed", "workers", f"live upgrade: {name}", detail)
    yield _outcome(candidate, way, *how.catalogs)


def _problems(way: str, how: Upgraded) -> Iterator[Finding]:
    for problem in how.problems[:_MOST_TOLD]:
        detail = f"In the upgrade {way}, with {how.workers} at work: {problem}."
        yield _finding("broken", "workers", "live upgrade", detail)
    more = len(how.problems) - _MOST_TOLD
    if more > 0:
        yield _finding("broken", "workers", "live upgrade", f"And {more} more things like these.")


def _outcome(
    candidate: str,
    way: str,
    made: Mapping[str, tuple[str, ...]],
    fresh: Mapping[str, tuple[str, ...]],
) -> Finding:
    """Whether the core is the one that an installation at once would have made."""
    different = sorted(key for key in {*made, *fresh} if made.get(key) != fresh.get(key))
    if not different:
        detail = f"The core that comes of it is {candidate} as a new installation makes it."
        return _finding("same", "operators", "upgraded core", detail)
    names = ", ".join(different[:_MOST_TOLD])
    detail = f"A database that is upgraded {way} is not like a new one; different are {names}."
    return _finding("changed", "operators", "upgraded core", detail)


def _no_way(base: str, candidate: str, *, is_same: bool) -> Finding:
    if is_same:
        detail = f"There is nothing to run from {base} to {candidate}."
        return _finding("same", "operators", "live upgrade", detail)
    detail = f"No migrations lead from {base} to {candidate}: a database stays what it is."
    return _finding("changed", "operators", "live upgrade", detail)


def _finding(kind: Kind, who: Who, what: str, detail: str, script: str | None = None) -> Finding:
    return Finding(kind, who, what, detail, _CASE, script)
