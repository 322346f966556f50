"""Where benchmarks run: a server with PostgreSQL's default durability, and a database for each."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks import ceiling
from conformance.harness.databases import Cluster
from pgflow_ref import EmbeddedPostgres
from pgflow_ref.compile import compile_flow
from pgflow_ref.install import Wanted, WantedPgmq, install
from pgflow_ref.shape import FlowShape, Options, StepShape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.workloads import Workload
    from conformance.harness.databases import Connection

_EMPTY: Final = "bench_empty"
_USED: Final = 0.1  # of a workload's runs; enough for the server to know both kinds of task
SETTINGS: Final = {
    # When a transaction became durable is asked of the server, not of clocks around it.
    "track_commit_timestamp": "on",
    # A checkpoint in the middle of one measurement and not of its pair would decide between them.
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
}
"""What differs from PostgreSQL's defaults; nothing of it makes a commit less durable."""


class Bed:
    """One server with templates to copy: the core alone, and the core with queued runs.

    Args:
        server: a server that runs, with `SETTINGS`.
        core: the core that is measured.
        pgmq: and its pgmq; None is the usual one.
    """

    def __init__(
        self, server: EmbeddedPostgres, core: Wanted, pgmq: WantedPgmq | None = None
    ) -> None:
        self.server, self.core, self.pgmq = server, core, pgmq
        self._cluster = Cluster(server.url())
        self._numbers = itertools.count(1)
        self._filled: dict[tuple[str, int], str] = {}  # templates by flow and number of runs
        self._cluster.create(_EMPTY)
        with self._cluster.connect(_EMPTY) as connection:
            install(connection, core, pgmq=pgmq)

    @property
    def url(self) -> str:
        """Of the server, for a pooler before it."""
        return self.server.url()

    @contextmanager
    def database(self, workload: Workload | None = None) -> Iterator[str]:
        """The URL of a database of its own, gone afterwards.

        Args:
            workload: whose runs wait there; without one it holds nothing but the core.
        """
        with self.copy(_EMPTY if workload is None else self._fill(workload)) as url:
            yield url

    @contextmanager
    def copy(self, template: str) -> Iterator[str]:
        """The URL of a copy of a template, gone afterwards."""
        name = f"bench_{next(self._numbers)}"
        self._cluster.create(name, template)
        try:
            yield self._cluster.url_of(name)
        finally:
            self._cluster.drop(name)

    @contextmanager
    def template(self) -> Iterator[tuple[str, Connection]]:
        """The name of a new template, and a connection to put something into it beside the core."""
        name = f"bench_template_{next(self._numbers)}"
        self._cluster.create(name, _EMPTY)
        with self._cluster.connect(name) as connection:
            yield name, connection
            # Plans, and the map of what is visible, are the same for everybody who gets a copy.
            connection.execute("VACUUM ANALYZE")

    def _fill(self, workload: Workload) -> str:
        """The template with this workload's runs; made when it is first asked for."""
        key = workload.slug, workload.runs
        if key not in self._filled:
            with self.template() as (name, connection):
                define(connection, workload.slug, workload.steps)
                use(connection, workload)
                queue(connection, workload)
            self._filled[key] = name
        return self._filled[key]


@contextmanager
def make_bed(core: Wanted, pgmq: WantedPgmq | None = None) -> Iterator[Bed]:
    """A bed on a server of its own, which is gone afterwards.

    Example:
        with make_bed(wanted("0.5.0")) as bed, bed.database(ONE_STEP) as url: ...
    """
    with EmbeddedPostgres(SETTINGS, durable=True) as server:
        yield Bed(server, core, pgmq)


def define(connection: Connection, slug: str, steps: Mapping[str, tuple[str, ...]]) -> None:
    """Put a flow into the database."""
    for statement in compile_flow(shape_of(slug, steps)):
        connection.execute(statement)


def shape_of(slug: str, steps: Mapping[str, tuple[str, ...]]) -> FlowShape:
    """A flow as benchmarks define it."""
    # The shortest time-outs by which nothing comes back while it is measured.
    shapes = tuple(StepShape(step, needs, Options(timeout=60)) for step, needs in steps.items())
    return FlowShape(slug, Options(max_attempts=1), shapes)


def use(connection: Connection, workload: Workload) -> None:
    """Let a database have finished a share of a workload's runs before they are queued.

    The statistics of one that holds nothing but queued tasks say that none is ever completed. By
    those the server plans `pgflow.start_tasks` so that it reads all completed tasks once for each
    task that it starts, and everybody is slow until autovacuum looks again, which is by chance.
    """
    queue(connection, replace(workload, runs=max(1, round(workload.runs * _USED))))
    ceiling.drain(connection, workload.slug)
    # As of somebody who worked here once: what is measured is known by its worker.
    connection.execute("UPDATE pgflow.step_tasks SET last_worker_id = NULL")
    connection.execute("DELETE FROM pgflow.workers")


def queue(connection: Connection, workload: Workload) -> None:
    """Start a workload's runs, inside the server."""
    connection.execute(
        "SELECT pgflow.start_flow(%(slug)s, jsonb_build_object("
        "'n', n, 'text', repeat(md5(n::text), %(repeats)s)))"
        " FROM generate_series(1, %(runs)s) n",
        {"slug": workload.slug, "runs": workload.runs, "repeats": -(-workload.payload // 32)},
    )
