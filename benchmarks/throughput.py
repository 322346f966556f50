"""Tasks per second: a queue of runs, and who drains it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

import psutil
import psycopg
from psycopg import sql

from benchmarks import ceiling
from benchmarks.subjects import SubjectFailed, are_there

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bed import Bed
    from benchmarks.subjects import AtWork, Subject
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


# The same, to the end of the transaction that recorded the last of the first so many.
_SECONDS_OF_FIRST: Final = (
    "SELECT extract(epoch FROM (SELECT pg_xact_commit_timestamp(xmin) AS ended FROM pgflow.runs"
    " WHERE status = 'completed' ORDER BY ended OFFSET %s - 1 LIMIT 1)"
    " - min(started_at))::float8 FROM pgflow.step_tasks WHERE last_worker_id IS NOT NULL"
)
# How many have ended is counted where they are alone: in a table that holds those that wait as
# well, to look would take longer the more of them there are.
_ARCHIVED: Final = "SELECT count(*) FROM pgmq.{archive}"


class Drained(NamedTuple):
    """What draining a queue took.

    Attributes:
        rate: tasks per second.
        megabytes: that the first worker's process held when it was over.
        worker: microseconds of a core that the workers took for a task.
        server: the same of the server's processes.
    """

    rate: float
    megabytes: float
    worker: float
    server: float


def of_worker(bed: Bed, workload: Workload, subject: Subject) -> float:
    """Tasks per second of one worker process, its start left out.

    Raises:
        SubjectFailed: it did not do its work.
    """
    with bed.database(workload) as url:
        return drain(url, workload, [subject]).rate


def drain(
    url: str, workload: Workload, subjects: Sequence[Subject], through: str | None = None
) -> Drained:
    """Let worker processes side by side drain a database with a workload's runs.

    Args:
        url: the database; its server knows when what was done.
        workload: whose runs wait there.
        subjects: a worker process each.
        through: another URL of the same database, for the workers: of a pooler before the server.

    Raises:
        SubjectFailed: one of them did not do its work.
    """
    with _connect(url) as connection, ExitStack() as stack:
        workers = _begin(connection, stack, through or url, workload, subjects)
        spent = _Spent(connection, workers)
        workers[0].until(lambda: is_over(connection), _WITHIN)
        worker, server = spent.since(workload.tasks)
        rate = _rate(connection, workload, " beside ".join(one.name for one in subjects))
        return Drained(rate, _megabytes(workers[0]), worker, server)


def drain_first(url: str, workload: Workload, subject: Subject, runs: int) -> Drained:
    """Let one worker complete so many runs of one step; the others are left in the queue.

    Args:
        url: a database in which no run is over, and at least so many wait.
        workload: whose runs they are.
        subject: who completes them.
        runs: how many.

    Raises:
        SubjectFailed: it did not do its work.
    """
    with _connect(url) as connection, ExitStack() as stack:
        workers = _begin(connection, stack, url, workload, [subject])
        spent = _Spent(connection, workers)
        workers[0].until(lambda: _have_ended(connection, workload, runs), _WITHIN)
        worker, server = spent.since(runs)
        return Drained(_rate_of_first(connection, runs), _megabytes(workers[0]), worker, server)


class _Spent:
    """What processes have taken of the cores, from when this is made."""

    def __init__(self, connection: Connection, workers: Sequence[AtWork]) -> None:
        self._workers = [psutil.Process(worker.pid) for worker in workers]
        backend = psutil.Process(connection.info.backend_pid)
        self._postmaster = backend.parent() or backend
        self._before = self._now()

    def since(self, tasks: int) -> tuple[float, float]:
        """Microseconds a task, of the workers and of the server."""
        now = self._now()
        worker, server = (
            1_000_000 * (after - before) / tasks
            for before, after in zip(self._before, now, strict=True)
        )
        return worker, server

    def _now(self) -> tuple[float, float]:
        # Backends end with their workers, and those are still there.
        server = [self._postmaster, *self._postmaster.children()]
        return _seconds(self._workers), _seconds(server)


def _seconds(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return float(sum(one.user + one.system for one in times))


def _begin(
    connection: Connection,
    stack: ExitStack,
    url: str,
    workload: Workload,
    subjects: Sequence[Subject],
) -> list[AtWork]:
    """Start all workers before any of them gets something to do."""
    with connection.transaction():
        # Processes that start beside one that works would slow it down, and the last of many
        # would come to an empty queue.
        queue = sql.Identifier(f"q_{workload.slug}")
        connection.execute(sql.SQL(_HOLD).format(queue=queue))
        workers = [stack.enter_context(one.at_work(url, workload)) for one in subjects]
        for worker in workers:
            worker.until(lambda: are_there(connection, len(workers)), _START_WITHIN)
    return workers


def _megabytes(worker: AtWork) -> float:
    return float(psutil.Process(worker.pid).memory_info().rss / 1_000_000)


def is_over(connection: Connection) -> bool:
    """Whether no run is left that is not over."""
    return connection.execute(_GOES_ON).fetchone() is None


def _have_ended(connection: Connection, workload: Workload, tasks: int) -> bool:
    """Whether so many tasks are over, in a database in which none was before."""
    archive = sql.Identifier(f"a_{workload.slug}")
    row = connection.execute(sql.SQL(_ARCHIVED).format(archive=archive)).fetchone()
    assert row is not None, "a count has one row"
    return int(str(row[0])) >= tasks


def _rate_of_first(connection: Connection, runs: int) -> float:
    row = connection.execute(_SECONDS_OF_FIRST, (runs,)).fetchone()
    assert row is not None, "an aggregate has one row"
    assert isinstance(row[0], float), "so many are completed"
    return runs / row[0]


def of_ceiling(bed: Bed, workload: Workload, connections: int = 1) -> float:
    """Tasks per second of loops inside the server, one on each connection."""
    with bed.database(workload) as url, _connect(url) as connection:
        # Two loops cannot deadlock: each completes the tasks of a batch in the order of their runs,
        # so both lock runs in one order. Where all tasks are of few runs, one waits for the other.
        with ThreadPoolExecutor(connections) as pool:
            loops = [pool.submit(_loop, url, workload.slug) for _ in range(connections)]
        for loop in loops:
            if (error := loop.exception()) is not None:
                raise SubjectFailed(f"the ceiling on {connections}: {error}") from error
        return _rate(connection, workload, f"the ceiling on {connections}")


def _loop(url: str, slug: str) -> None:
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
