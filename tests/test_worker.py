"""Workers in threads on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

import psycopg
import pytest

from pgflow_ref import (
    ConfigError,
    CoreMissing,
    CoreUnsupported,
    DatabaseUnavailable,
    Flow,
    FlowMismatch,
    FlowNotFound,
    InvalidFlow,
    Job,
    TaskFailed,
    Worker,
    WorkerConfig,
)
from pgflow_ref.execute import STOPPED
from tests.conftest import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_ref import Context
    from tests.conftest import Database, Working

    Work = Callable[..., Working]

TASK = (
    "SELECT status, attempts_count, output, error_message FROM pgflow.step_tasks WHERE run_id = %s"
)


def job(handler: Callable[..., object], slug: str = "flow", **options: Any) -> Flow:
    """A flow of one step, `work`."""
    flow = Flow(slug, **options)
    flow.step("work")(handler)
    return flow


def nothing(given: object, ctx: object) -> None:
    pass


def waiting(gate: threading.Event) -> Callable[..., object]:
    """A handler that gives back its input once the gate is open."""

    def wait(given: object, _ctx: object) -> object:
        gate.wait()
        return given

    return wait


async def for_ever(_given: object, _ctx: object) -> None:
    await asyncio.Event().wait()


OTHERS = (
    "FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'pgflow-ref' AND pid <> pg_backend_pid()"
)


def wait_for_a_lock(database: Database) -> None:
    """Wait until the worker waits for one."""
    wait_until(lambda: database.rows(f"SELECT 1 {OTHERS} AND wait_event_type = 'Lock'"))


# Handlers and what they get


def test_a_chain_runs_to_its_end(database: Database, work: Work) -> None:
    flow = Flow("flow")

    @flow.step()
    def check(order: Any, _ctx: object) -> object:
        return {"valid": order["id"] > 0}

    @flow.step(depends_on=[check])
    async def price(deps: Any, ctx: Context) -> object:
        await asyncio.sleep(0)
        return [deps["check"]["valid"], ctx.flow_input]

    @flow.step(depends_on=[check, price])
    def confirm(deps: Any, _ctx: object) -> object:
        return {"seen": deps}

    work(database.add(flow))
    run = database.finish(database.start(flow, {"id": 7}))
    assert run.status == "completed"
    seen = {"check": {"valid": True}, "price": [True, {"id": 7}]}
    assert run.output == {"confirm": {"seen": seen}}
    assert [state.attempts for state in run.step_states] == [1, 1, 1]


@pytest.mark.parametrize("value", [False, 0, "", [], {}, "text", 3.25, 2**70, [None]])
def test_a_value_passes_through_a_worker(value: object, database: Database, work: Work) -> None:
    flow = Flow("flow")
    seen: list[object] = []

    @flow.step()
    def first(given: object, _ctx: object) -> object:
        seen.append(given)
        return given

    @flow.step(depends_on=[first])
    def second(deps: Any, _ctx: object) -> object:
        seen.append(deps["first"])
        return deps["first"]

    work(database.add(flow))
    run = database.finish(database.start(flow, value))
    assert run.output == {"second": value}
    assert list(map(repr, seen)) == [repr(value)] * 2


def test_none_is_stored_as_sql_null(database: Database, work: Work) -> None:
    flow = Flow("flow")
    first = flow.step("first")(nothing)
    flow.step("second", depends_on=[first])(lambda deps, ctx: [deps, ctx.flow_input])
    work(database.add(flow))
    run = database.finish(database.start(flow, None))
    assert run.output == {"second": [{"first": None}, None]}
    assert database.rows(
        "SELECT output IS NULL FROM pgflow.step_tasks WHERE step_slug = 'first'"
    ) == [(True,)]


def test_the_context_says_the_truth(database: Database, work: Work) -> None:
    contexts: list[Context] = []

    def fail_twice(_given: object, ctx: Context) -> str:
        contexts.append(ctx)
        if ctx.attempt < 3:
            raise TaskFailed(f"attempt {ctx.attempt}")
        return "at last"

    working = work(database.add(job(fail_twice)))
    run_id = database.start("flow", {"id": 7})
    run = database.finish(run_id)
    assert (run.status, run.output) == ("completed", {"work": "at last"})
    assert [ctx.attempt for ctx in contexts] == [1, 2, 3]
    for ctx in contexts:
        assert (ctx.run_id, ctx.flow_slug, ctx.step_slug) == (run_id, "flow", "work")
        assert (ctx.task_index, ctx.flow_input) == (0, {"id": 7})
        assert ctx.worker_id == working.worker.worker_id
        assert not ctx.stopping.is_set()


def test_attempts_are_counted_over_workers(database: Database, work: Work) -> None:
    attempts: list[int] = []

    def fail_once(_given: object, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise TaskFailed("no")

    first = work(database.add(job(fail_once)))
    run_id = database.start("flow")
    wait_until(lambda: database.run(run_id).step_states[0].error_message)
    first.stop()
    work(job(fail_once))
    assert database.finish(run_id).status == "completed"
    assert attempts == [1, 2]


def test_a_run_fails_when_its_attempts_are_used_up(database: Database, work: Work) -> None:
    def fail(_given: object, ctx: Context) -> None:
        raise ValueError(f"no {ctx.attempt}")

    work(database.add(job(fail, max_attempts=2)))
    run_id = database.start("flow")
    assert database.finish(run_id).status == "failed"
    assert database.rows(TASK, run_id) == [("failed", 2, None, "ValueError: no 2")]
    assert database.value("SELECT count(*) FROM pgmq.q_flow") == 0


class Odd(BaseException):
    """Not even an Exception."""


class Unreadable(Exception):
    """Breaks when it is looked at."""

    def __str__(self) -> str:
        raise RuntimeError


def generator() -> Any:
    yield 1


RAISED: dict[str, tuple[BaseException, str]] = {
    "SystemExit": (SystemExit(3), "SystemExit: 3"),
    "KeyboardInterrupt": (KeyboardInterrupt(), "KeyboardInterrupt"),
    "GeneratorExit": (GeneratorExit(), "GeneratorExit"),
    "CancelledError": (asyncio.CancelledError(), "CancelledError"),
    "BaseException": (Odd("!"), "Odd: !"),
    "unreadable": (Unreadable(), "Unreadable: (its text cannot be read)"),
    "not to be stored": (TaskFailed("a\x00b\ud800"), r"a\u0000b\ud800"),
}
RETURNED: dict[str, tuple[object, str]] = {
    "generator": (generator(), "Output cannot be stored: $: generator is not a JSON value"),
    "set": ({"a": {1}}, "Output cannot be stored: $.a: set is not a JSON value"),
    "NaN": ([float("nan")], "Output cannot be stored: $[0]: NaN is not a JSON number"),
    "NUL": ("\x00", "Output cannot be stored: $: PostgreSQL's jsonb has no U+0000"),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_whatever_a_handler_does_only_its_task_fails(
    *, is_async: bool, database: Database, work: Work
) -> None:
    def handler(name: Any, _ctx: object) -> object:
        if name in RAISED:
            raise RAISED[name][0]
        return RETURNED[name][0] if name in RETURNED else name

    async def async_handler(name: object, ctx: object) -> object:
        return handler(name, ctx)

    work(database.add(job(async_handler if is_async else handler, max_attempts=1)))
    expected = {name: told for name, (_, told) in {**RAISED, **RETURNED}.items()}
    runs = [database.finish(database.start("flow", name)) for name in expected]
    assert {run.input: run.step_states[0].error_message for run in runs} == expected
    assert {run.status for run in runs} == {"failed"}
    assert database.finish(database.start("flow", "fine")).output == {"work": "fine"}


def test_a_coroutine_that_nobody_awaits_fails_its_task(database: Database, work: Work) -> None:
    async def coroutine() -> int:
        return 1

    work(database.add(job(lambda _given, _ctx: coroutine(), max_attempts=1)))
    run = database.finish(database.start("flow"))
    assert run.step_states[0].error_message == (
        "the handler returned a coroutine; declare it with `async def`"
    )


def test_a_step_that_the_code_does_not_have_fails(database: Database, work: Work) -> None:
    work(database.add(job(nothing, max_attempts=1)))
    database.rows("SELECT pgflow.add_step('flow', 'late')")
    run = database.finish(database.start("flow"))
    assert run.status == "failed"
    errors = {state.step_slug: state.error_message for state in run.step_states}
    assert errors["late"] == 'Step "late" does not exist in flow "flow"'


def test_a_job_runs(database: Database, work: Work) -> None:
    mail = Job("mail")
    mail.perform()(lambda to, _ctx: f"sent to {to}")
    work(database.add(mail))
    assert database.finish(database.start(mail, "Ada")).output == {"mail": "sent to Ada"}


# Time


def test_tasks_that_take_too_long_fail(
    database: Database, work: Work, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []
    flows = [Flow(slug, max_attempts=1, timeout=3) for slug in ("heeds", "ignores", "thread")]
    heeds, ignores, thread = map(database.add, flows)

    @heeds.step("work")
    async def cancelled(_given: object, _ctx: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("heeds")

    @ignores.step("work")
    async def not_cancelled(_given: object, _ctx: object) -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    @thread.step("work")
    def late(_given: object, _ctx: object) -> str:
        gate.wait()
        ended.append("thread")
        return "too late"

    workers = [work(database.add(flow)) for flow in flows]
    ids = [database.start(flow) for flow in flows]
    for run_id in ids:
        assert database.finish(run_id).status == "failed"
        assert database.rows(TASK, run_id) == [("failed", 1, None, "Task timed out after 3s")]
    assert ended == ["heeds"]
    gate.set()
    wait_until(lambda: len(ended) == 2)  # what a thread still returns is dropped
    for working in workers:
        working.stop()
    assert database.rows(TASK, ids[2]) == [("failed", 1, None, "Task timed out after 3s")]
    assert "no longer ours" not in caplog.text


def test_no_more_tasks_than_slots(database: Database, work: Work, gate: threading.Event) -> None:
    now, most, lock = 0, 0, threading.Lock()

    def count(_given: object, _ctx: object) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        gate.wait()
        with lock:
            now -= 1

    database.add(job(count))
    ids = [database.start("flow") for _ in range(12)]
    work(job(count), max_concurrency=3)
    wait_until(lambda: now == 3)
    assert database.tasks("started") == 3
    gate.set()
    assert {database.finish(run_id).status for run_id in ids} == {"completed"}
    assert most == 3


# The start


def test_a_flow_that_is_not_there(database: Database) -> None:
    with pytest.raises(FlowNotFound, match=r"'flow' is not in the database; .*pgflow-ref compile"):
        Worker(job(nothing), database.url).run(signals=False)
    assert database.rows("SELECT * FROM pgflow.workers") == []


def test_a_missing_step_can_be_mended_by_what_the_error_says(
    database: Database, work: Work
) -> None:
    flow = Flow("flow")
    one = flow.step("one")(nothing)
    database.add(flow)
    flow.step("two", depends_on=[one], timeout=9)(nothing)
    with pytest.raises(FlowMismatch, match="step 'two' is missing in the database; ") as caught:
        Worker(flow, database.url).run(signals=False)
    assert database.rows("SELECT * FROM pgflow.workers") == []
    database.connection.execute(
        str(caught.value).partition("this adds what is missing: ")[2].encode()
    )
    work(flow)
    assert database.finish(database.start(flow)).status == "completed"


def test_another_shape_is_shown(database: Database) -> None:
    database.add(job(nothing, timeout=60))
    with pytest.raises(FlowMismatch) as caught:
        Worker(job(nothing, timeout=30), database.url).run(signals=False)
    assert str(caught.value) == (
        "flow 'flow' in the database is not the one in the code: timeout is 30 in the code and 60 "
        "in the database; give the flow a new slug, or delete it in the database and compile it "
        "again"
    )


def test_a_database_without_a_core(empty: str) -> None:
    with pytest.raises(CoreMissing, match="`pgflow-ref install URL` puts one there"):
        Worker(job(nothing), empty).run(signals=False)


def test_a_core_that_is_too_old(database: Database) -> None:
    database.alter("DROP FUNCTION pgflow.start_tasks")
    with pytest.raises(CoreUnsupported, match=r"older than 0\.5\.0"):
        Worker(job(nothing), database.url).run(signals=False)


def test_a_core_that_is_too_new(database: Database) -> None:
    database.alter("ALTER TYPE pgflow.step_task_record ADD ATTRIBUTE flow_input jsonb")
    with pytest.raises(CoreUnsupported, match="tasks come with flow_input"):
        Worker(job(nothing), database.url).run(signals=False)


def test_start_delay_needs_a_newer_core(database: Database) -> None:
    database.add(job(nothing))
    flow = Flow("flow")
    flow.step("work", start_delay=9)(nothing)
    with pytest.raises(CoreUnsupported) as caught:
        Worker(flow, database.url).run(signals=False)
    assert str(caught.value) == (
        "flow 'flow', step 'work': start_delay needs core 0.5.3 or newer, and this one is 0.5.0"
    )


def test_a_database_that_cannot_be_reached() -> None:
    with pytest.raises(DatabaseUnavailable, match="no connection to database 'shop'"):
        Worker(job(nothing), "postgresql://127.0.0.1:1/shop").run(signals=False)


def test_what_is_wrong_is_said_when_a_worker_is_made() -> None:
    with pytest.raises(ConfigError, match="unknown option 'threads'; batch_size is between"):
        Worker(job(nothing), "", threads=1, batch_size=0)
    with pytest.raises(ConfigError, match="given twice: in config, and batch_size"):
        Worker(job(nothing), "", WorkerConfig(), batch_size=1)
    with pytest.raises(InvalidFlow, match="flow 'flow'"):
        Worker(Flow("flow"), "")


# The worker's row


def test_the_row_of_a_worker(database: Database, work: Work) -> None:
    row = "SELECT queue_name, function_name, stopped_at FROM pgflow.workers WHERE worker_id = %s"
    beat = "SELECT last_heartbeat_at FROM pgflow.workers WHERE worker_id = %s"
    working = work(database.add(job(nothing)), worker_name="shop 1", heartbeat_interval=0.1)
    worker_id = working.worker.worker_id
    assert database.rows(row, worker_id) == [("flow", "shop 1", None)]
    first = database.value(beat, worker_id)
    wait_until(lambda: database.value(beat, worker_id) > first)
    working.stop()
    [(_, _, stopped_at)] = database.rows(row, worker_id)
    assert min(stopped_at, database.value(beat, worker_id)) > first


def test_a_worker_is_named_after_its_flow(database: Database, work: Work) -> None:
    work(database.add(job(nothing)))
    assert database.rows("SELECT function_name FROM pgflow.workers") == [("flow",)]


def test_a_sign_of_life_comes_while_handlers_are_busy(
    database: Database, work: Work, gate: threading.Event
) -> None:
    beat = "SELECT max(last_heartbeat_at) FROM pgflow.workers"
    work(database.add(job(waiting(gate))), max_concurrency=1, heartbeat_interval=0.1)
    database.start("flow")
    wait_until(lambda: database.tasks("started") == 1)
    first = database.value(beat)
    wait_until(lambda: database.value(beat) > first)
    assert database.tasks("started") == 1


def test_a_sign_of_life_comes_while_a_claim_waits(database: Database, work: Work) -> None:
    beat = "SELECT max(last_heartbeat_at) FROM pgflow.workers"
    run_id = database.start(database.add(job(nothing)))
    with psycopg.connect(database.url, application_name="test") as other:
        other.execute("SELECT FROM pgflow.step_tasks FOR UPDATE")
        work(job(nothing), heartbeat_interval=0.1)
        wait_for_a_lock(database)
        first = database.value(beat)
        wait_until(lambda: database.value(beat) > first)
    assert database.finish(run_id).status == "completed"


# The end


def test_a_stopping_worker_finishes_what_it_has(
    database: Database, work: Work, gate: threading.Event
) -> None:
    contexts: list[Context] = []

    def wait(_given: object, ctx: Context) -> object:
        contexts.append(ctx)
        gate.wait()
        return ctx.stopping.is_set()

    working = work(database.add(job(wait)), max_concurrency=3)
    ids = [database.start("flow") for _ in range(3)]
    wait_until(lambda: len(contexts) == 3)
    working.worker.stop()
    wait_until(lambda: all(ctx.stopping.is_set() for ctx in contexts))
    later = database.start("flow")
    assert not working.is_over()
    gate.set()
    working.join()
    assert [database.run(run_id).output for run_id in ids] == [{"work": True}] * 3
    assert database.rows(TASK, later) == [("queued", 0, None, None)]
    assert database.rows("SELECT stopped_at IS NOT NULL FROM pgflow.workers") == [(True,)]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_worker_that_is_stopped_twice_gives_back_what_runs(
    *, is_async: bool, database: Database, work: Work, gate: threading.Event
) -> None:
    working = work(database.add(job(for_ever if is_async else waiting(gate))))
    run_id = database.start("flow")
    wait_until(lambda: database.tasks("started") == 1)
    working.worker.stop()
    working.stop()
    assert database.rows(TASK, run_id) == [("queued", 1, None, STOPPED.message)]
    gate.set()
    work(job(lambda _given, ctx: ctx.attempt))
    assert database.finish(run_id).output == {"work": 2}


def test_a_worker_whose_time_to_stop_is_over_gives_back_what_runs(
    database: Database, work: Work, gate: threading.Event
) -> None:
    working = work(database.add(job(waiting(gate))), stop_timeout=0)
    run_id = database.start("flow")
    wait_until(lambda: database.tasks("started") == 1)
    working.stop()
    assert database.rows(TASK, run_id) == [("queued", 1, None, STOPPED.message)]


def test_a_worker_ends_though_a_handler_does_not(database: Database, work: Work) -> None:
    async def stubborn(_given: object, _ctx: object) -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    working = work(database.add(job(stubborn)), stop_timeout=0)
    run_id = database.start("flow")
    wait_until(lambda: database.tasks("started") == 1)
    working.stop()
    assert database.rows(TASK, run_id) == [("queued", 1, None, STOPPED.message)]


def test_a_worker_that_is_over_can_be_stopped(database: Database, work: Work) -> None:
    working = work(database.add(job(nothing)))
    working.stop()
    working.worker.stop()


def test_a_worker_that_did_not_start_can_be_stopped(database: Database) -> None:
    worker = Worker(job(nothing), database.url)
    with pytest.raises(FlowNotFound):
        worker.run(signals=False)
    worker.stop()


def test_a_worker_that_is_stopped_before_it_runs_ends(database: Database) -> None:
    worker = Worker(database.add(job(nothing)), database.url)
    worker.stop()
    thread = threading.Thread(target=lambda: worker.run(signals=False), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_worker_in_a_loop_of_the_caller(database: Database) -> None:
    database.add(job(nothing))

    async def main() -> None:
        ready = asyncio.Event()
        worker = Worker(job(nothing), database.url, on_ready=lambda _: ready.set())
        working = asyncio.create_task(worker.run_async())
        await ready.wait()
        run = await asyncio.to_thread(database.finish, database.start("flow"))
        assert run.status == "completed"
        worker.stop()
        await working

    asyncio.run(main())


# What others do


def register_another(database: Database) -> UUID:
    """Register a worker of somebody else's; its id."""
    other = uuid4()
    database.rows("INSERT INTO pgflow.workers VALUES (%s, 'flow', 'other')", other)
    return other


