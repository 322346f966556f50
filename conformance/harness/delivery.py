"""Messages one by one: held back when they are sent, and handed out in an order that never changes.

Which of several ready steps gets its message first is for the server's planner to say, and how many
messages a worker reads at once is for the worker. With one visible message at a time it makes no
difference: any worker on any machine does the same things in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from psycopg import sql

if TYPE_CHECKING:
    from conformance.harness.stage import Stage

ALL: Final = "all"

# After the insertion, so that whoever notes what was sent still sees for how long it is hidden.
# It may be a worker without a right to the queue's table that completes a task and so sends on.
_HOLD: Final = """
CREATE FUNCTION conformance.hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    EXECUTE format('UPDATE pgmq.%I SET vt = ''infinity'' WHERE msg_id = $1', TG_TABLE_NAME)
    USING NEW.msg_id;
    RETURN NULL;
END;
$$
"""
_ON_SENDING: Final = """
CREATE TRIGGER hold AFTER INSERT ON {} FOR EACH ROW EXECUTE FUNCTION conformance.hold()
"""
_NEXT: Final = """
SELECT t.run_id, t.step_slug, t.task_index, t.attempts_count, q.msg_id
FROM {} AS q JOIN pgflow.step_tasks AS t ON t.message_id = q.msg_id
WHERE t.flow_slug = %(flow)s AND t.status = 'queued'
ORDER BY array_position(%(runs)s::uuid[], t.run_id), t.step_slug, t.task_index LIMIT 1
"""
_IS_TAKEN: Final = """
SELECT status IN ('completed', 'failed') OR status = 'queued' AND attempts_count > %(attempts)s
FROM pgflow.step_tasks
WHERE run_id = %(run_id)s AND step_slug = %(step)s AND task_index = %(index)s
"""


def hold(stage: Stage, _: object) -> None:
    """Hide every message that is sent from now on, until it is delivered."""
    connection = stage.database.connection
    connection.execute(_HOLD)
    connection.execute(sql.SQL(_ON_SENDING).format(_queue(stage)))


def deliver(stage: Stage, most: str | int) -> None:
    """Make messages visible one by one, by run, step and index, each when the last is dealt with.

    A task that has failed and waits for its next attempt is next at once.

    Args:
        stage: the case.
        most: how many; `all`: until no message has a queued task any more.

    Raises:
        WorkerProblem: nobody took one in time.
    """
    left = None if most == ALL else int(most)
    while left is None or left > 0:
        row = stage.database.connection.execute(
            sql.SQL(_NEXT).format(_queue(stage)), stage.names()
        ).fetchone()
        if row is None:
            return
        run_id, step, index, attempts, message = row
        stage.database.connection.execute(
            sql.SQL("UPDATE {} SET vt = clock_timestamp() WHERE msg_id = %s").format(_queue(stage)),
            [message],
        )
        task = {"run_id": run_id, "step": step, "index": index, "attempts": attempts}
        stage.wait(
            lambda task=task: bool(stage.value(_IS_TAKEN, task)),  # type: ignore[misc]
            f"task {index} of step {step} is done, or failed",
        )
        left = None if left is None else left - 1


def _queue(stage: Stage) -> sql.Identifier:
    return sql.Identifier("pgmq", f"q_{stage.case.shape.slug.lower()}")
