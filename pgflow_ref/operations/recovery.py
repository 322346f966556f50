"""Recovery: tasks whose worker has gone without a word are queued again, or failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_ref.operations.operation import Operation, as_int

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_ref.operations.operation import Row


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery did.

    Attributes:
        requeued: tasks that are in the queue again.
        failed: tasks that had no attempt left, and failed with their runs.

    Example:
        >>> Recovered(requeued=2, failed=0).requeued
        2
    """

    requeued: int
    failed: int


def recover_stalled_tasks(
    flow_slug: str | None, grace: float, *, by_core: bool
) -> Operation[Recovered]:
    """Put stalled tasks back, or fail those that have no attempt left.

    A task is stalled when it has been started for longer than its timeout (the step's, else the
    flow's) and the grace, in a run that is still going. Put back, it keeps its attempts, so the
    lost one counts. Its message is visible at once; where the queue does not have it any more (it
    was purged, or archived by hand) a new one is sent, because nobody would find the task without.
    A flow without a queue is left alone.

    Several may recover at once, and beside workers in any language: run, step and task are locked
    in the order in which the core locks them, and whoever has one of them locked is not waited
    for. Of a run, one task is failed; what becomes of its other tasks then is the core's rule, as
    with any failed run.

    Args:
        flow_slug: the flow, or None for all of them.
        grace: seconds.
        by_core: whether the core does it itself (`pgflow.requeue_stalled_tasks`, 0.13.2 and newer):
            then for all flows, with its own grace of 30 s and its own limit.
    """
    if by_core:
        return Operation(
            "let the core recover stalled tasks",
            "SELECT pgflow.requeue_stalled_tasks(), 0",
            {},
            _read,
        )
    return Operation(
        "recover stalled tasks",
        # FOR UPDATE looks again at the newest version of what it locks, so a task that was
        # recorded meanwhile drops out.
        "WITH stalled AS MATERIALIZED ("
        "SELECT t.flow_slug, t.run_id, t.step_slug, t.task_index, t.message_id,"
        " coalesce(s.opt_timeout, f.opt_timeout) AS timeout,"
        " t.attempts_count >= coalesce(s.opt_max_attempts, f.opt_max_attempts) AS is_last"
        " FROM pgflow.step_tasks t"
        " JOIN pgflow.runs r ON r.run_id = t.run_id"
        " JOIN pgflow.step_states p ON p.run_id = t.run_id AND p.step_slug = t.step_slug"
        " JOIN pgflow.steps s ON s.flow_slug = t.flow_slug AND s.step_slug = t.step_slug"
        " JOIN pgflow.flows f ON f.flow_slug = t.flow_slug"
        " WHERE t.status = 'started' AND r.status = 'started'"
        " AND (%(flow_slug)s::text IS NULL OR t.flow_slug = %(flow_slug)s::text)"
        " AND t.started_at < clock_timestamp()"
        " - make_interval(secs => coalesce(s.opt_timeout, f.opt_timeout) + %(grace)s::float8)"
        " AND to_regclass('pgmq.' || quote_ident('q_' || lower(t.flow_slug))) IS NOT NULL"
        " FOR UPDATE OF r, p, t SKIP LOCKED"
        "), failed AS MATERIALIZED ("
        "SELECT (SELECT x.status FROM pgflow.fail_task(l.run_id, l.step_slug, l.task_index,"
        " concat('Task stalled: no result within its timeout of ', l.timeout, ' s and ',"
        " %(grace)s::float8, ' s more')) x) AS status"
        " FROM (SELECT DISTINCT ON (run_id) * FROM stalled WHERE is_last"
        " ORDER BY run_id, step_slug, task_index) l"
        "), visible AS MATERIALIZED ("
        "SELECT w.*, (SELECT v.msg_id FROM"
        " pgmq.set_vt(w.flow_slug::text, w.message_id::bigint, 0::integer) v) AS seen"
        " FROM stalled w WHERE NOT EXISTS"
        " (SELECT 1 FROM stalled o WHERE o.run_id = w.run_id AND o.is_last)"
        "), sent AS MATERIALIZED ("
        "SELECT v.run_id, v.step_slug, v.task_index, CASE WHEN v.seen IS NOT NULL THEN v.seen"
        " ELSE (SELECT * FROM pgmq.send(v.flow_slug::text, jsonb_build_object("
        "'flow_slug', v.flow_slug, 'run_id', v.run_id, 'step_slug', v.step_slug,"
        " 'task_index', v.task_index))) END AS message_id FROM visible v"
        "), requeued AS ("
        "UPDATE pgflow.step_tasks t SET status = 'queued', started_at = NULL,"
        " message_id = m.message_id FROM sent m WHERE t.run_id = m.run_id"
        " AND t.step_slug = m.step_slug AND t.task_index = m.task_index RETURNING 1"
        ") SELECT (SELECT count(*) FROM requeued), (SELECT count(x.status) FROM failed x)",
        {"flow_slug": flow_slug, "grace": grace},
        _read,
    )


def _read(rows: Sequence[Row]) -> Recovered:
    requeued, failed = rows[0]
    return Recovered(as_int(requeued), as_int(failed))
