"""Operations as values: their parameters fit their SQL, and they read rows as they should."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from pgflow_ref import FlowBusy, FlowNotFound, InvalidDelay, InvalidSchedule, RunExists
from pgflow_ref import operations as ops
from pgflow_ref.capabilities import probe
from pgflow_ref.operations import Operation, Run, StepState, StoredFlow
from pgflow_ref.shape import FlowShape, Options, StepShape
from pgflow_ref.task import Completed, Failed, Result, Task, TaskInput, TaskKey

RUN_ID, OTHER, WORKER = UUID(int=1), UUID(int=2), UUID(int=3)
KEY = TaskKey(RUN_ID, "s", 4, 2)
TASK = Task(KEY, "f", 9, "{}")
NOW = dt.datetime(2025, 1, 1, tzinfo=dt.timezone.utc)
LATER = NOW + dt.timedelta(seconds=1)
BUILT_IN = {"LATERAL", "unnest", "clock_timestamp"}


def every(text: str, number: int, uuid: UUID) -> list[Operation[Any]]:
    """All operations, with these values wherever there is a place for one."""
    task = Task(TaskKey(uuid, text, number, number), text, number, text)
    return [
        ops.start_flow(text, text, uuid),
        ops.start_flows(text, [text], [uuid]),
        ops.delay_run(uuid, number),
        ops.schedule_run(uuid, NOW + dt.timedelta(seconds=number % 7)),
        ops.get_step_output(uuid, text),
        ops.get_run(uuid),
        ops.get_run_with_states(uuid),
        ops.stored_flow(text),
        ops.flow_exists(text),
        ops.lock_flow(text),
        ops.queue_of(text),
        ops.lock_runs(text),
        ops.delete_history(text),
        ops.delete_definition(text),
        ops.drop_queue(text),
        ops.forget_queue(text),
        ops.flows_with_runs(),
        ops.runs_over_for(text, number, number),
        ops.delete_runs(text, [uuid]),
        ops.server_version(),
        ops.workers_health(),
        ops.flows_health(),
        ops.flows_overview(),
        ops.register_worker(uuid, text, text),
        ops.heartbeat(uuid),
        ops.mark_stopped(uuid),
        ops.read_messages(text, number, number),
        ops.start_tasks(text, [number], uuid),
        ops.claimed_tasks(text, [number], uuid),
        ops.read_and_start(text, number, number, uuid),
        ops.tasks_just_claimed(text, uuid),
        ops.hold_runs([uuid]),
        ops.hold_tasks([uuid], uuid),
        ops.record([Result(task, Completed(text)), Result(task, Failed(text))], uuid),
        ops.recover_stalled_tasks(text, number, by_core=False),
        ops.recover_stalled_tasks(text, number, by_core=True),
        ops.attempts_now([task.key], uuid),
        ops.read_with_poll(text, number, number, number),
        ops.notifications(text),
        ops.lock_notifications(text),
        ops.enable_notifications(text, number),
        ops.unlisten(),
        ops.still_there(),
        ops.ended_runs([uuid]),
        ops.runs_ended_by([task.key]),
        ops.runs_failed_here(text),
        probe(),
    ]


EVERY = every("f", 1, RUN_ID)
each = pytest.mark.parametrize("operation", EVERY, ids=[operation.name for operation in EVERY])


@each
def test_the_parameters_are_those_of_the_sql(operation: Operation[Any]) -> None:
    assert set(re.findall(r"%\((\w+)\)[bs]", operation.sql)) == set(operation.params)
    assert re.findall(r"%(?!\(\w+\)[bs])", operation.sql) == []


def test_no_value_changes_the_sql() -> None:
    other = every("'); DROP SCHEMA pgflow CASCADE; --%s", 2**62, OTHER)
    assert [operation.sql for operation in other] == [operation.sql for operation in EVERY]


@each
def test_tables_and_functions_are_named_with_their_schema(operation: Operation[Any]) -> None:
    """Whatever `search_path` a connection of the user's has."""
    named = re.findall(r"(?:FROM|JOIN|INTO|(?<!FOR )UPDATE) (\w+(?:\.\w+)?)", operation.sql)
    within = set(re.findall(r"(?:WITH|\),) (\w+) AS", operation.sql))
    assert {name for name in named if "." not in name} <= within | BUILT_IN


