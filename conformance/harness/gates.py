"""Gates: exact points at which a worker's statement waits until the harness has done something.

A gate is a trigger that waits for an advisory lock, which the harness holds while the gate is shut.
`before`: the statement has done nothing yet. `after`: its transaction has done everything and is
about to commit (the trigger is deferred). So whoever is struck while its statement waits is struck
at that point, on a fast machine and on a slow one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from psycopg import sql

if TYPE_CHECKING:
    from conformance.harness.databases import Connection

POINTS: Final = {
    "read": "NEW.read_ct > OLD.read_ct",
    "claim": "OLD.status = 'queued' AND NEW.status = 'started'",
    "ack": "OLD.status = 'started' AND NEW.status = 'completed'",
}
"""Where a gate can be: which change of a message or a task waits there."""

TIMES: Final = ("before", "after")
"""When it makes wait: before the change, or when the whole transaction is about to commit."""

_LOCK: Final = 5_005_005  # the first half of the advisory lock's key; any number that is ours
_FUNCTION: Final = """
CREATE OR REPLACE FUNCTION conformance.gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared({lock}, 0);
    RETURN NEW;
END;
$$
"""
_WAITING: Final = """
SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND NOT l.granted AND l.classid = %s
AND a.datname = current_database()
"""


def shut(connection: Connection, queue: str, point: str, when: str) -> None:
    """Make a gate, and shut it; it is this connection's.

    Args:
        connection: who opens it again.
        queue: the flow.
        point: one of `POINTS`.
        when: one of `TIMES`.
    """
    connection.execute("SELECT pg_advisory_lock(%s, 0)", [_LOCK])
    connection.execute(sql.SQL(_FUNCTION).format(lock=sql.Literal(_LOCK)))
    names = ("pgmq", f"q_{queue.lower()}") if point == "read" else ("pgflow", "step_tasks")
    kind = sql.SQL(
        "CREATE TRIGGER {} BEFORE UPDATE ON {}"
        if when == "before"
        else "CREATE CONSTRAINT TRIGGER {} AFTER UPDATE ON {} DEFERRABLE INITIALLY DEFERRED"
    )
    made = kind.format(sql.Identifier(f"conformance_gate_{point}_{when}"), sql.Identifier(*names))
    condition = sql.SQL(POINTS[point])
    connection.execute(
        sql.SQL("{} FOR EACH ROW WHEN ({}) EXECUTE FUNCTION conformance.gate()").format(
            made, condition
        )
    )


def open_(connection: Connection) -> None:
    """Let everybody through, now and later."""
    connection.execute("SELECT pg_advisory_unlock(%s, 0)", [_LOCK])


def waiting(connection: Connection) -> set[int]:
    """Whose statements wait at the gate: the server's processes, by id."""
    rows = connection.execute(_WAITING, [_LOCK]).fetchall()
    return {int(str(pid)) for (pid,) in rows}


def undo(connection: Connection) -> int:
    """End the statements that wait at the gate, so that nothing of them is done; how many."""
    pids = list(waiting(connection))
    # With a time to wait: it returns when their processes have gone.
    connection.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM unnest(%s::integer[]) pid", [pids]
    )
    return len(pids)
