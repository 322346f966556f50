"""Whoever comes to a gate waits at exactly that point."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from conformance.harness import gates
from conformance.harness.servers import RestartableServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.harness.databases import Cluster, Database

CORE = "0.5.0"
WITHIN = 10.0
READ = "SELECT msg_id FROM pgmq.read('gated', 30, 1)"
CLAIM = (
    "SELECT run_id::text FROM pgflow.start_tasks('gated',"
    " ARRAY(SELECT msg_id FROM pgmq.q_gated), %(worker)s)"
)
ACK = "SELECT status FROM pgflow.complete_task((SELECT run_id FROM pgflow.runs), 'a', 0, '1')"
WORKER = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with RestartableServer([CORE]) as server:
        yield server.cluster


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    """A flow with one step and one run."""
    with cluster.database(CORE) as made:
        for statement in (
            b"SELECT pgflow.create_flow('gated')",
            b"SELECT pgflow.add_step('gated', 'a')",
            b"SELECT pgflow.start_flow('gated', '{}')",
        ):
            made.connection.execute(statement)
        made.connection.execute(
            "INSERT INTO pgflow.workers (worker_id, queue_name, function_name)"
            " VALUES (%s, 'gated', 'test')",
            [WORKER],
        )
        yield made


class Client:
    """A connection whose one statement may have to wait."""

    def __init__(self, database: Database, statement: str) -> None:
        self.connection = psycopg.connect(database.url, autocommit=True)
        self.pid = self.connection.info.backend_pid
        self.rows: list[tuple[object, ...]] = []
        self.error: psycopg.Error | None = None
        self._statement = statement
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            cursor = self.connection.execute(self._statement.encode(), {"worker": WORKER})
            self.rows = cursor.fetchall()
        except psycopg.Error as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(WITHIN)
        assert not self._thread.is_alive()
        self.connection.close()


def wait(database: Database, client: Client) -> None:
    give_up_at = time.monotonic() + WITHIN
    while client.pid not in gates.waiting(database.connection):
        assert time.monotonic() < give_up_at, "nobody came to the gate"


def status(database: Database) -> tuple[object, ...] | None:
    """Of the one task; and how often its message was read."""
    return database.connection.execute(
        "SELECT t.status, m.read_ct FROM pgflow.step_tasks t"
        " LEFT JOIN pgmq.q_gated m ON m.msg_id = t.message_id"
    ).fetchone()


POINTS = [
    ("read", [], READ, ("queued", 0), ("queued", 1)),
    ("claim", [READ], CLAIM, ("queued", 1), ("started", 1)),
    ("ack", [READ, CLAIM], ACK, ("started", 1), ("completed", None)),
]


@pytest.mark.parametrize("when", gates.TIMES)
@pytest.mark.parametrize(("point", "first", "statement", "undone", "done"), POINTS)
def test_a_statement_waits_there_and_goes_on_when_it_is_opened(  # noqa: PLR0913, PLR0917
    point: str,
    first: list[str],
    statement: str,
    undone: tuple[object, ...],
    done: tuple[object, ...],
    when: str,
    database: Database,
) -> None:
    for one in first:
        database.connection.execute(one.encode(), {"worker": WORKER})
    gates.shut(database.connection, "gated", point, when)
    client = Client(database, statement)
    wait(database, client)
    assert status(database) == undone
    gates.open_(database.connection)
    client.join()
    assert client.error is None
    assert len(client.rows) == 1
    assert status(database) == done


@pytest.mark.parametrize("when", gates.TIMES)
@pytest.mark.parametrize(("point", "first", "statement", "undone", "done"), POINTS)
def test_what_is_undone_there_never_happened(  # noqa: PLR0913, PLR0917
    point: str,
    first: list[str],
    statement: str,
    undone: tuple[object, ...],
    done: tuple[object, ...],
    when: str,
    database: Database,
) -> None:
    for one in first:
        database.connection.execute(one.encode(), {"worker": WORKER})
    gates.shut(database.connection, "gated", point, when)
    client = Client(database, statement)
    wait(database, client)
    assert gates.undo(database.connection) == 1
    client.join()
    assert isinstance(client.error, psycopg.errors.AdminShutdown)
    assert status(database) == undone != done
    assert gates.undo(database.connection) == 0


def test_a_client_that_goes_while_it_waits_takes_nothing_back(database: Database) -> None:
    gates.shut(database.connection, "gated", "read", "after")
    client = Client(database, READ)
    wait(database, client)
    client.connection.pgconn.finish()
    assert client.pid in gates.waiting(database.connection)
    gates.open_(database.connection)
    give_up_at = time.monotonic() + WITHIN
    while status(database) != ("queued", 1):
        assert time.monotonic() < give_up_at


def test_an_open_gate_holds_nobody_up_and_other_changes_never_wait(database: Database) -> None:
    gates.shut(database.connection, "gated", "claim", "before")
    read = Client(database, READ)
    read.join()
    assert read.rows
    gates.open_(database.connection)
    claim = Client(database, CLAIM)
    claim.join()
    assert claim.rows


def test_who_waits_is_told(database: Database) -> None:
    gates.shut(database.connection, "gated", "read", "before")
    client = Client(database, READ)
    wait(database, client)
    assert gates.waiting(database.connection) == {client.pid}
    gates.open_(database.connection)
    client.join()
