"""What the model's database holds: one row of each table, as `pgflow` and `pgmq` have it.

A time is an `Instant`: whole microseconds since 1970, in UTC, which is what PostgreSQL keeps. A
jsonb is its JSON text, and None is SQL's NULL, so that `'null'` and NULL stay two things.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from pgflow_ref.json_contract import Json

Instant: TypeAlias = int
Jsonb: TypeAlias = str

SECOND: Final[Instant] = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def instant_of(moment: datetime) -> Instant:
    """A moment as the model counts it.

    Example:
        >>> instant_of(datetime(1970, 1, 2, tzinfo=timezone.utc))
        86400000000
    """
    return (moment - _EPOCH) // timedelta(microseconds=1)


def datetime_of(instant: Instant) -> datetime:
    """A moment of the model as Python has it."""
    return _EPOCH + timedelta(microseconds=instant)


@lru_cache(maxsize=4096)
def text_of(instant: Instant) -> str:
    """A moment as PostgreSQL writes it into JSON, at the time zone UTC.

    Example:
        >>> text_of(1_500_000)
        '1970-01-01T00:00:01.5+00:00'
    """
    whole, _, fraction = datetime_of(instant).strftime("%Y-%m-%dT%H:%M:%S.%f").partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}+00:00" if fraction else f"{whole}+00:00"


class FlowRow(NamedTuple):
    """A row of `pgflow.flows`."""

    flow_slug: str
    opt_max_attempts: int
    opt_base_delay: int
    opt_timeout: int
    created_at: Instant


class StepRow(NamedTuple):
    """A row of `pgflow.steps`."""

    flow_slug: str
    step_slug: str
    step_type: str
    step_index: int
    deps_count: int
    opt_max_attempts: int | None
    opt_base_delay: int | None
    opt_timeout: int | None
    opt_start_delay: int | None
    created_at: Instant


class DepRow(NamedTuple):
    """A row of `pgflow.deps`: `step_slug` waits for `dep_slug`."""

    flow_slug: str
    dep_slug: str
    step_slug: str
    created_at: Instant


class RunRow(NamedTuple):
    """A row of `pgflow.runs`."""

    run_id: UUID
    flow_slug: str
    status: str
    input: Jsonb
    output: Jsonb | None
    remaining_steps: int
    started_at: Instant
    completed_at: Instant | None
    failed_at: Instant | None


class StateRow(NamedTuple):
    """A row of `pgflow.step_states`."""

    flow_slug: str
    run_id: UUID
    step_slug: str
    status: str
    remaining_tasks: int | None
    initial_tasks: int | None
    remaining_deps: int
    error_message: str | None
    created_at: Instant
    started_at: Instant | None
    completed_at: Instant | None
    failed_at: Instant | None


class TaskRow(NamedTuple):
    """A row of `pgflow.step_tasks`."""

    flow_slug: str
    run_id: UUID
    step_slug: str
    task_index: int
    message_id: int
    status: str
    attempts_count: int
    error_message: str | None
    output: Jsonb | None
    queued_at: Instant
    started_at: Instant | None
    completed_at: Instant | None
    failed_at: Instant | None
    last_worker_id: UUID | None


class WorkerRow(NamedTuple):
    """A row of `pgflow.workers`; `ended_at` is its `stopped_at`, from 0.6 on `deprecated_at`."""

    worker_id: UUID
    queue_name: str
    function_name: str
    started_at: Instant
    ended_at: Instant | None
    last_heartbeat_at: Instant


class MessageRow(NamedTuple):
    """A row of a queue or of its archive; `archived_at` is the archive's."""

    msg_id: int
    read_ct: int
    enqueued_at: Instant
    last_read_at: Instant | None
    vt: Instant
    message: Jsonb | None
    archived_at: Instant | None = None


class Record(NamedTuple):
    """A task as `start_tasks` hands it out (`pgflow.step_task_record`)."""

    flow_slug: str
    run_id: UUID
    step_slug: str
    input: Jsonb | None
    msg_id: int
    task_index: int


class Event(NamedTuple):
    """One call of `realtime.send`."""

    event: str
    topic: str
    payload: Mapping[str, Json]
    private: bool


class Flow(NamedTuple):
    """A flow with its steps by slug, and its dependencies by (needed step, waiting step).

    An option of a step is its own, or else the flow's.
    """

    row: FlowRow
    steps: Mapping[str, StepRow]
    deps: Mapping[tuple[str, str], DepRow]

    def max_attempts(self, step: str) -> int:
        """How often a task of this step may be tried."""
        own = self.steps[step].opt_max_attempts
        return self.row.opt_max_attempts if own is None else own

    def base_delay(self, step: str) -> int:
        """From how many seconds the delays of this step's retries double."""
        own = self.steps[step].opt_base_delay
        return self.row.opt_base_delay if own is None else own

    def timeout(self, step: str) -> int:
        """How many seconds a task of this step may take."""
        own = self.steps[step].opt_timeout
        return self.row.opt_timeout if own is None else own


class Run(NamedTuple):
    """A run with the states of its steps by slug, and its tasks by (step, index)."""

    row: RunRow
    states: Mapping[str, StateRow]
    tasks: Mapping[tuple[str, int], TaskRow]


class Queue(NamedTuple):
    """A queue's messages and archive by message id, and the last id that was given away.

    `beside` are the names of its indexes and its sequence.
    """

    messages: Mapping[int, MessageRow]
    archive: Mapping[int, MessageRow]
    last_id: int
    beside: frozenset[str] = frozenset()
