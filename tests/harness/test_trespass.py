"""What no worker may write is noticed, and nothing else is, by whatever way it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from conformance.harness import eventlog, trespass
from conformance.harness.databases import CORE, Cluster, Database
from pgflow_ref.compile import compile_flow, from_json
from tests.harness.made import cluster_with

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOW = from_json({"slug": "order", "steps": [{"slug": "a"}, {"slug": "b", "depends_on": ["a"]}]})
ME = "'00000000-0000-0000-0000-000000000001'"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_with(CORE) as made:
        yield made


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    """A case's database in which a run has been started, by the harness, and a task by a worker."""
    with cluster.database() as database:
        for statement in compile_flow(FLOW):
            database.connection.execute(statement.encode())
        eventlog.watch_queue(database.connection, "order")
        database.connection.execute("SELECT pgflow.start_flow('order', '{}')")
        by_a_worker(database, RIGHT[0], RIGHT[1], RIGHT[2])
        yield database


def by_a_worker(database: Database, *statements: str) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def problems(database: Database, **options: bool) -> list[str]:
    return trespass.problems(database.connection, **options)


RIGHT = (
    (
        "INSERT INTO pgflow.workers (queue_name, function_name, worker_id)"
        f" VALUES ('order', 'w', {ME})"
    ),
    "SELECT * FROM pgmq.read('order', 30, 1)",
    f"SELECT * FROM pgflow.start_tasks('order', ARRAY[1], {ME})",
    f"UPDATE pgflow.workers SET last_heartbeat_at = now() WHERE worker_id = {ME}",
    "SELECT pgmq.set_vt('order', 1, 5)",
    "SELECT pgflow.start_flow('order', '1')",
    "SELECT pgflow.create_flow('order')",
    "SELECT pgflow.complete_task(run_id, 'a', 0, '1') FROM pgflow.step_tasks WHERE message_id = 1",
    "SELECT pgmq.delete('order', 2)",
    f"UPDATE pgflow.workers SET stopped_at = now() WHERE worker_id = {ME}",
)


def test_what_workers_do_is_right(database: Database) -> None:
    by_a_worker(database, *RIGHT[3:])
    assert problems(database) == []
    assert {event.source for event in eventlog.read(database.connection)} == {
        *("run", "step", "task", "worker", "message", "archive")
    }


def test_what_the_harness_does_is_its_own_business(database: Database) -> None:
    for statement in ("UPDATE pgflow.runs SET input = '9'", "DELETE FROM pgflow.step_tasks"):
        database.connection.execute(statement.encode())
    database.connection.execute("SELECT pgflow.add_step('order', 'later')")
    assert problems(database) == []


WRONG = {
    "a run": ("UPDATE pgflow.runs SET input = '9'", "a row of pgflow.runs was changed by UPDATE"),
    "a task": (
        "UPDATE pgflow.step_tasks SET status = 'completed', output = '1', completed_at = now()",
        "a row of pgflow.step_tasks was changed by UPDATE pgflow.step_tasks SET status",
    ),
    "in a block": (
        "DO $$ BEGIN UPDATE pgflow.step_states SET remaining_deps = 5; END $$",
        "a row of pgflow.step_states was changed by DO $$ BEGIN",
    ),
    "a message that goes": ("DELETE FROM pgmq.q_order", "a row of a queue was deleted"),
    "a message that comes": (
        "INSERT INTO pgmq.q_order (vt, message) VALUES (now(), '{}')",
        "a row of a queue was made by INSERT",
    ),
    "an option of a step": (
        "UPDATE pgflow.steps SET opt_timeout = 77",
        "a row of the definition of a flow was changed by UPDATE pgflow.steps",
    ),
    "a new step, made by a function": (
        "SELECT pgflow.add_step('order', 'more')",
        "a row of the definition of a flow was made",
    ),
    "a worker that goes": (
        "DELETE FROM pgflow.workers",
        "a row of pgflow.workers was deleted by DELETE FROM pgflow.workers",
    ),
    "the log, changed": (
        "UPDATE conformance.events SET new = '{}'",
        "a row of the suite's own table was deleted by UPDATE",
    ),
    "the log, deleted": ("DELETE FROM conformance.events", "the suite's own table"),
    "the log, made up": (
        "INSERT INTO conformance.events (source, new, origin) VALUES ('task', '{}', 'mine')",
        "a row of pgflow.step_tasks was made",
    ),
    "behind the log's back": (
        "SET session_replication_role = replica; UPDATE pgflow.runs SET input = '9'",
        "pgflow.runs has 1 rows, and there should be 1; 1 of them came to be what they are without",
    ),
    "all tasks at once": (
        "TRUNCATE pgflow.step_tasks",
        "pgflow.step_tasks has 0 rows, and there should be 1",
    ),
    "the suite's schema": (
        "DROP SCHEMA conformance CASCADE",
        'what the suite judges by is not there any more: relation "conformance.',
    ),
    "pgflow's tables": (
        "DROP TABLE pgflow.step_tasks CASCADE",
        'what the suite judges by is not there any more: relation "pgflow.step_tasks"',
    ),
}


@pytest.mark.parametrize("way", WRONG)
def test_what_no_worker_may_write_is_told(way: str, database: Database) -> None:
    statement, words = WRONG[way]
    before = database.connection.execute("SELECT count(*) FROM conformance.events").fetchone()
    by_a_worker(database, statement)
    said = problems(database)
    assert any(words in problem for problem in said), said
    if way.startswith("the log, "):
        after = database.connection.execute("SELECT count(*) FROM conformance.events").fetchone()
        assert before is not None
        assert after is not None
        assert int(str(after[0])) > int(str(before[0])), "it keeps what it has"


def test_emptying_the_log_at_once_is_refused_and_told(database: Database) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="the log of the conformance suite"):
        by_a_worker(database, "TRUNCATE conformance.events")
    assert problems(database) == ["a worker tried to empty the suite's own table"]


def test_recovery_puts_tasks_back_by_statements_of_its_own(database: Database) -> None:
    by_a_worker(
        database,
        "UPDATE pgflow.step_tasks SET status = 'queued', started_at = NULL",
        "UPDATE pgmq.q_order SET vt = now()",
    )
    assert problems(database, recovers=True) == []
    assert len(problems(database)) == 2


def test_of_very_much_not_all_is_told(database: Database) -> None:
    by_a_worker(database, *[f"UPDATE pgflow.runs SET input = '{n}'" for n in range(20)])
    assert len(problems(database)) == 6
    assert problems(database)[-1] == "and there is more that no worker may write"


@pytest.mark.parametrize(
    "statement", ["DROP TABLE pgflow.runs CASCADE", "DROP SCHEMA conformance CASCADE"]
)
def test_whether_all_is_there(statement: str, database: Database) -> None:
    assert trespass.is_intact(database.connection)
    by_a_worker(database, statement)
    assert not trespass.is_intact(database.connection)


def test_a_lock_does_not_hold_up_the_harness_for_ever(database: Database) -> None:
    row: Any = database.connection.execute("SHOW lock_timeout").fetchone()
    assert row == ("15s",)
