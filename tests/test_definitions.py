"""Flows are created, replaced and deleted by both clients, on a real PostgreSQL."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgflow_ref import (
    CoreUnsupported,
    Event,
    Flow,
    FlowMismatch,
    FlowNotFound,
    FlowUpserted,
    InvalidFlow,
    PgFlow,
)
from pgflow_ref import operations as ops
from pgflow_ref.connection import execute
from pgflow_ref.task import Completed, Result, Task
from tests.conftest import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import LiteralString

    from tests.conftest import Database, Working
    from tests.ways import Way


@pytest.fixture
def pgflow(core: Database, way: Way) -> Iterator[Any]:
    with way.client(core.url) as pgflow:
        yield pgflow


TABLES: tuple[LiteralString, ...] = ("flows", "steps", "deps", "runs", "step_states", "step_tasks")


def contents(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All that pgflow and pgmq hold of flows."""
    found = {
        table: database.rows("SELECT t::text FROM pgflow." + table + " t ORDER BY 1")
        for table in TABLES
    }
    found["queues"] = database.rows("SELECT queue_name FROM pgmq.meta ORDER BY 1")
    found["tables"] = database.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'pgmq'::regnamespace AND relkind = 'r'"
        " AND (relname LIKE 'q\\_%' OR relname LIKE 'a\\_%') ORDER BY 1"
    )
    return found


def steps(database: Database, slug: str = "order") -> list[tuple[Any, ...]]:
    """Steps in order, with their options and dependencies."""
    return database.rows(
        "SELECT step_slug, opt_max_attempts, opt_base_delay, opt_timeout,"
        " ARRAY(SELECT dep_slug FROM pgflow.deps d WHERE d.flow_slug = s.flow_slug"
        " AND d.step_slug = s.step_slug ORDER BY 1) FROM pgflow.steps s WHERE flow_slug = %s"
        " ORDER BY step_index",
        slug,
    )


def a_flow(*slugs: str, flow: str = "order") -> Flow:
    """A flow of steps, each of which depends on the one before."""
    made = Flow(flow)
    before: list[Any] = []
    for slug in slugs:
        before = [made.step(slug, depends_on=before)(lambda given, _ctx: given)]
    return made


def with_a_run(database: Database, slug: str = "order") -> None:
    """Leave a flow with a run of each kind: new, under way, completed, failed."""
    for _ in range(4):
        database.start(slug)
    rows = database.rows("SELECT msg_id FROM pgmq.read(%s, 0, 4)", slug)
    ids = [row[0] for row in rows]
    database.rows("SELECT pgflow.start_tasks(%s, %s::bigint[], NULL)", slug, ids[:3])
    done, failed = database.rows(
        "SELECT run_id, step_slug, task_index FROM pgflow.step_tasks"
        " WHERE flow_slug = %s AND message_id = ANY(%s)",
        slug,
        ids[:2],
    )
    database.rows("SELECT pgflow.complete_task(%s, %s, %s, '1'::jsonb)", *done)
    database.rows("UPDATE pgflow.step_tasks SET attempts_count = 9 WHERE run_id = %s", failed[0])
    database.rows("SELECT pgflow.fail_task(%s, %s, %s, 'no')", *failed)


# Define


def test_a_new_flow_is_compiled(core: Database, pgflow: Any) -> None:
    assert not pgflow.flow_exists("order")
    upserted = pgflow.upsert_flow("order", steps=[{"slug": "check"}])
    assert upserted == FlowUpserted("order", "compiled")
    assert pgflow.flow_exists("order")
    assert core.rows("SELECT * FROM pgflow.flows")[0][:4] == ("order", 3, 1, 60)
    assert steps(core) == [("check", None, None, None, [])]
    pgflow.start_flow("order", {})
    assert core.value("SELECT count(*) FROM pgmq.q_order") == 1


FIVE = [
    {"slug": "e", "depends_on": ("d", "b")},
    {"slug": "a", "max_attempts": 7, "base_delay": 2, "timeout": 30},
    {"slug": "b", "deps": ["a"], "max_attempts": None},
    {"slug": "c", "deps": ["a"], "timeout": 3},
    {"slug": "d", "deps": ["b", "c"], "step_type": "single"},
]