@pytest.mark.parametrize("status", ["started", "completed"])
def test_a_message_whose_task_is_not_to_be_had_is_left_alone(
    status: str, database: Database, work: Work
) -> None:
    """Somebody else holds the task, or it is over; who removes the message is the database."""
    database.add(job(nothing))
    run_id = database.start("flow")
    database.rows(
        "UPDATE pgflow.step_tasks SET status = %s, started_at = now(), attempts_count = 1,"
        " last_worker_id = %s",
        status,
        register_another(database),
    )
    row = database.rows("SELECT * FROM pgflow.step_tasks")
    work(job(nothing))
    wait_until(lambda: database.value("SELECT read_ct FROM pgmq.q_flow") == 1)
    database.rows("SELECT pgmq.set_vt('flow', msg_id, 0) FROM pgmq.q_flow")
    wait_until(lambda: database.value("SELECT read_ct FROM pgmq.q_flow") == 2)
    assert database.finish(database.start("flow")).status == "completed"  # it goes on
    assert database.rows("SELECT * FROM pgflow.step_tasks WHERE run_id = %s", run_id) == row
    assert database.value("SELECT count(*) FROM pgmq.q_flow") == 1


@pytest.mark.parametrize("fails", [False, True], ids=["completed", "failed"])
@pytest.mark.parametrize("column", ["last_worker_id", "attempts_count"])
def test_a_late_result_is_dropped(
    column: Literal["last_worker_id", "attempts_count"],
    fails: bool,
    database: Database,
    work: Work,
    gate: threading.Event,
) -> None:
    def wait(_given: object, _ctx: object) -> str:
        gate.wait()
        if fails:
            raise TaskFailed("too late")
        return "too late"

    working = work(database.add(job(wait)))
    run_id = database.start("flow")
    wait_until(lambda: database.tasks("started") == 1)
    other = {"last_worker_id": register_another(database), "attempts_count": 2}
    database.rows(f"UPDATE pgflow.step_tasks SET {column} = %s", other[column])
    row = database.rows("SELECT * FROM pgflow.step_tasks")
    gate.set()
    working.stop()
    assert database.rows("SELECT * FROM pgflow.step_tasks") == row
    assert database.run(run_id).status == "started"


