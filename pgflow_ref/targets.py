"""What a client is pointed at: a URL, a connection, a pool; and connections lent from it.

A URL is one connection of the client's own, opened when it is first needed and after it was lost,
and lent to one call at a time, so that several threads or tasks may share a client. A connection of
the caller's stays the caller's: transactions are neither committed nor rolled back. A pool gives a
connection for each call, in a transaction of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from pgflow_ref.connection import connect, connect_async, unavailable_without
from pgflow_ref.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

Connection: TypeAlias = "psycopg.Connection[Any]"
AsyncConnection: TypeAlias = "psycopg.AsyncConnection[Any]"


class Pool(Protocol):
    """What a client asks of a pool: that of `psycopg_pool.ConnectionPool`."""

    def connection(self) -> AbstractContextManager[Connection]:
        """Lend a connection; commit at the end, or roll back after an error."""

    def getconn(self) -> Connection:
        """Take a connection out; by this a pool is told from a connection."""


class AsyncPool(Protocol):
    """What a client asks of a pool: that of `psycopg_pool.AsyncConnectionPool`."""

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Lend a connection; commit at the end, or roll back after an error."""

    async def getconn(self) -> AsyncConnection:
        """Take a connection out; by this a pool is told from a connection."""


class Target(Protocol):
    """Where a synchronous client's connections come from."""

    def lend(self) -> AbstractContextManager[Connection]:
        """A connection, for as long as the context lasts."""

    def url(self) -> str:
        """How to open more connections to the same database, password included."""

    def close(self) -> None:
        """Close what is the client's own."""


class AsyncTarget(Protocol):
    """Where an asynchronous client's connections come from."""

    def lend(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection, for as long as the context lasts."""

    async def url(self) -> str:
        """How to open more connections to the same database, password included."""

    async def close(self) -> None:
        """Close what is the client's own."""


def target_of(given: object, *, prepare: bool) -> Target:
    """The target that a synchronous client was given.

    Raises:
        TypeError: it is none, or an asynchronous one.
    """
    if isinstance(given, str):
        return _Own(given, prepare=prepare)
    if isinstance(given, psycopg.Connection):
        return _Borrowed(given)
    pool: Any = given
    if _is_pool(pool) and not inspect.iscoroutinefunction(pool.getconn):
        return _Pooled(pool)
    raise _no_target("PgFlow", "a psycopg.Connection or a psycopg_pool.ConnectionPool", given)


def async_target_of(given: object, *, prepare: bool) -> AsyncTarget:
    """The target that an asynchronous client was given; as `target_of`."""
    if isinstance(given, str):
        return _AsyncOwn(given, prepare=prepare)
    if isinstance(given, psycopg.AsyncConnection):
        return _AsyncBorrowed(given)
    pool: Any = given
    if _is_pool(pool) and inspect.iscoroutinefunction(pool.getconn):
        return _AsyncPooled(pool)
    wanted = "a psycopg.AsyncConnection or a psycopg_pool.AsyncConnectionPool"
    raise _no_target("AsyncPgFlow", wanted, given)


class _Own:
    def __init__(self, url: str, *, prepare: bool) -> None:
        self._url = url
        self._prepare = prepare
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._url, prepare=self._prepare)
            connection = self._connection
            try:
                yield connection
            finally:
                if _is_spoilt(connection):
                    connection.close()

    def url(self) -> str:
        return self._url

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class _Borrowed:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        with self._lock:
            yield self._connection

    def url(self) -> str:
        return _url_of(self._connection)

    def close(self) -> None:
        """Nothing here is the client's."""


class _Pooled:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        lending = self._pool.connection()
        try:
            connection = lending.__enter__()
        except psycopg.OperationalError as error:  # closed, or none came in time
            raise _no_connection(error) from error
        try:
            yield connection
        except BaseException as error:
            if not lending.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            lending.__exit__(None, None, None)

    def url(self) -> str:
        with self.lend() as connection:
            return _url_of(connection)

    def close(self) -> None:
        """Nothing here is the client's."""


