"""Workers that hear of messages, or wait for them in the server, on a real PostgreSQL.

Those that poll would take minutes here: what comes in a moment was signalled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgflow_ref import CoreUnsupported, Flow, TaskFailed, Worker
from tests.conftest import wait_until

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from pgflow_ref import Context
    from tests.conftest import Database, Working

    Work = Callable[..., Working]

SLOW: dict[str, Any] = {"min_poll_interval": 300, "max_poll_interval": 300}
NOTIFY: dict[str, Any] = {"signal_strategy": "notify", "notify_fallback_interval": 600, **SLOW}
LONG_POLL: dict[str, Any] = {
    "signal_strategy": "long_poll",
    "min_poll_interval": 1,
    "max_poll_interval": 300,
    "recovery_interval": None,  # else the server waits only until then
}
OTHERS = (
    "FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'pgflow-ref' AND pid <> pg_backend_pid()"
)
LISTENS = f"{OTHERS} AND query LIKE 'LISTEN %%'"
WAITS = f"{OTHERS} AND wait_event = 'PgSleep'"
THROTTLE = "SELECT throttle_interval_ms FROM pgmq.notify_insert_throttle"


def echo(given: object, _ctx: object) -> object:
    return given


def job(handler: Callable[..., object] = echo, slug: str = "flow", **options: Any) -> Flow:
    flow = Flow(slug, **options)
    flow.step("work")(handler)
    return flow


def finish(database: Database, run_id: Any) -> Any:
    """Wait for the end of a run, and do not help."""
    wait_until(lambda: database.run(run_id).is_over)
    return database.run(run_id)


def wait_for_silence(database: Database) -> None:
    """Wait until the worker has nothing to do but to listen."""
    wait_until(lambda: database.rows(f"SELECT 1 {LISTENS}"))
    wait_until(lambda: not database.rows(f"SELECT 1 {OTHERS} AND state = 'active'"))


# notify


def test_a_worker_hears_of_runs_and_of_steps_that_become_ready(
    database: Database, work: Work
) -> None:
    flow = Flow("flow")
    first = flow.step("first")(echo)
    flow.step("second", depends_on=[first])(lambda deps, _ctx: deps["first"] + 1)
    work(database.add(flow), **NOTIFY)
    for number in range(5):
        wait_for_silence(database)
        assert finish(database, database.start(flow, number)).output == {"second": number + 1}
    assert database.rows(THROTTLE) == [(250,)]


def test_many_inserts_within_the_throttle_are_all_found(database: Database, work: Work) -> None:
    work(database.add(job()), **NOTIFY, notify_throttle=1.0)
    wait_for_silence(database)
    ids = [database.start("flow", number) for number in range(20)]
    assert [finish(database, run_id).output["work"] for run_id in ids] == list(range(20))


def test_it_wakes_for_a_task_that_is_to_be_tried_again(database: Database, work: Work) -> None:
    def fail_once(_given: object, ctx: Context) -> int:
        if ctx.attempt == 1:
            raise TaskFailed("not yet")
        return ctx.attempt

    work(database.add(job(fail_once, base_delay=1)), **NOTIFY)
    assert finish(database, database.start("flow")).output == {"work": 2}


def test_it_wakes_for_a_step_that_waits_before_it_starts(newest: Database, work: Work) -> None:
    flow = Flow("flow")
    flow.step("work", start_delay=1)(echo)
    work(newest.add(flow), url=newest.url, **NOTIFY)
    assert finish(newest, newest.start(flow, 7)).output == {"work": 7}


def test_two_workers_hear_and_share(database: Database, work: Work, gate: threading.Event) -> None:
    seen: list[object] = []

    def wait(given: object, ctx: Context) -> object:
        seen.append(ctx.worker_id)
        gate.wait()
        return given

    database.add(job(wait))
    workers = [work(job(wait), **NOTIFY, max_concurrency=1) for _ in range(2)]
    ids = [database.start("flow", number) for number in range(2)]
    wait_until(lambda: len(seen) == 2)
    assert set(seen) == {working.worker.worker_id for working in workers}
    gate.set()
    assert [finish(database, run_id).output for run_id in ids] == [{"work": 0}, {"work": 1}]


@pytest.mark.parametrize(
    ("there", "wanted", "then"), [(100, 0.25, 100), (500, 0.25, 250), (0, 0.25, 0), (250, 0, 0)]
)
def test_the_throttle_of_others_is_lowered_and_never_raised(
    there: int, wanted: float, then: int, database: Database, work: Work
) -> None:
    database.add(job())
    database.rows("SELECT pgmq.enable_notify_insert('flow', %s)", there)
    trigger = "SELECT oid FROM pg_trigger WHERE tgname = 'trigger_notify_queue_insert_listeners'"
    before = database.rows(trigger)
    work(job(), **NOTIFY, notify_throttle=wanted)
    assert database.rows(THROTTLE) == [(then,)]
    assert (database.rows(trigger) == before) == (then == there)  # nobody is disturbed for nothing


def test_a_throttle_that_a_crash_has_emptied_is_set_again(database: Database, work: Work) -> None:
    """The table is unlogged; without its row the trigger is silent."""
    database.add(job())
    database.rows("SELECT pgmq.enable_notify_insert('flow', 250)")
    database.rows("DELETE FROM pgmq.notify_insert_throttle")
    work(job(), **NOTIFY)
    assert database.rows(THROTTLE) == [(250,)]
    assert finish(database, database.start("flow", 1)).output == {"work": 1}


def test_when_it_no_longer_hears_it_polls_and_listens_again(
    database: Database, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    work(database.add(job()), **NOTIFY)
    wait_for_silence(database)
    ((before,),) = database.rows(f"SELECT pid {LISTENS}")
    database.rows(f"SELECT pg_terminate_backend(pid, 10000) {LISTENS}")
    wait_until(lambda: "cannot listen to the queue: " in caplog.text)
    wait_until(lambda: database.rows(f"SELECT 1 {LISTENS} AND pid <> {before}"))
    wait_for_silence(database)
    assert finish(database, database.start("flow", 1)).output == {"work": 1}


def test_what_was_inserted_while_it_did_not_hear_is_found(
    database: Database, databases: Any, work: Work
) -> None:
    name = database.connection.info.dbname
    database.is_altered = True  # for a while
    work(database.add(job()), **NOTIFY)
    wait_for_silence(database)
    databases.execute("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", name)
    database.rows(f"SELECT pg_terminate_backend(pid, 10000) {OTHERS}")
    run_id = database.start("flow", 1)
    databases.execute("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", name)
    assert finish(database, run_id).output == {"work": 1}


def test_the_fallback_finds_what_no_insert_tells_of(database: Database, work: Work) -> None:
    database.add(job())
    run_id = database.start("flow", 1)
    database.rows("SELECT pgmq.set_vt('flow', msg_id, 3600) FROM pgmq.q_flow")
    work(job(), **{**NOTIFY, "notify_fallback_interval": 0.1})
    wait_for_silence(database)
    database.rows("SELECT pgmq.set_vt('flow', msg_id, 0) FROM pgmq.q_flow")
    assert finish(database, run_id).output == {"work": 1}


def test_a_worker_that_stops_listens_no_more(database: Database, work: Work) -> None:
    working = work(database.add(job()), **NOTIFY)
    wait_for_silence(database)
    working.stop()
    wait_until(lambda: not database.rows(f"SELECT 1 {OTHERS}"))


def test_a_pgmq_that_cannot_notify(database: Database) -> None:
    database.add(job())
    database.alter("DROP FUNCTION pgmq.enable_notify_insert")
    with pytest.raises(CoreUnsupported, match=r"needs pgmq 1\.8 or newer.*use 'polling'"):
        Worker(job(), database.url, **NOTIFY).run(signals=False)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE pgmq.notify_insert_throttle",
        """DROP FUNCTION pgmq.enable_notify_insert;
        CREATE FUNCTION pgmq.enable_notify_insert(text) RETURNS void LANGUAGE sql AS ''""",
    ],
    ids=["no table", "no throttle"],
)
def test_a_pgmq_whose_notifications_have_no_throttle(statement: Any, database: Database) -> None:
    database.add(job())
    database.alter(statement)
    with pytest.raises(CoreUnsupported, match=r"needs pgmq 1\.8 or newer"):
        Worker(job(), database.url, **NOTIFY).run(signals=False)


def test_a_role_that_may_not_set_up_notifications(database: Database, work: Work) -> None:
    """Once its owner has done that, any role may listen."""
    database.add(job())
    database.is_altered = True
    database.rows("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    try:
        for schema in ("pgflow", "pgmq", "realtime"):
            name = sql.Identifier(schema)
            for grant in (
                "GRANT USAGE ON SCHEMA {} TO plain",
                "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO plain",
                "GRANT ALL ON ALL SEQUENCES IN SCHEMA {} TO plain",
            ):
                database.connection.execute(sql.SQL(grant).format(name))
        url = make_conninfo(database.url, user="plain", password="plain")
        with pytest.raises(CoreUnsupported) as caught:
            Worker(job(), url, **NOTIFY).run(signals=False)
        assert str(caught.value).startswith(
            "pgmq does not notify of inserts into 'flow' every 250 ms, and this role may not change"
        )
        remedy = str(caught.value).partition("run ")[2].partition(", or use")[0]
        database.connection.execute(remedy.encode())
        working = work(job(), url=url, **NOTIFY)
        wait_for_silence(database)
        assert finish(database, database.start("flow", 1)).output == {"work": 1}
        working.stop()
    finally:
        database.rows("DROP OWNED BY plain")
        database.rows("DROP ROLE plain")


def test_a_queue_of_whose_inserts_pgmq_never_tells(database: Database) -> None:
    """Its trigger looks for the throttle of `flow`, and there is one of `Flow`."""
    database.add(job(slug="Flow"))
    database.rows("SELECT pgmq.enable_notify_insert('Flow', 0)")
    with psycopg.connect(database.url, autocommit=True) as other:
        other.execute('LISTEN "pgmq.q_flow.INSERT"')
        database.start("Flow")
        other.execute("SELECT 1")
        assert list(other.notifies(timeout=0)) == []
    with pytest.raises(CoreUnsupported, match="capital letters"):
        Worker(job(slug="Flow"), database.url, **NOTIFY).run(signals=False)


# long_poll


def wait_for_the_poll(database: Database) -> None:
    wait_until(lambda: database.rows(f"SELECT 1 {WAITS}"))


@pytest.mark.parametrize("core", ["0.5.0", "0.8.1"])
def test_a_worker_waits_in_the_server(core: str, databases: Any, work: Work) -> None:
    with databases.database(core) as database:
        working = work(database.add(job()), url=database.url, **LONG_POLL)
        for number in range(3):
            wait_for_the_poll(database)
            assert finish(database, database.start("flow", number)).output == {"work": number}
        working.stop()


def test_stopping_does_not_wait_for_the_server(database: Database, work: Work) -> None:
    working = work(database.add(job()), **LONG_POLL)
    wait_for_the_poll(database)
    working.stop()
    assert database.rows("SELECT stopped_at IS NOT NULL FROM pgflow.workers") == [(True,)]


def test_a_cancelled_poll_hides_nothing(database: Database, work: Work) -> None:
    """The message comes while the poll sleeps; either it is worked on, or it stays visible."""
    database.add(job())
    for number in range(20):
        working = work(job(), **LONG_POLL)
        wait_for_the_poll(database)
        database.start("flow", number)
        working.stop()
        hidden = database.value("SELECT count(*) FROM pgmq.q_flow WHERE vt > clock_timestamp()")
        assert hidden == 0
        database.rows("SELECT pgmq.purge_queue('flow')")  # the next one is not to find it
    assert database.tasks("started") == 0


def test_a_full_worker_holds_no_poll(database: Database, work: Work, gate: threading.Event) -> None:
    def wait(given: object, _ctx: object) -> object:
        gate.wait()
        return given

    work(database.add(job(wait)), **LONG_POLL, max_concurrency=1)
    run_id = database.start("flow", 1)
    wait_until(lambda: database.tasks("started") == 1)
    wait_until(lambda: not database.rows(f"SELECT 1 {OTHERS} AND state = 'active'"))
    gate.set()
    assert finish(database, run_id).output == {"work": 1}
    wait_for_the_poll(database)


def test_a_poll_that_is_lost_is_tried_again(database: Database, work: Work) -> None:
    work(database.add(job()), **LONG_POLL)
    wait_for_the_poll(database)
    database.rows(f"SELECT pg_terminate_backend(pid, 10000) {WAITS}")
    assert finish(database, database.start("flow", 1)).output == {"work": 1}


def test_a_poll_that_somebody_else_cancels_is_tried_again(
    database: Database, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    work(database.add(job()), **LONG_POLL)
    wait_for_the_poll(database)
    database.rows(f"SELECT pg_cancel_backend(pid) {WAITS}")
    wait_until(lambda: "cannot read messages: canceling statement" in caplog.text)
    assert finish(database, database.start("flow", 1)).output == {"work": 1}


def test_a_pgmq_that_cannot_wait(database: Database) -> None:
    database.add(job())
    database.alter("DROP FUNCTION pgmq.read_with_poll")
    with pytest.raises(CoreUnsupported, match=r"needs pgmq\.read_with_poll"):
        Worker(job(), database.url, **LONG_POLL).run(signals=False)
