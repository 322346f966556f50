"""Both clients, so that each behaviour is tested once: one blocks, the other is awaited."""

from __future__ import annotations

import asyncio
import inspect
import threading
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

    def run(self, client: Any) -> None:
        """Let a client run in the main thread, where signals come."""
        client.run()

    def close(self) -> None:
        pass


class Awaiting:
    """`AsyncPgFlow`, with connections and pools of its kind, and a loop in a thread."""

    name = "awaiting"
    client_cursor: Any = psycopg.AsyncClientCursor
    raw_cursor: Any = psycopg.AsyncRawCursor

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def client(self, target: Any, **options: Any) -> Any:
        return _Awaited(self.loop, AsyncPgFlow(self.raw(target), **options))

    def connect(self, url: str, **options: Any) -> Any:
        opening = psycopg.AsyncConnection.connect(url, **options)
        return _Awaited(self.loop, _result(self.loop, opening))

    def pool(self, url: str, **options: Any) -> Any:
        async def opened() -> Any:
            pool = psycopg_pool.AsyncConnectionPool(url, open=False, **options)
            await pool.open()
            return pool

        return _Awaited(self.loop, _result(self.loop, opened()))

    def own_connection(self, client: Any) -> Any:
        return _Awaited(self.loop, self.raw(client)._target._connection)

    def raw(self, thing: Any) -> Any:
        return thing._inner if isinstance(thing, _Awaited) else thing

    def run(self, client: Any) -> None:
        """Let a client run in the main thread, where signals come."""
        asyncio.run(self.raw(client).run())

    def close(self) -> None:
        _result(self.loop, self.loop.shutdown_asyncgens())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
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
            result = _result(self._loop, result)
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


def _result(loop: asyncio.AbstractEventLoop, work: Any) -> Any:
    async def awaited() -> Any:
        return await work

    return asyncio.run_coroutine_threadsafe(awaited(), loop).result()
