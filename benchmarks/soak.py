"""Half an hour of steady work: does anything grow that should not?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psutil
import psycopg

from benchmarks.bed import define
from benchmarks.percentiles import percentile
from benchmarks.subjects import PYTHON, SubjectFailed, are_there
from benchmarks.workloads import COUNTED
from pgflow_ref import PgFlow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.bed import Bed
    from benchmarks.subjects import AtWork

LEAST: Final = 1.0
"""Minutes without which there are too few samples."""

RATE: Final = 50
"""Runs a second: a worker on its defaults has time between them."""

_SAMPLE: Final = 15.0  # seconds between two looks
_RUNS: Final = (
    "SELECT ((output -> 'only' ->> 'at')::float8 - extract(epoch FROM started_at)) * 1000,"
    " (output -> 'only' ->> 'tasks')::integer"
    " FROM pgflow.runs WHERE started_at > %s AND status = 'completed'"
)
# Those of the worker and the one of the client that starts the runs.
_CONNECTIONS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'pgflow-ref'"
)

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a worker that works.

    Attributes:
        minutes: since the first run.
        megabytes: that its process holds.
        threads: in its process.
        connections: to the database, with the client's.
        tasks: of asyncio in its loop: the fewest that a handler has seen since the last look.
        latency: median of the runs since the last look, from their start to the handler's, in
            milliseconds.
        done: how many runs those are.
    """

    minutes: float
    megabytes: float
    threads: int
    connections: int
    tasks: int
    latency: float
    done: int

    def figures(self) -> dict[str, tuple[float, str]]:
        """What is kept of it, by name, with its unit."""
        return {
            "time": (self.minutes, "min"),
            "memory": (self.megabytes, "MB"),
            "threads": (self.threads, ""),
            "connections": (self.connections, ""),
            "tasks": (self.tasks, ""),
            "median latency": (self.latency, "ms"),
        }


def of_worker(bed: Bed, minutes: float) -> Iterator[Sample]:
    """Watch a worker that hears of runs by notify, at a steady rate; a sample each time.

    Raises:
        SubjectFailed: it ended, or finished nothing between two looks.
    """
    subject = PYTHON.told(signal_strategy="notify")
    with bed.database() as url, psycopg.connect(url, autocommit=True) as connection:
        define(connection, COUNTED.slug, COUNTED.steps)
        with subject.at_work(url, COUNTED) as worker, PgFlow(url) as pgflow:
            # Its imports and its first connections are no part of the steady work.
            worker.until(lambda: are_there(connection), within=20.0)
            began = time.monotonic()
            since, look_at, started = _now(connection), began + _SAMPLE, 0
            while time.monotonic() < began + 60 * minutes:
                pgflow.start_flow(COUNTED.slug, {"n": started})
                started += 1
                time.sleep(max(0.0, began + started / RATE - time.monotonic()))
                if time.monotonic() >= look_at:
                    look_at += _SAMPLE
                    yield _look(connection, worker, since, (time.monotonic() - began) / 60)
                    since = _now(connection)


def verdicts(samples: Sequence[Sample]) -> dict[str, float]:
    """What the targets are about, by name: shares for memory and latency, else numbers.

    What is gained is counted from when the worker is warm, which is a third of the time.

    Raises:
        ValueError: there are too few samples.
    """
    memory = growth([sample.megabytes for sample in samples])
    warm, end = samples[len(samples) // 3], samples[-1]
    return {
        "memory growth": memory,
        "latency growth": growth([sample.latency for sample in samples]),
        "connections gained": end.connections - warm.connections,
        "threads gained": end.threads - warm.threads,
        "tasks gained": end.tasks - warm.tasks,
    }


def growth(values: Sequence[float]) -> float:
    """How much the last third is above the second, as a share; the first third warms up.

    Raises:
        ValueError: there are fewer than three.

    Example:
        >>> growth([9.0, 9.0, 10.0, 10.0, 11.0, 11.0])
        0.1
    """
    third = len(values) // 3
    if not third:
        raise ValueError("there are too few samples; watch for longer")
    second, last = values[third : 2 * third], values[-third:]
    return round(percentile(last, 50) / percentile(second, 50) - 1, 6)


def _look(connection: Connection, worker: AtWork, since: object, minutes: float) -> Sample:
    runs = connection.execute(_RUNS, (since,)).fetchall()
    if not runs:  # it has ended, or hangs
        raise SubjectFailed(f"{worker.name} finished no run within {_SAMPLE:g} s")
    row = connection.execute(_CONNECTIONS).fetchone()
    assert row is not None, "a count has one row"
    process = psutil.Process(worker.pid)
    return Sample(
        minutes,
        process.memory_info().rss / 1_000_000,
        process.num_threads(),
        int(str(row[0])),
        min(int(str(tasks)) for _, tasks in runs),
        percentile([float(str(latency)) for latency, _ in runs], 50),
        len(runs),
    )


def _now(connection: Connection) -> object:
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None, "it has one row"
    return row[0]
