"""Handlers that do what they should not, and connections that are lost at the worst moment."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgflow_ref import DatabaseUnavailable, Flow, Worker
from pgflow_ref import operations as ops
from pgflow_ref.connection import execute_together
from pgflow_ref.worker import database as worker_database
from tests.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from pgflow_ref import Context
    from tests.conftest import Database, Working

    Work = Callable[..., Working]

OTHERS = (
    "FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'pgflow-ref' AND pid <> pg_backend_pid()"
)


def job(handler: Callable[..., object], **options: Any) -> Flow:
    flow = Flow("flow", **options)
    flow.step("work")(handler)
    return flow


def echo(given: object, _ctx: object) -> object:
    return given


async def coroutine() -> int:
    return 1


def generator_function(_given: object, _ctx: object) -> Iterator[int]:
    yield 1


async def async_generator_function(_given: object, _ctx: object) -> AsyncIterator[int]:
    yield 1


async def returns_a_coroutine(_given: object, _ctx: object) -> object:
    return coroutine()


async def returns_a_generator(given: object, ctx: object) -> object:
    return generator_function(given, ctx)


async def returns_a_future(_given: object, _ctx: object) -> object:
    return asyncio.get_running_loop().create_future()


def not_json(kind: str) -> str:
    return f"Output cannot be stored: $: {kind} is not a JSON value"


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (generator_function, not_json("generator")),
        (async_generator_function, not_json("async_generator")),
        (returns_a_coroutine, "the handler returned a coroutine; await it"),
        (returns_a_generator, not_json("generator")),
        (returns_a_future, not_json("Future")),
    ],
)
def test_what_is_no_value_fails_the_task(
    handler: Callable[..., object], told: str, database: Database, work: Work
) -> None:
    working = work(database.add(job(handler, max_attempts=1)))
    run = database.finish(database.start("flow"))
    assert run.step_states[0].error_message == told
    assert not working.is_over()


class Awaited:
    """A handler that is an object."""

    async def __call__(self, given: object, _ctx: object) -> object:
        await asyncio.sleep(0)
        return given


@pytest.mark.parametrize("handler", [Awaited(), functools.partial(Awaited.__call__, Awaited())])
def test_whatever_is_awaited_may_be_a_handler(
    handler: Callable[..., object], database: Database, work: Work
) -> None:
    work(database.add(job(handler)))
    assert database.finish(database.start("flow", 1)).output == {"work": 1}


def test_a_coroutine_that_blocks_the_loop_is_late_and_nothing_else(
    database: Database, work: Work, gate: threading.Event
) -> None:
    began = threading.Event()

    async def block(given: object, _ctx: object) -> object:
        if given == "block":
            began.set()
            gate.wait()
        return given

    work(database.add(job(block, max_attempts=1, timeout=3)), heartbeat_interval=0.1)
    blocked = database.start("flow", "block")
    wait_until(began.is_set)
    others = [database.start("flow", number) for number in range(3)]
    started_at = "SELECT started_at + interval '4 seconds' FROM pgflow.step_tasks WHERE run_id = %s"
    wait_until(
        lambda: database.value("SELECT clock_timestamp()") > database.value(started_at, blocked)
    )
    assert database.run(blocked).status == "started"  # nobody could see to it
    gate.set()
    run = database.finish(blocked)
    assert run.step_states[0].error_message == "Task timed out after 3s"
    assert [database.finish(run_id).output for run_id in others] == [
        {"work": number} for number in range(3)
    ]


def test_threads_that_never_end_hold_up_nobody(
    database: Database, work: Work, gate: threading.Event
) -> None:
    def handler(given: object, _ctx: object) -> object:
        if given is None:
            gate.wait()
        return given

    working = work(database.add(job(handler, max_attempts=1, timeout=3)), max_concurrency=2)
    stuck = [database.start("flow") for _ in range(2)]
    after = database.start("flow", "after")
    assert {database.finish(run_id).status for run_id in stuck} == {"failed"}
    assert database.finish(after).output == {"work": "after"}
    working.stop()


# Connections


def wait_for_a_lock(database: Database) -> None:
    wait_until(lambda: database.rows(f"SELECT 1 {OTHERS} AND wait_event_type = 'Lock'"))


def test_a_connection_that_is_lost_while_it_claims(
    database: Database, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    database.add(job(echo))
    ids = [database.start("flow", number) for number in range(3)]
    with psycopg.connect(database.url, application_name="test") as other:
        other.execute("SELECT FROM pgflow.step_tasks FOR UPDATE")
        work(job(echo))
        wait_for_a_lock(database)
        database.rows(f"SELECT pg_terminate_backend(pid, 10000) {OTHERS}")
        wait_until(lambda: "cannot claim tasks: " in caplog.text)
    assert [database.finish(run_id).output for run_id in ids] == [
        {"work": number} for number in range(3)
    ]
    assert database.rows("SELECT DISTINCT attempts_count FROM pgflow.step_tasks") == [(1,)]


def test_a_pulse_that_is_lost_comes_back(database: Database, work: Work) -> None:
    beat = "SELECT max(last_heartbeat_at) FROM pgflow.workers"
    work(database.add(job(echo)), heartbeat_interval=0.1)
    pulse = f"{OTHERS} AND query LIKE 'UPDATE pgflow.workers%%'"
    wait_until(lambda: database.rows(f"SELECT 1 {pulse}"))
    database.rows(f"SELECT pg_terminate_backend(pid, 10000) {pulse}")
    first = database.value(beat)
    wait_until(lambda: database.value(beat) > first)


def test_a_worker_leaves_no_connection(database: Database, work: Work) -> None:
    working = work(database.add(job(echo)), heartbeat_interval=0.1)
    assert database.finish(database.start("flow", 1)).output == {"work": 1}
    assert database.value(f"SELECT count(*) {OTHERS}") == 3
    working.stop()
    wait_until(lambda: not database.rows(f"SELECT 1 {OTHERS}"))


def test_a_worker_that_cannot_start_leaves_no_connection(database: Database) -> None:
    database.alter("DROP TABLE pgflow.workers CASCADE")
    database.add(job(echo))
    with pytest.raises(Exception, match="workers"):
        Worker(job(echo), database.url).run(signals=False)
    wait_until(lambda: not database.rows(f"SELECT 1 {OTHERS}"))


def test_a_connection_that_is_lost_at_the_start_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As any that cannot be had then; only later it is waited for."""
    real = worker_database.Database.register

    async def cut(self: worker_database.Database) -> None:
        database.rows(f"SELECT pg_terminate_backend(pid, 10000) {OTHERS}")
        await real(self)

    monkeypatch.setattr(worker_database.Database, "register", cut)
    with pytest.raises(DatabaseUnavailable, match="cannot register the worker"):
        Worker(database.add(job(echo)), database.url).run(signals=False)
    assert database.rows("SELECT * FROM pgflow.workers") == []