def test_two_workers_share_a_queue(database: Database, work: Work) -> None:
    seen: list[tuple[UUID, UUID]] = []

    def note(given: object, ctx: Context) -> object:
        seen.append((ctx.run_id, ctx.worker_id))
        return given

    database.add(job(note))
    workers = [work(job(note), heartbeat_interval=0.1) for _ in range(2)]
    ids = [database.start("flow", number) for number in range(200)]
    wait_until(lambda: database.tasks("completed") == 200)
    assert Counter(run_id for run_id, _ in seen) == Counter(ids)
    assert {worker_id for _, worker_id in seen} <= {one.worker.worker_id for one in workers}
    assert database.rows(
        "SELECT count(*) FROM pgflow.step_tasks t JOIN pgflow.runs r USING (run_id)"
        " WHERE t.attempts_count = 1 AND t.output = r.input AND r.status = 'completed'"
    ) == [(200,)]


# A database that is not as it should be


def test_lost_connections_lose_nothing(
    database: Database, work: Work, gate: threading.Event
) -> None:
    calls: list[object] = []

    def note(given: object, _ctx: Context) -> object:
        calls.append(given)
        gate.wait()
        return given

    work(database.add(job(note)), heartbeat_interval=0.1)
    ids = [database.start("flow", number) for number in range(5)]
    wait_until(lambda: database.tasks("started") == 5)
    database.rows(f"SELECT pg_terminate_backend(pid, 10000) {OTHERS}")  # while handlers run
    with psycopg.connect(database.url, application_name="test") as other:
        other.execute("SELECT FROM pgflow.runs FOR UPDATE")
        gate.set()
        wait_for_a_lock(database)
        database.rows(f"SELECT pg_terminate_backend(pid, 10000) {OTHERS}")  # while it records
        wait_for_a_lock(database)
    assert [database.finish(run_id).output for run_id in ids] == [
        {"work": number} for number in range(5)
    ]
    assert sorted(calls, key=str) == list(range(5))
    assert database.rows("SELECT DISTINCT attempts_count FROM pgflow.step_tasks") == [(1,)]
    assert database.finish(database.start("flow", "after")).output == {"work": "after"}


