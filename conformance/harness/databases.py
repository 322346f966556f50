"""A database for each case, copied from a template that holds pgmq and a core."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from conformance.harness import cores, eventlog
from conformance.harness.ways import DIRECT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.harness.ways import Way

CORE: Final = "0.5.0"
"""The core that workers are tested on, where none is asked for."""

# A worker that locks what the harness reads fails its case, and does not stop the suite.
_PATIENT: Final = "-c lock_timeout=15s"

_WITH_STRATEGIES: Final = 150_000  # the server that knows FILE_COPY; before, it knew no other way

Connection = psycopg.Connection[tuple[object, ...]]


def template_of(core: str) -> str:
    """The database that holds this core, to be copied for each case."""
    return f"conformance_{cores.name_of(core)}"


class Database:
    """A case's own database.

    Attributes:
        url: for the harness.
        way: how workers come to it.
    """

    def __init__(self, url: str, way: Way = DIRECT) -> None:
        self.url = url
        self.way = way
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """A connection that commits by itself: a new one, if the one before was lost."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self.url, autocommit=True, application_name=eventlog.HARNESS, options=_PATIENT
            )
        return self._connection

    @property
    def worker_url(self) -> str:
        """For workers."""
        return self.way.through(self.url)

    def let_in(self, flow: str) -> None:
        """Let workers serve a flow, if they are not who the harness is; it is there already."""
        self.way.let_in(self.connection, flow)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()


class Cluster:
    """The databases of one server.

    Args:
        url: any database of the server, for a user that may create databases.
        prefix: how all names begin that are given to databases; `url_of` and all that takes a name
            put it before that.
        way: how workers come to them.
    """

    def __init__(self, url: str, prefix: str = "", way: Way = DIRECT) -> None:
        self.url = url
        self.prefix = prefix
        self.way = way
        self._numbers = itertools.count(1)

    def url_of(self, database: str) -> str:
        """The URL of another database on the same server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{self.prefix}{database}"))

    def connect(self, database: str) -> Connection:
        """A connection that commits by itself."""
        return psycopg.connect(self.url_of(database), autocommit=True)

    def create(self, name: str, template: str | None = None) -> None:
        """Create a database, empty or as a copy."""
        made = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self.prefix + name))
        with psycopg.connect(self.url, autocommit=True) as connection:
            if template is not None:
                made += sql.SQL(" TEMPLATE {}").format(sql.Identifier(self.prefix + template))
                # A small template is copied in a fraction of the time that WAL_LOG takes.
                if connection.info.server_version >= _WITH_STRATEGIES:
                    made += sql.SQL(" STRATEGY FILE_COPY")
            connection.execute(made)

    def drop(self, name: str) -> None:
        """Drop a database with all who are connected to it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(
                    sql.Identifier(self.prefix + name)
                )
            )

    @contextmanager
    def database(self, core: str = CORE) -> Iterator[Database]:
        """A fresh database with this core and an event log, dropped at the end."""
        # Several processes of a parallel run share the server.
        name = f"case_{os.getpid()}_{next(self._numbers)}"
        self.create(name, template_of(core))
        database = Database(self.url_of(name), self.way)
        try:
            eventlog.install(database.connection)
            yield database
        finally:
            database.close()
            self.drop(name)


def hide_messages(database: Database, queue: str) -> None:
    """Hide all messages of a queue until `show_messages`."""
    _set_visible_at(database, queue, "infinity")


def show_messages(database: Database, queue: str) -> None:
    """Let workers see all messages of a queue at once."""
    _set_visible_at(database, queue, "now")


def show_hidden(database: Database, queue: str, count: int) -> int:
    """Let workers see the first so many of those that were hidden; how many there were of them."""
    statement = sql.SQL(
        "UPDATE {0} SET vt = clock_timestamp() WHERE msg_id IN"
        " (SELECT msg_id FROM {0} WHERE vt = 'infinity' ORDER BY msg_id LIMIT %s)"
    )
    return database.connection.execute(statement.format(_table_of(queue)), [count]).rowcount


def keeps_waiting(database: Database, queue: str) -> bool:
    """Whether a message is there that a worker who is well would have read by now."""
    statement = sql.SQL("SELECT FROM {} WHERE vt < clock_timestamp() - interval '0.5 s' LIMIT 1")
    return database.connection.execute(statement.format(_table_of(queue))).fetchone() is not None


def _set_visible_at(database: Database, queue: str, when: str) -> None:
    statement = sql.SQL("UPDATE {} SET vt = %s::timestamptz")
    database.connection.execute(statement.format(_table_of(queue)), [when])


def _table_of(queue: str) -> sql.Identifier:
    """Where pgmq keeps the messages of a queue."""
    return sql.Identifier("pgmq", f"q_{queue.lower()}")
