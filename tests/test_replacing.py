"""Results are recorded, and what takes their place is read and claimed, in one round trip."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

from pgflow_ref import Flow
from pgflow_ref import operations as ops
from pgflow_ref.connection import connect_async, execute, execute_in_turn, is_passing
from pgflow_ref.task import Completed, Result, Task
from tests.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.conftest import Database, Working

    Work = Callable[..., Working]
    Said = tuple[list[Any], list[Any] | Exception]

OTHERS = (
    "FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'pgflow-ref' AND pid <> pg_backend_pid()"
)
GOOD, BAD = Completed("1"), Completed('"\\u0000"')  # which jsonb does not take


def echo(given: object, _ctx: object) -> object:
    return given


def job(**options: Any) -> Flow:
    flow = Flow("flow", **options)
    flow.step("work")(echo)
    return flow


class Recorder:
    """One worker's tasks and the calls by which it records and replaces them.

    Attributes:
        worker_id: who it is.
        tasks: what it has claimed in the beginning.
    """

    def __init__(self, database: Database, runs: int, claims: int) -> None:
        self.database = database
        database.add(job(max_attempts=1))
        self.run_ids = [database.start("flow", number) for number in range(runs)]
        self.worker_id = uuid4()
        connection = database.connection
        execute(connection, ops.register_worker(self.worker_id, "flow", "flow"))
        with connection.transaction():
            inputs = execute(connection, ops.read_and_start("flow", 60, claims, self.worker_id))
            keys = execute(connection, ops.tasks_just_claimed("flow", self.worker_id))
        self.tasks = ops.claim("flow", inputs, keys)

    def replace(self, outcome: Completed = GOOD, quantity: int = 2) -> tuple[Said, str]:
        """Record an outcome of all tasks, and read so many; what is said, and then of the line."""
        return asyncio.run(self._replace(outcome, quantity))

    async def _replace(self, outcome: Completed, quantity: int) -> tuple[Said, str]:
        async with await connect_async(self.database.url) as connection:
            try:
                said = await execute_in_turn(connection, self._first(outcome), self._then(quantity))
            finally:
                status = connection.info.transaction_status.name
                if not connection.closed:
                    await connection.execute("SELECT 1")
            return said, status

    def _first(self, outcome: Completed) -> list[ops.Operation[Any]]:
        run_ids = sorted({task.key.run_id for task in self.tasks})
        return [
            ops.hold_runs(run_ids),
            ops.hold_tasks(run_ids, self.worker_id),
            ops.record([Result(task, outcome) for task in self.tasks], self.worker_id),
        ]

    def _then(self, quantity: int) -> list[ops.Operation[Any]]:
        return [
            ops.read_and_start("flow", 60, quantity, self.worker_id),
            ops.tasks_just_claimed("flow", self.worker_id),
        ]

    def hidden(self) -> int:
        """How many messages nobody can read now."""
        count = "SELECT count(*) FROM pgmq.q_flow WHERE vt > clock_timestamp()"
        return int(self.database.value(count))


def claimed(said: list[Any] | Exception) -> tuple[Task, ...]:
    assert not isinstance(said, Exception)
    return ops.claim("flow", *said)


def runs_of(tasks: Sequence[Task]) -> list[UUID]:
    return [task.key.run_id for task in tasks]


def test_what_is_recorded_is_replaced(database: Database) -> None:
    recorder = Recorder(database, runs=5, claims=2)
    (answers, more), status = recorder.replace()
    was, _, given = answers
    assert set(was.values()) == {"started"}
    assert set(given.values()) == {ops.Now("completed", None)}
    assert runs_of(claimed(more)) == recorder.run_ids[2:4]
    assert [task.input for task in claimed(more)] == ['{"run": 2}', '{"run": 3}']
    assert [database.tasks(one) for one in ("completed", "started", "queued")] == [2, 2, 1]
    assert status == "IDLE"


def test_a_claim_says_the_same_in_one_statement_and_in_two(core: Database) -> None:
    core.add(job())
    for number in range(4):
        core.start("flow", {"n": number})
    workers = [uuid4(), uuid4()]
    connection = core.connection
    for worker_id in workers:
        execute(connection, ops.register_worker(worker_id, "flow", "flow"))
    ids = execute(connection, ops.read_messages("flow", 60, 2))
    inputs = execute(connection, ops.start_tasks("flow", ids, workers[0]))
    keys = execute(connection, ops.claimed_tasks("flow", ids, workers[0]))
    with connection.transaction():
        more = execute(connection, ops.read_and_start("flow", 60, 2, workers[1]))
        more_keys = execute(connection, ops.tasks_just_claimed("flow", workers[1]))
    two, one = ops.claim("flow", inputs, keys), ops.claim("flow", more, more_keys)
    assert [task.message_id for task in (*two, *one)] == [1, 2, 3, 4]
    assert {(task.flow_slug, task.key.attempt, task.flow_input) for task in (*two, *one)} == {
        ("flow", 1, None)
    }
    assert [task.input for task in (*two, *one)] == [f'{{"run": {{"n": {n}}}}}' for n in range(4)]


def test_where_nothing_waits_nothing_is_claimed(database: Database) -> None:
    recorder = Recorder(database, runs=2, claims=2)
    (answers, more), _ = recorder.replace()
    assert (len(answers[2]), claimed(more)) == (2, ())


def test_a_message_without_a_task_is_left_out(database: Database) -> None:
    recorder = Recorder(database, runs=3, claims=1)
    database.rows("UPDATE pgflow.step_tasks SET status = 'failed' WHERE message_id = 2")
    (_, more), _ = recorder.replace()
    assert runs_of(claimed(more)) == [recorder.run_ids[2]]


def test_where_results_are_refused_nothing_is_read(database: Database) -> None:
    recorder = Recorder(database, runs=4, claims=2)
    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        recorder.replace(BAD)
    assert [database.tasks(one) for one in ("completed", "started", "queued")] == [0, 2, 2]
    assert recorder.hidden() == 2


def test_where_the_commit_is_refused_nothing_is_read(database: Database) -> None:
    recorder = Recorder(database, runs=4, claims=2)
    database.alter(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'not today'; END $$"
    )
    database.alter(
        "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON pgflow.runs DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    with pytest.raises(psycopg.errors.RaiseException, match="not today"):
        recorder.replace()
    assert [database.tasks(one) for one in ("completed", "started", "queued")] == [0, 2, 2]
    assert recorder.hidden() == 2


def test_where_nothing_can_be_claimed_results_are_recorded_all_the_same(database: Database) -> None:
    recorder = Recorder(database, runs=4, claims=2)
    database.alter("ALTER FUNCTION pgflow.start_tasks RENAME TO start_no_tasks")
    (answers, error), status = recorder.replace()
    assert isinstance(error, psycopg.errors.UndefinedFunction)
    assert len(answers[2]) == 2
    assert [database.tasks(one) for one in ("completed", "started", "queued")] == [2, 0, 2]
    assert recorder.hidden() == 0, "what was read is to be read again at once"
    assert status == "IDLE"


@pytest.mark.parametrize("waits_for", ["a run", "a task"])
def test_a_line_that_is_lost_tells_what_it_can(waits_for: str, database: Database) -> None:
    """While it records, all is lost and not known; while it claims, the results are in."""
    recorder = Recorder(database, runs=4, claims=2)
    said: list[Said | Exception] = []

    def go() -> None:
        try:
            said.append(recorder.replace()[0])
        except psycopg.Error as error:
            said.append(error)

    lock = {
        "a run": "SELECT FROM pgflow.runs FOR UPDATE",
        "a task": "SELECT FROM pgflow.step_tasks WHERE status = 'queued' FOR UPDATE",
    }
    thread = threading.Thread(target=go)
    with psycopg.connect(database.url) as other:
        other.execute(lock[waits_for])
        thread.start()
        wait_until(lambda: database.rows(f"SELECT 1 {OTHERS} AND wait_event_type = 'Lock'"))
        database.rows(f"SELECT pg_terminate_backend(pid, 10000) {OTHERS}")
        thread.join()
    (what,) = said
    if waits_for == "a run":
        assert isinstance(what, psycopg.Error)
        assert is_passing(what)
        assert database.tasks("completed") == 0
    else:
        assert isinstance(what, tuple)
        answers, error = what
        assert len(answers[2]) == 2
        assert isinstance(error, psycopg.Error)
        assert is_passing(error)
        assert [database.tasks(one) for one in ("completed", "queued")] == [2, 2]
    assert database.tasks("started") == (2 if waits_for == "a run" else 0)


# The worker


def test_a_worker_that_cannot_claim_beside_results_finds_out_by_reading(
    database: Database, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    """And no result is blamed for that."""
    database.add(job(max_attempts=1))
    run_ids = [database.start("flow", number) for number in range(3)]
    gate = threading.Event()

    def wait(given: object, _ctx: object) -> object:
        gate.wait()
        return given

    flow = Flow("flow", max_attempts=1)
    flow.step("work")(wait)
    work(flow, max_concurrency=1)
    wait_until(lambda: database.tasks("started") == 1)
    database.is_altered = True  # for a while
    database.rows("ALTER FUNCTION pgflow.start_tasks RENAME TO start_no_tasks")
    gate.set()
    wait_until(lambda: "cannot claim tasks: " in caplog.text)
    wait_until(lambda: database.tasks("completed") == 1)
    database.rows("ALTER FUNCTION pgflow.start_no_tasks RENAME TO start_tasks")
    assert [database.finish(run_id).output for run_id in run_ids] == [
        {"work": number} for number in range(3)
    ]
    assert "Output cannot be stored" not in caplog.text


@pytest.mark.parametrize("recorders", [1, 2, 3])
def test_a_full_worker_never_holds_more_than_it_may(
    recorders: int, database: Database, work: Work
) -> None:
    """As the database sees it: after each claim, so many tasks are started and no more."""
    database.add(job())
    database.rows("CREATE TABLE public.held (tasks bigint)")
    database.alter(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO public.held SELECT count(*) FROM pgflow.step_tasks WHERE status = 'started';"
        " RETURN NULL; END $$"
    )
    database.alter(
        "CREATE TRIGGER note AFTER UPDATE ON pgflow.step_tasks FOR EACH STATEMENT"
        " EXECUTE FUNCTION note()"
    )
    run_ids = [database.start("flow", number) for number in range(60)]
    work(job(), max_concurrency=4, recorders=recorders)
    assert [database.finish(run_id).output for run_id in run_ids] == [
        {"work": number} for number in range(60)
    ]
    assert database.value("SELECT max(tasks) FROM public.held") == 4
    assert database.rows("SELECT DISTINCT attempts_count FROM pgflow.step_tasks") == [(1,)]
