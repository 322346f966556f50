"""What no worker may write, and whether one did: from the event log, and from what the log lacks.

The contract says it in "What a worker may write". Who wrote is told by how it was done: by the
harness itself, by a function of pgflow or pgmq, or by a statement of somebody's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg

from conformance.harness.eventlog import AGAIN, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.harness.databases import Connection

_WRITTEN: Final = """
SELECT source, old, new, coalesce(statement, '') FROM conformance.events
WHERE origin = 'statement' AND source <> 'worker'
   OR origin <> 'harness' AND source = 'log'
   OR origin <> 'harness' AND source = 'definition' AND old IS DISTINCT FROM new
   OR origin <> 'harness' AND source = 'worker' AND new IS NULL
   OR depth = 0
ORDER BY id LIMIT 1000
"""
_NAMES: Final = {
    "run": "pgflow.runs",
    "step": "pgflow.step_states",
    "task": "pgflow.step_tasks",
    "worker": "pgflow.workers",
    "message": "a queue",
    "archive": "the archive of a queue",
    "definition": "the definition of a flow",
    "log": "the suite's own table",
}
_MOST: Final = 5  # of which each is told


def problems(connection: Connection, *, recovers: bool = False) -> list[str]:
    """A sentence for each thing that was written and that no worker may write.

    Args:
        connection: to the case's database.
        recovers: whether its workers were asked to take back tasks.
    """
    try:
        return list(dict.fromkeys([*_written(connection, recovers=recovers), *_unseen(connection)]))
    except psycopg.ProgrammingError as error:
        said = error.diag.message_primary or str(error)
        return [f"what the suite judges by is not there any more: {said}"]


def is_intact(connection: Connection) -> bool:
    """Whether pgflow's tables and those of the suite are there."""
    names = [*(f"{schema}.{table}" for schema, table in TABLES.values()), "conformance.events"]
    row = connection.execute(
        "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest(%s::text[]) AS name", [names]
    ).fetchone()
    return row is not None and bool(row[0])


def _written(connection: Connection, *, recovers: bool) -> Iterator[str]:
    if _value(connection, "SELECT is_called FROM conformance.refusals"):
        yield "a worker tried to empty the suite's own table"
    told = 0
    for source, old, new, statement in connection.execute(_WRITTEN).fetchall():
        if recovers and _is_recovery(str(source), old, new):
            continue
        told += 1
        if told > _MOST:
            yield "and there is more that no worker may write"
            return
        does = "made" if old is None else "deleted" if new is None else "changed"
        where = _NAMES.get(str(source), str(source))
        by = " ".join(str(statement).split())
        yield f"a worker wrote what it may not: a row of {where} was {does}{by and f' by {by}'}"


def _is_recovery(source: str, old: Any, new: Any) -> bool:
    """Whether a task was put back into the state in which it can be started again."""
    if old is None or new is None:
        return False
    if source == "message":
        return bool(old["msg_id"] == new["msg_id"] and old["message"] == new["message"])
    return source == "task" and (old["status"], new["status"]) == ("started", "queued")


def _unseen(connection: Connection) -> Iterator[str]:
    """Where a table holds what the log has not seen: its triggers were got round."""
    for source, (schema, table) in TABLES.items():
        count = _value(connection, f"SELECT count(*) FROM {schema}.{table}")
        noted = _value(
            connection,
            "SELECT coalesce(sum((old IS NULL)::int - (new IS NULL)::int), 0)"
            f" FROM conformance.events WHERE source = '{source}'",
        )
        strange = _value(
            connection,
            f"SELECT count(*) FROM {schema}.{table} AS t LEFT JOIN conformance.events AS e"
            f" ON e.source IN ('{source}', '{AGAIN}{source}') AND e.new = to_jsonb(t)"
            " WHERE e.id IS NULL",
        )
        if count != noted or strange:
            yield (
                f"{schema}.{table} has {count} rows, and there should be {noted}; {strange} of them"
                " came to be what they are without the suite seeing it"
            )


def _value(connection: Connection, statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]
