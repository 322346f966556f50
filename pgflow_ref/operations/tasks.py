"""Workers and their tasks: register, read, claim, record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from pgflow_ref.operations.operation import Operation, as_int, as_uuid, nothing
from pgflow_ref.task import Completed, Failed, Result, Task, TaskInput, TaskKey

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
        _INPUTS + " FROM pgflow.start_tasks(flow_slug => %(flow_slug)s::text,"
        " msg_ids => %(message_ids)s::bigint[], worker_id => %(worker_id)s::uuid) t",
        {"flow_slug": flow_slug, "message_ids": list(message_ids), "worker_id": worker_id},
        _inputs,
    )


def read_and_start(
    flow_slug: str, visibility_timeout: int, quantity: int, worker_id: UUID
) -> Operation[dict[Claimed, TaskInput]]:
    """Read messages and claim their tasks, `read_messages` and `start_tasks` in one statement.

    Which messages they are is known to `tasks_just_claimed`, in the same transaction. Where there
    are none, the core is not asked: to plan its statement would be most of the work.
    """
    return Operation(
        "read and claim tasks",
        _INPUTS + " FROM (SELECT set_config('pgflow_ref.messages',"
        " coalesce(array_agg(msg_id), '{}')::text, true)::bigint[] AS ids"
        " FROM pgmq.read(%(flow_slug)s::text, %(vt)s::integer, %(qty)s::integer)) m"
        " CROSS JOIN LATERAL pgflow.start_tasks(flow_slug => %(flow_slug)s::text,"
        " msg_ids => m.ids, worker_id => %(worker_id)s::uuid) t WHERE m.ids <> '{}'",
        {
            "flow_slug": flow_slug,
            "vt": visibility_timeout,
            "qty": quantity,
            "worker_id": worker_id,
        },
        _inputs,
    )


_INPUTS: Final = (
    "SELECT t.msg_id, t.run_id, t.step_slug, t.input::text,"
    " (SELECT r.input::text FROM pgflow.steps s"
    " JOIN pgflow.runs r USING (flow_slug) WHERE s.flow_slug = t.flow_slug"
    " AND s.step_slug = t.step_slug AND s.step_type = 'map' AND r.run_id = t.run_id)"
)


def _inputs(rows: Sequence[Row]) -> dict[Claimed, TaskInput]:
    return {
        _claimed(row): TaskInput(str(row[3]), None if row[4] is None else str(row[4]))
        for row in rows
    }


def claimed_tasks(
    flow_slug: str, message_ids: Sequence[int], worker_id: UUID
) -> Operation[dict[Claimed, TaskKey]]:
    """Which of these messages' tasks this worker has, and at which attempt.

    Cores before 0.12 do not say the attempt in `start_tasks`, and before 0.7 not the task's index.
    """
    return Operation(
        "look at the claimed tasks",
        _MINE + " AND message_id = ANY(%(message_ids)s::bigint[])",
        {"flow_slug": flow_slug, "message_ids": list(message_ids), "worker_id": worker_id},
        _keys,
    )


def tasks_just_claimed(flow_slug: str, worker_id: UUID) -> Operation[dict[Claimed, TaskKey]]:
    """As `claimed_tasks`, of the messages of a `read_and_start` in the same transaction."""
    return Operation(
        "look at what was just claimed",
        _MINE + " AND message_id = ANY(current_setting('pgflow_ref.messages')::bigint[])",
        {"flow_slug": flow_slug, "worker_id": worker_id},
        _keys,
    )


_MINE: Final = (
    "SELECT message_id, run_id, step_slug, task_index, attempts_count FROM pgflow.step_tasks"
    " WHERE flow_slug = %(flow_slug)s AND status = 'started' AND last_worker_id = %(worker_id)s"
)


def _keys(rows: Sequence[Row]) -> dict[Claimed, TaskKey]:
    return {
        _claimed(row): TaskKey(as_uuid(row[1]), str(row[2]), as_int(row[3]), as_int(row[4]))
        for row in rows
    }


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


def hold_runs(run_ids: Sequence[UUID]) -> Operation[dict[UUID, str]]:
    """Lock runs whose tasks' results are to be recorded; their statuses.

    `complete_task` and `fail_task` do it first as well, each for its run. Here it is done for all,
    in the order of their ids: two workers that record results of the same runs never wait for each
    other in a circle. To be run in the transaction of the results, and before `hold_tasks`.
    """
    return Operation(
        "lock runs",
        "SELECT run_id, status FROM pgflow.runs WHERE run_id = ANY(%(runs)s::uuid[])"
        " ORDER BY run_id FOR UPDATE",
        {"runs": run_ids},
        lambda rows: {as_uuid(row[0]): str(row[1]) for row in rows},
    )


def hold_tasks(run_ids: Sequence[UUID], worker_id: UUID) -> Operation[None]:
    """Lock what this worker has in the locked runs: nobody takes it away while it is recorded."""
    return Operation(
        "lock tasks",
        "SELECT FROM pgflow.step_tasks WHERE run_id = ANY(%(runs)s::uuid[])"
        " AND status = 'started' AND last_worker_id = %(worker_id)s"
        " ORDER BY run_id, step_slug, task_index FOR UPDATE",
        {"runs": run_ids, "worker_id": worker_id},
        nothing,
    )


def record(results: Sequence[Result], worker_id: UUID) -> Operation[dict[TaskKey, Now | None]]:
    """Complete or fail tasks that are still this worker's; others are left out, also of the answer.

    The core takes a result from anyone. A worker that was away for long, or that does not know
    whether its last call went through, could so end an attempt that is not its own. Runs and tasks
    are locked before this (`hold_runs`, `hold_tasks`), by statements of their own: where a row was
    waited for, PostgreSQL joins it once more with what was locked beside it, and it forgets rows
    that come out of `unnest`.

    One statement for all of them, since the client's share of a statement for each is what most
    of a worker's time would go to (scripts/bench). Should the database refuse one, none is
    recorded.

    Returns:
        How each task is afterwards, or None where the core did not say.
    """
    keys = [result.task.key for result in results]
    outcomes = [result.outcome for result in results]
    return Operation(
        "record results",
        _RECORD,
        {
            "runs": [key.run_id for key in keys],
            "steps": [key.step_slug for key in keys],
            "indexes": [key.task_index for key in keys],
            "attempts": [key.attempt for key in keys],
            "outputs": [one.output if isinstance(one, Completed) else None for one in outcomes],
            "messages": [one.message if isinstance(one, Failed) else None for one in outcomes],
            "worker_id": worker_id,
        },
        lambda rows: {_task_key(row): _now(row) for row in rows},
    )


# Texts go in binary: to quote large ones for an array took half of a worker's time.
_RECORD: Final = (
    "WITH mine AS MATERIALIZED (SELECT g.*"
    " FROM unnest(%(runs)s::uuid[], %(steps)s::text[], %(indexes)s::integer[],"
    " %(attempts)s::integer[], %(outputs)b::text[], %(messages)b::text[])"
    " AS g (run_id, step_slug, task_index, attempt, output, message)"
    " JOIN pgflow.step_tasks t ON t.run_id = g.run_id AND t.step_slug = g.step_slug"
    " AND t.task_index = g.task_index AND t.attempts_count = g.attempt"
    " WHERE t.status = 'started' AND t.last_worker_id = %(worker_id)s"
    " ORDER BY g.run_id, g.step_slug, g.task_index)"
    " SELECT m.run_id, m.step_slug, m.task_index, m.attempt, t.status, t.error_message"
    " FROM mine m LEFT JOIN LATERAL (SELECT c.status, c.error_message FROM"
    " pgflow.complete_task(m.run_id, m.step_slug, m.task_index, m.output::jsonb) c"
    " WHERE m.message IS NULL UNION ALL SELECT f.status, f.error_message FROM"
    " pgflow.fail_task(m.run_id, m.step_slug, m.task_index, m.message) f"
    " WHERE m.message IS NOT NULL) t ON true"
)


def _task_key(row: Row) -> TaskKey:
    return TaskKey(as_uuid(row[0]), str(row[1]), as_int(row[2]), as_int(row[3]))


def _now(row: Row) -> Now | None:
    status, error_message = row[4:]
    return None if status is None else Now(str(status), error_message)  # type: ignore[arg-type]


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
            _task_key(row): Now(*row[4:])  # type: ignore[arg-type]
            for row in rows
        },
    )
