"""Deletion: flows with all that they left behind, and runs that have been over for long.

Whatever is locked here is locked in the order in which workers lock it when they record a result:
the run, then its task, then the message.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pgflow_ref.errors import FlowBusy
from pgflow_ref.operations.operation import Operation, as_int, as_uuid, nothing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from typing_extensions import LiteralString

    from pgflow_ref.errors import PgflowError

_SLUG: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,46}")

_REFERENCES: Final = (
    "runs_flow_slug_fkey",
    "step_states_flow_slug_fkey",
    "step_states_flow_slug_step_slug_fkey",
    "step_tasks_flow_slug_fkey",
)
"""Constraints by which what belongs to a run holds on to its flow."""


def lock_runs(flow_slug: str) -> Operation[int]:
    """Wait until no result of the flow's runs is being recorded, and let none begin; how many."""
    return Operation(
        "lock a flow's runs",
        "SELECT count(*) FROM (SELECT 1 FROM pgflow.runs WHERE flow_slug = %(flow_slug)s"
        " ORDER BY run_id FOR UPDATE) AS locked",
        {"flow_slug": flow_slug},
        lambda rows: as_int(rows[0][0]),
        _busy(flow_slug),
    )


def delete_messages(flow_slug: str) -> Operation[int]:
    """Take a flow's messages out of its queue, which may be another flow's too; how many."""
    return Operation(
        "delete a flow's messages",
        _without_messages(flow_slug, "message ->> 'flow_slug' = %(flow_slug)s"),
        {"flow_slug": flow_slug},
        lambda rows: as_int(rows[0][0]),
        _busy(flow_slug),
    )


def delete_history(flow_slug: str) -> Operation[None]:
    """Delete a flow's tasks, step states and runs, which were locked before."""
    return Operation(
        "delete a flow's runs",
        "WITH tasks AS (DELETE FROM pgflow.step_tasks WHERE flow_slug = %(flow_slug)s),"
        " states AS (DELETE FROM pgflow.step_states WHERE flow_slug = %(flow_slug)s)"
        " DELETE FROM pgflow.runs WHERE flow_slug = %(flow_slug)s",
        {"flow_slug": flow_slug},
        nothing,
        _busy(flow_slug),
    )


def delete_definition(flow_slug: str) -> Operation[bool]:
    """Delete a flow with its steps; whether it was there."""
    return Operation(
        "delete a flow's definition",
        "WITH deps AS (DELETE FROM pgflow.deps WHERE flow_slug = %(flow_slug)s),"
        " steps AS (DELETE FROM pgflow.steps WHERE flow_slug = %(flow_slug)s)"
        " DELETE FROM pgflow.flows WHERE flow_slug = %(flow_slug)s RETURNING true",
        {"flow_slug": flow_slug},
        bool,
        _busy(flow_slug),
    )


def drop_queue(flow_slug: str) -> Operation[None]:
    """Drop a flow's queue, which is there and no other flow's (`pgmq.drop_queue`)."""
    return Operation(
        "drop a flow's queue",
        "SELECT pgmq.drop_queue(%(flow_slug)s::text)",
        {"flow_slug": flow_slug},
        nothing,
        _busy(flow_slug),
    )


def forget_queue(flow_slug: str) -> Operation[None]:
    """Strike a queue's name from pgmq's list, where the queue goes on under another name, or not.

    pgmq lists `Mail` and `mail` as two queues with one table. What is listed and has no table
    breaks `pgmq.metrics_all`, and makes `pgflow.create_flow` believe that there is a queue.
    """
    return Operation(
        "forget a queue's name",
        "DELETE FROM pgmq.meta m WHERE lower(m.queue_name) = lower(%(flow_slug)s) AND ("
        "to_regclass('pgmq.' || quote_ident('q_' || lower(%(flow_slug)s))) IS NULL"
        " OR (m.queue_name = %(flow_slug)s AND EXISTS (SELECT 1 FROM pgmq.meta o"
        " WHERE lower(o.queue_name) = lower(m.queue_name) AND o.queue_name <> m.queue_name)))",
        {"flow_slug": flow_slug},
        nothing,
    )


