"""Results of several tasks are recorded by one statement, whoever else is at it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from pgflow_ref import Flow
from pgflow_ref import operations as ops
from pgflow_ref.connection import connect, execute
from pgflow_ref.task import Completed, Failed, Result, Task, TaskKey
from tests.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from tests.conftest import Database

    Connection = psycopg.Connection[tuple[object, ...]]

WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND wait_event_type = 'Lock'"
)


def four_steps() -> Flow:
    flow = Flow("flow", max_attempts=1)
    for number in range(4):
        flow.step(f"step_{number}")(lambda given, _ctx: given)
    return flow


def claimed(connection: Connection, message_ids: Sequence[int]) -> tuple[UUID, list[TaskKey]]:
    """A new worker, and the tasks that it has."""
    worker_id = uuid4()
    execute(connection, ops.register_worker(worker_id, "flow", "flow"))
    execute(connection, ops.start_tasks("flow", message_ids, worker_id))
    keys = execute(connection, ops.claimed_tasks("flow", message_ids, worker_id))
    return worker_id, list(keys.values())


def record(
    connection: Connection, worker_id: UUID, *results: Result
) -> dict[TaskKey, ops.Now | None]:
    run_ids = sorted({result.task.key.run_id for result in results})
    with connection.transaction():
        execute(connection, ops.hold_runs(run_ids))
        execute(connection, ops.hold_tasks(run_ids, worker_id))
        return execute(connection, ops.record(results, worker_id))


def done(key: TaskKey) -> Result:
    return Result(Task(key, "flow", 0, "{}"), Completed("1"))


def test_two_workers_record_results_of_one_run_at_once(database: Database) -> None:
    """Whoever comes second waits for the run, and none of its results is forgotten over that."""
    database.add(four_steps())
    database.start("flow")
    connection = database.connection
    first, ones = claimed(connection, [1, 2])
    second, others = claimed(connection, [3, 4])
    said: list[dict[TaskKey, ops.Now | None]] = []

    def go() -> None:
        with connect(database.url) as other:
            said.append(record(other, second, *map(done, others)))

    with connection.transaction():
        record(connection, first, *map(done, ones))
        thread = threading.Thread(target=go)
        thread.start()
        with connect(database.url) as onlooker:
            wait_until(lambda: onlooker.execute(WAITS).fetchone() == (1,))
    thread.join()
    assert said == [{key: ops.Now("completed", None) for key in others}]
    assert database.tasks("completed") == 4


def test_completions_and_failures_go_together(database: Database) -> None:
    database.add(four_steps())
    database.start("flow")
    worker_id, keys = claimed(database.connection, [1, 2])
    failed = Result(done(keys[1]).task, Failed("no"))
    said = record(database.connection, worker_id, done(keys[0]), failed)
    assert said == {keys[0]: ops.Now("completed", None), keys[1]: ops.Now("failed", "no")}


def test_what_is_no_longer_ours_is_left_out(database: Database) -> None:
    database.add(four_steps())
    database.start("flow")
    worker_id, keys = claimed(database.connection, [1, 2, 3])
    earlier = keys[1]._replace(attempt=0)
    said = record(database.connection, worker_id, done(keys[0]), done(earlier))
    assert said == {keys[0]: ops.Now("completed", None)}
    assert record(database.connection, uuid4(), done(keys[2])) == {}
    assert database.tasks("completed") == 1
