"""Hearing of inserts: a connection of its own that LISTENs to the queue's channel.

pgmq notifies `pgmq.q_<queue>.INSERT` when it is asked to (`enable_notify_insert`), for all who
listen. What somebody else has set up is used as it is, unless this worker wants to hear sooner.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pgflow_ref import operations as ops
from pgflow_ref import protocol
from pgflow_ref.connection import connect_async, execute_async
from pgflow_ref.errors import CoreUnsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from pgflow_ref.capabilities import Capabilities
    from pgflow_ref.config import WorkerConfig

    Connection = psycopg.AsyncConnection[tuple[object, ...]]

log: Final = logging.getLogger("pgflow_ref.worker")


def check_notify(queue_name: str, capabilities: Capabilities) -> None:
    """Say so where pgmq cannot notify of inserts into this queue.

    Raises:
        CoreUnsupported: it is too old, or the queue's name has capital letters.
    """
    if not capabilities.notify:
        raise CoreUnsupported(ops.NO_NOTIFY)
    if queue_name != queue_name.lower():
        # Its trigger looks for the table's name, which is in lower case, and finds no throttle.
        raise CoreUnsupported(
            f"flow {queue_name!r}: pgmq notifies of no insert into a queue with capital letters in "
            "its name; use signal_strategy 'polling' or 'long_poll', or a slug in lower case"
        )


async def enable_notify(connection: Connection, queue_name: str, throttle: float) -> None:
    """Have pgmq notify of inserts at least as often as this worker wants, and no more rarely.

    Raises:
        CoreUnsupported: pgmq is too old for it.
    """
    milliseconds = round(throttle * 1000)
    there = await execute_async(connection, ops.notifications(queue_name))
    if there is not None and there <= milliseconds:
        return
    async with connection.transaction():
        await execute_async(connection, ops.lock_notifications(queue_name))
        there = await execute_async(connection, ops.notifications(queue_name))
        if there is None or there > milliseconds:
            await execute_async(connection, ops.enable_notifications(queue_name, milliseconds))


async def listen(
    url: str, queue_name: str, config: WorkerConfig, happened: Callable[[protocol.Event], None]
) -> None:
    """Say that inserts are heard of, tell of them, and say when they are no longer.

    Returns:
        when the connection is lost, or could not be made.
    """
    try:
        connection = await connect_async(url, prepare=False)
        try:
            # After a crash of the server it has to be enabled anew.
            await enable_notify(connection, queue_name, config.notify_throttle)
            await execute_async(connection, ops.listen(queue_name))
            happened(protocol.Listening(time.monotonic()))
            await _tell(connection, config.notify_fallback_interval, happened)
        finally:
            with suppress(Exception):
                await asyncio.wait_for(execute_async(connection, ops.unlisten()), 1.0)
            await connection.close()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is tried again
        log.warning("cannot listen to the queue: %s; trying again, and polling until then", error)
        happened(protocol.NotListening(time.monotonic()))


async def _tell(
    connection: Connection, interval: float, happened: Callable[[protocol.Event], None]
) -> None:
    while True:
        heard = [None async for _ in connection.notifies(timeout=interval, stop_after=1)]
        if not heard:
            # A line that is dead and does not say so is noticed here.
            await execute_async(connection, ops.still_there())
        happened(protocol.Notified(time.monotonic()))