class _AsyncOwn:
    def __init__(self, url: str, *, prepare: bool) -> None:
        self._url = url
        self._prepare = prepare
        self._connection: AsyncConnection | None = None
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[AsyncConnection]:
        async with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = await connect_async(self._url, prepare=self._prepare)
            connection = self._connection
            try:
                yield connection
            finally:
                if _is_spoilt(connection):
                    await connection.close()

    async def url(self) -> str:
        return self._url

    async def close(self) -> None:
        async with self._lock:
            if self._connection is not None:
                await self._connection.close()
                self._connection = None


class _AsyncBorrowed:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[AsyncConnection]:
        async with self._lock:
            yield self._connection

    async def url(self) -> str:
        return _url_of(self._connection)

    async def close(self) -> None:
        """Nothing here is the client's."""


class _AsyncPooled:
    def __init__(self, pool: AsyncPool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[AsyncConnection]:
        lending = self._pool.connection()
        try:
            connection = await lending.__aenter__()
        except psycopg.OperationalError as error:  # closed, or none came in time
            raise _no_connection(error) from error
        try:
            yield connection
        except BaseException as error:
            if not await lending.__aexit__(type(error), error, error.__traceback__):
                raise
        else:
            await lending.__aexit__(None, None, None)

    async def url(self) -> str:
        async with self.lend() as connection:
            return _url_of(connection)

    async def close(self) -> None:
        """Nothing here is the client's."""


@contextmanager
def guard(connection: Connection, *, atomic: bool) -> Iterator[None]:
    """Keep what fails from spoiling the transaction that it runs in.

    Args:
        connection: a connection of whoever's, in whatever state.
        atomic: whether what runs in here is several statements that go through together or not at
            all; one statement is that by itself.
    """
    status = connection.info.transaction_status
    with _explained():
        if status is TransactionStatus.INTRANS:
            with connection.transaction():  # a savepoint
                yield
        elif status is not TransactionStatus.IDLE:  # aborted before: it stays so
            yield
        elif connection.autocommit:
            with connection.transaction() if atomic else nullcontext():
                yield
        else:  # a transaction begins by itself, and it is the caller's to end, but for an error
            try:
                yield
            except BaseException:
                with suppress(psycopg.Error):  # a lost connection has nothing to roll back
                    connection.rollback()
                raise


@asynccontextmanager
async def guard_async(connection: AsyncConnection, *, atomic: bool) -> AsyncIterator[None]:
    """As `guard`."""
    status = connection.info.transaction_status
    with _explained():
        if status is TransactionStatus.INTRANS:
            async with connection.transaction():
                yield
        elif status is not TransactionStatus.IDLE:
            yield
        elif connection.autocommit:
            async with connection.transaction() if atomic else nullcontext():
                yield
        else:
            try:
                yield
            except BaseException:
                with suppress(psycopg.Error):
                    await connection.rollback()
                raise


@contextmanager
def _explained() -> Iterator[None]:
    """Say what it means that a BEGIN, a SAVEPOINT or a COMMIT found no connection."""
    try:
        yield
    except psycopg.OperationalError as error:
        lost = unavailable_without(error, "keep a transaction")
        if lost is None:
            raise
        raise lost from error


def _is_spoilt(connection: Connection | AsyncConnection) -> bool:
    """Whether something was interrupted in the middle, so that nobody can go on with it."""
    return connection.info.transaction_status is not TransactionStatus.IDLE


def _is_pool(given: object) -> bool:
    return all(callable(getattr(given, name, None)) for name in ("connection", "getconn"))


def _url_of(connection: Connection | AsyncConnection) -> str:
    try:
        given: dict[str, Any] = {**connection.info.get_parameters()}
        given["password"] = connection.info.password or None
    except psycopg.OperationalError as error:
        raise _no_connection(error) from error
    return make_conninfo("", **given)


def _no_connection(error: psycopg.Error) -> DatabaseUnavailable:
    said = " ".join(str(error).split()) or type(error).__name__
    return DatabaseUnavailable(f"there is no connection to be had: {said}")


def _no_target(client: str, wanted: str, given: object) -> TypeError:
    return TypeError(f"{client} takes a connection URL, {wanted}, not {type(given).__name__}")
