"""The parts that measure what becomes of the worker when something grows."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from benchmarks import dags, growth, throughput
from benchmarks.pairs import order
from benchmarks.sizes import MILLION
from benchmarks.subjects import PYTHON_TUNED
from benchmarks.workloads import ONE_STEP
from conformance.harness import ways
from conformance.harness.pooler import PoolerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import LiteralString

    from benchmarks.bed import Bed
    from benchmarks.book import Book
    from benchmarks.sizes import Size
    from benchmarks.workloads import Workload
    from conformance.harness.ways import Way


def measure_history(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """The same work beside ever more runs that are over."""
    workload = size.scaled(ONE_STEP)
    templates: dict[int, str] = {}
    for finished in size.histories:
        templates[finished] = growth.with_history(bed, workload, finished)
        yield f"{finished:,} finished runs are made"
    for number in range(size.rounds):
        for name in order([str(finished) for finished in size.histories], number):
            with bed.copy(templates[int(name)]) as url:
                drained = throughput.drain(url, workload, [PYTHON_TUNED])
            book.note(f"finished runs: {name}", number, drained.rate, "tasks/s")
            memory = f"memory: the process, beside {int(name):,} finished runs"
            book.note(memory, number, drained.megabytes, "MB")
            yield f"beside {int(name):,} finished runs"
    if MILLION in size.histories:
        book.compare("million / none", f"finished runs: {MILLION}", "finished runs: 0")


def measure_waiting(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """The first runs of ever longer queues."""
    templates: dict[int, str] = {}
    for waiting in size.waiting:
        workload = replace(ONE_STEP, runs=waiting)
        templates[waiting] = growth.with_history(bed, workload, finished=0)
        yield f"{waiting:,} runs are queued"
    for number in range(size.rounds):
        for name in order([str(waiting) for waiting in size.waiting], number):
            with bed.copy(templates[int(name)]) as url:
                drained = throughput.drain_first(url, ONE_STEP, PYTHON_TUNED, size.first)
            book.note(f"waiting runs: {name}", number, drained.rate, "tasks/s")
            memory = f"memory: the process, with {int(name):,} waiting runs"
            book.note(memory, number, drained.megabytes, "MB")
            yield f"{int(name):,} waiting runs"


def measure_dags(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """Flows of ever more steps."""
    for number in range(size.rounds):
        for name in order([str(steps) for steps in size.dags], number):
            measured = dags.of_steps(bed, int(name))
            book.note(f"steps, compiled: {name}", number, measured.compiled, "ms")
            book.note(f"steps, defined: {name}", number, measured.defined, "ms")
            book.note(f"steps, started: {name}", number, measured.started, "ms")
            book.note(f"steps, run: {name}", number, measured.rate, "tasks/s")
            yield f"{int(name):,} steps"


def measure_workers(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """A queue shared by ever more workers: at the server itself, and behind PgBouncer."""
    if not size.workers:
        return
    with ExitStack() as stack:
        found = {"workers: ": ways.DIRECT}
        try:
            way = stack.enter_context(ways.opened(bed.url, "", "", pooled=True))
        except PoolerError as error:
            # Not an error of the run: on a machine without it all else can be measured.
            book.about["not measured"] = f"workers behind PgBouncer: {error}"
            yield "there is no PgBouncer"
        else:
            book.about["PgBouncer"] = f"{way.pooler}, in transaction mode"
            found["workers behind PgBouncer: "] = way
        curves = {
            f"{start}{workers}": (way, workers)
            for workers in size.workers
            for start, way in found.items()
        }
        for number in range(size.rounds):
            for name in order(list(curves), number):
                way, workers = curves[name]
                book.note(name, number, _shared(bed, size, workers, way), "tasks/s")
                yield name


def _shared(bed: Bed, size: Size, workers: int, way: Way) -> float:
    """Tasks per second of so many processes of the tuned worker."""
    workload = size.scaled(ONE_STEP)
    with bed.database(workload) as url:
        # A session of PgBouncer's is now on one connection of the server, now on another; before
        # version 1.21 a statement that was prepared on the one is not there on the other.
        subject = PYTHON_TUNED.told(prepare=False) if way.is_pooled else PYTHON_TUNED
        return throughput.drain(url, workload, [subject] * workers, way.through(url)).rate


_PROMISES: Final[dict[str, LiteralString]] = {
    "as it is": "",
    "an unlogged queue": "ALTER TABLE pgmq.{queue} SET UNLOGGED",
    "synchronous_commit off": "ALTER DATABASE {database} SET synchronous_commit = off",
}
"""What a database is told before it is measured, by what it promises then."""


def measure_promises(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """The same work in databases that promise less (docs/scaling.md)."""
    if not size.others:
        return
    workload = size.scaled(ONE_STEP)
    for number in range(size.rounds):
        for name in order(list(_PROMISES), number):
            with bed.database(workload) as url:
                _tell(url, workload, _PROMISES[name])
                drained = throughput.drain(url, workload, [PYTHON_TUNED])
            book.note(f"promises: {name}", number, drained.rate, "tasks/s")
            yield f"promises: {name}"
    for name in list(_PROMISES)[1:]:
        book.compare(f"promises: {name} / as it is", f"promises: {name}", "promises: as it is")


def _tell(url: str, workload: Workload, statement: LiteralString) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        if statement:
            named = sql.SQL(statement).format(
                queue=sql.Identifier(f"q_{workload.slug}"),
                database=sql.Identifier(connection.info.dbname),
            )
            connection.execute(named)
