"""Recovery on a real PostgreSQL: what was left by workers that died is done after all."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from pgflow_ref import Flow
from pgflow_ref import operations as ops
from pgflow_ref.connection import connect, execute
from pgflow_ref.operations import Recovered
from tests.conftest import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Database, Working


def a_flow(**options: int) -> Flow:
    flow = Flow("stalls", timeout=10, **options)

    @flow.step()
    def one(given: object, _ctx: object) -> object:
        return given

    @flow.step(timeout=100)
    def two(given: object, _ctx: object) -> object:
        return given

    return flow


def claim(database: Database, slug: str = "stalls") -> None:
    """Claim all that is visible, as a worker that is not heard of again."""
    worker = uuid4()
    execute(database.connection, ops.register_worker(worker, slug, slug))
    ids = execute(database.connection, ops.read_messages(slug, 1_000, 100))
    execute(database.connection, ops.start_tasks(slug, ids, worker))


def age(database: Database, seconds: float) -> None:
    """Let all started tasks be started so much earlier."""
    database.rows(
        "UPDATE pgflow.step_tasks SET started_at = started_at - make_interval(secs => %s),"
        " queued_at = queued_at - make_interval(secs => %s) WHERE status = 'started'",
        seconds,
        seconds,
    )


def recover(database: Database, slug: str | None = None, grace: float = 30.0) -> Recovered:
    operation = ops.recover_stalled_tasks(slug, grace, by_core=False)
    return execute(database.connection, operation)


def tasks(database: Database) -> dict[str, tuple[Any, ...]]:
    rows = database.rows(
        "SELECT step_slug, status, attempts_count FROM pgflow.step_tasks ORDER BY step_slug"
    )
    return {step: (status, attempts) for step, status, attempts in rows}


def visible(database: Database) -> list[str]:
    """The steps whose messages can be read now."""
    return [
        step
        for (step,) in database.rows(
            "SELECT message->>'step_slug' FROM pgmq.q_stalls WHERE vt <= clock_timestamp()"
            " ORDER BY 1"
        )
    ]


def test_a_task_is_stalled_by_its_own_timeout(core: Database) -> None:
    core.start(core.add(a_flow()))
    claim(core)
    assert recover(core) == Recovered(0, 0)
    age(core, 39)
    assert recover(core) == Recovered(0, 0)
    age(core, 2)
    assert recover(core) == Recovered(1, 0)
    assert tasks(core) == {"one": ("queued", 1), "two": ("started", 1)}
    assert visible(core) == ["one"]
    age(core, 90)
    assert recover(core) == Recovered(1, 0)
    assert visible(core) == ["one", "two"]
    assert core.tasks("started") == 0
    assert recover(core) == Recovered(0, 0)


def test_the_grace_is_the_callers(core: Database) -> None:
    core.start(core.add(a_flow()))
    claim(core)
    age(core, 12)
    assert recover(core, grace=5.5) == Recovered(0, 0)
    assert recover(core, grace=0) == Recovered(1, 0)


def test_a_recovered_task_is_done_at_the_next_attempt(
    core: Database, work: Callable[..., Working]
) -> None:
    run_id = core.start(core.add(a_flow()), 7)
    claim(core)
    age(core, 1_000)
    assert recover(core) == Recovered(2, 0)
    work(a_flow(), url=core.url)
    run = core.finish(run_id)
    assert run.output == {"one": 7, "two": 7}
    assert [state.attempts for state in run.step_states] == [2, 2]
    assert core.value("SELECT count(*) FROM pgmq.q_stalls") == 0
    assert core.value("SELECT count(*) FROM pgmq.a_stalls") == 2


def test_a_task_without_attempts_left_fails_with_its_run(core: Database) -> None:
    run_id = core.start(core.add(a_flow(max_attempts=1)))
    claim(core)
    age(core, 50)
    assert recover(core) == Recovered(0, 1)
    run = core.run(run_id)
    assert run.status == "failed"
    assert run.step_states[0].error_message == (
        "Task stalled: no result within its timeout of 10 s and 30 s more"
    )
    assert tasks(core)["one"] == ("failed", 1)
    archived = core.rows("SELECT message->>'step_slug' FROM pgmq.a_stalls")
    assert ("one",) in archived


def test_where_one_task_fails_the_run_the_others_stay(core: Database) -> None:
    """Neither are they queued for a run that nobody waits for, nor is the run failed twice."""
    run_id = core.start(core.add(a_flow(max_attempts=1)))
    claim(core)
    age(core, 1_000)
    assert recover(core) == Recovered(0, 1)
    assert tasks(core) == {"one": ("failed", 1), "two": ("started", 1)}
    assert core.run(run_id).status == "failed"
    assert recover(core) == Recovered(0, 0), "a run that has failed is not touched"
    told = "SELECT count(*) FROM realtime.messages_sent WHERE event = 'run:failed' AND topic = %s"
    assert core.value(told, f"pgflow:run:{run_id}") == 1


def test_where_one_task_fails_the_run_the_other_is_not_queued(core: Database) -> None:
    core.start(core.add(a_flow(max_attempts=2)))
    claim(core)
    core.rows("UPDATE pgflow.step_tasks SET attempts_count = 2 WHERE step_slug = 'two'")
    age(core, 1_000)
    assert recover(core) == Recovered(0, 1)
    assert tasks(core) == {"one": ("started", 1), "two": ("failed", 2)}


def test_only_the_flow_that_is_asked_for(core: Database) -> None:
    other = Flow("other", timeout=10)
    other.step("one")(lambda given, _ctx: given)
    for flow in (a_flow(), other):
        core.start(core.add(flow))
        claim(core, flow.slug)
    age(core, 1_000)
    assert recover(core, "other") == Recovered(1, 0)
    assert recover(core, "nobody") == Recovered(0, 0)
    assert recover(core) == Recovered(2, 0)


@pytest.mark.parametrize("how", ["purged", "archived", "never sent"])
def test_a_message_that_is_gone_is_sent_anew(
    how: str, core: Database, work: Callable[..., Working]
) -> None:
    run_id = core.start(core.add(a_flow()), 7)
    claim(core)
    if how == "purged":
        core.rows("SELECT pgmq.purge_queue('stalls')")
    elif how == "archived":
        core.rows("SELECT pgmq.archive('stalls', message_id) FROM pgflow.step_tasks")
    else:
        core.rows("UPDATE pgflow.step_tasks SET message_id = NULL")
        core.rows("SELECT pgmq.purge_queue('stalls')")
    age(core, 1_000)
    assert recover(core) == Recovered(2, 0)
    assert core.rows(
        "SELECT message FROM pgmq.q_stalls q JOIN pgflow.step_tasks t ON t.message_id = q.msg_id"
        " AND t.step_slug = q.message->>'step_slug' ORDER BY t.step_slug"
    ) == [
        ({"flow_slug": "stalls", "run_id": str(run_id), "step_slug": step, "task_index": 0},)
        for step in ("one", "two")
    ]
    work(a_flow(), url=core.url)
    assert core.finish(run_id).output == {"one": 7, "two": 7}


def test_a_flow_without_a_queue_hinders_nobody(core: Database) -> None:
    other = Flow("other", timeout=10)
    other.step("one")(lambda given, _ctx: given)
    for flow in (a_flow(), other):
        core.start(core.add(flow))
        claim(core, flow.slug)
    age(core, 1_000)
    core.rows("SELECT pgmq.drop_queue('other')")
    assert recover(core) == Recovered(2, 0)
    assert core.tasks("started") == 1


def test_tasks_of_a_map_step(newest: Database, work: Callable[..., Working]) -> None:
    flow = Flow("stalls", timeout=10)

    @flow.map()
    def double(given: int, _ctx: object) -> int:
        return 2 * given

    run_id = newest.start(newest.add(flow), [1, 2, 3])
    claim(newest)
    newest.rows("SELECT pgflow.complete_task(%s, 'double', 1, '40'::jsonb)", run_id)
    age(newest, 1_000)
    assert recover(newest) == Recovered(2, 0)
    work(flow, url=newest.url)
    assert newest.finish(run_id).output == {"double": [2, 40, 6]}


@pytest.mark.parametrize("table", ["runs", "step_states", "step_tasks"])
def test_what_somebody_holds_is_left_alone(table: str, core: Database) -> None:
    """A result that is being recorded is not waited for, and not lost."""
    core.start(core.add(a_flow()))
    claim(core)
    age(core, 1_000)
    with psycopg.connect(core.url) as holder:
        lock = psycopg.sql.SQL("SELECT 1 FROM pgflow.{} FOR UPDATE")
        holder.execute(lock.format(psycopg.sql.Identifier(table)))
        assert recover(core) == Recovered(0, 0)
    assert recover(core) == Recovered(2, 0)


def test_several_recover_at_once(core: Database) -> None:
    """Each task is put back by one of them, and none of them waits in a circle."""
    flow = core.add(a_flow())
    for _ in range(30):
        core.start(flow)
    claim(core)
    age(core, 1_000)
    start, found = threading.Barrier(4), []

    def race() -> None:
        with connect(core.url) as connection:
            start.wait(PATIENCE)
            operation = ops.recover_stalled_tasks(None, 30.0, by_core=False)
            found.append(execute(connection, operation))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(found) == 4
    rest = recover(core)  # what was locked by two, each of which left it to the other
    assert sum(one.requeued for one in [*found, rest]) == 60
    assert core.tasks("queued") == 60
    assert visible(core) == ["one"] * 30 + ["two"] * 30


def test_a_core_that_recovers_itself_does_so(core: Database) -> None:
    core.alter(
        "CREATE FUNCTION pgflow.requeue_stalled_tasks() RETURNS integer LANGUAGE sql AS 'SELECT 3'"
    )
    operation = ops.recover_stalled_tasks("stalls", 30.0, by_core=True)
    assert execute(core.connection, operation) == Recovered(3, 0)
