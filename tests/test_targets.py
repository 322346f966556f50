"""What clients are pointed at: pools, shared connections; and what an interruption leaves."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from pgflow_ref import (
    AsyncPgFlow,
    DatabaseUnavailable,
    Flow,
    FlowNotFound,
    NotJson,
    PgFlow,
    RunNotFound,
)
from tests.conftest import PATIENCE, wait_until
from tests.ways import Awaiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Database
    from tests.ways import Way


@pytest.fixture
def flow(database: Database) -> Flow:
    flow = Flow("order")
    flow.step("one")(lambda given, _ctx: given)
    flow.step("two")(lambda given, _ctx: given)
    return database.add(flow)


def others(database: Database, state: str = "%") -> int:
    """Other connections to this database, in this state."""
    count: int = database.value(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND state LIKE %s",
        state,
    )
    return count


def runs(database: Database) -> int:
    count: int = database.value("SELECT count(*) FROM pgflow.runs")
    return count


def waiting(database: Database) -> int:
    count: int = database.value(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return count


# Two clients, one API

ASKING_NOBODY = {"core_version", "get_flow", "list_flows"}


def methods(client: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_")
    }


def test_both_clients_have_the_same_methods() -> None:
    blocking, awaiting = methods(PgFlow), methods(AsyncPgFlow)
    assert len(blocking) > 20
    assert {name: inspect.signature(method) for name, method in blocking.items()} == {
        name: inspect.signature(method) for name, method in awaiting.items()
    }
    for name, method in awaiting.items():
        assert inspect.iscoroutinefunction(method) is (name not in ASKING_NOBODY), name
        assert not inspect.iscoroutinefunction(blocking[name])
    here, there = (inspect.signature(client.__init__) for client in (PgFlow, AsyncPgFlow))
    assert list(here.parameters) == list(there.parameters)


def test_every_method_is_documented() -> None:
    for name, method in methods(PgFlow).items():
        assert "Example:" in (method.__doc__ or "") or name == "close", name
        assert f"See `PgFlow.{name}`" in (methods(AsyncPgFlow)[name].__doc__ or ""), name


# What is no target


def test_what_is_no_target(database: Database) -> None:
    wrong = [None, 7, b"postgresql://h/d", object(), PgFlow]
    for given in [*wrong, Awaiting]:
        with pytest.raises(TypeError, match=r"^PgFlow takes a connection URL, a psycopg\.Connect"):
            PgFlow(given)  # type: ignore[arg-type]
    for given in [*wrong, database.connection]:
        with pytest.raises(TypeError, match=r"^AsyncPgFlow takes a connection URL, a psy"):
            AsyncPgFlow(given)  # type: ignore[arg-type]


def test_targets_of_the_other_kind(database: Database) -> None:
    way = Awaiting()
    with (
        way.connect(database.url) as mine,
        way.pool(database.url, min_size=0, max_size=1) as pool,
    ):
        with pytest.raises(TypeError, match=r"not AsyncConnection$"):
            PgFlow(way.raw(mine))
        with pytest.raises(TypeError, match=r"not AsyncConnectionPool$"):
            PgFlow(way.raw(pool))
    way.close()


# Pools


@pytest.fixture(params=[True, False], ids=["autocommit", "as it comes"])
def pool(request: pytest.FixtureRequest, database: Database, way: Way) -> Iterator[Any]:
    options = {"kwargs": {"autocommit": True}} if request.param else {}
    with way.pool(database.url, min_size=1, max_size=2, timeout=PATIENCE, **options) as pool:
        yield pool


def test_each_call_has_a_transaction_of_its_own(
    way: Way, database: Database, pool: Any, flow: Flow
) -> None:
    with way.client(pool) as pgflow:
        run_id = pgflow.start_flow(flow, 7)
        assert database.run(run_id).input == 7
        assert pgflow.get_run(run_id).input == 7
        later = pgflow.enqueue_in(flow, 8, 3_600)
        assert database.run(later).input == 8
        assert database.value("SELECT count(*) FROM pgmq.read('order', 0, 10)") == 2
        with pytest.raises(FlowNotFound):
            pgflow.start_flow("goodbye", 1)
        with pytest.raises(FlowNotFound):
            pgflow.enqueue_in("goodbye", 1, 3_600)
        with pytest.raises(RunNotFound):
            pgflow.get_run(uuid4())
        with pytest.raises(NotJson):
            pgflow.start_flows(flow, [1, {2}])
        assert pgflow.delete_flow(flow) is True
    assert runs(database) == 0
    assert not pool.closed
    assert others(database, "idle in transaction%") == 0

    def has_all_back() -> bool:
        stats = pool.get_stats()  # counts those that it is still opening, too
        return bool(stats["pool_available"] == stats["pool_size"])

    wait_until(has_all_back)


def test_many_at_once_share_a_pool(way: Way, database: Database, pool: Any, flow: Flow) -> None:
    pgflow = way.client(pool)
    together([partial(pgflow.enqueue_in, flow, n, 60) for n in range(20)])
    assert runs(database) == 20
    assert others(database) <= 2


def test_a_pool_that_has_nothing(way: Way, database: Database, flow: Flow) -> None:
    with way.pool(database.url, min_size=1, max_size=1, timeout=0.05) as pool:
        pgflow = way.client(pool)
        with pool.connection():
            with pytest.raises(DatabaseUnavailable, match="there is no connection to be had: "):
                pgflow.start_flow(flow, 1)
            with pytest.raises(DatabaseUnavailable, match="there is no connection to be had: "):
                pgflow.start_worker(flow)
        pgflow.start_flow(flow, 2)
    with pytest.raises(DatabaseUnavailable, match="closed"):
        pgflow.start_flow(flow, 3)
    assert pgflow.health_check().status == "down"
    assert runs(database) == 1


# One client for many


def together(calls: list[Callable[[], object]]) -> None:
    """Do it all at the same time, and raise what any of it raises."""
    raised: list[BaseException] = []

    def attempt(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    threads = [threading.Thread(target=attempt, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    if raised:
        raise raised[0]


@pytest.mark.parametrize("target", ["URL", "connection"])
def test_transactions_of_one_client_do_not_mix(
    target: str, way: Way, database: Database, flow: Flow
) -> None:
    """What one thread or task has begun on the connection, no other goes on with."""
    with way.connect(database.url, autocommit=True) as mine:
        pgflow = way.client(database.url if target == "URL" else mine)

        def fail() -> None:
            with pytest.raises(FlowNotFound):
                pgflow.enqueue_in("goodbye", 1, 60)

        together([
            call
            for n in range(25)
            for call in (partial(pgflow.enqueue_in, flow, n, 60), fail, pgflow.health_check)
        ])  # fmt: skip
        pgflow.close()
    assert database.rows("SELECT input FROM pgflow.runs ORDER BY 1") == [(n,) for n in range(25)]
    assert database.value("SELECT count(*) FROM pgmq.read('order', 0, 100)") == 0
    assert database.value("SELECT count(*) FROM pgmq.q_order") == 50


def test_a_client_that_waits_lets_others_go_first(way: Way, database: Database, flow: Flow) -> None:
    with way.client(database.url) as pgflow:
        waiter = threading.Thread(
            target=lambda: pgflow.start_flow_sync(flow, 1, timeout=PATIENCE, poll_interval=0.01)
        )
        waiter.start()
        wait_until(lambda: runs(database) == 1)
        run_id = pgflow.start_flow(flow, 2)
        assert pgflow.get_run(run_id).input == 2
        database.rows("UPDATE pgflow.runs SET status = 'completed', completed_at = now()")
        waiter.join(PATIENCE)
        assert not waiter.is_alive()


# Interruptions


@pytest.mark.parametrize("target", ["URL", "connection", "pool"])
@pytest.mark.parametrize("call", ["start_flow", "enqueue_in", "delete_flow"])
def test_a_cancelled_call_leaves_nothing_behind(
    target: str, call: str, database: Database, flow: Flow
) -> None:
    way = Awaiting()
    arguments = {"start_flow": (flow, 1), "enqueue_in": (flow, 1, 60), "delete_flow": (flow,)}
    opened: Any = database.url
    if target == "connection":
        opened = way.connect(database.url, autocommit=True)
    elif target == "pool":
        opened = way.pool(database.url, min_size=1, max_size=1)
    pgflow = way.client(opened)
    with psycopg.connect(database.url) as holder:
        holder.execute("SELECT 1 FROM pgflow.flows FOR UPDATE")
        work = getattr(way.raw(pgflow), call)(*arguments[call])
        future = asyncio.run_coroutine_threadsafe(work, way.loop)
        wait_until(lambda: waiting(database) == 1)
        future.cancel()
        wait_until(lambda: waiting(database) == 0)
    wait_until(lambda: others(database, "idle in transaction%") == 0)
    wait_until(lambda: others(database, "active") == 0)
    assert database.rows("SELECT flow_slug FROM pgflow.flows") == [("order",)]
    assert runs(database) == 0
    assert pgflow.get_run(pgflow.start_flow(flow, 2)).input == 2
    pgflow.close()
    if target != "URL":
        opened.close()
    wait_until(lambda: others(database) == 0)
    way.close()


def test_a_cancelled_call_in_a_transaction_of_the_callers(database: Database, flow: Flow) -> None:
    way = Awaiting()
    with way.connect(database.url) as mine:
        pgflow = way.client(mine)
        mine.execute("CREATE TABLE mine (id int)")
        with psycopg.connect(database.url) as holder:
            holder.execute("SELECT 1 FROM pgflow.flows FOR UPDATE")
            work = way.raw(pgflow).enqueue_in(flow, 1, 60)
            future = asyncio.run_coroutine_threadsafe(work, way.loop)
            wait_until(lambda: waiting(database) == 1)
            future.cancel()
            wait_until(lambda: waiting(database) == 0)
        wait_until(lambda: mine.info.transaction_status is psycopg.pq.TransactionStatus.INTRANS)
        pgflow.start_flow(flow, 2)
        mine.execute("DROP TABLE mine")
        mine.commit()
    way.close()
    assert database.rows("SELECT input FROM pgflow.runs") == [(2,)]


def test_a_connection_that_is_being_opened_is_given_up() -> None:
    """The server answers nobody; the cancelled call closes what it has begun."""
    way = Awaiting()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        port = server.getsockname()[1]
        pgflow = way.client(f"postgresql://u@127.0.0.1:{port}/d?sslmode=disable&gssencmode=disable")
        work = way.raw(pgflow).get_run(uuid4())
        future = asyncio.run_coroutine_threadsafe(work, way.loop)
        begun, _ = server.accept()
        with begun:
            begun.settimeout(PATIENCE)
            assert begun.recv(1_000)
            future.cancel()
            assert begun.recv(1_000) == b"", "the client has hung up"
    way.close()


def test_ctrl_c_in_the_middle_of_a_call(database: Database, flow: Flow) -> None:
    with PgFlow(database.url) as pgflow:
        with psycopg.connect(database.url) as holder:
            holder.execute("SELECT 1 FROM pgflow.flows FOR UPDATE")

            def press() -> None:
                wait_until(lambda: waiting(database) == 1)
                os.kill(os.getpid(), signal.SIGINT)

            pressing = threading.Thread(target=press)
            pressing.start()
            with pytest.raises(KeyboardInterrupt):
                pgflow.enqueue_in(flow, 1, 60)
            pressing.join()
            assert waiting(database) == 0
        assert others(database, "idle in transaction%") == 0
        pgflow.start_flow(flow, 2)
    assert database.rows("SELECT input FROM pgflow.runs") == [(2,)]


# Connections that are lost


@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("is_open", [True, False])
def test_a_transaction_that_finds_no_connection(
    *, autocommit: bool, is_open: bool, way: Way, database: Database, flow: Flow
) -> None:
    with way.connect(database.url, autocommit=autocommit) as mine:
        pgflow = way.client(mine)
        if is_open:
            mine.execute("BEGIN" if autocommit else "SELECT 1")
        database.rows("SELECT pg_terminate_backend(%s, 10000)", mine.info.backend_pid)
        with pytest.raises(DatabaseUnavailable, match="the connection is lost"):
            pgflow.enqueue_in(flow, 1, 60)
        mine.close()
        with pytest.raises(DatabaseUnavailable, match=r"the connection is (lost|closed)"):
            pgflow.enqueue_in(flow, 1, 60)
    assert runs(database) == 0


def test_a_closed_connection_says_nothing_of_its_database(
    way: Way, database: Database, flow: Flow
) -> None:
    mine = way.connect(database.url)
    mine.close()
    with pytest.raises(DatabaseUnavailable, match=r"connection to be had: .*closed"):
        way.client(mine).start_worker(flow)