def test_every_operation_has_its_name() -> None:
    assert len({operation.name for operation in EVERY}) == len(EVERY)


@pytest.mark.parametrize(
    "operation",
    [
        ops.register_worker(RUN_ID, "f", "f"),
        ops.heartbeat(RUN_ID),
        ops.mark_stopped(RUN_ID),
        ops.define("SELECT 1"),
        ops.lock_flow("f"),
        ops.delete_history("f"),
        ops.drop_queue("f"),
        ops.forget_queue("f"),
    ],
    ids=lambda operation: operation.name,
)
def test_operations_without_an_answer(operation: Operation[None]) -> None:
    operation.read([])


# Runs


@pytest.mark.parametrize("answer", [RUN_ID, str(RUN_ID)])
def test_start_flow(answer: object) -> None:
    operation = ops.start_flow("f", '{"a": 1}', OTHER)
    assert operation.params == {"flow_slug": "f", "input": '{"a": 1}', "run_id": OTHER}
    assert operation.read([(answer,)]) == RUN_ID


def test_what_refusals_of_start_flow_mean() -> None:
    refusals = ops.start_flow("f", "1", OTHER).refusals
    unknown = refusals["23503", "runs_flow_slug_fkey"]
    assert isinstance(unknown, FlowNotFound)
    assert str(unknown).startswith("flow 'f' is not in the database; ")
    exists = refusals["23505", "runs_pkey"]
    assert isinstance(exists, RunExists)
    assert str(exists) == f"a run with the id '{OTHER}' is there already"
    too_deep = refusals["54001", ""]
    assert str(too_deep) == "$: is nested deeper than the server's stack depth allows"
    assert len(refusals) == 3


RUN_ROW = (RUN_ID, "f", "completed", '{"x": 0.10}', '{"s": 1e400}', 0, NOW, LATER, None)
OPEN_ROW = (str(RUN_ID), "f", "started", "null", None, 2, NOW, None, None)


def test_get_run() -> None:
    read = ops.get_run(RUN_ID).read
    assert read([]) is None
    assert read([RUN_ROW]) == Run(
        RUN_ID, "f", "completed", {"x": 0.1}, {"s": Decimal("1e400")}, 0, NOW, LATER, None
    )
    assert read([OPEN_ROW]) == Run(RUN_ID, "f", "started", None, None, 2, NOW, None, None)


def test_get_run_with_states() -> None:
    read = ops.get_run_with_states(RUN_ID).read
    assert read([]) is None
    a = ("a", "completed", 0, 1, None, NOW, NOW, LATER, None, 0, 0, 3)
    b = ("b", "failed", 0, 3, "boom", NOW, NOW, None, LATER, 2, 1, 0)
    run = read([(*RUN_ROW, *a), (*RUN_ROW, *b)])
    assert run is not None
    assert run.step_states == (
        StepState("a", "completed", 0, 1, None, NOW, NOW, LATER, None, 0, 0, 3),
        StepState("b", "failed", 0, 3, "boom", NOW, NOW, None, LATER, 2, 1, 0),
    )
    assert run.output == {"s": Decimal("1e400")}


def test_a_run_without_steps() -> None:
    run = ops.get_run_with_states(RUN_ID).read([(*OPEN_ROW, *[None] * 9, 0, 0, 0)])
    assert run is not None
    assert run.step_states == ()


def test_start_flows() -> None:
    operation = ops.start_flows("f", ("1", "2"), (RUN_ID, OTHER))
    assert operation.params == {
        "flow_slug": "f",
        "inputs": ["1", "2"],
        "run_ids": [RUN_ID, OTHER],
    }
    assert operation.read([(2,)]) == 2
    assert set(operation.refusals) == {("23503", "runs_flow_slug_fkey"), ("54001", "")}


def test_runs_that_wait() -> None:
    delay, schedule = ops.delay_run(RUN_ID, 5), ops.schedule_run(RUN_ID, LATER)
    assert delay.params == {"run_id": RUN_ID, "seconds": 5}
    assert schedule.params == {"run_id": RUN_ID, "at": LATER}
    for operation, error in ((delay, InvalidDelay), (schedule, InvalidSchedule)):
        assert operation.read([(2,)]) == 2
        assert isinstance(operation.refusals["22003", ""], error)


