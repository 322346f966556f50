"""Databases that hold much already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from psycopg import sql

from benchmarks.bed import define, queue

if TYPE_CHECKING:
    from benchmarks.bed import Bed
    from benchmarks.workloads import Workload

# Rows as the core leaves them when a run of one step is over, an hour ago and in the order of time.
_HISTORY: Final = """
WITH finished AS (
    INSERT INTO pgflow.runs (flow_slug, status, input, output, remaining_steps,
        started_at, completed_at)
    SELECT %(slug)s, 'completed', jsonb_build_object('n', n), '{{"only": {{}}}}', 0, at, at
    FROM (SELECT n, now() - interval '1 hour' + n * interval '1 ms' AS at
        FROM generate_series(1, %(runs)s) n) numbers
    RETURNING run_id, started_at
), states AS (
    INSERT INTO pgflow.step_states (flow_slug, run_id, step_slug, status, remaining_tasks,
        remaining_deps, created_at, started_at, completed_at)
    SELECT %(slug)s, run_id, 'only', 'completed', 0, 0, started_at, started_at, started_at
    FROM finished
), numbered AS (
    SELECT run_id, started_at, nextval(pg_get_serial_sequence(%(queue)s, 'msg_id')) AS msg_id
    FROM finished
), archived AS (
    INSERT INTO pgmq.{archive} (msg_id, read_ct, enqueued_at, vt, message)
    SELECT msg_id, 1, started_at, started_at, jsonb_build_object('flow_slug', %(slug)s,
        'run_id', run_id, 'step_slug', 'only', 'task_index', 0)
    FROM numbered
)
INSERT INTO pgflow.step_tasks (flow_slug, run_id, step_slug, message_id, status, attempts_count,
    output, queued_at, started_at, completed_at)
SELECT %(slug)s, run_id, 'only', msg_id, 'completed', 1, '{{}}', started_at, started_at, started_at
FROM numbered
"""


def with_history(bed: Bed, workload: Workload, finished: int) -> str:
    """A database to copy, with so many finished runs of the flow, and then the workload's runs."""
    with bed.template() as (name, connection):
        define(connection, workload.slug, workload.steps)
        asked = {"slug": workload.slug, "runs": finished, "queue": f"pgmq.q_{workload.slug}"}
        archive = sql.Identifier(f"a_{workload.slug}")
        if finished:
            # Only for what is made ready: it makes the rows come sooner, and no other.
            connection.execute("SET synchronous_commit = off")
            connection.execute("SET session_replication_role = replica")
            connection.execute(sql.SQL(_HISTORY).format(archive=archive), asked)
            connection.execute("RESET session_replication_role")
        queue(connection, workload)
    return name
