"""Signals: hear of messages (LISTEN/NOTIFY through pgmq), or wait for them in the server."""

from __future__ import annotations

import re
from typing import Final

from pgflow_ref.errors import CoreUnsupported
from pgflow_ref.operations.operation import Operation, as_int, nothing

_QUEUE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
NO_NOTIFY: Final = (
    "signal_strategy='notify' needs pgmq 1.8 or newer, whose enable_notify_insert takes a throttle,"
    " and the database has an older one; use 'polling' or 'long_poll' there"
)


def read_with_poll(
    queue_name: str, visibility_timeout: int, quantity: int, wait: int
) -> Operation[list[int]]:
    """Read messages and hide them, or wait for some (`pgmq.read_with_poll`); their ids.

    Args:
        queue_name: the queue.
        visibility_timeout: seconds for which what is read is hidden.
        quantity: messages at most.
        wait: seconds to wait at most; the server looks ten times a second.
    """
    return Operation(
        "wait for messages",
        "SELECT msg_id FROM pgmq.read_with_poll(%(queue_name)s::text, %(vt)s::integer,"
        " %(qty)s::integer, %(wait)s::integer, 100)",
        {"queue_name": queue_name, "vt": visibility_timeout, "qty": quantity, "wait": wait},
        lambda rows: [as_int(row[0]) for row in rows],
    )


def visible_in(queue_name: str) -> Operation[float | None]:
    """Seconds until the queue's next message becomes visible; None where it is empty.

    It is 0 or less where a message is visible now.
    """
    return Operation(
        "look at the next message",
        # The table's name cannot be a parameter. It is letters, digits and underscores: checked.
        "SELECT extract(epoch FROM min(vt) - clock_timestamp())::float8"
        f" FROM pgmq.{_table(queue_name)}",
        {},
        lambda rows: None if rows[0][0] is None else float(str(rows[0][0])),
    )


def lock_notifications(queue_name: str) -> Operation[None]:
    """Let nobody else set up the queue's notifications until this transaction is over."""
    return Operation(
        "wait for others to set up notifications",
        "SELECT pg_advisory_xact_lock("
        "hashtextextended('pgflow-ref notify ' || %(queue)s::text, 0))",
        {"queue": queue_name},
        nothing,
    )


def notifications(queue_name: str) -> Operation[int | None]:
    """The throttle of the queue's notifications in milliseconds; None where there are none.

    There are none where pgmq's trigger is missing, nor where its row is: it is in a table that is
    empty after a crash of the server, and the trigger is silent then.
    """
    return Operation(
        "look at the queue's notifications",
        "SELECT t.throttle_interval_ms FROM pgmq.notify_insert_throttle t"
        " JOIN pg_catalog.pg_trigger g ON g.tgname = 'trigger_notify_queue_insert_listeners'"
        " AND g.tgrelid = to_regclass('pgmq.' || quote_ident('q_' || lower(%(queue_name)s::text)))"
        " WHERE t.queue_name = %(queue_name)s::text",
        {"queue_name": queue_name},
        lambda rows: as_int(rows[0][0]) if rows else None,
        {("42P01", ""): CoreUnsupported(NO_NOTIFY)},
    )


def enable_notifications(queue_name: str, throttle: int) -> Operation[None]:
    """Let pgmq notify of inserts into the queue (`pgmq.enable_notify_insert`).

    It drops and makes its trigger, for which it waits until nobody uses the queue, and everybody
    else waits for it: to be called only where something is to change.

    Args:
        queue_name: the queue.
        throttle: milliseconds between two notifications, at least.
    """
    return Operation(
        "let pgmq notify of inserts",
        "SELECT pgmq.enable_notify_insert(%(queue_name)s::text, %(throttle)s::integer)",
        {"queue_name": queue_name, "throttle": throttle},
        nothing,
        {
            ("42883", ""): CoreUnsupported(NO_NOTIFY),
            ("42501", ""): CoreUnsupported(
                f"pgmq does not notify of inserts into {queue_name!r} every {throttle} ms, and this"
                " role may not change that; let the queue's owner run"
                f" SELECT pgmq.enable_notify_insert('{queue_name}', {throttle}), or use 'polling'"
                " or 'long_poll'"
            ),
        },
    )


def listen(queue_name: str) -> Operation[None]:
    """Hear of inserts into the queue on this connection; pgmq names the channel."""
    # A channel cannot be a parameter. Its name is letters, digits, underscores and dots: checked.
    sql = f'LISTEN "pgmq.{_table(queue_name)}.INSERT"'
    return Operation("listen to the queue", sql, {}, nothing)


def unlisten() -> Operation[None]:
    """Hear of nothing any more on this connection."""
    return Operation("stop listening", "UNLISTEN *", {}, nothing)


def still_there() -> Operation[None]:
    """Ask for nothing: whether the connection is still there."""
    return Operation("look whether the connection is there", "SELECT 1", {}, nothing)


def _table(queue_name: str) -> str:
    """The name of a queue's table, as pgmq makes it; in lower case it needs no quotes."""
    if not _QUEUE.match(queue_name):
        raise ValueError(f"{queue_name!r} is no queue of pgflow's")
    return f"q_{queue_name.lower()}"