def test_a_graph_with_options_of_its_own(core: Database, pgflow: Any) -> None:
    pgflow.upsert_flow("order", steps=FIVE, max_attempts=5, base_delay=4, timeout=90)
    assert core.rows("SELECT * FROM pgflow.flows")[0][:4] == ("order", 5, 4, 90)
    assert steps(core) == [
        ("a", 7, 2, 30, []),
        ("b", None, None, None, ["a"]),
        ("c", None, None, 3, ["a"]),
        ("d", None, None, None, ["b", "c"]),
        ("e", None, None, None, ["b", "d"]),
    ]


def test_a_flow_that_is_there_is_replaced_with_its_history(core: Database, pgflow: Any) -> None:
    pgflow.upsert_flow("order", steps=FIVE)
    pgflow.upsert_flow("other", steps=[{"slug": "check"}])
    with_a_run(core)
    with_a_run(core, "other")
    again = pgflow.upsert_flow("order", steps=[{"slug": "z"}], max_attempts=1)
    assert again == FlowUpserted("order", "recompiled")
    assert steps(core) == [("z", None, None, None, [])]
    assert core.rows("SELECT flow_slug, count(*) FROM pgflow.runs GROUP BY 1") == [("other", 4)]
    assert core.value("SELECT count(*) FROM pgmq.q_order") == 0
    assert core.value("SELECT count(*) FROM pgmq.a_order") == 0
    assert core.value("SELECT count(*) FROM pgmq.a_other") > 0
    run_id = pgflow.start_flow("order", 7)
    assert core.value("SELECT message->>'run_id' FROM pgmq.q_order") == str(run_id)


def test_messages_of_a_replaced_flow_are_not_counted_anew(core: Database, pgflow: Any) -> None:
    """Else a worker that has read a message of the old flow would claim a task of the new one."""
    pgflow.upsert_flow("order", steps=[{"slug": "z"}])
    pgflow.start_flow("order", 1)
    pgflow.upsert_flow("order", steps=[{"slug": "z"}])
    pgflow.start_flow("order", 1)
    assert core.rows("SELECT msg_id FROM pgmq.q_order") == [(2,)]


def test_what_an_orphaned_queue_holds_is_not_the_new_flows(core: Database, pgflow: Any) -> None:
    core.rows("SELECT pgmq.create('order')")
    core.rows("""SELECT pgmq.send('order', '{"flow_slug": "order"}'::jsonb)""")
    assert pgflow.upsert_flow("order", steps=[{"slug": "z"}]).status == "compiled"
    assert core.value("SELECT count(*) FROM pgmq.q_order") == 0


def test_map_steps_and_start_delays(newest: Database, way: Way) -> None:
    plain = [{"slug": "a", "start_delay": 9}, {"slug": "b", "deps": ["a"], "step_type": "map"}]
    with way.client(newest.url) as pgflow:
        pgflow.upsert_flow("order", steps=plain)
    assert newest.rows(
        "SELECT step_slug, step_type, opt_start_delay FROM pgflow.steps ORDER BY step_index"
    ) == [("a", "single", 9), ("b", "map", None)]


@pytest.mark.parametrize(
    ("step", "version"), [({"start_delay": 1}, "0.5.3"), ({"step_type": "map"}, "0.7")]
)
def test_what_the_core_does_not_have(
    step: dict[str, object], version: str, database: Database, way: Way
) -> None:
    flow = Flow("order")
    if "start_delay" in step:
        flow.step("a", start_delay=1)(lambda given, _ctx: given)
    else:
        flow.map(slug="a")(lambda given, _ctx: given)
    before = contents(database)
    with way.client(database.url) as pgflow:
        for define in (
            lambda: pgflow.upsert_flow("order", steps=[{"slug": "a", **step}]),
            lambda: pgflow.ensure_flow(flow),
        ):
            with pytest.raises(CoreUnsupported, match=f"step 'a': .* needs core {version}"):
                define()  # type: ignore[no-untyped-call]
    assert contents(database) == before


