"""Workers and their tasks: register, read, claim, record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from pgflow_ref.operations.operation import Operation, as_int, as_uuid, nothing
from pgflow_ref.task import Completed, Result, Task, TaskInput, TaskKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from pgflow_ref.operations.operation import Row
    from pgflow_ref.task import Outcome


def register_worker(worker_id: UUID, queue_name: str, name: str) -> Operation[None]:
    """Insert the worker's row."""
    return Operation(
        "register the worker",
        "INSERT INTO pgflow.workers (worker_id, queue_name, function_name)"
        " VALUES (%(worker_id)s, %(queue_name)s, %(name)s)",
        {"worker_id": worker_id, "queue_name": queue_name, "name": name},
        nothing,
    )


class Pulse(NamedTuple):
    """What a worker finds out about itself with a sign of life.

    Attributes:
        is_there: whether it still has a row; without one it can claim nothing.
        is_deprecated: whether the database wants it to leave.
    """

    is_there: bool
    is_deprecated: bool


def heartbeat(worker_id: UUID) -> Operation[Pulse]:
    """Give a sign of life, and hear whether the database wants this worker to leave.

    Workers have a `deprecated_at` from core 0.6 on, and may get it while they run.
    """
    return Operation(
        "give a sign of life",
        "UPDATE pgflow.workers AS w SET last_heartbeat_at = clock_timestamp()"
        " WHERE worker_id = %(worker_id)s"
        " RETURNING to_jsonb(w) ->> 'deprecated_at' IS NOT NULL",
        {"worker_id": worker_id},
        lambda rows: Pulse(bool(rows), is_deprecated=bool(rows and rows[0][0])),
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


class Now(NamedTuple):
    """How a task is after a result."""

    status: str
    error_message: str | None

    def has(self, outcome: Outcome) -> bool:
        """Whether it has this outcome; cores close a run that has failed to results (0.7)."""
        if isinstance(outcome, Completed):
            return self.status == "completed"
        return self.status in {"queued", "failed"}


class Answer(NamedTuple):
    """What the database said to a result that was this worker's to give.

    Attributes:
        run_status: of the run before; where it was `started`, this result may have ended it.
        now: the task afterwards, or None where the core did not say.
    """

    run_status: str
    now: Now | None


def record(result: Result, worker_id: UUID) -> Operation[Answer | None]:
    """Complete or fail a task, if it is still this worker's; else None.

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
            _MINE + "LEFT JOIN LATERAL pgflow.complete_task("
            "m.run_id, m.step_slug, m.task_index, %(output)s::jsonb) t ON true",
            {**params, "output": outcome.output},
            _answer,
        )
    return Operation(
        "fail a task",
        _MINE + "LEFT JOIN LATERAL pgflow.fail_task("
        "m.run_id, m.step_slug, m.task_index, %(message)s::text) t ON true",
        {**params, "message": outcome.message},
        _answer,
    )


_MINE: Final = (
    "WITH mine AS MATERIALIZED (SELECT t.run_id, t.step_slug, t.task_index, r.status AS run_status"
    " FROM pgflow.runs r JOIN pgflow.step_tasks t USING (run_id)"
    " WHERE r.run_id = %(run_id)s AND t.step_slug = %(step_slug)s"
    " AND t.task_index = %(task_index)s AND t.status = 'started'"
    " AND t.attempts_count = %(attempt)s AND t.last_worker_id = %(worker_id)s"
    " FOR UPDATE OF r, t) SELECT m.run_status, t.status, t.error_message FROM mine m "
)


def _answer(rows: Sequence[Row]) -> Answer | None:
    if not rows:
        return None
    run_status, status, error_message = rows[0]
    now = None if status is None else Now(str(status), error_message)  # type: ignore[arg-type]
    return Answer(str(run_status), now)


def attempts_now(keys: Sequence[TaskKey], worker_id: UUID) -> Operation[dict[TaskKey, Now]]:
    """How these attempts of this worker are now; those that are no longer its own are left out.

    For results of which a call did not say what became of them: its reply was lost, or the core
    gave none, as `complete_task` does where a map step cannot take the output.
    """
    return Operation(
        "look at what became of results",
        "SELECT t.run_id, t.step_slug, t.task_index, t.attempts_count, t.status, t.error_message"
        " FROM unnest(%(runs)s::uuid[], %(steps)s::text[], %(indexes)s::integer[],"
        " %(attempts)s::integer[]) AS k(run_id, step_slug, task_index, attempt)"
        " JOIN pgflow.step_tasks t ON t.run_id = k.run_id AND t.step_slug = k.step_slug"
        " AND t.task_index = k.task_index AND t.attempts_count = k.attempt"
        " WHERE t.last_worker_id = %(worker_id)s",
        {
            "runs": [key.run_id for key in keys],
            "steps": [key.step_slug for key in keys],
            "indexes": [key.task_index for key in keys],
            "attempts": [key.attempt for key in keys],
            "worker_id": worker_id,
        },
        lambda rows: {
            TaskKey(as_uuid(row[0]), str(row[1]), as_int(row[2]), as_int(row[3])): Now(*row[4:])  # type: ignore[arg-type]
            for row in rows
        },
    )
