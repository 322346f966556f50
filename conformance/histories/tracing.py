"""What is noted of a flow beyond the event log: which function of the core made each change.

The event log (`harness/eventlog.py`) is what cases are judged by; this is a second one, in a case
that compares a whole history, and it has the events that were sent as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from conformance.harness.eventlog import HARNESS, TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.harness.databases import Connection

_SETUP: Final = """
CREATE TABLE conformance.changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    call text NOT NULL,
    source text NOT NULL,
    old jsonb,
    new jsonb,
    hidden integer
);

-- The stack has a line for each function, and the outermost last: it is what the client called.
-- A statement of the harness itself, such as the delivery of a message, is no part of the history;
-- nor is what hides a message for ever, which only the harness does.
CREATE FUNCTION conformance.trace() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    stack text;
    outermost text;
    hides integer;
BEGIN
    GET DIAGNOSTICS stack = PG_CONTEXT;
    SELECT match[1] INTO outermost
    FROM regexp_matches(stack, '^(?:PL/pgSQL|SQL) function "?(?:\\w+\\.)?(\\w+)', 'gn')
        WITH ORDINALITY AS m(match, place)
    WHERE match[1] <> 'trace' ORDER BY place DESC LIMIT 1;
    IF outermost IS NULL AND current_setting('application_name') = TG_ARGV[1] THEN
        RETURN NULL;
    END IF;
    IF TG_ARGV[0] = 'message' AND TG_OP <> 'DELETE' THEN
        IF NEW.vt = 'infinity' THEN
            RETURN NULL;
        END IF;
        -- In tens: the server may be held up between the two clocks.
        hides := 10 * round(extract(epoch FROM NEW.vt - clock_timestamp()) / 10);
    END IF;
    INSERT INTO conformance.changes (call, source, old, new, hidden) VALUES (
        coalesce(outermost, 'a statement'),
        TG_ARGV[0],
        CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
        CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END,
        hides
    );
    RETURN NULL;
END;
$$
"""
_WATCH: Final = """
CREATE TRIGGER conformance_trace AFTER INSERT OR UPDATE OR DELETE ON {}
FOR EACH ROW EXECUTE FUNCTION conformance.trace({}, {})
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one row, in the order in which they were made.

    Attributes:
        txid: the transaction.
        call: the function that the client called, without its schema.
        source: run, step, task, message, archive or sent.
        old: the row before, or None where it was inserted.
        new: the row after, or None where it was deleted.
        hidden: of a message: for how many seconds it is hidden, to the nearest ten; else 0 or less.
    """

    txid: int
    call: str
    source: str
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None
    hidden: int | None = None

    @property
    def row(self) -> Mapping[str, Any]:
        """The row after the change, or what it was."""
        row = self.new if self.new is not None else self.old
        assert row is not None
        return row


def install(connection: Connection, queue: str) -> None:
    """Begin to note the changes of a flow's runs, its queue, and what is sent about them."""
    connection.execute(_SETUP.encode())
    watched = {source: TABLES[source] for source in ("run", "step", "task")}
    watched["message"] = ("pgmq", f"q_{queue.lower()}")
    watched["archive"] = ("pgmq", f"a_{queue.lower()}")
    watched["sent"] = ("realtime", "messages_sent")
    for source, (schema, table) in watched.items():
        connection.execute(
            sql.SQL(_WATCH).format(
                sql.Identifier(schema, table), sql.Literal(source), sql.Literal(HARNESS)
            )
        )


def read(connection: Connection) -> list[Change]:
    """All that was noted, in order."""
    rows = connection.execute(
        "SELECT txid::text::bigint, call, source, old, new, hidden FROM conformance.changes"
        " ORDER BY id"
    ).fetchall()
    return [Change(*row) for row in rows]  # type: ignore[arg-type]  # the table's own types