WRONG: dict[str, tuple[Any, Any, str]] = {
    "no slug of a flow": ("1st", [{"slug": "a"}], "flow '1st': a slug is an ASCII letter"),
    "a long slug of a flow": ("x" * 48, [{"slug": "a"}], "at most 47 characters"),
    "no text for a slug": (7, [{"slug": "a"}], "flow 7: a slug is text, not int"),
    "SQL for a slug": ("a'); DROP SCHEMA pgflow CASCADE; --", [{"slug": "a"}], "a slug is an"),
    "no steps": ("order", [], "flow 'order': it has no steps"),
    "None for steps": ("order", None, "steps is a list of mappings, not NoneType"),
    "text for steps": ("order", "abc", "steps is a list of mappings, not str"),
    "a mapping for steps": ("order", {"slug": "a"}, "steps is a list of mappings, not dict"),
    "a step that is a text": ("order", [{"slug": "a"}, "b"], r"steps\[1\] is a mapping"),
    "a step without a slug": ("order", [{"slug": "a"}, {}], r"steps\[1\] has no slug"),
    "a number for a step": ("order", [{"slug": 7}], "a slug is text, not int"),
    "a step called run": ("order", [{"slug": "run"}], "step 'run': the slug 'run' is reserved"),
    "quotes": ("order", [{"slug": "a'b"}], 'step "a\'b": a slug is an ASCII letter'),
    "NUL": ("order", [{"slug": "a\x00"}], "a slug is an ASCII letter"),
    "10,000 characters": ("order", [{"slug": "x" * 10_000}], "at most 128 characters"),
    "twice": ("order", [{"slug": "a"}, {"slug": "a"}], "step 'a': .*declared twice"),
    "unknown key": ("order", [{"slug": "a", "depends": []}], "step 'a': 'depends' is no key"),
    "both keys": ("order", [{"slug": "a", "deps": [], "depends_on": []}], "step 'a': .* give one"),
    "deps is a text": ("order", [{"slug": "ab", "deps": "a"}], "step 'ab': deps is a list"),
    "deps has a number": ("order", [{"slug": "a", "deps": [1]}], "step 'a': deps is a list"),
    "unknown dependency": ("order", [{"slug": "a", "deps": ["b"]}], "step 'a': depends on 'b'"),
    "itself": ("order", [{"slug": "a", "deps": ["a"]}], "step 'a': .*does not depend on itself"),
    "same dependency": (
        "order",
        [{"slug": "a"}, {"slug": "b", "deps": ["a", "a"]}],
        "step 'b': depends on 'a' twice",
    ),
    "circle": (
        "order",
        [{"slug": "a", "deps": ["b"]}, {"slug": "b", "deps": ["a"]}],
        "circle: a → b → a",
    ),
    "text for a number": ("order", [{"slug": "a", "timeout": "9"}], "step 'a': timeout is a whole"),
    "half a second": (
        "order",
        [{"slug": "a", "base_delay": 0.5}],
        "step 'a': base_delay is a whol",
    ),
    "bool": ("order", [{"slug": "a", "max_attempts": True}], "step 'a': max_attempts is a whole"),
    "too few": ("order", [{"slug": "a", "max_attempts": 0}], "step 'a': max_attempts is between 1"),
    "too many": ("order", [{"slug": "a", "timeout": 2**31}], "step 'a': timeout is between 3 and"),
    "no type": ("order", [{"slug": "a", "step_type": "mapp"}], "step 'a': .*mapp"),
}


@pytest.mark.parametrize("name", WRONG)
def test_nothing_is_written_on_error(name: str, core: Database, pgflow: Any) -> None:
    pgflow.upsert_flow("order", steps=FIVE)
    with_a_run(core)
    slug, plain, message = WRONG[name]
    before = contents(core)
    with pytest.raises(InvalidFlow, match=message) as caught:
        pgflow.upsert_flow(slug, steps=plain)
    assert len(str(caught.value)) < 500
    assert contents(core) == before


@pytest.mark.parametrize("option", ["max_attempts", "base_delay", "timeout"])
@pytest.mark.parametrize("value", [0, -1, "3", 1.5, True, 2**31])
def test_options_of_a_flow_are_checked(option: str, value: Any, pgflow: Any) -> None:
    with pytest.raises(InvalidFlow, match=f"flow 'order': {option} is "):
        pgflow.upsert_flow("order", steps=[{"slug": "a"}], **{option: value})
    assert not pgflow.flow_exists("order")


