"""The event log: every change of runs, steps, tasks, messages and workers, as it happened.

Triggers append to a table of the harness, in the transaction that makes the change. What a worker
says about itself is not needed to judge it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

if TYPE_CHECKING:
    from conformance.harness.databases import Connection

_FRACTION: Final = re.compile(r"\.\d+")
HARNESS: Final = "pgflow-conformance"
"""What the harness's own connections call themselves (`application_name`)."""

_SETUP: Final = """
CREATE SCHEMA conformance;

CREATE TABLE conformance.events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    source text NOT NULL,
    old jsonb,
    new jsonb,
    ended_below xid8 NOT NULL DEFAULT pg_snapshot_xmin(pg_current_snapshot()),
    begun_below xid8 NOT NULL DEFAULT pg_snapshot_xmax(pg_current_snapshot()),
    origin text NOT NULL,
    statement text,
    depth integer NOT NULL DEFAULT pg_trigger_depth()
);

-- Whoever makes a change may have no right to write it down, so these functions have their owner's.

-- Who writes: the harness, a function that is called, or a statement of somebody's own. The stack
-- has one line for this trigger, and more for the functions from which it is called.
CREATE FUNCTION conformance.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    stack text;
    origin text := 'function';
BEGIN
    GET DIAGNOSTICS stack = PG_CONTEXT;
    IF current_setting('application_name') = 'pgflow-conformance' THEN
        IF TG_ARGV[0] = 'definition' THEN
            RETURN NULL;
        END IF;
        origin := 'harness';
    ELSIF stack !~ '\n' OR stack ~ 'inline_code_block' THEN
        origin := 'statement';
    END IF;
    INSERT INTO conformance.events (source, old, new, origin, statement) VALUES (
        TG_ARGV[0],
        CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
        CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END,
        origin,
        CASE WHEN origin = 'statement' THEN left(current_query(), 200) END
    );
    RETURN NULL;
END;
$$;

-- The log keeps what it has, and notes who would have it otherwise. Emptying it at once cannot be
-- passed over row by row: it is refused, and what a sequence has given out is not taken back.
CREATE SEQUENCE conformance.refusals;

CREATE FUNCTION conformance.keep() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM nextval('conformance.refusals');
        RAISE EXCEPTION 'this is the log of the conformance suite';
    END IF;
    INSERT INTO conformance.events (source, old, origin, statement)
    VALUES ('log', '{}', 'statement', left(current_query(), 200));
    RETURN NULL;
END;
$$;

CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON conformance.events
    FOR EACH ROW EXECUTE FUNCTION conformance.keep();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON conformance.events
    FOR EACH STATEMENT EXECUTE FUNCTION conformance.keep();
"""

TABLES: Final = {
    "run": ("pgflow", "runs"),
    "step": ("pgflow", "step_states"),
    "task": ("pgflow", "step_tasks"),
    "worker": ("pgflow", "workers"),
}
"""Where each source of events is; messages and archive are in tables of their queue."""

AGAIN: Final = "again "
"""What stands before the source of a row that is noted once more."""

_DEFINITIONS: Final = ("flows", "steps", "deps")


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one row.

    Attributes:
        id: the order in which changes were made (not: committed).
        at: the server's clock.
        txid: the transaction.
        source: run, step, task, worker, message or archive.
        old: the row before, or None where it was inserted.
        new: the row after, or None where it was deleted.
        ended_below: all transactions with a lower number had ended.
        begun_below: no transaction with this number or a higher one had begun to write.
    """

    id: int
    at: datetime
    txid: int
    source: str
    old: dict[str, Any] | None
    new: dict[str, Any] | None
    ended_below: int = 0
    begun_below: int = 0

    @property
    def row(self) -> dict[str, Any]:
        """The row after the change, or what it was."""
        row = self.new if self.new is not None else self.old
        assert row is not None
        return row

    @property
    def visible_at(self) -> datetime:
        """From when on a message can be read."""
        # JSON leaves trailing zeros away; Python before 3.11 wants three digits or six.
        whole = _FRACTION.sub(lambda found: found[0].ljust(len(".000000"), "0"), self.row["vt"])
        return datetime.fromisoformat(whole)

    def became(self, status: str) -> bool:
        """Whether this change gave the row this status."""
        if self.new is None or self.new["status"] != status:
            return False
        return self.old is None or self.old["status"] != status


def install(connection: Connection) -> None:
    """Begin to note changes of pgflow's tables."""
    connection.execute(_SETUP)
    for source, (schema, table) in TABLES.items():
        _watch(connection, source, schema, table)
    for table in _DEFINITIONS:
        _watch(connection, "definition", "pgflow", table)


def watch_queue(connection: Connection, queue: str) -> None:
    """Begin to note changes of a queue and its archive."""
    _watch(connection, "message", "pgmq", f"q_{queue.lower()}")
    _watch(connection, "archive", "pgmq", f"a_{queue.lower()}")


def note_again(connection: Connection) -> None:
    """Note what every row is now: the form of tables has changed, and no row of theirs by itself.

    To be called in the transaction that changed it. `read` leaves these notes out.
    """
    for source, (schema, table) in TABLES.items():
        connection.execute(
            sql.SQL(
                "INSERT INTO conformance.events (source, old, new, origin, depth)"
                " SELECT {}, to_jsonb(t), to_jsonb(t), 'harness', 1 FROM {} AS t"
            ).format(sql.Literal(AGAIN + source), sql.Identifier(schema, table))
        )


def read(connection: Connection) -> list[Event]:
    """All that was noted of what workers may change, in order."""
    rows = connection.execute(
        "SELECT id, at, txid::text::bigint, source, old, new, ended_below::text::bigint,"
        " begun_below::text::bigint FROM conformance.events"
        " WHERE source NOT IN ('definition', 'log') AND NOT starts_with(source, %s) ORDER BY id",
        [AGAIN],
    ).fetchall()
    return [Event(*row) for row in rows]  # type: ignore[arg-type]  # the table's own types


def of_flow(connection: Connection, flow: str) -> list[Event]:
    """All that was noted of one flow, and of workers and messages."""
    return [event for event in read(connection) if event.row.get("flow_slug", flow) == flow]


def _watch(connection: Connection, source: str, schema: str, table: str) -> None:
    connection.execute(
        sql.SQL(
            "CREATE TRIGGER conformance_note AFTER INSERT OR UPDATE OR DELETE ON {} "
            "FOR EACH ROW EXECUTE FUNCTION conformance.note({})"
        ).format(sql.Identifier(schema, table), sql.Literal(source))
    )
