"""A PostgreSQL for each process of the run, a clean database for each test, workers in threads."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from psycopg import sql

from pgflow_ref import PgFlow, Worker
from pgflow_ref.cli import main
from pgflow_ref.compile import compile_flow
from pgflow_ref.embedded import EmbeddedPostgres
from pgflow_ref.install import install
from tests.command_line import UNWANTED
from tests.ways import Awaiting, Blocking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from typing_extensions import LiteralString

    from pgflow_ref import Flow, Run
    from tests.command_line import Call
    from tests.ways import Way

PATIENCE: Final = 30.0
"""Seconds to wait for what comes in a moment; only a test that fails waits as long."""


def pytest_configure() -> None:
    """Heed Ctrl-C, which jobs in the background ignore: tests that press it would wait in vain."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class Database:
    """A test's own database: its URL, and a connection that commits by itself."""

    def __init__(self, url: str, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.url = url
        self.connection = connection
        self.is_altered = False

    def alter(self, statement: LiteralString) -> None:
        """Change the core itself: no other test will see this database."""
        self.is_altered = True
        self.connection.execute(statement)

    def clear(self) -> None:
        """Take out all that tests put in."""
        self.rows("SELECT pgmq.drop_queue(queue_name) FROM pgmq.meta")
        for table in ("step_tasks", "step_states", "runs", "deps", "steps", "flows", "workers"):
            self.connection.execute(sql.SQL("DELETE FROM pgflow.{}").format(sql.Identifier(table)))

    def rows(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(query, values or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, query: LiteralString, *values: object) -> Any:
        return self.rows(query, *values)[0][0]

    def add(self, flow: Flow) -> Flow:
        """Compile a flow into the database."""
        for statement in compile_flow(flow.shape):
            self.connection.execute(statement.encode())
        return flow

    def start(self, flow: Flow | str, run_input: object = None) -> UUID:
        return PgFlow(self.connection).start_flow(flow, run_input)

    def run(self, run_id: UUID) -> Run:
        return PgFlow(self.connection).get_run_with_states(run_id)

    def finish(self, run_id: UUID) -> Run:
        """Wait for the end of a run, but not for the delays between attempts."""

        def is_over() -> bool:
            self.rows(
                "SELECT pgmq.set_vt(flow_slug, message_id, 0) FROM pgflow.step_tasks"
                " WHERE run_id = %s AND status = 'queued'",
                run_id,
            )
            return self.run(run_id).is_over

        wait_until(is_over)
        return self.run(run_id)

    def tasks(self, status: str) -> int:
        """How many tasks are in this state."""
        count: int = self.value("SELECT count(*) FROM pgflow.step_tasks WHERE status = %s", status)
        return count


class Server:
    """The databases of one server."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.url = postgres.url
        self._numbers = itertools.count(1)
        self._unused: dict[str, list[str]] = {}

    @contextmanager
    def database(self, core: str = "0.5.0") -> Iterator[Database]:
        """A database with a core and nothing else: a new one, or a used one that is cleared."""
        unused = self._unused.get(core)
        if unused is None:
            self.execute("CREATE DATABASE {}", f"core {core}")
            install(self.url(f"core {core}"), core)
            unused = self._unused[core] = []
        name = unused.pop() if unused else self.create(f"core {core}")
        options = "-c lock_timeout=10s"  # rather an error than a test that hangs
        with psycopg.connect(self.url(name), autocommit=True, options=options) as connection:
            database = Database(self.url(name), connection)
            yield database
            if not database.is_altered:
                database.clear()
        if database.is_altered:
            self.drop(name)
        else:
            unused.append(name)

    def create(self, template: str) -> str:
        """Make a copy of a database; its name."""
        name = f"test_{next(self._numbers)}"
        self.execute("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", name, template)
        return name

    def drop(self, name: str) -> None:
        self.execute("DROP DATABASE {} WITH (FORCE)", name)

    def execute(self, statement: LiteralString, *names: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture(scope="session")
def databases() -> Iterator[Server]:
    """A server of this process."""
    with EmbeddedPostgres() as postgres:
        yield Server(postgres)


@pytest.fixture
def database(databases: Server) -> Iterator[Database]:
    with databases.database() as database:
        yield database


@pytest.fixture
def newest(databases: Server) -> Iterator[Database]:
    """As `database`, with the newest core that can be installed: 0.8.1."""
    with databases.database("0.8.1") as database:
        yield database


@pytest.fixture(params=["0.5.0", "0.8.1"])
def core(request: pytest.FixtureRequest, databases: Server) -> Iterator[Database]:
    """As `database`, with the oldest core and with the newest."""
    with databases.database(request.param) as database:
        yield database


@pytest.fixture
def empty(databases: Server) -> Iterator[str]:
    """The URL of a database that holds nothing."""
    name = databases.create("template0")
    yield databases.url(name)
    databases.drop(name)


class Working:
    """A worker in a thread, and what it ended with."""

    def __init__(self, flow: Flow, url: str, **options: Any) -> None:
        self._ready = threading.Event()
        quick = {"min_poll_interval": 0.01, "max_poll_interval": 0.05}
        self.worker = Worker(
            flow, url, on_ready=lambda _: self._ready.set(), **{**quick, **options}
        )
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        wait_until(lambda: self._ready.is_set() or not self.thread.is_alive())
        assert self.error is None, self.error

    def _run(self) -> None:
        try:
            self.worker.run(signals=False)
        except BaseException as error:  # noqa: BLE001
            self.error = error

    def is_over(self) -> bool:
        return not self.thread.is_alive()

    def join(self) -> None:
        """Wait until it has stopped, as it should."""
        self.thread.join(PATIENCE)
        assert self.is_over()
        assert self.error is None, self.error

    def stop(self) -> None:
        self.worker.stop()
        self.join()


@pytest.fixture
def work(database: Database) -> Iterator[Callable[..., Working]]:
    """Start workers for a flow, which are gone at the end of the test."""
    started: list[Working] = []

    def work(flow: Flow, **options: Any) -> Working:
        started.append(Working(flow, options.pop("url", database.url), **options))
        return started[-1]

    yield work
    for working in started:
        if not working.is_over():
            working.worker.stop()
            working.worker.stop()  # do not wait for handlers
    for working in started:
        working.join()


@pytest.fixture(params=[Blocking, Awaiting], ids=["blocking", "awaiting"])
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """One client and the other."""
    way: Way = request.param()
    yield way
    way.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What handlers of a test wait at; open at the end."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command within this process, which saves the time of starting one."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in UNWANTED:
        monkeypatch.delenv(name, raising=False)

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["pgflow-ref", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        status = end.value.code or 0
        assert isinstance(status, int)
        return subprocess.CompletedProcess(sys.argv, status, *capsys.readouterr())

    return call