def test_nothing_is_written_where_the_database_refuses(core: Database, pgflow: Any) -> None:
    pgflow.upsert_flow("order", steps=FIVE)
    with_a_run(core)
    before = contents(core)
    core.alter("ALTER TABLE pgflow.steps ADD CHECK (step_slug <> 'z')")
    with pytest.raises(psycopg.errors.CheckViolation):
        pgflow.upsert_flow("order", steps=[{"slug": "y"}, {"slug": "z"}])
    with pytest.raises(psycopg.errors.CheckViolation):
        pgflow.ensure_flow(a_flow("y", "z", flow="another"))
    assert contents(core) == before


def test_whether_a_flow_exists(core: Database, pgflow: Any) -> None:
    core.add(a_flow("a"))
    asked = ["order", "ORDER", "", "order'", "%s", "é", "x" * 128, a_flow("b"), Flow("other")]
    assert [pgflow.flow_exists(slug) for slug in asked] == [
        *(True, False, False, False, False, False, False, True, False)
    ]
    for wrong in (None, 7, "a\x00", "x" * 129):
        with pytest.raises(InvalidFlow):
            pgflow.flow_exists(wrong)


# Ensure


def test_what_is_missing_is_created_once(core: Database, pgflow: Any) -> None:
    flow = a_flow("a", "b")
    assert pgflow.ensure_flow(flow) == (
        "SELECT pgflow.create_flow('order');",
        "SELECT pgflow.add_step('order', 'a');",
        "SELECT pgflow.add_step('order', 'b', ARRAY['a']);",
    )
    before = contents(core)
    assert pgflow.ensure_flow(flow) == ()
    assert contents(core) == before


def test_missing_steps_are_added_and_runs_stay(core: Database, pgflow: Any) -> None:
    core.add(a_flow("a", "b"))
    with_a_run(core)
    runs = core.rows("SELECT * FROM pgflow.runs ORDER BY run_id")
    assert pgflow.ensure_flow(a_flow("a", "b", "c")) == (
        "SELECT pgflow.add_step('order', 'c', ARRAY['b']);",
    )
    assert [step[0] for step in steps(core)] == ["a", "b", "c"]
    assert core.rows("SELECT * FROM pgflow.runs ORDER BY run_id") == runs


def test_a_missing_queue_is_made(core: Database, pgflow: Any) -> None:
    core.add(a_flow("a"))
    core.rows("SELECT pgmq.drop_queue('order')")
    assert pgflow.ensure_flow(a_flow("a")) == ("SELECT pgflow.create_flow('order');",)
    pgflow.start_flow("order", 1)
    assert pgflow.ensure_flow(a_flow("a")) == ()


def test_what_differs_is_refused(core: Database, pgflow: Any) -> None:
    core.add(a_flow("a", "b"))
    before = contents(core)
    other = Flow("order", timeout=99)
    other.step("a")(lambda given, _ctx: given)
    other.step("new")(lambda given, _ctx: given)
    with pytest.raises(FlowMismatch, match="timeout is 99 in the code and 60 in the database; "):
        pgflow.ensure_flow(other)
    assert contents(core) == before
    with pytest.raises(InvalidFlow):
        pgflow.ensure_flow("order")


def test_many_ensure_at_once(core: Database) -> None:
    flow, begin, created = a_flow("a", "b", "c"), threading.Barrier(4), []

    def ensure() -> None:
        with PgFlow(core.url) as pgflow:
            begin.wait(PATIENCE)
            created.append(len(pgflow.ensure_flow(flow)))

    in_threads([ensure] * 4)
    assert sorted(created) == [0, 0, 0, 4]


# Delete


def test_a_flow_is_deleted_with_all_it_left(core: Database, pgflow: Any) -> None:
    core.add(a_flow("a", flow="other"))
    with_a_run(core, "other")
    before = contents(core)
    core.add(a_flow("a", "b"))
    with_a_run(core)
    assert pgflow.delete_flow("order") is True
    assert contents(core) == before
    assert pgflow.delete_flow("order") is False
    assert pgflow.delete_flow(a_flow("a", flow="other")) is True
    assert not any(contents(core).values())


def test_a_flow_without_its_queue_is_deleted(core: Database, pgflow: Any) -> None:
    core.add(a_flow("a"))
    with_a_run(core)
    core.rows("SELECT pgmq.drop_queue('order')")
    assert pgflow.delete_flow("order") is True
    assert not any(contents(core).values())


