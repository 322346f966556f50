"""Workers and their tasks: register, read, claim, record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from pgflow_ref.operations.operation import Operation, as_int, as_uuid, nothing
from pgflow_ref.task import Completed, Result, Task, TaskInput, TaskKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from pgflow_ref.operations.operation import Row


def register_worker(worker_id: UUID, queue_name: str, name: str) -> Operation[None]:
    """Insert the worker's row."""
    return Operation(
        "register the worker",
        "INSERT INTO pgflow.workers (worker_id, queue_name, function_name)"
        " VALUES (%(worker_id)s, %(queue_name)s, %(name)s)",
        {"worker_id": worker_id, "queue_name": queue_name, "name": name},
        nothing,
    )


def heartbeat(worker_id: UUID) -> Operation[None]:
    """Give a sign of life."""
    return Operation(
        "give a sign of life",
        "UPDATE pgflow.workers SET last_heartbeat_at = clock_timestamp()"
        " WHERE worker_id = %(worker_id)s",
        {"worker_id": worker_id},
        nothing,
    )


def mark_stopped(worker_id: UUID) -> Operation[None]:
    """Mark the worker as stopped, on cores whose workers have a `stopped_at`."""
    return Operation(
        "mark the worker as stopped",
        "UPDATE pgflow.workers SET last_heartbeat_at = clock_timestamp(),"
        " stopped_at = clock_timestamp() WHERE worker_id = %(worker_id)s",
        {"worker_id": worker_id},
        nothing,
    )


def read_messages(queue_name: str, visibility_timeout: int, quantity: int) -> Operation[list[int]]:
    """Read visible messages and hide them (`pgmq.read`); their ids."""
    return Operation(
        "read messages",
        "SELECT msg_id FROM pgmq.read(%(queue_name)s::text, %(vt)s::integer, %(qty)s::integer)",
        {"queue_name": queue_name, "vt": visibility_timeout, "qty": quantity},
        lambda rows: [as_int(row[0]) for row in rows],
    )


Claimed: TypeAlias = "tuple[int, UUID, str]"
"""What a claimed task is known by: its message, run and step.

The message alone would not do: once a flow's queue was dropped and made again, tasks of old runs
and of new ones have the same message ids, and `pgflow.start_tasks` claims them together.
"""


def start_tasks(
    flow_slug: str, message_ids: Sequence[int], worker_id: UUID
) -> Operation[dict[Claimed, TaskInput]]:
    """Claim the tasks of these messages (`pgflow.start_tasks`); their inputs.

    A task of a map step gets its element alone: the run's input is read beside it.

    Two workers that hold the same message at the same moment may both get an input: who has the
    task says `claimed_tasks`, to be run after this in the same transaction.
    """
    return Operation(
        "claim tasks",
        "SELECT t.msg_id, t.run_id, t.step_slug, t.input::text,"
        " (SELECT r.input::text FROM pgflow.steps s"
        " JOIN pgflow.runs r USING (flow_slug) WHERE s.flow_slug = t.flow_slug"
        " AND s.step_slug = t.step_slug AND s.step_type = 'map' AND r.run_id = t.run_id)"
        " FROM pgflow.start_tasks(flow_slug => %(flow_slug)s::text,"
        " msg_ids => %(message_ids)s::bigint[], worker_id => %(worker_id)s::uuid) t",
        {"flow_slug": flow_slug, "message_ids": list(message_ids), "worker_id": worker_id},
        lambda rows: {
            _claimed(row): TaskInput(str(row[3]), None if row[4] is None else str(row[4]))
            for row in rows
        },
    )


def claimed_tasks(
    flow_slug: str, message_ids: Sequence[int], worker_id: UUID
) -> Operation[dict[Claimed, TaskKey]]:
    """Which of these messages' tasks this worker has, and at which attempt.

    Cores before 0.12 do not say the attempt in `start_tasks`, and before 0.7 not the task's index.
    """
    return Operation(
        "look at the claimed tasks",
        "SELECT message_id, run_id, step_slug, task_index, attempts_count FROM pgflow.step_tasks"
        " WHERE flow_slug = %(flow_slug)s AND message_id = ANY(%(message_ids)s::bigint[])"
        " AND status = 'started' AND last_worker_id = %(worker_id)s",
        {"flow_slug": flow_slug, "message_ids": list(message_ids), "worker_id": worker_id},
        lambda rows: {
            _claimed(row): TaskKey(as_uuid(row[1]), str(row[2]), as_int(row[3]), as_int(row[4]))
            for row in rows
        },
    )


def claim(
    flow_slug: str, inputs: Mapping[Claimed, TaskInput], keys: Mapping[Claimed, TaskKey]
) -> tuple[Task, ...]:
    """Put together what `start_tasks` and `claimed_tasks` said."""
    return tuple(
        Task(keys[claimed], flow_slug, claimed[0], *task_input)
        for claimed, task_input in inputs.items()
        if claimed in keys
    )


def _claimed(row: Row) -> Claimed:
    return (as_int(row[0]), as_uuid(row[1]), str(row[2]))


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
