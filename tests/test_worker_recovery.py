"""Workers that take back what others have left, and that leave when the database wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

from pgflow_ref import Flow
from pgflow_ref.install import pins, sources
from tests.conftest import wait_until

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from pgflow_ref import Context, Run
    from pgflow_ref.telemetry import Event
    from tests.conftest import Database, Working

    Work = Callable[..., Working]

TASK = "SELECT status, attempts_count, error_message FROM pgflow.step_tasks WHERE run_id = %s"


def job(handler: Callable[..., object], slug: str = "flow", **options: Any) -> Flow:
    flow = Flow(slug, **options)
    flow.step("work")(handler)
    return flow


def attempt(_given: object, ctx: Context) -> int:
    return ctx.attempt


def leave_stalled(database: Database, slug: str = "flow", attempts: int = 1) -> UUID:
    """A run whose task was claimed by a worker that was never heard of again."""
    run_id, other = database.start(slug), uuid4()
    database.rows(
        "INSERT INTO pgflow.workers (worker_id, queue_name, function_name) VALUES (%s, %s, 'gone')",
        other,
        slug,
    )
    database.rows(
        "UPDATE pgflow.step_tasks SET status = 'started', attempts_count = %s, last_worker_id = %s,"
        " queued_at = now() - interval '2 hours', started_at = now() - interval '1 hour'"
        " WHERE run_id = %s",
        attempts,
        other,
        run_id,
    )
    database.rows(
        "SELECT pgmq.set_vt(flow_slug, message_id, 3600) FROM pgflow.step_tasks WHERE run_id = %s",
        run_id,
    )
    return run_id


def finish(database: Database, run_id: UUID) -> Run:
    """Wait for the end of a run, and do not help."""
    wait_until(lambda: database.run(run_id).is_over)
    return database.run(run_id)


@pytest.mark.parametrize("core", ["0.5.0", "0.8.1"])
@pytest.mark.parametrize("strategy", ["polling", "notify", "long_poll"])
def test_what_a_dead_worker_has_left_is_done(
    core: str, strategy: str, databases: Any, work: Work
) -> None:
    events: list[Event] = []
    with databases.database(core) as database:
        database.add(job(attempt))
        ids = [leave_stalled(database) for _ in range(3)]
        working = work(
            job(attempt),
            url=database.url,
            listeners=[events.append],
            recovery_interval=0.1,
            signal_strategy=strategy,
        )
        for run_id in ids:
            assert finish(database, run_id).output == {"work": 2}  # the lost attempt counts
        working.stop()
    assert [event.count for event in events if event.name == "pgflow.worker.recovered"] == [3]


def test_a_task_whose_attempts_are_used_up_fails(database: Database, work: Work) -> None:
    events: list[Event] = []
    database.add(job(attempt, max_attempts=2))
    run_id = leave_stalled(database, attempts=2)
    work(job(attempt, max_attempts=2), recovery_interval=0.1, listeners=[events.append])
    wait_until(lambda: database.run(run_id).is_over)
    [(status, attempts, told)] = database.rows(TASK, run_id)
    assert (status, attempts) == ("failed", 2)
    assert told.startswith("Task stalled")
    wait_until(lambda: [event for event in events if event.name == "pgflow.run.failed"])
    (failed,) = (event for event in events if event.name == "pgflow.run.failed")
    assert (failed.run_id, failed.reason) == (run_id, told)


def test_a_grace_is_given(database: Database, work: Work) -> None:
    database.add(job(attempt))
    early, late = leave_stalled(database), leave_stalled(database)
    database.rows(
        "UPDATE pgflow.step_tasks SET started_at = now() - interval '70 seconds' WHERE run_id = %s",
        early,
    )
    work(job(attempt), recovery_interval=0.1, stale_grace=60)
    wait_until(lambda: database.run(late).is_over)
    assert database.rows(TASK, early) == [("started", 1, None)]


def test_other_flows_are_left_alone(database: Database, work: Work) -> None:
    database.add(job(attempt))
    database.add(job(attempt, "other"))
    theirs, ours = leave_stalled(database, "other"), leave_stalled(database)
    work(job(attempt), recovery_interval=0.1)
    wait_until(lambda: database.run(ours).is_over)
    assert database.rows(TASK, theirs) == [("started", 1, None)]


def test_no_recovery(database: Database, work: Work) -> None:
    database.add(job(attempt))
    run_id = leave_stalled(database)
    working = work(job(attempt), recovery_interval=None)
    assert working.worker.config.recovery_interval is None
    assert database.finish(database.start("flow")).output == {"work": 1}
    assert database.rows(TASK, run_id) == [("started", 1, None)]


def test_a_recovery_that_fails_is_told_and_tried_again(
    database: Database, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    database.add(job(attempt))
    run_id = leave_stalled(database)
    database.is_altered = True  # for a while
    work(job(attempt), recovery_interval=0.5)
    database.rows("ALTER TABLE pgflow.flows RENAME COLUMN opt_timeout TO hidden")
    wait_until(lambda: "cannot recover stalled tasks: " in caplog.text)
    database.rows("ALTER TABLE pgflow.flows RENAME COLUMN hidden TO opt_timeout")
    wait_until(lambda: database.run(run_id).is_over)


def test_several_workers_recover_each_task_once(database: Database, work: Work) -> None:
    events: list[Event] = []
    database.add(job(attempt))
    ids = [leave_stalled(database) for _ in range(30)]
    for _ in range(3):
        work(job(attempt), recovery_interval=0.1, listeners=[events.append])
    for run_id in ids:
        assert finish(database, run_id).output == {"work": 2}
    counts = [event.count or 0 for event in events if event.name == "pgflow.worker.recovered"]
    assert sum(counts) == 30


# The database wants it to leave


def upgrade(database: Database, old: str, new: str) -> None:
    """Run the migrations that the old core lacks."""
    database.is_altered = True
    base, files = (sources.core_files(pins.load().releases[core].files) for core in (old, new))
    with psycopg.connect(database.url) as connection:
        for file in files[len(base) :]:
            connection.execute(file.text.encode())


def test_a_deprecated_worker_finishes_what_it_has_and_leaves(
    newest: Database, work: Work, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    contexts: list[Context] = []

    def wait(_given: object, ctx: Context) -> bool:
        contexts.append(ctx)
        gate.wait()
        return ctx.stopping.is_set()

    working = work(newest.add(job(wait)), url=newest.url, heartbeat_interval=0.1)
    run_id = newest.start("flow")
    wait_until(lambda: contexts)
    newest.rows("UPDATE pgflow.workers SET deprecated_at = now()")
    wait_until(contexts[0].stopping.is_set)
    later = newest.start("flow")
    assert not working.is_over()
    gate.set()
    working.join()
    assert newest.run(run_id).output == {"work": True}
    assert newest.rows(TASK, later) == [("queued", 0, None)]
    told = f"the database wants worker {working.worker.worker_id} to leave; it stops"
    assert caplog.text.count(told) == 1


def test_a_worker_that_is_not_deprecated_stays(newest: Database, work: Work) -> None:
    beat = "SELECT last_heartbeat_at FROM pgflow.workers WHERE worker_id = %s"
    newest.add(job(attempt))
    stays, leaves = (work(job(attempt), url=newest.url, heartbeat_interval=0.1) for _ in range(2))
    newest.rows(
        "UPDATE pgflow.workers SET deprecated_at = now() WHERE worker_id = %s",
        leaves.worker.worker_id,
    )
    leaves.join()
    before = newest.value(beat, stays.worker.worker_id)
    wait_until(lambda: newest.value(beat, stays.worker.worker_id) > before)
    assert not stays.is_over()


def test_where_workers_are_marked_nobody_is_deprecated(database: Database, work: Work) -> None:
    beat = "SELECT last_heartbeat_at FROM pgflow.workers"
    working = work(database.add(job(attempt)), heartbeat_interval=0.1)
    database.rows("UPDATE pgflow.workers SET stopped_at = now()")
    before = database.value(beat)
    wait_until(lambda: database.value(beat) > before)
    assert not working.is_over()


def test_a_worker_notices_that_its_core_was_upgraded(
    database: Database, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    """Its row cannot be marked any more, and may want it to leave from now on."""
    working = work(database.add(job(attempt)), heartbeat_interval=0.1)
    assert database.finish(database.start("flow")).output == {"work": 1}
    upgrade(database, "0.5.0", "0.8.1")
    assert database.finish(database.start("flow")).output == {"work": 1}
    database.rows("UPDATE pgflow.workers SET deprecated_at = now()")
    working.join()
    assert "the database wants" in caplog.text
    assert "mark the worker" not in caplog.text


def test_a_worker_whose_row_is_gone_registers_again(
    database: Database, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    """Without one it could claim nothing."""
    working = work(database.add(job(attempt)), heartbeat_interval=0.1)
    database.rows("DELETE FROM pgflow.workers")
    wait_until(lambda: database.rows("SELECT 1 FROM pgflow.workers"))
    assert database.finish(database.start("flow")).output == {"work": 1}
    assert f"the row of worker {working.worker.worker_id} is gone" in caplog.text