def test_a_queue_without_its_flow_is_deleted(core: Database, pgflow: Any) -> None:
    core.rows("SELECT pgmq.create('order')")
    assert pgflow.delete_flow("order") is False
    assert not any(contents(core).values())


@pytest.mark.parametrize(
    "slug",
    [
        "",
        "1st",
        "a b",
        "a'b",
        'a"b',
        "run",
        "é",
        "x" * 48,
        "a\x00",
        None,
        7,
        "a; DROP SCHEMA pgflow",
    ],
)
def test_no_flow_has_such_a_slug(slug: Any, core: Database, pgflow: Any) -> None:
    core.add(a_flow("a"))
    before = contents(core)
    with pytest.raises(InvalidFlow):
        pgflow.delete_flow(slug)
    assert contents(core) == before


def test_slugs_of_other_languages_are_deleted(core: Database, pgflow: Any) -> None:
    for slug in ("_order", "x" * 47, "Order_7"):
        core.rows("SELECT pgflow.create_flow(%s)", slug)
        assert pgflow.delete_flow(slug) is True
    assert not any(contents(core).values())


def test_flows_that_share_a_queue(
    core: Database, pgflow: Any, work: Callable[..., Working]
) -> None:
    """`Mail` and `mail` are two flows, and one queue."""
    flow = core.add(a_flow("a", flow="mail"))
    core.add(a_flow("a", flow="Mail"))
    kept = pgflow.start_flow("mail", 7)
    for run_id in (pgflow.start_flow("Mail", 1), core.start("Mail")):
        core.rows("SELECT pgflow.start_tasks('Mail', ARRAY[2, 3]::bigint[], NULL)")
        core.rows("SELECT pgflow.complete_task(%s, 'a', 0, '1'::jsonb)", run_id)
    assert pgflow.delete_flow("Mail") is True
    assert core.rows("SELECT message->>'run_id' FROM pgmq.q_mail") == [(str(kept),)]
    assert core.value("SELECT count(*) FROM pgmq.a_mail") == 0
    assert core.rows("SELECT queue_name FROM pgmq.meta") == [("mail",)]
    assert core.value("SELECT count(*) FROM pgmq.metrics_all()") == 1
    pgflow.upsert_flow("Mail", steps=[{"slug": "z"}])
    pgflow.upsert_flow("Mail", steps=[{"slug": "z"}])
    assert core.value("SELECT count(*) FROM pgmq.q_mail") == 1
    work(flow, url=core.url)
    assert core.finish(kept).output == {"a": 7}
    assert pgflow.delete_flow("mail") is True
    assert pgflow.delete_flow("Mail") is True
    assert not any(contents(core).values())


def test_a_queue_of_another_case_is_forgotten_with_the_last(core: Database, pgflow: Any) -> None:
    """Else pgmq would list a queue that has no table, and fail at it."""
    core.add(a_flow("a", flow="mail"))
    core.rows("SELECT pgmq.create('MAIL')")
    assert pgflow.delete_flow("mail") is True
    assert core.rows("SELECT * FROM pgmq.metrics_all()") == []
    assert not any(contents(core).values())


# Beside workers


