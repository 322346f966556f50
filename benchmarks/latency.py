"""From start_flow to the handler's start and to the run's end, on an idle system."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg

from benchmarks.bed import define
from benchmarks.percentiles import percentile
from benchmarks.workloads import TIMED
from pgflow_ref import PgFlow

if TYPE_CHECKING:
    from uuid import UUID

    from benchmarks.bed import Bed
    from benchmarks.subjects import AtWork, Subject

_WITHIN: Final = 60.0  # seconds for one run
_WARM: Final = 5  # runs before those that are measured: connections, plans, imports
# Seconds between two runs, at random: longer than the default `notify_throttle`, within which pgmq
# tells nobody of a second insert.
_IDLE: Final = (0.35, 0.55)
_SEED: Final = 7
# All clocks are this machine's: the handler's, the server's, and the one before start_flow.
_TIMES: Final = (
    "SELECT r.run_id, (r.output ->> 'only')::float8,"
    " extract(epoch FROM pg_xact_commit_timestamp(r.xmin))::float8"
    " FROM pgflow.runs r WHERE r.run_id = ANY(%s)"
)


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds, one for each run, in the order of the runs.

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
    pauses = random.Random(_SEED)  # noqa: S311  # no secret
    with bed.database() as url, psycopg.connect(url, autocommit=True) as connection:
        define(connection, TIMED.slug, TIMED.steps)
        with subject.at_work(url, TIMED) as worker, PgFlow(url) as pgflow:
            for _ in range(_WARM):
                _wait(connection, worker, pgflow.start_flow(TIMED.slug, {}))
            began: dict[UUID, float] = {}
            for _ in range(runs):
                time.sleep(pauses.uniform(*_IDLE))
                now = time.time()
                run_id = pgflow.start_flow(TIMED.slug, {})
                began[run_id] = now
                _wait(connection, worker, run_id)
        rows = connection.execute(_TIMES, (list(began),)).fetchall()
    times = {run_id: (started, ended) for run_id, started, ended in rows}
    return Latencies(
        [(times[run_id][0] - at) * 1000 for run_id, at in began.items()],
        [(times[run_id][1] - at) * 1000 for run_id, at in began.items()],
    )


def _wait(connection: psycopg.Connection[tuple[object, ...]], worker: AtWork, run_id: UUID) -> None:
    status = "SELECT FROM pgflow.runs WHERE run_id = %s AND status <> 'started'"
    worker.until(lambda: connection.execute(status, (run_id,)).fetchone() is not None, _WITHIN)
