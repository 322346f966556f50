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
        self._events: list[protocol.Event] = []
        self._waiter: asyncio.Future[None] | None = None
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
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def call(self, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do this in the loop, from any thread; nothing, where there is no loop."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(lambda: work(*args, **kwargs))

    async def next(self, wake_at: float | None) -> list[protocol.Event]:
        """All events that wait; if none do, the next, or `Woke` at the time to wake.

        The time is one of `time.monotonic`, or None to wait for an event however long that takes.

        Who waited is woken at the end of the turn of the loop, with all that happened in it.
        """
        if not self._events:
            await self._wait(wake_at)
        events, self._events = self._events, []
        return events

    async def _wait(self, wake_at: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = None
        if wake_at is not None:
            # Not asyncio.wait_for: it makes a task for each event.
            timer = loop.call_later(max(0.0, wake_at - time.monotonic()), self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        self.put(protocol.Woke(time.monotonic()))
