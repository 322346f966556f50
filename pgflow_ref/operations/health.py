"""Health: what the database says about itself, its workers, and its queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgflow_ref.operations.operation import Operation, as_int, as_uuid

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from pgflow_ref.operations.operation import Row

ALIVE: Final = 60.0
"""Seconds after which a worker that gave no sign of life is not taken for alive any more."""

_LISTED: Final = 3_600
"""Seconds after which it is not listed any more: the core never deletes workers."""

_GRACE: Final = 30
"""Seconds beyond its timeout after which a task is called stalled."""


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """A worker, as `pgflow.workers` has it.

    Attributes:
        worker_id: its id.
        worker_name: its name, by default its flow's slug.
        flow_slug: its flow.
        started_at: when it was registered.
        last_heartbeat_at: its last sign of life.
        silent_for: seconds since then, by the database's clock.
        is_deprecated: whether the database has asked it to leave (core 0.6 and newer).

    Example:
        silent = [one.worker_name for one in pgflow.health_check().workers if not one.is_alive]
    """

    worker_id: UUID
    worker_name: str
    flow_slug: str
    started_at: datetime
    last_heartbeat_at: datetime
    silent_for: float
    is_deprecated: bool

    @property
    def is_alive(self) -> bool:
        """Whether its last sign of life is less than a minute old."""
        return self.silent_for <= ALIVE


@dataclass(frozen=True, slots=True)
class FlowHealth:
    """A flow and its queue.

    Attributes:
        flow_slug: the flow.
        has_queue: whether it has a queue, without which none of its runs can start.
        messages: messages in its queue, also those that are hidden; flows whose slugs differ only
            by case share a queue.
        visible_messages: those that a worker would get now (pgmq before 1.5: all of them).
        oldest_message: seconds since the oldest message in the queue was sent; None: there is none.
        running: runs that are not over.
        stalled_tasks: tasks that were started longer ago than their timeout and 30 s.

    Example:
        backlog = {one.flow_slug: one.messages for one in pgflow.health_check().flows}
    """

    flow_slug: str
    has_queue: bool
    messages: int
    visible_messages: int
    oldest_message: int | None
    running: int
    stalled_tasks: int


def server_version() -> Operation[str]:
    """The version of PostgreSQL."""
    return Operation(
        "look at the server",
        "SELECT current_setting('server_version')",
        {},
        lambda rows: str(rows[0][0]),
    )


def workers_health() -> Operation[tuple[WorkerHealth, ...]]:
    """Workers that were not stopped, and gave a sign of life within the last hour."""
    return Operation(
        "look at the workers",
        # Whether workers have a stopped_at or a deprecated_at depends on the core.
        "SELECT w.worker_id, w.function_name, w.queue_name, w.started_at, w.last_heartbeat_at,"
        " extract(epoch FROM clock_timestamp() - w.last_heartbeat_at)::float8,"
        " to_jsonb(w) ->> 'deprecated_at' IS NOT NULL FROM pgflow.workers w"
        " WHERE to_jsonb(w) ->> 'stopped_at' IS NULL"
        " AND w.last_heartbeat_at > clock_timestamp() - make_interval(secs => %(listed)s)"
        " ORDER BY w.queue_name, w.started_at, w.worker_id",
        {"listed": _LISTED},
        lambda rows: tuple(map(_worker, rows)),
    )


def flows_health() -> Operation[tuple[FlowHealth, ...]]:
    """All flows, their queues (`pgmq.metrics`), and what is under way."""
    return Operation(
        "look at the flows",
        "WITH flows AS MATERIALIZED (SELECT f.flow_slug, f.opt_timeout,"
        " to_regclass('pgmq.' || quote_ident('q_' || lower(f.flow_slug))) IS NOT NULL AS has_queue"
        " FROM pgflow.flows f), queues AS MATERIALIZED (SELECT f.*, CASE WHEN f.has_queue THEN"
        # As JSON, because pgmq's versions count different things.
        " (SELECT to_jsonb(m) FROM pgmq.metrics(f.flow_slug) m) ELSE '{}' END AS queue FROM flows f"
        ") SELECT q.flow_slug, q.has_queue, coalesce((q.queue ->> 'queue_length')::bigint, 0),"
        " coalesce(q.queue ->> 'queue_visible_length', q.queue ->> 'queue_length', '0')::bigint,"
        " (q.queue ->> 'oldest_msg_age_sec')::bigint,"
        " (SELECT count(*) FROM pgflow.runs r"
        " WHERE r.flow_slug = q.flow_slug AND r.status = 'started'),"
        " (SELECT count(*) FROM pgflow.step_tasks t"
        " JOIN pgflow.runs r ON r.run_id = t.run_id AND r.status = 'started'"
        " JOIN pgflow.steps s ON s.flow_slug = t.flow_slug AND s.step_slug = t.step_slug"
        " WHERE t.flow_slug = q.flow_slug AND t.status = 'started'"
        " AND t.started_at < clock_timestamp()"
        " - make_interval(secs => coalesce(s.opt_timeout, q.opt_timeout) + %(grace)s))"
        " FROM queues q ORDER BY q.flow_slug",
        {"grace": _GRACE},
        lambda rows: tuple(map(_flow, rows)),
    )


def _worker(row: Row) -> WorkerHealth:
    worker_id, name, queue, started, heartbeat, silent, deprecated = row
    assert isinstance(silent, float)
    return WorkerHealth(
        as_uuid(worker_id),
        str(name),
        str(queue),
        started,  # type: ignore[arg-type]  # timestamptz comes as datetime
        heartbeat,  # type: ignore[arg-type]
        silent,
        bool(deprecated),
    )


def _flow(row: Row) -> FlowHealth:
    slug, has_queue, messages, visible, oldest, running, stalled = row
    return FlowHealth(
        str(slug),
        bool(has_queue),
        as_int(messages),
        as_int(visible),
        None if oldest is None else as_int(oldest),
        as_int(running),
        as_int(stalled),
    )
