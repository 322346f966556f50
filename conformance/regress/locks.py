"""Locks of migrations: how they are run beside workers, and what happens when they are just run.

A migration that changes a table keeps everybody out of it until it is committed. A worker's call
that has locked a row by then waits for the migration; should the migration come to want that row,
the two wait for each other, and PostgreSQL ends one of them, whichever notices first. So whoever
upgrades under way takes all locks at the beginning, at once or not at all: then no call has half
of its own.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.harness.databases import Connection
    from pgflow_ref.install.sources import SqlFile

SAFELY: Final = "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE NOWAIT;"
"""What goes before the migrations, in their transaction; where it is refused, it is tried again."""

_LOOK_EVERY: Final = 0.02  # seconds
_WITHIN: Final = 60.0  # seconds to get all locks, or for the migrations to come to a wait
_TABLES: Final = """
SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'pgflow' AND c.relkind IN ('r', 'p') ORDER BY c.relname
"""
_IS_WAITING: Final = """
SELECT wait_event_type = 'Lock' FROM pg_catalog.pg_stat_activity WHERE pid = %s
"""


def lock_all(connection: Connection) -> None:
    """Keep everybody out of all tables of pgflow, until the transaction ends.

    Raises:
        psycopg.errors.LockNotAvailable: somebody is in one of them just now.
    """
    names = [str(name) for (name,) in connection.execute(_TABLES)]
    listed = sql.SQL(", ").join(sql.Identifier("pgflow", name) for name in names)
    connection.execute(sql.SQL(SAFELY).format(listed))


def run(
    connection: Connection, migrations: Sequence[SqlFile], last: Callable[[Connection], None]
) -> int:
    """Run migrations in one transaction, beside workers, who wait meanwhile.

    Args:
        connection: to the database.
        migrations: in order.
        last: what else is done in that transaction.

    Returns:
        How often it was tried until nobody was in the way.

    Raises:
        psycopg.Error: the server refuses them; nothing was changed.
    """
    give_up_at = time.monotonic() + _WITHIN
    tries = 0
    while True:
        tries += 1
        with connection.transaction():
            try:
                with connection.transaction():
                    lock_all(connection)
            except psycopg.errors.LockNotAvailable:
                if time.monotonic() > give_up_at:
                    raise
            else:
                for file in migrations:
                    connection.execute(file.text.encode())
                last(connection)
                return tries
        time.sleep(_LOOK_EVERY)


def circle(open_one: Callable[[], Connection], migrations: Sequence[SqlFile]) -> str:
    """Whether migrations that are just run wait for calls that wait for them.

    A call of `complete_task` or `fail_task` is played as far as its first lock, that of its run.
    Afterwards the database has the migrations.

    Args:
        open_one: opens a connection to a database of its own, in which a run is under way.
        migrations: in order.

    Returns:
        The table that the call wants next and the migrations have; empty, if there is no circle.
    """
    with (
        open_one() as call,
        open_one() as migrating,
        open_one() as looking,
        _one_thread() as thread,
    ):
        with call.transaction(force_rollback=True):
            call.execute("SELECT FROM pgflow.runs FOR UPDATE")
            running = thread.submit(_just_run, migrating, migrations)
            give_up_at = time.monotonic() + _WITHIN
            while not running.done() and time.monotonic() < give_up_at:
                row = looking.execute(_IS_WAITING, [migrating.info.backend_pid]).fetchone()
                if row is not None and row[0]:
                    break
                time.sleep(_LOOK_EVERY)
            waits_for = "" if running.done() else _wanted(call)
        running.result(_WITHIN)
    return waits_for


def _just_run(connection: Connection, migrations: Sequence[SqlFile]) -> None:
    with connection.transaction():
        for file in migrations:
            connection.execute(file.text.encode())


def _wanted(call: Connection) -> str:
    """The first table that the call would wait for."""
    for table in ("step_states", "step_tasks"):
        statement = sql.SQL("LOCK TABLE {} IN ROW SHARE MODE NOWAIT")
        try:
            with call.transaction():
                call.execute(statement.format(sql.Identifier("pgflow", table)))
        except psycopg.errors.LockNotAvailable:
            return f"pgflow.{table}"
    return ""


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)
