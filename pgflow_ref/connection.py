"""Between operations and psycopg: connecting, running, and what the database's refusals mean."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

from pgflow_ref.errors import CoreMissing, DatabaseUnavailable, PgflowError, PrivilegeMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_ref.operations import Operation

T = TypeVar("T")

# Classes of SQLSTATE: connection, rollback, resources, not in the right state, operator, system.
_PASSING: Final = frozenset({"08", "40", "53", "55", "57", "58"})
_PREPARE_AFTER: Final = 5  # executions of a statement: psycopg's own default
_CONNECT_TIMEOUT: Final = "10"  # seconds, where the URL does not say otherwise


def parameters(url: str) -> dict[str, str]:
    """Read a connection URL (or a `key=value` string) and add this library's defaults.

    Raises:
        DatabaseUnavailable: it cannot be read; the message does not repeat it, for its password.
    """
    try:
        given = conninfo_to_dict(url)
    except (psycopg.ProgrammingError, UnicodeError):
        raise DatabaseUnavailable(
            "this is no connection URL; it looks like postgresql://user:password@host:5432/database"
        ) from None
    read = {name: str(value) for name, value in given.items() if value is not None}
    return {"connect_timeout": _CONNECT_TIMEOUT, "application_name": "pgflow-ref", **read}


def unavailable(url: str, error: psycopg.Error) -> DatabaseUnavailable:
    """Say in one line, without the password, why there is no connection."""
    given = parameters(url)
    where = f"{given.get('host', 'localhost')}:{given.get('port', '5432')}"
    said = " ".join(str(error).split()) or type(error).__name__
    password = given.get("password")
    if password:
        said = said.replace(password, "***")
    return DatabaseUnavailable(
        f"no connection to database {given.get('dbname', '')!r} at {where}: {said}"
    )


def connect(url: str, *, prepare: bool = True) -> psycopg.Connection[tuple[object, ...]]:
    """Open a connection that commits by itself.

    Raises:
        DatabaseUnavailable: see `parameters` and `unavailable`.
    """
    try:
        return psycopg.Connection.connect(
            **parameters(url),  # type: ignore[arg-type]
            autocommit=True,
            row_factory=tuple_row,
            prepare_threshold=_PREPARE_AFTER if prepare else None,
        )
    except psycopg.Error as error:
        raise unavailable(url, error) from None


async def connect_async(
    url: str, *, prepare: bool = True
) -> psycopg.AsyncConnection[tuple[object, ...]]:
    """Open an asynchronous connection; as `connect`."""
    try:
        return await psycopg.AsyncConnection.connect(
            **parameters(url),  # type: ignore[arg-type]
            autocommit=True,
            row_factory=tuple_row,
            prepare_threshold=_PREPARE_AFTER if prepare else None,
        )
    except asyncio.CancelledError as error:
        # Its traceback holds the half-open connection, for as long as somebody holds the task.
        raise error.with_traceback(None) from None
    except psycopg.Error as error:
        raise unavailable(url, error) from None


class Line:
    """A connection that is opened when it is needed, and again when it was lost."""

    def __init__(self, url: str, *, prepare: bool) -> None:
        self._url = url
        self._prepare = prepare
        self._lock = asyncio.Lock()
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None

    async def open(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        """The connection.

        Raises:
            DatabaseUnavailable: there is none to be had.
        """
        async with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = await connect_async(self._url, prepare=self._prepare)
            return self._connection

    async def current(self) -> psycopg.AsyncConnection[tuple[object, ...]] | None:
        """The connection as it is, or None where there is none yet."""
        async with self._lock:
            return self._connection

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            await self._connection.close()


def execute(
    connection: psycopg.Connection[object], operation: Operation[T], *, prepare: bool = True
) -> T:
    """Run one operation.

    Args:
        connection: where.
        operation: what.
        prepare: whether the statement may be prepared in the server, if the connection prepares.

    Raises:
        PgflowError: what the operation says that a refusal means.
    """
    try:
        # Not connection.cursor(): a connection of the user's may make cursors of another kind.
        with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
            cursor.execute(operation.sql, operation.params, prepare=None if prepare else False)
            rows = cursor.fetchall() if cursor.description else []
    except psycopg.Error as error:
        raise meaning(error, operation) from error
    return operation.read(rows)


async def execute_async(
    connection: psycopg.AsyncConnection[object], operation: Operation[T], *, prepare: bool = True
) -> T:
    """Run one operation; as `execute`."""
    try:
        async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(
                operation.sql, operation.params, prepare=None if prepare else False
            )
            rows = await cursor.fetchall() if cursor.description else []
    except psycopg.Error as error:
        raise meaning(error, operation) from error
    return operation.read(rows)


async def execute_together(
    connection: psycopg.AsyncConnection[tuple[object, ...]], operations: Sequence[Operation[T]]
) -> list[T]:
    """Run several operations in one transaction and one round trip (libpq's pipeline mode).

    The transaction is the pipeline's own: without BEGIN, the server commits what came before the
    end of a pipeline, or, where it refuses one statement, none of it.
    """
    async with connection.pipeline():
        cursors = [await _sent(connection, operation) for operation in operations]
    return await _answers(operations, cursors)


async def execute_in_turn(
    connection: psycopg.AsyncConnection[tuple[object, ...]],
    first: Sequence[Operation[T]],
    then: Sequence[Operation[T]],
) -> tuple[list[T], list[T] | Exception]:
    """Run two transactions in one round trip; the second begins when the first is committed.

    Returns:
        The answers of the first, and those of the second or why it was refused.

    Raises:
        Exception: the first was refused, or nobody knows; the second is then not run.
    """
    end: psycopg.AsyncCursor[tuple[object, ...]] | None = None
    try:
        async with connection.pipeline():
            await connection.execute("BEGIN")
            cursors = [await _sent(connection, operation) for operation in first]
            end = await connection.execute("COMMIT")
            more = [await _sent(connection, operation) for operation in then]
    except (psycopg.Error, OSError) as error:
        if end is None or end.statusmessage != "COMMIT":
            with suppress(psycopg.Error, OSError):
                await connection.rollback()
            raise
        return await _answers(first, cursors), error
    return await _answers(first, cursors), await _answers(then, more)


async def _sent(
    connection: psycopg.AsyncConnection[tuple[object, ...]], operation: Operation[T]
) -> psycopg.AsyncCursor[tuple[object, ...]]:
    return await connection.execute(operation.sql, operation.params)


async def _answers(
    operations: Sequence[Operation[T]], cursors: Sequence[psycopg.AsyncCursor[tuple[object, ...]]]
) -> list[T]:
    return [
        operation.read(await cursor.fetchall())
        for operation, cursor in zip(operations, cursors, strict=True)
    ]


def meaning(error: psycopg.Error, operation: Operation[T]) -> Exception:
    """The error of ours that a refusal stands for, or the refusal itself."""
    key = (error.sqlstate or "", error.diag.constraint_name or "")
    known: PgflowError | None = operation.refusals.get(key)
    if known is not None:
        return known
    if isinstance(error, (pg.UndefinedFunction, pg.InvalidSchemaName, pg.UndefinedTable)):
        said = error.diag.message_primary or str(error)
        return CoreMissing(
            f"cannot {operation.name}: the database says {said!r}; "
            "`pgflow-ref install URL` puts a pgflow core there"
        )
    if isinstance(error, pg.InsufficientPrivilege):
        return PrivilegeMissing(
            f"cannot {operation.name}: {error.diag.message_primary or error}; `pgflow-ref doctor` "
            "says what this user lacks, and `pgflow-ref roles` grants it to a worker"
        )
    return unavailable_without(error, operation.name) or error


def unavailable_without(error: psycopg.Error, what: str) -> DatabaseUnavailable | None:
    """Say that something cannot be done because the connection is lost; None where it is not."""
    # 57P: an administrator, a crash or a restart has ended the server's side.
    state = error.sqlstate or "08"
    if not isinstance(error, psycopg.OperationalError) or not state.startswith(("08", "57P")):
        return None
    lost, said = "the connection is lost", " ".join(str(error).split())
    return DatabaseUnavailable(f"cannot {what}: {lost}" + (f": {said}" if said != lost else ""))


def is_passing(error: Exception) -> bool:
    """Whether the same call may go through later: the connection, a deadlock, a full server."""
    if isinstance(error, (DatabaseUnavailable, OSError)):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    # 25006: a standby, where the primary was a moment ago.
    return error.sqlstate[:2] in _PASSING or error.sqlstate == "25006"
