"""What a worker tells those who listen to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from pgflow_ref import (
    DatabaseUnavailable,
    Flow,
    FlowMismatch,
    FlowNotFound,
    TaskFailed,
    Worker,
)
from pgflow_ref.connection import execute_in_turn, execute_together
from pgflow_ref.telemetry import Event
from pgflow_ref.worker import database as worker_database
from tests.conftest import wait_until

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from pgflow_ref import Context
    from pgflow_ref.operations import Operation
    from tests.conftest import Database, Working

    Work = Callable[..., Working]

OTHERS = (
    "FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'pgflow-ref' AND pid <> pg_backend_pid()"
)
SHORT = "pgflow.worker."


def job(handler: Callable[..., object], slug: str = "flow", **options: Any) -> Flow:
    flow = Flow(slug, **options)
    flow.step("work")(handler)
    return flow


def echo(given: object, _ctx: object) -> object:
    return given


class Heard(list[Event]):
    """Events in order; it is a listener."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def of(self, name: str) -> list[Event]:
        return [event for event in self if event.name == name]

    def names(self, *, polls: bool = False) -> list[str]:
        return [event.name for event in self if polls or ".poll." not in event.name]


def finish(database: Database, heard: Heard, run_id: UUID) -> Event:
    """Wait until the end of a run was told; what was told."""

    def ends() -> list[Event]:
        names = ("pgflow.run.completed", "pgflow.run.failed")
        return [event for event in heard if event.name in names and event.run_id == run_id]

    database.finish(run_id)
    wait_until(ends)
    (end,) = ends()
    return end


def test_the_life_of_a_worker_and_of_a_task(database: Database, work: Work) -> None:
    heard = Heard()
    working = work(database.add(job(echo)), listeners=[heard], worker_name="shop 1")
    run_id = database.start("flow", {"id": 7})
    end = finish(database, heard, run_id)
    working.stop()
    assert heard.names() == [
        "pgflow.worker.start",
        "pgflow.worker.task.start",
        "pgflow.worker.task.stop",
        "pgflow.run.completed",
        "pgflow.worker.stop",
    ]
    worker = {
        "worker_id": working.worker.worker_id,
        "worker_name": "shop 1",
        "flow_slug": "flow",
    }
    task = {**worker, "run_id": run_id, "step_slug": "work", "task_index": 0, "attempt": 1}
    (start,), (stop,) = heard.of(f"{SHORT}task.start"), heard.of(f"{SHORT}task.stop")
    assert heard[0].metadata() == worker
    assert start.metadata() == task
    assert stop.duration is not None
    assert 0 <= stop.duration < 30
    assert stop.metadata() == {**task, "duration": stop.duration, "output": {"id": 7}}
    assert end.metadata() == {**worker, "run_id": run_id, "output": {"work": {"id": 7}}}
    assert [event.at for event in heard] == sorted(event.at for event in heard)


def test_polls_are_told_in_pairs(database: Database, work: Work) -> None:
    heard = Heard()
    working = work(database.add(job(echo)), listeners=[heard], batch_size=3)
    ids = [database.start("flow", number) for number in range(20)]
    for run_id in ids:
        finish(database, heard, run_id)
    working.stop()
    polls = [event for event in heard if ".poll." in event.name]
    assert len(polls) % 2 == 0
    for start, stop in zip(polls[::2], polls[1::2], strict=True):
        assert (start.name, stop.name) == (f"{SHORT}poll.start", f"{SHORT}poll.stop")
        assert stop.duration is not None
    counts = [event.count or 0 for event in heard.of(f"{SHORT}poll.stop")]
    assert sum(counts) == 20
    assert max(counts) <= 3