def test_get_step_output() -> None:
    operation = ops.get_step_output(RUN_ID, None)
    assert operation.params == {"run_id": RUN_ID, "step_slug": None}
    assert operation.read([]) is None
    assert operation.read([(None, None)]) == ops.StepOutput(None, None)
    assert operation.read([("started", None)]) == ops.StepOutput("started", None)
    assert operation.read([("completed", None)]) == ops.StepOutput("completed", None)
    assert operation.read([("completed", "[0.10]")]) == ops.StepOutput("completed", [0.1])


# Definitions


@pytest.mark.parametrize(("row", "exists"), [((True,), True), ((False,), False)])
def test_flow_exists(row: tuple[bool], exists: bool) -> None:
    assert ops.flow_exists("f").read([row]) is exists


def test_queue_of() -> None:
    read = ops.queue_of("f").read
    assert read([(True, ["F", "_f"])]) == ops.Queue(True, ("F", "_f"))
    assert read([(False, [])]) == ops.Queue(False, ())


# Deletion


@pytest.mark.parametrize("operation", [ops.lock_runs("f"), ops.delete_messages("f")])
def test_how_much_is_gone(operation: Operation[int]) -> None:
    assert operation.read([(3,)]) == 3


def test_whether_a_definition_was_there() -> None:
    read = ops.delete_definition("f").read
    assert read([]) is False
    assert read([(True,)]) is True


@pytest.mark.parametrize(
    "operation",
    [
        ops.lock_runs("f"),
        ops.delete_messages("f"),
        ops.delete_history("f"),
        ops.delete_definition("f"),
        ops.drop_queue("f"),
        ops.delete_runs("f", [RUN_ID]),
        ops.delete_messages_of_runs("f", [RUN_ID]),
    ],
    ids=lambda operation: operation.name,
)
def test_others_may_be_in_the_way_of_a_deletion(operation: Operation[Any]) -> None:
    assert isinstance(operation.refusals["40P01", ""], FlowBusy)
    assert isinstance(operation.refusals["23503", "runs_flow_slug_fkey"], FlowBusy)


def test_old_runs() -> None:
    assert ops.flows_with_runs().read([("f",), ("g",)]) == ["f", "g"]
    operation = ops.runs_over_for("f", 60.5, 10)
    assert operation.params == {"flow_slug": "f", "seconds": 60.5, "limit": 10}
    assert operation.read([(RUN_ID,), (str(OTHER),)]) == [RUN_ID, OTHER]
    assert ops.delete_runs("f", [RUN_ID]).read([(1, 3)]) == (1, 3)


def test_messages_of_runs_are_those_that_say_so() -> None:
    operation = ops.delete_messages_of_runs("Mail", [RUN_ID])
    assert operation.params == {"run_ids": [RUN_ID], "texts": [str(RUN_ID)]}
    assert operation.read([(3,)]) == 3
    assert "message ->> 'run_id' = ANY(%(texts)s::text[])" in operation.sql
    assert re.findall(r"FROM (pgmq\S+)", operation.sql) == ['pgmq."q_mail"', 'pgmq."a_mail"']


@pytest.mark.parametrize("slug", ["", "1f", 'f"', "f; --", "é", "f\n", "f" * 48, "f%s"])
def test_no_other_slug_becomes_the_name_of_a_table(slug: str) -> None:
    for make in (ops.delete_messages, lambda slug: ops.delete_messages_of_runs(slug, [RUN_ID])):
        with pytest.raises(ValueError, match="no queue belongs to a flow"):
            make(slug)


# Health


def test_server_version() -> None:
    assert ops.server_version().read([("17.1",)]) == "17.1"


def test_workers_health() -> None:
    read = ops.workers_health().read
    assert read([]) == ()
    assert read([(str(WORKER), "mine", "f", NOW, LATER, 60.0, False)]) == (
        ops.WorkerHealth(WORKER, "mine", "f", NOW, LATER, 60.0, False),
    )


@pytest.mark.parametrize(("silent_for", "is_alive"), [(0.0, True), (60.0, True), (60.1, False)])
def test_whether_a_worker_is_alive(silent_for: float, is_alive: bool) -> None:
    worker = ops.WorkerHealth(WORKER, "f", "f", NOW, NOW, silent_for, False)
    assert worker.is_alive is is_alive