def test_a_result_is_recorded_once_though_lines_break_all_the_time(
    database: Database, work: Work
) -> None:
    """Whichever of its lines are cut, and whenever."""
    attempts: list[int] = []

    def note(given: object, ctx: Context) -> object:
        attempts.append(ctx.attempt)
        return given

    database.add(job(note))
    database.rows("CREATE TABLE public.ends AS SELECT run_id FROM pgflow.step_tasks WITH NO DATA")
    database.alter(
        "CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO public.ends VALUES (NEW.run_id); RETURN NULL; END $$"
    )
    database.alter(
        "CREATE TRIGGER note_end AFTER UPDATE ON pgflow.step_tasks FOR EACH ROW"
        " WHEN (NEW.status = 'completed') EXECUTE FUNCTION note_end()"
    )
    ids = [database.start("flow", number) for number in range(40)]
    work(job(note), max_concurrency=5, heartbeat_interval=0.1, recovery_interval=0.2)

    def has_gone_on(done: int) -> bool:
        # What was read or claimed in vain comes back in its time; here it is not waited for.
        database.rows(
            "UPDATE pgmq.q_flow SET vt = now() WHERE msg_id IN (SELECT msg_id FROM pgmq.q_flow"
            " WHERE vt > clock_timestamp() FOR UPDATE SKIP LOCKED)"
        )
        database.rows(
            "UPDATE pgflow.step_tasks SET queued_at = now() - interval '2 hours',"
            " started_at = now() - interval '1 hour' WHERE status = 'started'"
            " AND started_at < clock_timestamp() - interval '2 seconds'"
        )
        return database.tasks("completed") > done

    while (done := database.tasks("completed")) < 40:
        database.rows(f"SELECT pg_terminate_backend(pid) {OTHERS} ORDER BY random() LIMIT 1")
        wait_until(lambda done=done: has_gone_on(done))  # type: ignore[misc]
    for number, run_id in enumerate(ids):
        assert database.finish(run_id).output == {"work": number}
    assert database.rows("SELECT count(*), count(DISTINCT run_id) FROM public.ends") == [(40, 40)]


