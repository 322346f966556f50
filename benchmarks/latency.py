"""From start_flow to the handler's start and to the run's end, on an idle system."""

from __future__ import annotations

import heapq
import random
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

import psycopg

from benchmarks.bed import define
from benchmarks.percentiles import percentile
from benchmarks.subjects import LOOK_EVERY
from benchmarks.workloads import TIMED
from pgflow_ref import PgFlow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.bed import Bed
    from benchmarks.subjects import Subject

_WITHIN: Final = 60.0  # seconds for one run
_WARM: Final = 5  # runs before those that are measured: connections, plans, imports
# Seconds between two runs, at random, and databases that are measured at once. Where the worker is
# told of a run: longer than the default `notify_throttle`, within which pgmq tells nobody of a
# second insert.
_TOLD: Final = ((0.35, 0.55), 1)
# Who polls waits ever longer when there is nothing to do, so its runs have to come after some of
# those waits, and at any moment of one.
_POLLING: Final = ((0.35, 10.35), 16)
_SEED: Final = 7
# All clocks are this machine's: the handler's, the server's, and the one before start_flow.
_TIMES: Final = (
    "SELECT r.run_id, (r.output ->> 'only')::float8,"
    " extract(epoch FROM pg_xact_commit_timestamp(r.xmin))::float8"
    " FROM pgflow.runs r WHERE r.run_id = ANY(%s)"
)


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds, one for each run.

    Attributes:
        to_start: from the call of start_flow to the handler's start.
        to_end: from the same moment to when the run's end was durable.
    """

    to_start: list[float]
    to_end: list[float]

    def figures(self, name: str) -> dict[str, float]:
        """The percentiles that are published, by `<name> p50` and so on."""
        kinds = (name, self.to_start), (f"{name}, to the end,", self.to_end)
        return {
            f"{kind} p{percent}": percentile(values, percent)
            for kind, values in kinds
            for percent in (50, 95, 99)
        }


def of_worker(bed: Bed, subject: Subject, runs: int) -> Latencies:
    """Start runs one at a time, each when the last is over.

    Raises:
        SubjectFailed: it did not do its work.
    """
    return side_by_side(bed, [subject], runs)[subject.name]


def side_by_side(bed: Bed, subjects: Sequence[Subject], runs: int) -> dict[str, Latencies]:
    """The latencies of several, by name, each with databases of its own.

    Of use where waiting is most of what is measured: who waits does not disturb.

    Args:
        bed: where.
        subjects: whose; one that polls is measured in several databases, all at once.
        runs: of each subject, altogether.

    Raises:
        SubjectFailed: one of them did not do its work.
    """
    measured: dict[str, Latencies] = {one.name: Latencies([], []) for one in subjects}
    with ExitStack() as stack:
        lanes = []
        for subject in subjects:
            pause, count = _POLLING if _polls(subject) else _TOLD
            for number in range(min(count, runs)):
                share = runs // count + (number < runs % count)
                pauses = random.Random(_SEED + number)  # noqa: S311  # no secret
                lane = _Lane(stack, bed, subject, partial(pauses.uniform, *pause))
                lanes.append(lane.measure(share, measured[subject.name]))
        _take_turns(lanes)
    return measured


def _polls(subject: Subject) -> bool:
    return subject.options.get("signal_strategy") == "polling"


def _take_turns(lanes: Sequence[Iterator[float]]) -> None:
    """Go on with each lane when it is time for it, until all are done."""
    due = [(0.0, number) for number in range(len(lanes))]
    while due:
        at, number = heapq.heappop(due)
        time.sleep(max(0.0, at - time.monotonic()))
        after = next(lanes[number], None)
        if after is not None:
            heapq.heappush(due, (time.monotonic() + after, number))


class _Lane:
    """A worker on a database of its own, and who starts runs there."""

    def __init__(
        self, stack: ExitStack, bed: Bed, subject: Subject, pause: Callable[[], float]
    ) -> None:
        url = stack.enter_context(bed.database())
        self._connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        define(self._connection, TIMED.slug, TIMED.steps)
        self._worker = stack.enter_context(subject.at_work(url, TIMED))
        self._pgflow = stack.enter_context(PgFlow(url))
        self._pause = pause

    def measure(self, runs: int, into: Latencies) -> Iterator[float]:
        """Start runs one at a time; gives the seconds after which to go on, whenever it waits."""
        for _ in range(_WARM):
            yield from self._until_over(self._pgflow.start_flow(TIMED.slug, {}))
        began: dict[UUID, float] = {}
        for _ in range(runs):
            yield self._pause()
            now = time.time()
            run_id = self._pgflow.start_flow(TIMED.slug, {})
            began[run_id] = now
            yield from self._until_over(run_id)
        for run_id, started, ended in self._connection.execute(_TIMES, (list(began),)).fetchall():
            at = began[UUID(str(run_id))]
            into.to_start.append((float(str(started)) - at) * 1000)
            into.to_end.append((float(str(ended)) - at) * 1000)

    def _until_over(self, run_id: UUID) -> Iterator[float]:
        status = "SELECT FROM pgflow.runs WHERE run_id = %s AND status <> 'started'"
        since = time.monotonic()
        while not self._worker.has(
            lambda: self._connection.execute(status, (run_id,)).fetchone() is not None,
            since,
            _WITHIN,
        ):
            yield LOOK_EVERY