def test_a_poll_that_fails_is_over_as_well(database: Database, work: Work) -> None:
    heard = Heard()
    working = work(database.add(job(echo)), listeners=[heard])
    for _ in range(3):
        database.rows(f"SELECT pg_terminate_backend(pid, 10000) {OTHERS}")
        finish(database, heard, database.start("flow"))
    working.stop()
    names = [event.name for event in heard if ".poll." in event.name]
    assert names == [f"{SHORT}poll.start", f"{SHORT}poll.stop"] * (len(names) // 2)


def test_failures_are_told_each_and_the_run_s_once(database: Database, work: Work) -> None:
    def fail(_given: object, ctx: Context) -> None:
        raise TaskFailed(f"no {ctx.attempt}")

    heard = Heard()
    work(database.add(job(fail, max_attempts=3)), listeners=[heard])
    end = finish(database, heard, database.start("flow"))
    told = [(e.kind, e.reason, e.attempt) for e in heard.of(f"{SHORT}task.exception")]
    assert told == [("error", f"no {n}", n) for n in (1, 2, 3)]
    assert all(event.duration is not None for event in heard.of(f"{SHORT}task.exception"))
    assert (end.name, end.reason) == ("pgflow.run.failed", "no 3")
    assert heard.of(f"{SHORT}task.stop") == []


def test_a_timeout_is_told_as_one(database: Database, work: Work) -> None:
    async def for_ever(_given: object, _ctx: object) -> None:
        await asyncio.Event().wait()

    heard = Heard()
    work(database.add(job(for_ever, max_attempts=1, timeout=3)), listeners=[heard])
    end = finish(database, heard, database.start("flow"))
    (told,) = heard.of(f"{SHORT}task.exception")
    assert (told.kind, told.reason) == ("timeout", "Task timed out after 3s")
    assert told.duration is not None
    assert told.duration >= 3
    assert end.reason == "Task timed out after 3s"


def test_what_is_given_back_is_told_as_stopped(
    database: Database, work: Work, gate: threading.Event
) -> None:
    def wait(_given: object, _ctx: object) -> None:
        gate.wait()

    heard = Heard()
    working = work(database.add(job(wait)), listeners=[heard], stop_timeout=0)
    database.start("flow")
    wait_until(lambda: database.tasks("started") == 1)
    working.stop()
    (told,) = heard.of(f"{SHORT}task.exception")
    assert told.kind == "stopped"
    assert heard.names()[-1] == "pgflow.worker.stop"
    assert heard.of("pgflow.run.failed") == []


def test_an_output_that_no_map_step_can_take_fails_its_task(newest: Database, work: Work) -> None:
    """The handler returned; it is the core that fails the task, and the run."""
    flow = Flow("flow", max_attempts=1)
    first = flow.step("first")(lambda _given, _ctx: "no array")
    flow.map(first, "each")(echo)
    heard = Heard()
    work(newest.add(flow), url=newest.url, listeners=[heard])
    end = finish(newest, heard, newest.start(flow))
    (told,) = heard.of(f"{SHORT}task.exception")
    assert (told.step_slug, told.kind) == ("first", "error")
    assert "array" in (told.reason or "")
    assert end.name == "pgflow.run.failed"
    assert heard.of(f"{SHORT}task.stop") == []


def test_map_tasks_are_told_apart(newest: Database, work: Work) -> None:
    flow = Flow("flow")
    flow.map(slug="each")(lambda item, ctx: [item, ctx.flow_input])
    heard = Heard()
    work(newest.add(flow), url=newest.url, listeners=[heard])
    end = finish(newest, heard, newest.start(flow, [5, 6]))
    assert end.output == {"each": [[5, [5, 6]], [6, [5, 6]]]}
    stops = heard.of(f"{SHORT}task.stop")
    assert {event.task_index: event.output for event in stops} == {
        0: [5, [5, 6]],
        1: [6, [5, 6]],
    }


@pytest.mark.parametrize("core", ["0.5.0", "0.8.1"])
def test_the_end_of_each_run_is_told_once_by_all_workers_together(
    core: str, databases: Any, work: Work
) -> None:
    flow = Flow("flow", max_attempts=1)
    leaves = [flow.step(f"leaf_{number}")(echo) for number in range(4)]

    @flow.step("last", depends_on=leaves)
    def last(deps: Any, _ctx: object) -> object:
        return sorted(deps)

    @flow.step("bad", depends_on=leaves[:1])
    def bad(_deps: object, ctx: Context) -> object:
        if ctx.flow_input == "bad":
            raise TaskFailed("bad")
        return None

    with databases.database(core) as database:
        heard = Heard()
        database.add(flow)
        workers = [work(flow, url=database.url, listeners=[heard]) for _ in range(3)]
        inputs = ["bad" if number % 4 == 0 else "good" for number in range(40)]
        ids = {database.start(flow, given): given for given in inputs}
        wait_until(lambda: all(database.run(run_id).is_over for run_id in ids))
        for working in workers:
            working.stop()
    completed = Counter(event.run_id for event in heard.of("pgflow.run.completed"))
    failed = Counter(event.run_id for event in heard.of("pgflow.run.failed"))
    assert completed == Counter({run_id: 1 for run_id, given in ids.items() if given == "good"})
    assert failed == Counter({run_id: 1 for run_id, given in ids.items() if given == "bad"})


def lose_first_replies(
    monkeypatch: pytest.MonkeyPatch, count: int = 1, name: str = "record results"
) -> list[str]:
    """Let the first calls that record results go through, and their replies get lost; their names.

    A worker sees the same when its connection breaks after the commit and before the reply.
    """
    lost: list[str] = []

    async def lossy(connection: Any, operations: Sequence[Operation[Any]]) -> list[Any]:
        answers = await execute_together(connection, operations)
        await lose(connection, operations)
        return answers

    async def lossy_in_turn(
        connection: Any, first: Sequence[Operation[Any]], then: Sequence[Operation[Any]]
    ) -> tuple[list[Any], list[Any] | Exception]:
        answers = await execute_in_turn(connection, first, then)
        await lose(connection, first)
        return answers

    async def lose(connection: Any, operations: Sequence[Operation[Any]]) -> None:
        if name in {operation.name for operation in operations} and len(lost) < count:
            lost.append(name)
            await connection.close()
            raise DatabaseUnavailable("the connection is lost")

    monkeypatch.setattr(worker_database, "execute_together", lossy)
    monkeypatch.setattr(worker_database, "execute_in_turn", lossy_in_turn)
    return lost


@pytest.mark.parametrize("fails", [False, True], ids=["completed", "failed"])
def test_a_reply_that_is_lost_loses_no_event(
    fails: bool,
    database: Database,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The results are in the database; the worker does not know, and finds them there."""

    def handler(given: object, _ctx: object) -> object:
        if fails:
            raise TaskFailed("no")
        return given

    lost = lose_first_replies(monkeypatch)
    heard = Heard()
    flow = database.add(job(handler, max_attempts=1))
    run_ids = [database.start("flow", number) for number in range(3)]
    work(flow, listeners=[heard])
    name = "pgflow.run.failed" if fails else "pgflow.run.completed"
    assert [finish(database, heard, run_id).name for run_id in run_ids] == [name] * 3
    assert len(lost) == 1
    assert len(heard.of(f"{SHORT}task.{'exception' if fails else 'stop'}")) == 3
    assert database.rows("SELECT DISTINCT attempts_count FROM pgflow.step_tasks") == [(1,)]
    assert "no longer ours" not in caplog.text


def test_a_claim_whose_reply_is_lost_is_taken_back(
    database: Database, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tasks are this worker's, and it does not know: as if it had died with them."""
    lost = lose_first_replies(monkeypatch, name="claim tasks")
    heard = Heard()
    database.add(job(lambda _given, ctx: ctx.attempt))
    run_id = database.start("flow")
    work(job(lambda _given, ctx: ctx.attempt), listeners=[heard], recovery_interval=0.1)
    wait_until(lambda: lost and database.tasks("started") == 1)
    database.rows(
        "UPDATE pgflow.step_tasks SET queued_at = now() - interval '2 hours',"
        " started_at = now() - interval '1 hour'"
    )
    assert finish(database, heard, run_id).output == {"work": 2}


def test_nothing_is_told_of_what_is_no_longer_ours(
    database: Database, work: Work, gate: threading.Event
) -> None:
    def wait(_given: object, _ctx: object) -> None:
        gate.wait()

    heard = Heard()
    working = work(database.add(job(wait)), listeners=[heard])
    database.start("flow")
    wait_until(lambda: database.tasks("started") == 1)
    database.rows("UPDATE pgflow.step_tasks SET attempts_count = 2")
    gate.set()
    working.stop()
    assert heard.names() == [
        "pgflow.worker.start",
        "pgflow.worker.task.start",
        "pgflow.worker.stop",
    ]


def test_a_listener_that_raises_hurts_nobody(
    database: Database, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_event: Event) -> None:
        raise RuntimeError("broken listener")

    heard = Heard()
    work(database.add(job(echo)), listeners=[broken, heard])
    assert finish(database, heard, database.start("flow", 1)).output == {"work": 1}
    assert caplog.text.count("RuntimeError: broken listener") == 1


def test_a_worker_that_did_not_start_tells_nothing(database: Database) -> None:
    heard = Heard()
    with pytest.raises(FlowNotFound):
        Worker(job(echo), database.url, listeners=[heard]).run(signals=False)
    assert heard == []


@pytest.mark.parametrize("listens", [False, True])
def test_where_nobody_listens_nothing_more_is_asked(
    listens: bool, database: Database, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    async def noted(connection: Any, operations: Sequence[Operation[Any]]) -> list[Any]:
        asked.append([operation.name for operation in operations])
        return await execute_together(connection, operations)

    monkeypatch.setattr(worker_database, "execute_together", noted)
    heard = Heard()
    working = work(database.add(job(echo)), listeners=[heard] if listens else [])
    run_id = database.start("flow")
    wait_until(lambda: database.run(run_id).is_over)
    working.stop()
    more = ["look at runs that are over"] if listens else []
    assert asked == [
        ["claim tasks", "look at the claimed tasks"],
        ["lock runs", "lock tasks", "record results", *more],
    ]


# compile_on_start


def test_what_is_missing_is_added_at_the_start(database: Database, work: Work) -> None:
    heard = Heard()
    flow = Flow("flow")
    first = flow.step("first")(echo)
    working = work(flow, compile_on_start=True, listeners=[heard])
    assert finish(database, heard, database.start(flow, 1)).output == {"first": 1}
    working.stop()
    flow.step("second", depends_on=[first])(lambda deps, _ctx: deps["first"] + 1)
    work(flow, compile_on_start=True, listeners=[heard])
    assert finish(database, heard, database.start(flow, 1)).output == {"second": 2}
    assert [event.count for event in heard.of("pgflow.flow.ensured")] == [1, 1]


def test_many_workers_may_add_what_is_missing_at_once(database: Database) -> None:
    async def start() -> None:
        workers = [
            Worker(job(echo), database.url, compile_on_start=True, min_poll_interval=0.01)
            for _ in range(5)
        ]
        for worker in workers:
            worker.stop()  # once it has begun
        await asyncio.gather(*(worker.run_async() for worker in workers))

    asyncio.run(start())
    assert database.value("SELECT count(*) FROM pgflow.steps") == 1


def test_what_differs_is_never_changed(database: Database) -> None:
    database.add(job(echo, timeout=60))
    with pytest.raises(FlowMismatch, match="timeout is 30 in the code and 60 in the database"):
        Worker(job(echo, timeout=30), database.url, compile_on_start=True).run(signals=False)
    assert database.value("SELECT opt_timeout FROM pgflow.flows") == 60