def in_threads(calls: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def waiting(database: Database) -> int:
    """How many connections wait for a lock."""
    count: int = database.value(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return count


def recording(database: Database) -> list[ops.Operation[Any]]:
    """A task is claimed; what records its result, in one transaction."""
    worker = database.value("SELECT gen_random_uuid()")
    execute(database.connection, ops.register_worker(worker, "order", "order"))
    execute(database.connection, ops.start_tasks("order", [1], worker))
    (key,) = execute(database.connection, ops.claimed_tasks("order", [1], worker)).values()
    result = Result(Task(key, "order", 1, "{}"), Completed("1"))
    run_ids = [key.run_id]
    return [
        ops.hold_runs(run_ids),
        ops.hold_tasks(run_ids, worker),
        ops.record([result], worker),
    ]


@pytest.mark.parametrize("deletes", ["delete_flow", "upsert_flow"])
def test_a_result_that_is_being_recorded_is_waited_for(
    deletes: str, core: Database, pgflow: Any
) -> None:
    core.add(a_flow("a", "b"))
    core.start("order")
    record = recording(core)
    plain = {"steps": [{"slug": "z"}]} if deletes == "upsert_flow" else {}
    thread = threading.Thread(target=getattr(pgflow, deletes), args=["order"], kwargs=plain)
    with psycopg.connect(core.url) as worker:
        assert [execute(worker, operation) for operation in record][-1]
        thread.start()
        wait_until(lambda: waiting(core) == 1)
    thread.join(PATIENCE)
    assert core.value("SELECT count(*) FROM pgflow.runs") == 0
    assert core.value("SELECT count(*) FROM pgflow.flows") == (deletes == "upsert_flow")


def test_a_result_that_comes_too_late_finds_nothing(core: Database, way: Way) -> None:
    core.add(a_flow("a", "b"))
    core.start("order")
    record = recording(core)
    taken: list[object] = []

    def late() -> None:
        with psycopg.connect(core.url) as worker:
            taken.extend(execute(worker, operation) for operation in record)

    thread = threading.Thread(target=late)
    with way.connect(core.url) as mine:
        assert way.client(mine).delete_flow("order") is True
        thread.start()
        wait_until(lambda: waiting(core) == 1)
        mine.commit()
    thread.join(PATIENCE)
    assert taken == [{}, None, {}]


def test_a_run_that_is_started_meanwhile_is_deleted_too(core: Database, pgflow: Any) -> None:
    core.add(a_flow("a"))
    with psycopg.connect(core.url) as other:
        PgFlow(other).start_flow("order", 1)
        thread = threading.Thread(target=pgflow.delete_flow, args=["order"])
        thread.start()
        wait_until(lambda: waiting(core) == 1)
    thread.join(PATIENCE)
    assert not any(contents(core).values())


def test_workers_survive_the_deletion_of_their_flow(
    core: Database, pgflow: Any, work: Callable[..., Working]
) -> None:
    flow = core.add(a_flow("a", "b"))
    workers = [work(flow, url=core.url, batch_size=3) for _ in range(2)]
    pgflow.start_flows(flow, range(300))
    wait_until(lambda: core.tasks("completed") > 20)
    assert pgflow.delete_flow(flow) is True
    assert not any(contents(core).values())
    assert pgflow.ensure_flow(flow) != ()
    assert core.finish(pgflow.start_flow(flow, 7)).output == {"b": {"a": 7}}
    assert not any(worker.is_over() for worker in workers)


# In a transaction of the caller's


def test_definitions_are_part_of_an_open_transaction(core: Database, way: Way) -> None:
    core.add(a_flow("a", flow="old"))
    before = contents(core)
    with way.connect(core.url) as mine:
        pgflow = way.client(mine)
        pgflow.ensure_flow(a_flow("a"))
        pgflow.upsert_flow("other", steps=[{"slug": "a"}])
        assert pgflow.delete_flow("old") is True
        with pytest.raises(InvalidFlow):
            pgflow.upsert_flow("other", steps=[])
        with pytest.raises(FlowNotFound):
            pgflow.start_flow("old", 1)
        assert contents_without_locks(core) == before["flows"]
        mine.rollback()
        assert contents(core) == before
        pgflow.ensure_flow(a_flow("a"))
        mine.commit()
    assert core.rows("SELECT flow_slug FROM pgflow.flows ORDER BY 1") == [("old",), ("order",)]


def contents_without_locks(database: Database) -> list[tuple[Any, ...]]:
    return database.rows("SELECT t::text FROM pgflow.flows t ORDER BY 1")


# Who listens


def test_who_listens_hears_of_definitions(core: Database, way: Way) -> None:
    heard: list[Event] = []
    with way.client(core.url, listeners=[heard.append]) as pgflow:
        pgflow.ensure_flow(a_flow("a", "b"))
        pgflow.ensure_flow(a_flow("a", "b", "c"))
        pgflow.upsert_flow("order", steps=[{"slug": "z"}])
        pgflow.delete_flow("order")
        pgflow.delete_flow("order")
        with pytest.raises(InvalidFlow):
            pgflow.upsert_flow("order", steps=[])
    assert [(event.name, event.flow_slug, event.count) for event in heard] == [
        ("pgflow.flow.ensured", "order", 2),
        ("pgflow.flow.ensured", "order", 1),
        ("pgflow.flow.ensured", "order", 1),
        ("pgflow.flow.deleted", "order", None),
    ]
