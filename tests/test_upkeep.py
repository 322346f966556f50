"""Health, recovery and pruning by both clients, on a real PostgreSQL."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgflow_ref import Flow, InvalidDelay, InvalidFlow, PgFlow, Pruned, Recovered
from pgflow_ref import operations as ops
from pgflow_ref.connection import execute
from tests.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Database, Working
    from tests.ways import Way

SECRET = "s3cr3t"
DAY = 86_400


@pytest.fixture
def pgflow(core: Database, way: Way) -> Iterator[Any]:
    with way.client(core.url) as pgflow:
        yield pgflow


def a_flow(slug: str = "order") -> Flow:
    flow = Flow(slug, max_attempts=1)
    flow.step("one")(lambda given, _ctx: given)
    flow.step("two")(lambda given, _ctx: given)
    return flow


# Health


def test_all_is_well_where_there_is_nothing(core: Database, pgflow: Any) -> None:
    health = pgflow.health_check()
    assert (health.status, health.problems) == ("ok", ())
    assert health.core in ("0.5.0", "0.8.1")
    assert health.server == core.value("SHOW server_version")
    assert (health.workers, health.flows) == ((), ())


def test_a_flow_that_is_worked_on(
    core: Database, pgflow: Any, work: Callable[..., Working]
) -> None:
    flow = core.add(a_flow())
    worker = work(flow, url=core.url, worker_name="mine").worker
    core.finish(core.start(flow, 1))
    pgflow.enqueue_in(flow, 1, DAY)
    health = pgflow.health_check()
    assert (health.status, health.problems) == ("ok", ())
    (found,) = health.workers
    assert (found.worker_id, found.worker_name, found.flow_slug) == (
        worker.worker_id,
        "mine",
        "order",
    )
    assert found.is_alive
    assert not found.is_deprecated
    assert found.started_at <= found.last_heartbeat_at
    (counted,) = health.flows
    assert (counted.flow_slug, counted.has_queue, counted.running) == ("order", True, 1)
    assert (counted.messages, counted.visible_messages, counted.stalled_tasks) == (2, 0, 0)
    assert counted.oldest_message >= 0


def test_messages_that_nobody_reads(core: Database, pgflow: Any) -> None:
    core.add(a_flow())
    core.start("order")
    health = pgflow.health_check()
    assert health.status == "degraded"
    assert health.problems == (
        "flow 'order': waiting messages: 2, and no worker gave a sign of life lately",
    )
    assert health.flows[0].visible_messages == 2


def silence(database: Database, worker_id: UUID, seconds: int) -> None:
    database.rows(
        "UPDATE pgflow.workers SET started_at = started_at - make_interval(secs => %s),"
        " last_heartbeat_at = last_heartbeat_at - make_interval(secs => %s) WHERE worker_id = %s",
        seconds,
        seconds,
        worker_id,
    )


def test_workers_that_are_silent(core: Database, pgflow: Any) -> None:
    core.add(a_flow())
    silent, gone, stopped = uuid4(), uuid4(), uuid4()
    for worker_id in (silent, gone, stopped):
        execute(core.connection, ops.register_worker(worker_id, "order", "order"))
    silence(core, silent, 100)
    silence(core, gone, 4_000)
    if "stopped_at" in [name for (name,) in core.rows(_COLUMNS)]:
        execute(core.connection, ops.mark_stopped(stopped))
    else:
        core.rows("UPDATE pgflow.workers SET deprecated_at = now() WHERE worker_id = %s", stopped)
    core.start("order")
    health = pgflow.health_check()
    listed = {worker.worker_id: worker for worker in health.workers}
    assert not listed[silent].is_alive
    assert listed[silent].silent_for >= 100
    assert gone not in listed
    if stopped in listed:
        assert listed[stopped].is_deprecated
        assert health.status == "ok", "it still gives signs of life"
    else:
        assert health.problems == (
            "flow 'order': waiting messages: 2, and no worker gave a sign of life lately",
        )


_COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = 'workers'"


def stall(database: Database, seconds: float = 1_000) -> None:
    """Claim all that is visible, long ago."""
    worker = uuid4()
    execute(database.connection, ops.register_worker(worker, "order", "order"))
    ids = execute(database.connection, ops.read_messages("order", 1_000, 100))
    execute(database.connection, ops.start_tasks("order", ids, worker))
    database.rows(
        "UPDATE pgflow.step_tasks SET started_at = started_at - make_interval(secs => %s),"
        " queued_at = queued_at - make_interval(secs => %s) WHERE status = 'started'",
        seconds,
        seconds,
    )


def test_stalled_tasks_and_missing_queues(core: Database, way: Way) -> None:
    for slug in ("order", "other"):
        core.add(a_flow(slug))
    core.start("order")
    stall(core)
    core.rows("SELECT pgmq.drop_queue('other')")
    flows = [a_flow(slug) for slug in ("order", "other", "third")]
    client = way.client(core.url)
    for flow in flows:
        way.raw(client)._registry.add(flow)
    health = client.health_check()
    client.close()
    assert health.status == "degraded"
    assert health.problems == (
        "flow 'order': stalled tasks: 2; recover_stalled_tasks puts them back",
        "flow 'other' has no queue, so none of its runs can start; ensure_flow makes one",
        "flow 'third' is not in the database; ensure_flow creates it",
    )
    assert [flow.has_queue for flow in health.flows] == [True, False]


def down(client: Any) -> str:
    health = client.health_check()
    assert (health.status, health.workers, health.flows) == ("down", (), ())
    (problem,) = health.problems
    assert SECRET not in repr(health)
    assert "\n" not in problem
    return str(problem)


def test_a_database_that_is_away(way: Way, empty: str) -> None:
    nowhere = way.client(f"postgresql://u:{SECRET}@127.0.0.1:1/shop")
    assert down(nowhere).startswith("no connection to database 'shop' at 127.0.0.1:1: ")
    wrong = way.client(make_conninfo(empty, password=SECRET))
    assert "password authentication failed" in down(wrong)
    assert "no connection URL" in down(way.client(f"postgresql://u:{SECRET}@[::1/d"))
    with way.client(empty) as without_core:
        assert "holds no pgflow core" in down(without_core)
        assert without_core.health_check().server is not None


def test_a_connection_that_is_lost_or_spoilt(core: Database, way: Way) -> None:
    with way.connect(core.url) as mine:
        with pytest.raises(psycopg.errors.DivisionByZero):
            mine.execute("SELECT 1 / 0")
        assert "transaction is aborted" in down(way.client(mine))
        mine.rollback()
        assert way.client(mine).health_check().status == "ok"
        core.rows("SELECT pg_terminate_backend(%s, 10000)", mine.info.backend_pid)
        assert "the connection is lost" in down(way.client(mine))
        assert down(way.client(mine)) == "cannot look at the server: the connection is lost"


def test_a_core_without_tables(core: Database, pgflow: Any) -> None:
    core.alter("ALTER TABLE pgflow.workers RENAME TO laborers")
    assert 'relation "pgflow.workers" does not exist' in down(pgflow)


# Recovery; what it does to tasks stands in test_recovery.py


def test_stalled_tasks_are_recovered(core: Database, pgflow: Any) -> None:
    core.add(a_flow())
    core.rows("UPDATE pgflow.flows SET opt_max_attempts = 2")
    core.start("order")
    stall(core)
    assert pgflow.recover_stalled_tasks("other") == Recovered(0, 0)
    assert pgflow.recover_stalled_tasks(grace=dt.timedelta(hours=1)) == Recovered(0, 0)
    assert pgflow.recover_stalled_tasks(a_flow()) == Recovered(2, 0)
    stall(core)
    assert pgflow.recover_stalled_tasks() == Recovered(0, 1)


def test_a_core_that_recovers_itself_is_let(core: Database, pgflow: Any) -> None:
    core.alter(
        "CREATE FUNCTION pgflow.requeue_stalled_tasks() RETURNS integer LANGUAGE sql AS 'SELECT 3'"
    )
    assert pgflow.recover_stalled_tasks("order", grace=5) == Recovered(3, 0)


NO_SECONDS = [-1, math.nan, math.inf, "30", True, None, 10**400, dt.timedelta(-1)]


@pytest.mark.parametrize("seconds", NO_SECONDS, ids=lambda value: repr(value)[:10])
def test_what_is_no_grace_and_no_age(seconds: Any, core: Database, pgflow: Any) -> None:
    core.add(a_flow())
    over(core, 1)
    with pytest.raises(InvalidDelay, match=r"^grace is "):
        pgflow.recover_stalled_tasks(grace=seconds)
    with pytest.raises(InvalidDelay, match=r"^older_than is "):
        pgflow.prune_data(seconds)
    for wrong in ("a\x00", 7):
        with pytest.raises(InvalidFlow):
            pgflow.recover_stalled_tasks(wrong)
        with pytest.raises(InvalidFlow):
            pgflow.prune_data(0, wrong)
    with pytest.raises(InvalidFlow):
        pgflow.prune_data(0, "a'b")
    assert core.value("SELECT count(*) FROM pgflow.runs") == 1


# Pruning


def over(database: Database, days: float, slug: str = "order", *, failed: bool = False) -> UUID:
    """A run that was over so many days ago."""
    run_id = database.start(slug)
    tasks = database.rows(
        "SELECT message_id, step_slug FROM pgflow.step_tasks WHERE run_id = %s ORDER BY 2", run_id
    )
    ids = [message_id for message_id, _ in tasks]
    database.rows("SELECT pgflow.start_tasks(%s, %s::bigint[], NULL)", slug, ids)
    for _, step in tasks[:1] if failed else tasks:
        if failed:
            database.rows("SELECT pgflow.fail_task(%s, %s, 0, 'no')", run_id, step)
        else:
            database.rows("SELECT pgflow.complete_task(%s, %s, 0, '1'::jsonb)", run_id, step)
    for table, columns in _TIMES.items():
        earlier = ", ".join(
            f"{name} = {name} - make_interval(days => %(days)s)" for name in columns
        )
        database.connection.execute(
            f"UPDATE pgflow.{table} SET {earlier} WHERE run_id = %(run_id)s".encode(),
            {"days": days, "run_id": run_id},
        )
    return run_id


_TIMES = {
    "runs": ("started_at", "completed_at", "failed_at"),
    "step_states": ("created_at", "started_at", "completed_at", "failed_at"),
    "step_tasks": ("queued_at", "started_at", "completed_at", "failed_at"),
}


def left(database: Database) -> set[UUID]:
    return {run_id for (run_id,) in database.rows("SELECT run_id FROM pgflow.runs")}


def test_old_runs_are_pruned_and_no_others(core: Database, pgflow: Any) -> None:
    for slug in ("order", "other"):
        core.add(a_flow(slug))
    kept = {over(core, 5), over(core, 5, "other"), over(core, 5, failed=True)}
    over(core, 15)
    over(core, 15, "other")
    over(core, 15, failed=True)
    for _ in range(2):  # they go on since long
        going_on = core.start("order")
        core.rows("UPDATE pgflow.runs SET started_at = '2001-01-01' WHERE run_id = %s", going_on)
        kept.add(going_on)
    assert pgflow.prune_data(16 * DAY) == Pruned(0, 0, 0)
    assert pgflow.prune_data(10 * DAY) == Pruned(runs=3, tasks=6, messages=6)
    assert left(core) == kept
    assert core.value("SELECT count(*) FROM pgflow.step_tasks") == 2 * len(kept)
    assert core.value("SELECT count(*) FROM pgflow.step_states") == 2 * len(kept)
    assert pgflow.prune_data(dt.timedelta(days=10)) == Pruned(0, 0, 0)
    messages = core.rows(
        "SELECT message->>'run_id' FROM pgmq.q_order UNION ALL"
        " SELECT message->>'run_id' FROM pgmq.a_order UNION ALL"
        " SELECT message->>'run_id' FROM pgmq.a_other"
    )
    assert {UUID(run_id) for (run_id,) in messages} == kept
    assert len(messages) == 2 * len(kept)


def test_one_flow_is_pruned(core: Database, pgflow: Any) -> None:
    for slug in ("order", "other"):
        core.add(a_flow(slug))
        over(core, 15, slug)
    assert pgflow.prune_data(0, "nothing") == Pruned(0, 0, 0)
    assert pgflow.prune_data(0, a_flow("other")) == Pruned(1, 2, 2)
    assert core.rows("SELECT flow_slug FROM pgflow.runs") == [("order",)]


def test_a_failed_run_that_lost_its_time(database: Database, way: Way) -> None:
    """A later failure of another task takes it away, on this core."""
    database.add(a_flow())
    run_id = over(database, 15, failed=True)
    database.rows("UPDATE pgflow.runs SET failed_at = NULL WHERE run_id = %s", run_id)
    with way.client(database.url) as pgflow:
        assert pgflow.prune_data(20 * DAY) == Pruned(0, 0, 0)
        assert pgflow.prune_data(10 * DAY) == Pruned(1, 2, 2)
    assert database.value("SELECT count(*) FROM pgmq.q_order") == 0


def test_pruning_goes_on_until_all_is_done(
    core: Database, pgflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgflow_ref.calls.upkeep._BATCH", 2)
    core.add(a_flow())
    for _ in range(5):
        over(core, 1)
    assert pgflow.prune_data(0) == Pruned(5, 10, 10)
    for _ in range(4):
        over(core, 1)
    assert pgflow.prune_data(0) == Pruned(4, 8, 8)


def test_messages_of_other_runs_stay(core: Database, pgflow: Any) -> None:
    """A queue that was dropped and made again counts from 1 again."""
    flow = core.add(a_flow())
    over(core, 15)
    core.rows("SELECT pgmq.drop_queue('order')")
    pgflow.ensure_flow(flow)
    run_id = core.start("order")
    assert pgflow.prune_data(DAY) == Pruned(1, 2, 0)
    assert left(core) == {run_id}
    assert core.value("SELECT count(*) FROM pgmq.q_order") == 2
    over(core, 15)
    core.rows("SELECT pgmq.drop_queue('order')")
    assert pgflow.prune_data(DAY) == Pruned(1, 2, 0)


def test_a_run_that_somebody_holds_is_left_for_the_next_time(core: Database, pgflow: Any) -> None:
    core.add(a_flow())
    held = over(core, 15)
    over(core, 15)
    with psycopg.connect(core.url) as holder:
        holder.execute("SELECT 1 FROM pgflow.runs WHERE run_id = %s FOR UPDATE", [held])
        assert pgflow.prune_data(DAY) == Pruned(1, 2, 2)
        assert left(core) == {held}
    assert pgflow.prune_data(DAY) == Pruned(1, 2, 2)


def test_pruning_beside_workers(core: Database, pgflow: Any, work: Callable[..., Working]) -> None:
    flow = core.add(a_flow())
    working = work(flow, url=core.url)
    pgflow.start_flows(flow, range(200))
    pruned = 0

    def prune() -> bool:
        nonlocal pruned
        pruned += int(pgflow.prune_data(0).runs)
        return pruned == 200

    wait_until(prune)
    assert not working.is_over()
    assert core.value("SELECT count(*) FROM pgflow.step_tasks") == 0
    wait_until(lambda: core.value("SELECT count(*) FROM pgmq.q_order") == 0)
    assert core.value("SELECT count(*) FROM pgmq.a_order") == 0


def test_pruning_in_a_transaction_of_the_callers(core: Database, way: Way) -> None:
    core.add(a_flow())
    over(core, 15)
    with way.connect(core.url) as mine:
        assert way.client(mine).prune_data(DAY) == Pruned(1, 2, 2)
        mine.rollback()
    assert core.value("SELECT count(*) FROM pgmq.a_order") == 2
    assert len(left(core)) == 1


def test_what_the_core_can_do(core: Database, pgflow: Any) -> None:
    found = pgflow.capabilities()
    assert found.map_steps is (found.core == "0.8.1")
    assert pgflow.core_version() == "0.5.0"
    assert PgFlow(core.url).core_version() == "0.5.0"
