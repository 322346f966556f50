"""Everything that can be asked of the model, a value for each call.

Arguments are what SQL takes: None is NULL, and `OMITTED` leaves an argument out, so that the
function's own default holds. A jsonb is JSON text. What PostgreSQL could not take as a value of the
argument's type, such as an integer beyond its range or a jsonb with U+0000, is no call; nor is a
queue's name with a character that pgmq refuses, or time that passes backwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from uuid import UUID

    from pgflow_ref.model.rows import Jsonb


class _Omitted(Enum):
    OMITTED = "omitted"

    def __repr__(self) -> str:
        return "OMITTED"


OMITTED: Final = _Omitted.OMITTED
Omitted: TypeAlias = Literal[_Omitted.OMITTED]


# Definitions


@dataclass(frozen=True, slots=True)
class CreateFlow:
    """`pgflow.create_flow`: one flow row."""

    flow_slug: str | None
    max_attempts: int | Omitted | None = OMITTED
    base_delay: int | Omitted | None = OMITTED
    timeout: int | Omitted | None = OMITTED


@dataclass(frozen=True, slots=True)
class AddStep:
    """`pgflow.add_step`: one step row."""

    flow_slug: str | None
    step_slug: str | None
    deps_slugs: tuple[str | None, ...] | Omitted | None = OMITTED
    max_attempts: int | Omitted | None = OMITTED
    base_delay: int | Omitted | None = OMITTED
    timeout: int | Omitted | None = OMITTED
    start_delay: int | Omitted | None = OMITTED
    step_type: str | Omitted | None = OMITTED


@dataclass(frozen=True, slots=True)
class IsValidSlug:
    """`pgflow.is_valid_slug`: a boolean."""

    slug: str | None


@dataclass(frozen=True, slots=True)
class CalculateRetryDelay:
    """`pgflow.calculate_retry_delay`: seconds, or None where an argument is."""

    base_delay: int | None
    attempts_count: int | None


# Runs


@dataclass(frozen=True, slots=True)
class StartFlow:
    """`pgflow.start_flow`: one run row. Without an id the next of `State.next_run_id` is taken."""

    flow_slug: str | None
    input: Jsonb | None
    run_id: UUID | Omitted | None = OMITTED


@dataclass(frozen=True, slots=True)
class StartFlowWithStates:
    """`pgflow.start_flow_with_states`: the run and its step states."""

    flow_slug: str | None
    input: Jsonb | None
    run_id: UUID | Omitted | None = OMITTED


@dataclass(frozen=True, slots=True)
class GetRunWithStates:
    """`pgflow.get_run_with_states`: the run and its step states, or None."""

    run_id: UUID | None


@dataclass(frozen=True, slots=True)
class StartReadySteps:
    """`pgflow.start_ready_steps`: nothing."""

    run_id: UUID | None


@dataclass(frozen=True, slots=True)
class CascadeCompleteTasklessSteps:
    """`pgflow.cascade_complete_taskless_steps`: how many steps it completed."""

    run_id: UUID | None


@dataclass(frozen=True, slots=True)
class MaybeCompleteRun:
    """`pgflow.maybe_complete_run`: nothing."""

    run_id: UUID | None


# Tasks


@dataclass(frozen=True, slots=True)
class StartTasks:
    """`pgflow.start_tasks`: a `Record` for each task that was claimed."""

    flow_slug: str | None
    msg_ids: tuple[int | None, ...] | None
    worker_id: UUID | None


@dataclass(frozen=True, slots=True)
class CompleteTask:
    """`pgflow.complete_task`: the task's row."""

    run_id: UUID | None
    step_slug: str | None
    task_index: int | None
    output: Jsonb | None


@dataclass(frozen=True, slots=True)
class FailTask:
    """`pgflow.fail_task`: the task's row."""

    run_id: UUID | None
    step_slug: str | None
    task_index: int | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class PollForTasks:
    """`pgflow.poll_for_tasks`: no rows, ever."""

    queue_name: str | None
    vt: int | None
    qty: int | None


# Workers


@dataclass(frozen=True, slots=True)
class RegisterWorker:
    """A worker inserts its row of `pgflow.workers`."""

    worker_id: UUID | None
    queue_name: str | None
    function_name: str | None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A worker gives a sign of life: its row, if there is one."""

    worker_id: UUID


@dataclass(frozen=True, slots=True)
class EndWorker:
    """A worker's `stopped_at` is set, from 0.6 on its `deprecated_at`: its row."""

    worker_id: UUID


@dataclass(frozen=True, slots=True)
class DeleteWorker:
    """A worker's row is deleted: the row."""

    worker_id: UUID


# Queues (pgmq, and two functions of the core before 0.8)


@dataclass(frozen=True, slots=True)
class Read:
    """`pgmq.read`: messages, hidden from now on."""

    queue_name: str
    vt: int | None
    qty: int | None


@dataclass(frozen=True, slots=True)
class ReadWithPoll:
    """`read_with_poll`, of the core before 0.8 and of pgmq later: messages, waiting for them.

    `max_poll_seconds` may not be None: that polls for ever.
    """

    queue_name: str
    vt: int | None
    qty: int | None
    max_poll_seconds: int | Omitted = OMITTED
    poll_interval_ms: int | Omitted | None = OMITTED


@dataclass(frozen=True, slots=True)
class SetVtBatch:
    """`pgflow.set_vt_batch`: the messages that it found."""

    queue_name: str
    msg_ids: tuple[int | None, ...] | None
    vt_offsets: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class Send:
    """`pgmq.send`: the message's id. pgflow's own messages are sent by `StartReadySteps`."""

    queue_name: str
    message: Jsonb | None
    delay: int = 0


@dataclass(frozen=True, slots=True)
class SetVt:
    """`pgmq.set_vt`: the message, if it is there."""

    queue_name: str
    msg_id: int
    vt: int


@dataclass(frozen=True, slots=True)
class Archive:
    """`pgmq.archive`: whether the message was in the queue."""

    queue_name: str
    msg_id: int


@dataclass(frozen=True, slots=True)
class Delete:
    """`pgmq.delete`: whether the message was in the queue."""

    queue_name: str
    msg_id: int


@dataclass(frozen=True, slots=True)
class DropQueue:
    """`pgmq.drop_queue`: whether there was one."""

    queue_name: str


@dataclass(frozen=True, slots=True)
class Pass:
    """Time passes: nothing else happens."""

    microseconds: int


Call: TypeAlias = (
    CreateFlow
    | AddStep
    | IsValidSlug
    | CalculateRetryDelay
    | StartFlow
    | StartFlowWithStates
    | GetRunWithStates
    | StartReadySteps
    | CascadeCompleteTasklessSteps
    | MaybeCompleteRun
    | StartTasks
    | CompleteTask
    | FailTask
    | PollForTasks
    | RegisterWorker
    | Heartbeat
    | EndWorker
    | DeleteWorker
    | Read
    | ReadWithPoll
    | SetVtBatch
    | Send
    | SetVt
    | Archive
    | Delete
    | DropQueue
    | Pass
)
