"""Where events wait for the machine, from the event loop and from other threads."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, ParamSpec

from pgflow_ref import protocol

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")


class Mailbox:
    """Events in the order in which they happened. Open while the worker runs in its loop."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[protocol.Event] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()  # over `_loop`

    def open(self) -> None:
        """Begin, in the loop that is running."""
        with self._lock:
            self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Take nothing more from other threads; nobody waits for it."""
        with self._lock:
            self._loop = None

    def put(self, event: protocol.Event) -> None:
        """Something happened; to be called in the loop."""
        self._events.put_nowait(event)

    def call(self, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do this in the loop, from any thread; nothing, where there is no loop."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(lambda: work(*args, **kwargs))

    async def next(self, wake_at: float | None) -> protocol.Event:
        """The next event, or `Woke` when it is the time (`time.monotonic`) to wake."""
        if wake_at is None or not self._events.empty():
            return await self._events.get()
        # Not asyncio.wait_for: it makes a task for each event.
        delay = max(0.0, wake_at - time.monotonic())
        timer = asyncio.get_running_loop().call_later(delay, self._wake)
        try:
            return await self._events.get()
        finally:
            timer.cancel()

    def _wake(self) -> None:
        self.put(protocol.Woke(time.monotonic()))