def test_a_result_that_nobody_takes_any_more_is_told(
    database: Database,
    databases: Any,
    work: Work,
    gate: threading.Event,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The database is away, and the worker's time to stop is over."""

    def wait(_given: object, _ctx: object) -> None:
        gate.wait()

    name = database.connection.info.dbname
    database.is_altered = True  # for a while
    working = work(database.add(job(wait)))
    run_id = database.start("flow")
    wait_until(lambda: database.tasks("started") == 1)
    databases.execute("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", name)
    database.rows(f"SELECT pg_terminate_backend(pid, 10000) {OTHERS}")
    working.worker.stop()
    working.stop()
    databases.execute("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", name)
    told = f"result of flow.work of run {run_id}, attempt 1 is lost: it cannot be recorded"
    assert told in caplog.text


def test_a_mistake_of_ours_is_loud(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather that than a worker that hangs."""

    async def broken(_self: object, _message_ids: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(worker_database.Database, "claim", broken)
    database.add(job(echo))
    database.start("flow")
    with pytest.raises(ZeroDivisionError):
        Worker(job(echo), database.url).run(signals=False)
    wait_until(lambda: not database.rows(f"SELECT 1 {OTHERS}"))


def test_where_nobody_can_say_what_became_of_a_result_it_is_told_as_dropped(
    database: Database,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost: list[object] = []

    async def lossy(connection: Any, operations: Any) -> Any:
        answers = await execute_together(connection, operations)
        if operations[0].name == "lock runs" and not lost:
            lost.append(operations)
            raise DatabaseUnavailable("the connection is lost")
        return answers

    def unlucky(_keys: object, _worker_id: object) -> Any:
        raise DatabaseUnavailable("the connection is lost again")

    monkeypatch.setattr(worker_database, "execute_together", lossy)
    monkeypatch.setattr(ops, "attempts_now", unlucky)
    work(database.add(job(echo)))
    run_id = database.start("flow", 1)
    wait_until(lambda: "is dropped: the task is no longer ours" in caplog.text)
    assert "cannot see what became of 1 results: the connection is lost again" in caplog.text
    assert database.run(run_id).output == {"work": 1}  # for it was recorded


def test_the_statement_that_lists_queues_takes_no_other_name() -> None:
    for name in ("", "a b", 'a"b', "a;b", "a-b", "é", "1a", "a\n"):
        with pytest.raises(ValueError, match="is no queue of pgflow's"):
            ops.listen(name)
        with pytest.raises(ValueError, match="is no queue of pgflow's"):
            ops.visible_in(name)
    assert ops.listen("Order_1").sql == 'LISTEN "pgmq.q_order_1.INSERT"'
    assert ops.visible_in("Order_1").sql.endswith(" FROM pgmq.q_order_1")
