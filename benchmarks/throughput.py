"""Tasks per second: a queue of runs, and who drains it."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

import psutil
import psycopg
from psycopg import sql

from benchmarks import ceiling
from benchmarks.subjects import SubjectFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bed import Bed
    from benchmarks.subjects import Subject
    from benchmarks.workloads import Workload
    from conformance.harness.databases import Connection

_WITHIN: Final = 600.0  # seconds for any worker to drain any queue
_START_WITHIN: Final = 60.0  # seconds for all workers to be there
# Nobody reads from the queue while this is held, but everybody may look at it.
_HOLD: Final = "LOCK TABLE pgmq.{queue} IN EXCLUSIVE MODE"
_GOES_ON: Final = "SELECT FROM pgflow.runs WHERE status = 'started' LIMIT 1"
# From the transaction that claimed the first task to the end of the one that recorded the last.
# Tasks that were there before, of runs that are long over, have no worker.
_SECONDS: Final = (
    "WITH mine AS MATERIALIZED (SELECT run_id, started_at FROM pgflow.step_tasks"
    " WHERE last_worker_id IS NOT NULL)"
    " SELECT extract(epoch FROM max(pg_xact_commit_timestamp(r.xmin))"
    " - (SELECT min(started_at) FROM mine))::float8,"
    " count(*) FILTER (WHERE status = 'completed')"
    " FROM pgflow.runs r WHERE run_id IN (SELECT run_id FROM mine)"
)


class Drained(NamedTuple):
    """What draining a queue took.

    Attributes:
        rate: tasks per second.
        megabytes: that the first worker's process held when it was over.
    """

    rate: float
    megabytes: float


def of_worker(bed: Bed, workload: Workload, subject: Subject) -> float:
    """Tasks per second of one worker process, its start left out.

    Raises:
        SubjectFailed: it did not do its work.
    """
    with bed.database(workload) as url:
        return drain(url, workload, [subject]).rate


def drain(url: str, workload: Workload, subjects: Sequence[Subject]) -> Drained:
    """Let worker processes side by side drain a database with a workload's runs."""
    with _connect(url) as connection, ExitStack() as stack:
        with connection.transaction():
            # Processes that start beside one that works would slow it down, and the last of many
            # would come to an empty queue.
            queue = sql.Identifier(f"q_{workload.slug}")
            connection.execute(sql.SQL(_HOLD).format(queue=queue))
            workers = [stack.enter_context(one.at_work(url, workload)) for one in subjects]
            for worker in workers:
                worker.until(lambda: _are_there(connection, len(workers)), _START_WITHIN)
        workers[0].until(lambda: is_over(connection), _WITHIN)
        megabytes = psutil.Process(workers[0].pid).memory_info().rss / 1_000_000
        rate = _rate(connection, workload, " beside ".join(one.name for one in subjects))
        return Drained(rate, megabytes)


def _are_there(connection: Connection, workers: int) -> bool:
    row = connection.execute("SELECT count(*) FROM pgflow.workers").fetchone()
    assert row is not None, "a count has one row"
    return row[0] == workers


def is_over(connection: Connection) -> bool:
    """Whether no run is left that is not over."""
    return connection.execute(_GOES_ON).fetchone() is None


def of_ceiling(bed: Bed, workload: Workload, connections: int = 1) -> float:
    """Tasks per second of loops inside the server, one on each connection."""
    with bed.database(workload) as url, _connect(url) as connection:
        loops = [
            threading.Thread(target=_drain, args=(url, workload.slug)) for _ in range(connections)
        ]
        for loop in loops:
            loop.start()
        for loop in loops:
            loop.join()
        return _rate(connection, workload, f"the ceiling on {connections}")


def _drain(url: str, slug: str) -> None:
    with _connect(url) as connection:
        ceiling.drain(connection, slug)


def _connect(url: str) -> Connection:
    return psycopg.connect(url, autocommit=True)


def _rate(connection: Connection, workload: Workload, name: str) -> float:
    row = connection.execute(_SECONDS).fetchone()
    assert row is not None, "an aggregate has one row"
    seconds, completed = row
    if completed != workload.runs:
        raise SubjectFailed(f"{name} completed {completed} of {workload.runs} runs")
    assert isinstance(seconds, float)
    return workload.tasks / seconds