def test_flows_health() -> None:
    rows = [("f", True, 3, 2, 70, 1, 0), ("g", False, 0, 0, None, 0, 4)]
    assert ops.flows_health().read(rows) == (
        ops.FlowHealth("f", True, 3, 2, 70, 1, 0),
        ops.FlowHealth("g", False, 0, 0, None, 0, 4),
    )


# Definitions, read


def test_stored_flow() -> None:
    read = ops.stored_flow("f").read
    assert read([]) is None
    assert read([(3, 5, 60, *[None] * 4, [], None, None)]) == StoredFlow(
        FlowShape("f", Options(3, 5, 60)), {}
    )
    assert read(
        [
            (3, 5, 60, "a", None, None, None, [], "single", None),
            (3, 5, 60, "b", 1, 2, 30, ["a"], "map", 90),
            (3, 5, 60, "c", None, None, 0, ["a", "b"], "single", 0),
        ]
    ) == StoredFlow(
        FlowShape(
            "f",
            Options(3, 5, 60),
            (
                StepShape("a"),
                StepShape("b", ("a",), Options(1, 2, 30, 90), "map"),
                StepShape("c", ("a", "b"), Options(timeout=0, start_delay=0)),
            ),
        ),
        {"a": 60, "b": 30, "c": 0},
    )


# Tasks

LARGE = 2**60  # no float holds it


def test_read_messages() -> None:
    operation = ops.read_messages("f", 62, 10)
    assert operation.params == {"queue_name": "f", "vt": 62, "qty": 10}
    assert operation.read([]) == []
    assert operation.read([(LARGE + 1,), (3,)]) == [LARGE + 1, 3]


def test_start_tasks() -> None:
    operation = ops.start_tasks("f", (3, LARGE), WORKER)
    assert operation.params == {"flow_slug": "f", "message_ids": [3, LARGE], "worker_id": WORKER}
    rows = [(LARGE, RUN_ID, "s", '{"run": 1}', None), (3, str(RUN_ID), "t", '"an element"', "[7]")]
    assert operation.read(rows) == {
        (LARGE, RUN_ID, "s"): TaskInput('{"run": 1}'),
        (3, RUN_ID, "t"): TaskInput('"an element"', "[7]"),
    }


def test_claimed_tasks() -> None:
    operation = ops.claimed_tasks("f", (3, LARGE), WORKER)
    assert operation.params == {"flow_slug": "f", "message_ids": [3, LARGE], "worker_id": WORKER}
    assert operation.read([(LARGE, str(RUN_ID), "s", 4, 2)]) == {(LARGE, RUN_ID, "s"): KEY}


def test_a_read_that_claims_says_what_a_claim_says() -> None:
    operation = ops.read_and_start("f", 62, 10, WORKER)
    assert operation.params == {"flow_slug": "f", "vt": 62, "qty": 10, "worker_id": WORKER}
    rows = [(LARGE, RUN_ID, "s", '{"run": 1}', None), (3, str(RUN_ID), "t", '"an element"', "[7]")]
    assert operation.read(rows) == ops.start_tasks("f", (3, LARGE), WORKER).read(rows)
    look = ops.tasks_just_claimed("f", WORKER)
    assert look.params == {"flow_slug": "f", "worker_id": WORKER}
    assert look.read([(LARGE, str(RUN_ID), "s", 4, 2)]) == {(LARGE, RUN_ID, "s"): KEY}


def test_a_claim_is_what_both_say() -> None:
    """A message that another worker has, and one whose task was mine before, are left out."""
    texts = {1: ('{"run": 1}',), 2: ('{"run": 2}',), 4: ("4", "[4]")}
    inputs = {(n, RUN_ID, "s"): TaskInput(*text) for n, text in texts.items()}
    keys = {(n, RUN_ID, "s"): TaskKey(RUN_ID, "s", n, 1) for n in (4, 3, 1)}
    assert ops.claim("f", inputs, keys) == (
        Task(keys[1, RUN_ID, "s"], "f", 1, '{"run": 1}'),
        Task(keys[4, RUN_ID, "s"], "f", 4, "4", "[4]"),
    )
    assert ops.claim("f", {}, {}) == ()


