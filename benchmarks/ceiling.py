"""The ceiling: read, start and complete inside the server, without any client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import uuid4

if TYPE_CHECKING:
    import psycopg

_LOOP: Final = """
CREATE OR REPLACE PROCEDURE pg_temp.ceiling(queue text, worker uuid, quantity integer, vt integer)
LANGUAGE plpgsql AS $$
DECLARE ids bigint[]; task record;
BEGIN
    LOOP
        SELECT array_agg(m.msg_id) INTO ids FROM pgmq.read(queue, vt, quantity) m;
        EXIT WHEN ids IS NULL;
        PERFORM pgflow.start_tasks(queue, ids, worker);
        FOR task IN SELECT t.run_id, t.step_slug, t.task_index FROM pgflow.step_tasks t
            WHERE t.flow_slug = queue AND t.message_id = ANY (ids) AND t.status = 'started'
            ORDER BY t.run_id, t.step_slug, t.task_index
        LOOP
            PERFORM pgflow.complete_task(task.run_id, task.step_slug, task.task_index, '{}');
        END LOOP;
        COMMIT;
    END LOOP;
END $$
"""
_REGISTER: Final = (
    "INSERT INTO pgflow.workers (queue_name, worker_id, function_name) VALUES (%s, %s, 'ceiling')"
)


def drain(
    connection: psycopg.Connection[tuple[object, ...]],
    queue: str,
    *,
    quantity: int = 100,
    visibility_timeout: int = 62,
) -> None:
    """Complete all that is visible in a queue, a transaction for each batch.

    Args:
        connection: in autocommit, since the loop commits.
        queue: the flow's slug.
        quantity: messages a batch.
        visibility_timeout: seconds for which a read hides a message.

    Example:
        drain(connection, "one_step")
    """
    worker = uuid4()
    connection.execute(_REGISTER, (queue, worker))
    connection.execute(_LOOP)
    asked = (queue, worker, quantity, visibility_timeout)
    connection.execute("CALL pg_temp.ceiling(%s, %s, %s, %s)", asked)
