"""Both clients, so that each behaviour is tested once: one blocks, the other is awaited."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg_pool

from pgflow_ref import AsyncPgFlow, PgFlow

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TypeAlias

    Way: TypeAlias = "Blocking | Awaiting"


class Blocking:
    """`PgFlow`, with connections and pools of its kind."""

    name = "blocking"
    client_cursor: Any = psycopg.ClientCursor
    raw_cursor: Any = psycopg.RawCursor

    def client(self, target: Any, **options: Any) -> Any:
        return PgFlow(target, **options)

    def connect(self, url: str, **options: Any) -> Any:
        return psycopg.connect(url, **options)

    def pool(self, url: str, **options: Any) -> Any:
        return psycopg_pool.ConnectionPool(url, open=True, **options)

    def own_connection(self, client: Any) -> Any:
        return client._target._connection

    def raw(self, thing: Any) -> Any:
        return thing

    def close(self) -> None:
        pass


class Awaiting:
    """`AsyncPgFlow`, with connections and pools of its kind, and a loop that runs what is asked."""

    name = "awaiting"
    client_cursor: Any = psycopg.AsyncClientCursor
    raw_cursor: Any = psycopg.AsyncRawCursor

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def client(self, target: Any, **options: Any) -> Any:
        return _Awaited(self.loop, AsyncPgFlow(self.raw(target), **options))

    def connect(self, url: str, **options: Any) -> Any:
        opening = psycopg.AsyncConnection.connect(url, **options)
        return _Awaited(self.loop, self.loop.run_until_complete(opening))

    def pool(self, url: str, **options: Any) -> Any:
        async def opened() -> Any:
            pool = psycopg_pool.AsyncConnectionPool(url, open=False, **options)
            await pool.open()
            return pool

        return _Awaited(self.loop, self.loop.run_until_complete(opened()))

    def own_connection(self, client: Any) -> Any:
        return _Awaited(self.loop, self.raw(client)._target._connection)

    def raw(self, thing: Any) -> Any:
        return thing._inner if isinstance(thing, _Awaited) else thing

    def close(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


class _Awaited:
    """An asynchronous object whose methods block."""

    def __init__(self, loop: asyncio.AbstractEventLoop, inner: Any) -> None:
        self._loop = loop
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not inspect.isroutine(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._done(value(*args, **kwargs))

        return call

    def _done(self, result: Any) -> Any:
        if inspect.isawaitable(result):
            result = self._loop.run_until_complete(_awaited(result))
        if result is self._inner:
            return self
        return _Awaited(self._loop, result) if hasattr(result, "__aenter__") else result

    def __enter__(self) -> Any:
        return self._done(self._inner.__aenter__())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        return self._done(self._inner.__aexit__(kind, error, traceback))


async def _awaited(result: Any) -> Any:
    return await result