def flows_with_runs() -> Operation[list[str]]:
    """The flows that have runs which are over."""
    return Operation(
        "look for flows with runs that are over",
        "SELECT f.flow_slug FROM pgflow.flows f WHERE EXISTS (SELECT 1 FROM pgflow.runs r"
        " WHERE r.flow_slug = f.flow_slug AND r.status <> 'started') ORDER BY f.flow_slug",
        {},
        lambda rows: [str(row[0]) for row in rows],
    )


def runs_over_for(flow_slug: str, seconds: float, limit: int) -> Operation[list[UUID]]:
    """Lock runs that have been over for longer; those that somebody has locked are left out.

    A failed run may have no time of its failure (cores before 0.7): then its steps say it.
    """
    return Operation(
        "look for runs that have been over for long",
        "SELECT r.run_id FROM pgflow.runs r WHERE r.flow_slug = %(flow_slug)s"
        " AND r.status IN ('completed', 'failed')"
        " AND coalesce(r.completed_at, r.failed_at, (SELECT max(greatest(s.created_at,"
        " s.started_at, s.completed_at, s.failed_at)) FROM pgflow.step_states s"
        " WHERE s.run_id = r.run_id), r.started_at)"
        " < clock_timestamp() - make_interval(secs => %(seconds)s::float8)"
        " ORDER BY r.run_id LIMIT %(limit)s FOR UPDATE OF r SKIP LOCKED",
        {"flow_slug": flow_slug, "seconds": seconds, "limit": limit},
        lambda rows: [as_uuid(row[0]) for row in rows],
    )


def delete_messages_of_runs(flow_slug: str, run_ids: Sequence[UUID]) -> Operation[int]:
    """Delete the messages of these runs, in the archive and, of failed runs, in the queue.

    By their ids, and only where the message says the same run: a queue that was dropped and made
    again counts from 1 again.
    """
    return Operation(
        "delete messages of runs",
        _without_messages(
            flow_slug,
            "msg_id IN (SELECT t.message_id FROM pgflow.step_tasks t"
            " WHERE t.run_id = ANY(%(run_ids)s::uuid[]))"
            " AND message ->> 'run_id' = ANY(%(texts)s::text[])",
        ),
        {"run_ids": list(run_ids), "texts": [str(run_id) for run_id in run_ids]},
        lambda rows: as_int(rows[0][0]),
        _busy(flow_slug),
    )


def delete_runs(flow_slug: str, run_ids: Sequence[UUID]) -> Operation[tuple[int, int]]:
    """Delete these runs of a flow with states and tasks; how many runs, and how many tasks."""
    return Operation(
        "delete runs",
        "WITH tasks AS (DELETE FROM pgflow.step_tasks"
        " WHERE run_id = ANY(%(run_ids)s::uuid[]) RETURNING 1),"
        " states AS (DELETE FROM pgflow.step_states WHERE run_id = ANY(%(run_ids)s::uuid[])),"
        " over AS (DELETE FROM pgflow.runs WHERE run_id = ANY(%(run_ids)s::uuid[]) RETURNING 1)"
        " SELECT (SELECT count(*) FROM over), (SELECT count(*) FROM tasks)",
        {"run_ids": list(run_ids)},
        lambda rows: (as_int(rows[0][0]), as_int(rows[0][1])),
        _busy(flow_slug),
    )


def _without_messages(flow_slug: str, condition: LiteralString) -> LiteralString:
    """Delete from the tables of a flow's queue, whose names are made of its slug."""
    if not _SLUG.fullmatch(flow_slug):
        raise ValueError(f"no queue belongs to a flow {flow_slug!r}")
    # Safe to paste: nothing but ASCII letters, digits and underscores. pgmq folds them.
    name = flow_slug.lower()
    return (
        f'WITH queued AS (DELETE FROM pgmq."q_{name}" WHERE {condition} RETURNING 1),'
        f' archived AS (DELETE FROM pgmq."a_{name}" WHERE {condition} RETURNING 1)'
        " SELECT (SELECT count(*) FROM queued) + (SELECT count(*) FROM archived)"
    )


def _busy(flow_slug: str) -> Mapping[tuple[str, str], PgflowError]:
    # A deadlock with a claim, or with a worker that locks in another order; a run that was started
    # after the flow's runs were locked.
    busy = FlowBusy(flow_slug)
    return {("40P01", ""): busy, **{("23503", name): busy for name in _REFERENCES}}
