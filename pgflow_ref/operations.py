"""Every call to the database as a value: SQL text, parameters, how to read the rows.

Nothing here talks to a database. The synchronous client, the asynchronous one, the worker and the
tests all run these same operations, so no statement is written twice.

JSON goes in and comes out as text, and is cast in SQL: what a connection of the user's has been
taught about json does not matter then, and nothing is lost on the way (`json_contract.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from uuid import UUID

from pgflow_ref.errors import FlowNotFound, NotJson, PgflowError, RunExists
from pgflow_ref.json_contract import Json, decode
from pgflow_ref.shape import FlowShape, Options, StepShape
from pgflow_ref.task import Completed, Result, Task, TaskKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from typing_extensions import LiteralString

    Row = tuple[object, ...]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One statement.

    Attributes:
        name: what it does, for people.
        sql: the statement, with parameters as `%(name)s`.
        params: the parameters.
        read: turns the rows, as tuples, into the result.
        refusals: which refusal of the database means which error: (SQLSTATE, constraint) to it.
    """

    name: str
    sql: LiteralString
    params: Mapping[str, object]
    read: Callable[[Sequence[Row]], T]
    refusals: Mapping[tuple[str, str], PgflowError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepState:
    """One step of one run, as `pgflow.step_states` has it.

    Attributes:
        step_slug: the step.
        status: created, started, completed or failed.
        remaining_deps: steps that it still waits for.
        attempts: how often its task was started (of several tasks: the most).
        error_message: the last failure of its task, also when it was retried since; None: none.
        created_at: with the run.
        started_at: when its task was queued, or None.
        completed_at: or None.
        failed_at: or None.
    """

    step_slug: str
    status: str
    remaining_deps: int
    attempts: int
    error_message: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a flow, as `pgflow.runs` has it.

    Attributes:
        run_id: its id.
        flow_slug: its flow.
        status: started, completed or failed.
        input: what it was started with.
        output: the outputs of its leaf steps by slug; None before it is completed.
        remaining_steps: steps that are not completed.
        started_at: when it was started.
        completed_at: or None.
        failed_at: or None.
        step_states: its steps in the order of the flow; empty where they were not asked for.
    """

    run_id: UUID
    flow_slug: str
    status: str
    input: Json
    output: Json
    remaining_steps: int
    started_at: datetime
    completed_at: datetime | None
    failed_at: datetime | None
    step_states: tuple[StepState, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether the run is completed or failed."""
        return self.status != "started"


@dataclass(frozen=True, slots=True)
class StoredFlow:
    """A flow as the database has it, with the options that are in force there.

    Attributes:
        shape: slug, steps in order, dependencies; options of steps as stored, of the flow in full.
        timeouts: seconds by step slug, the flow's where a step has none.
    """

    shape: FlowShape
    timeouts: Mapping[str, int]


# Clients


def start_flow(flow_slug: str, input_json: str, run_id: UUID | None) -> Operation[UUID]:
    """Start a run (`pgflow.start_flow`); its id is what is given, or a new one."""
    return Operation(
        "start a run",
        "SELECT run_id FROM pgflow.start_flow(flow_slug => %(flow_slug)s::text,"
        " input => %(input)s::jsonb, run_id => %(run_id)s::uuid)",
        {"flow_slug": flow_slug, "input": input_json, "run_id": run_id},
        lambda rows: _uuid(rows[0][0]),
        {
            ("23503", "runs_flow_slug_fkey"): FlowNotFound(flow_slug),
            ("23505", "runs_pkey"): RunExists(run_id),
            ("54001", ""): NotJson("$", "is nested deeper than the server's stack depth allows"),
        },
    )


def get_run(run_id: UUID) -> Operation[Run | None]:
    """One run without its steps; None where there is none."""
    return Operation(
        "get a run",
        "SELECT run_id, flow_slug, status, input::text, output::text, remaining_steps, started_at,"
        " completed_at, failed_at FROM pgflow.runs WHERE run_id = %(run_id)s",
        {"run_id": run_id},
        lambda rows: _run(rows[0]) if rows else None,
    )


def get_run_with_states(run_id: UUID) -> Operation[Run | None]:
    """One run with the states of its steps; None where there is none."""
    return Operation(
        "get a run with its steps",
        "SELECT r.run_id, r.flow_slug, r.status, r.input::text, r.output::text, r.remaining_steps,"
        " r.started_at, r.completed_at, r.failed_at, s.step_slug, s.status, s.remaining_deps,"
        " coalesce(t.attempts, 0), coalesce(t.error_message, s.error_message), s.created_at,"
        " s.started_at, s.completed_at, s.failed_at"
        " FROM pgflow.runs r"
        " LEFT JOIN pgflow.step_states s USING (run_id)"
        " LEFT JOIN pgflow.steps d ON d.flow_slug = s.flow_slug AND d.step_slug = s.step_slug"
        " LEFT JOIN LATERAL (SELECT max(attempts_count) AS attempts, max(error_message) AS"
        " error_message FROM pgflow.step_tasks WHERE run_id = s.run_id"
        " AND step_slug = s.step_slug) t ON true"
        " WHERE r.run_id = %(run_id)s ORDER BY d.step_index",
        {"run_id": run_id},
        _run_with_states,
    )


def stored_flow(flow_slug: str) -> Operation[StoredFlow | None]:
    """A flow's definition with its steps; None where the database has none of that name."""
    return Operation(
        "read a flow's definition",
        "SELECT f.opt_max_attempts, f.opt_base_delay, f.opt_timeout, s.step_slug,"
        " s.opt_max_attempts, s.opt_base_delay, s.opt_timeout,"
        " ARRAY(SELECT d.dep_slug FROM pgflow.deps d WHERE d.flow_slug = s.flow_slug"
        " AND d.step_slug = s.step_slug ORDER BY d.dep_slug)"
        " FROM pgflow.flows f LEFT JOIN pgflow.steps s USING (flow_slug)"
        " WHERE f.flow_slug = %(flow_slug)s ORDER BY s.step_index",
        {"flow_slug": flow_slug},
        lambda rows: _stored_flow(flow_slug, rows) if rows else None,
    )


# Workers


def register_worker(worker_id: UUID, queue_name: str, name: str) -> Operation[None]:
    """Insert the worker's row."""
    return Operation(
        "register the worker",
        "INSERT INTO pgflow.workers (worker_id, queue_name, function_name)"
        " VALUES (%(worker_id)s, %(queue_name)s, %(name)s)",
        {"worker_id": worker_id, "queue_name": queue_name, "name": name},
        _nothing,
    )


def heartbeat(worker_id: UUID) -> Operation[None]:
    """Give a sign of life."""
    return Operation(
        "give a sign of life",
        "UPDATE pgflow.workers SET last_heartbeat_at = clock_timestamp()"
        " WHERE worker_id = %(worker_id)s",
        {"worker_id": worker_id},
        _nothing,
    )


def mark_stopped(worker_id: UUID) -> Operation[None]:
    """Mark the worker as stopped, on cores whose workers have a `stopped_at`."""
    return Operation(
        "mark the worker as stopped",
        "UPDATE pgflow.workers SET last_heartbeat_at = clock_timestamp(),"
        " stopped_at = clock_timestamp() WHERE worker_id = %(worker_id)s",
        {"worker_id": worker_id},
        _nothing,
    )


def read_messages(queue_name: str, visibility_timeout: int, quantity: int) -> Operation[list[int]]:
    """Read visible messages and hide them (`pgmq.read`); their ids."""
    return Operation(
        "read messages",
        "SELECT msg_id FROM pgmq.read(%(queue_name)s::text, %(vt)s::integer, %(qty)s::integer)",
        {"queue_name": queue_name, "vt": visibility_timeout, "qty": quantity},
        lambda rows: [_int(row[0]) for row in rows],
    )


def start_tasks(
    flow_slug: str, message_ids: Sequence[int], worker_id: UUID
) -> Operation[dict[int, str]]:
    """Claim the tasks of these messages (`pgflow.start_tasks`); their inputs by message id.

    Two workers that hold the same message at the same moment may both get an input: who has the
    task says `claimed_tasks`, to be run after this in the same transaction.
    """
    return Operation(
        "claim tasks",
        "SELECT msg_id, input::text FROM pgflow.start_tasks(flow_slug => %(flow_slug)s::text,"
        " msg_ids => %(message_ids)s::bigint[], worker_id => %(worker_id)s::uuid)",
        {"flow_slug": flow_slug, "message_ids": list(message_ids), "worker_id": worker_id},
        lambda rows: {_int(row[0]): str(row[1]) for row in rows},
    )


def claimed_tasks(
    flow_slug: str, message_ids: Sequence[int], worker_id: UUID
) -> Operation[dict[int, TaskKey]]:
    """Which of these messages' tasks this worker has, and at which attempt, by message id.

    Cores before 0.12 do not say the attempt in `start_tasks`, and before 0.7 not the task's index.
    """
    return Operation(
        "look at the claimed tasks",
        "SELECT message_id, run_id, step_slug, task_index, attempts_count FROM pgflow.step_tasks"
        " WHERE flow_slug = %(flow_slug)s AND message_id = ANY(%(message_ids)s::bigint[])"
        " AND status = 'started' AND last_worker_id = %(worker_id)s",
        {"flow_slug": flow_slug, "message_ids": list(message_ids), "worker_id": worker_id},
        lambda rows: {
            _int(row[0]): TaskKey(_uuid(row[1]), str(row[2]), _int(row[3]), _int(row[4]))
            for row in rows
        },
    )


def claim(
    flow_slug: str, inputs: Mapping[int, str], keys: Mapping[int, TaskKey]
) -> tuple[Task, ...]:
    """Put together what `start_tasks` and `claimed_tasks` said."""
    return tuple(
        Task(keys[message_id], flow_slug, message_id, task_input)
        for message_id, task_input in inputs.items()
        if message_id in keys
    )


def record(result: Result, worker_id: UUID) -> Operation[bool]:
    """Complete or fail a task, if it is still this worker's; whether it was.

    The core takes a result from anyone. A worker that was away for long, or that does not know
    whether its last call went through, could so end an attempt that is not its own. Run and task
    are locked first, in the order in which `complete_task` and `fail_task` lock them.
    """
    key, outcome = result.task.key, result.outcome
    params: dict[str, object] = {
        "run_id": key.run_id,
        "step_slug": key.step_slug,
        "task_index": key.task_index,
        "attempt": key.attempt,
        "worker_id": worker_id,
    }
    if isinstance(outcome, Completed):
        return Operation(
            "complete a task",
            _MINE + "SELECT (SELECT status FROM"
            " pgflow.complete_task(run_id, step_slug, task_index, %(output)s::jsonb)) FROM mine",
            {**params, "output": outcome.output},
            bool,
        )
    return Operation(
        "fail a task",
        _MINE + "SELECT (SELECT status FROM"
        " pgflow.fail_task(run_id, step_slug, task_index, %(message)s::text)) FROM mine",
        {**params, "message": outcome.message},
        bool,
    )


_MINE: Final = (
    "WITH mine AS MATERIALIZED (SELECT t.run_id, t.step_slug, t.task_index"
    " FROM pgflow.runs r JOIN pgflow.step_tasks t USING (run_id)"
    " WHERE r.run_id = %(run_id)s AND t.step_slug = %(step_slug)s"
    " AND t.task_index = %(task_index)s AND t.status = 'started'"
    " AND t.attempts_count = %(attempt)s AND t.last_worker_id = %(worker_id)s"
    " FOR UPDATE OF r, t) "
)


def _nothing(_rows: Sequence[Row]) -> None:
    return None


def _uuid(value: object) -> UUID:
    return value if isinstance(value, UUID) else UUID(str(value))


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _run(row: Row, states: tuple[StepState, ...] = ()) -> Run:
    run_id, flow_slug, status, given, output, remaining, started, completed, failed = row[:9]
    return Run(
        _uuid(run_id),
        str(flow_slug),
        str(status),
        decode(str(given)),
        None if output is None else decode(str(output)),
        _int(remaining),
        started,  # type: ignore[arg-type]  # timestamptz comes as datetime
        completed,  # type: ignore[arg-type]
        failed,  # type: ignore[arg-type]
        states,
    )


def _run_with_states(rows: Sequence[Row]) -> Run | None:
    if not rows:
        return None
    states = (StepState(*row[9:]) for row in rows if row[9] is not None)  # type: ignore[arg-type]
    return _run(rows[0], tuple(states))


def _stored_flow(slug: str, rows: Sequence[Row]) -> StoredFlow:
    options = Options(*(_int(value) for value in rows[0][:3]))
    steps: list[StepShape] = []
    timeouts: dict[str, int] = {}
    for _, _, flow_timeout, step, attempts, delay, timeout, needs in rows:
        if step is None:
            continue  # a flow without steps
        assert isinstance(needs, list)
        own = Options(attempts, delay, timeout)  # type: ignore[arg-type]
        steps.append(StepShape(str(step), tuple(map(str, needs)), own))
        timeouts[str(step)] = _int(flow_timeout if timeout is None else timeout)
    return StoredFlow(FlowShape(slug, options, tuple(steps)), timeouts)
