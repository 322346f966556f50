"""Half an hour of steady work: does anything grow that should not?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psutil
import psycopg

from benchmarks.bed import define
from benchmarks.percentiles import percentile
from benchmarks.subjects import PYTHON
from benchmarks.workloads import TIMED
from pgflow_ref import PgFlow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bed import Bed

_RATE: Final = 50  # runs a second: a worker on its defaults has time between them
_SAMPLE: Final = 15.0  # seconds between two looks
_LATENCIES: Final = (
    "SELECT ((output ->> 'only')::float8 - extract(epoch FROM started_at)) * 1000"
    " FROM pgflow.runs WHERE started_at > %s AND status = 'completed'"
)
_CONNECTIONS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'pgflow-ref'"
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a worker that works.

    Attributes:
        seconds: since the first.
        megabytes: that its process holds.
        threads: in its process.
        connections: to the database.
        median: latency of the runs since the last look, in milliseconds.
        done: how many runs those are.
    """

    seconds: float
    megabytes: float
    threads: int
    connections: int
    median: float
    done: int


def of_worker(bed: Bed, minutes: float) -> Iterator[Sample]:
    """Watch a worker that hears of runs by notify, at a steady rate; a sample each time."""
    subject = PYTHON.told(signal_strategy="notify")
    with bed.database() as url, psycopg.connect(url, autocommit=True) as connection:
        define(connection, TIMED.slug, TIMED.steps)
        with subject.at_work(url, TIMED) as worker, PgFlow(url) as pgflow:
            process, began = psutil.Process(worker.pid), time.monotonic()
            since, look_at, started = _now(connection), began + _SAMPLE, 0
            while time.monotonic() < began + 60 * minutes:
                pgflow.start_flow(TIMED.slug, {"n": started})
                started += 1
                time.sleep(max(0.0, began + started / _RATE - time.monotonic()))
                if time.monotonic() >= look_at:
                    look_at += _SAMPLE
                    yield _look(connection, process, since, time.monotonic() - began)
                    since = _now(connection)


def _look(
    connection: psycopg.Connection[tuple[object, ...]],
    process: psutil.Process,
    since: object,
    seconds: float,
) -> Sample:
    latencies = [float(str(row[0])) for row in connection.execute(_LATENCIES, (since,))]
    row = connection.execute(_CONNECTIONS).fetchone()
    assert row is not None, "a count has one row"
    return Sample(
        seconds,
        process.memory_info().rss / 1_000_000,
        process.num_threads(),
        int(str(row[0])),
        percentile(latencies, 50) if latencies else float("inf"),
        len(latencies),
    )


def _now(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None, "it has one row"
    return row[0]


def growth(values: list[float]) -> float:
    """How much the last third is above the second, as a share; the first third warms up.

    Example:
        >>> growth([9.0, 9.0, 10.0, 10.0, 11.0, 11.0])
        0.1
    """
    third = len(values) // 3
    if not third:
        raise ValueError("there are too few samples; watch for longer")
    second, last = values[third : 2 * third], values[-third:]
    return round(percentile(last, 50) / percentile(second, 50) - 1, 6)