def test_a_worker_waits_for_a_database_that_is_away(
    database: Database, databases: Any, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    name = database.connection.info.dbname
    database.is_altered = True  # for a while
    work(database.add(job(nothing)))
    databases.execute("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", name)
    database.rows(f"SELECT pg_terminate_backend(pid, 10000) {OTHERS}")
    wait_until(lambda: "cannot read messages: no connection to database" in caplog.text)
    databases.execute("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", name)
    assert database.finish(database.start("flow")).status == "completed"


def deep(levels: int) -> object:
    """What JSON can hold, and PostgreSQL's stack cannot."""
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_result_that_the_database_refuses_does_not_hold_up_others(
    database: Database, work: Work, gate: threading.Event
) -> None:
    calls: list[object] = []

    def give(levels: Any, _ctx: object) -> object:
        if levels:
            gate.wait()
        calls.append(levels)
        return deep(levels)

    database.add(job(give, max_attempts=1))
    good = [database.start("flow", levels) for levels in (0, 1, 2, 3)]
    bad = database.start("flow", 20_000)
    with psycopg.connect(database.url, application_name="test") as other:
        other.execute("SELECT FROM pgflow.runs WHERE run_id = %s FOR UPDATE", [good[0]])
        work(job(give, max_attempts=1))
        wait_for_a_lock(database)
        gate.set()  # the others become ready while the first is being recorded
        wait_until(lambda: len(calls) == 5)
    failed = database.finish(bad)
    assert failed.status == "failed"
    assert failed.step_states[0].error_message == (
        "Output cannot be stored: stack depth limit exceeded"
    )
    assert [database.finish(run_id).output for run_id in good] == [
        {"work": deep(levels)} for levels in (0, 1, 2, 3)
    ]
    assert len(calls) == 5


def test_a_worker_that_prepares_nothing(database: Database, work: Work) -> None:
    work(database.add(job(lambda given, _ctx: given)), prepare=False)
    runs = [database.finish(database.start("flow", number)) for number in range(10)]
    assert [run.output for run in runs] == [{"work": number} for number in range(10)]


def test_tasks_of_one_message_are_told_apart(
    database: Database, work: Callable[..., Working]
) -> None:
    """Once a queue was dropped and made again, its message ids begin anew (core-behaviour.md)."""
    flow = Flow("reborn")

    @flow.step()
    def echo(given: object, _ctx: Context) -> object:
        return given

    database.add(flow)
    runs = {}
    for name in ("first", "second", "third"):
        runs[name] = database.start(flow, name)
        database.rows("SELECT pgmq.drop_queue('reborn')")
        database.rows("SELECT pgmq.create('reborn')")
    runs["last"] = database.start(flow, "last")
    assert database.rows("SELECT DISTINCT message_id FROM pgflow.step_tasks") == [(1,)]
    work(flow)
    wait_until(lambda: all(database.run(run_id).is_over for run_id in runs.values()))
    for name, run_id in runs.items():
        assert database.run(run_id).output == {"echo": name}