def test_record() -> None:
    outcomes = (Completed("[1]"), Completed(None), Failed("no"))
    operation = ops.record([Result(TASK, outcome) for outcome in outcomes], WORKER)
    assert operation.params == {
        "runs": [RUN_ID] * 3,
        "steps": ["s"] * 3,
        "indexes": [4] * 3,
        "attempts": [2] * 3,
        "outputs": ["[1]", None, None],
        "messages": [None, None, "no"],
        "worker_id": WORKER,
    }
    key = (RUN_ID, "s", 4, 2)
    answer = operation.read([(*key, "completed", None)])
    assert answer == {TASK.key: ops.Now("completed", None)}
    assert operation.read([(*key, None, None)]) == {TASK.key: None}
    assert operation.read([]) == {}


def test_heartbeat() -> None:
    operation = ops.heartbeat(WORKER)
    assert operation.read([]) == ops.Pulse(is_there=False, is_deprecated=False)
    assert operation.read([(False,)]) == ops.Pulse(is_there=True, is_deprecated=False)
    assert operation.read([(True,)]) == ops.Pulse(is_there=True, is_deprecated=True)


@pytest.mark.parametrize(
    ("outcome", "status", "accepted"),
    [
        (Completed("1"), "completed", True),
        (Completed("1"), "failed", False),  # a map step waits for it, and it is no array
        (Completed("1"), "started", False),  # its run has failed
        (Failed("no"), "queued", True),
        (Failed("no"), "failed", True),
        (Failed("no"), "started", False),
    ],
)
def test_what_the_database_made_of_a_result(
    outcome: Completed | Failed, status: str, accepted: bool
) -> None:
    assert ops.Now(status, None).has(outcome) is accepted


def test_only_the_owner_of_an_attempt_records_it() -> None:
    sql = ops.record([Result(TASK, Completed("1"))], WORKER).sql
    for condition in ("attempts_count = g.attempt", "last_worker_id = %(worker_id)s"):
        assert condition in sql
    assert sql.startswith("WITH mine AS MATERIALIZED (")
    assert " FROM mine m LEFT JOIN LATERAL (" in sql


@pytest.mark.parametrize(
    ("task", "shown"),
    [
        (Task(TaskKey(RUN_ID, "s", 0, 2), "f", 9, "{}"), f"f.s of run {RUN_ID}, attempt 2"),
        (TASK, f"f.s[4] of run {RUN_ID}, attempt 2"),
    ],
)
def test_how_a_task_is_shown(task: Task, shown: str) -> None:
    assert str(task) == shown


# Recovery


def test_recover_stalled_tasks() -> None:
    operation = ops.recover_stalled_tasks("f", 30.0, by_core=False)
    assert operation.params == {"flow_slug": "f", "grace": 30.0}
    assert operation.read([(3, 1)]) == ops.Recovered(requeued=3, failed=1)
    operation = ops.recover_stalled_tasks("f", 30.0, by_core=True)
    assert operation.params == {}
    assert operation.read([(3, 0)]) == ops.Recovered(requeued=3, failed=0)


# What others look at


def test_flows_overview() -> None:
    rows = [("f", NOW, ["a", "b"], 1, 2, 3), ("g", LATER, [], 0, 0, 0)]
    assert ops.flows_overview().read(rows) == (
        ops.FlowOverview("f", NOW, ("a", "b"), 1, 2, 3),
        ops.FlowOverview("g", LATER, (), 0, 0, 0),
    )


@pytest.mark.parametrize(("seconds", "read"), [(None, None), (1.5, 1.5), ("-0.5", -0.5)])
def test_visible_in(seconds: object, read: float | None) -> None:
    assert ops.visible_in("Mail").read([(seconds,)]) == read
    assert ops.visible_in("Mail").sql.endswith("FROM pgmq.q_mail")


def test_listen() -> None:
    assert ops.listen("Mail").sql == 'LISTEN "pgmq.q_mail.INSERT"'
    for queue in ("", 'f"', "f; --", "é", "f\n"):
        with pytest.raises(ValueError, match="is no queue"):
            ops.listen(queue)


def test_runs_failed_here() -> None:
    rows = [(str(RUN_ID), "failed", None, "no"), (OTHER, "completed", "1", None)]
    assert ops.runs_failed_here("f").read(rows) == [
        ops.RunEnd(RUN_ID, "failed", None, "no"),
        ops.RunEnd(OTHER, "completed", "1", None),
    ]
