"""Perform calls: the loop around `calls`, once blocking and once in asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from pgflow_ref import calls
from pgflow_ref.calls import Atomic, Clock, NewIds, Sleep, Tell
from pgflow_ref.connection import execute, execute_async
from pgflow_ref.operations import Operation
from pgflow_ref.targets import guard, guard_async
from pgflow_ref.telemetry import Event

if TYPE_CHECKING:
    from pgflow_ref.calls import Call, Request
    from pgflow_ref.targets import AsyncConnection, AsyncTarget, Connection, Target
    from pgflow_ref.telemetry import Listeners

T = TypeVar("T")


class Performer:
    """Performs calls on a target, blocking.

    Args:
        target: where connections come from.
        listeners: who is told what happened.
        prepare: whether statements may be prepared in the server.
    """

    def __init__(self, target: Target, listeners: Listeners, *, prepare: bool) -> None:
        self._target = target
        self._listeners = listeners
        self._prepare = prepare

    def perform(self, call: Call[T], connection: Connection | None = None) -> T:
        """Perform a call; on this connection, where there is one.

        Raises:
            PgflowError: whatever the call says.
        """
        return calls.perform(call, lambda request: self._answer(request, connection))

    def _answer(self, request: Request, connection: Connection | None) -> Any:
        match request:
            case Operation() if connection is not None:
                return execute(connection, request, prepare=self._prepare)
            case Operation():
                with self._target.lend() as lent, guard(lent, atomic=False):
                    return execute(lent, request, prepare=self._prepare)
            case Atomic(call=call) if connection is not None:
                with guard(connection, atomic=True):
                    return self.perform(call, connection)
            case Atomic(call=call):
                with self._target.lend() as lent, guard(lent, atomic=True):
                    return self.perform(call, lent)
            case Sleep(seconds=seconds):
                return time.sleep(seconds)
            case _:
                return _at_hand(request, self._listeners)


class AsyncPerformer:
    """Performs calls on a target, in asyncio; as `Performer`."""

    def __init__(self, target: AsyncTarget, listeners: Listeners, *, prepare: bool) -> None:
        self._target = target
        self._listeners = listeners
        self._prepare = prepare

    async def perform(self, call: Call[T], connection: AsyncConnection | None = None) -> T:
        """Perform a call; on this connection, where there is one."""
        go_on, answer = call.send, None
        while True:
            try:
                request: Request = go_on(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                go_on, answer = call.send, await self._answer(request, connection)
            except Exception as error:  # noqa: BLE001  # the call may know what to do
                go_on, answer = call.throw, error

    async def _answer(self, request: Request, connection: AsyncConnection | None) -> Any:
        match request:
            case Operation() if connection is not None:
                return await execute_async(connection, request, prepare=self._prepare)
            case Operation():
                async with self._target.lend() as lent, guard_async(lent, atomic=False):
                    return await execute_async(lent, request, prepare=self._prepare)
            case Atomic(call=call) if connection is not None:
                async with guard_async(connection, atomic=True):
                    return await self.perform(call, connection)
            case Atomic(call=call):
                async with self._target.lend() as lent, guard_async(lent, atomic=True):
                    return await self.perform(call, lent)
            case Sleep(seconds=seconds):
                return await asyncio.sleep(seconds)
            case _:
                return _at_hand(request, self._listeners)


def _at_hand(request: Clock | NewIds | Tell, listeners: Listeners) -> Any:
    """What needs neither a connection nor a wait."""
    match request:
        case Clock():
            return time.monotonic()
        case NewIds(count=count):
            return [uuid4() for _ in range(count)]
        case Tell(name, flow_slug, run_id, count):
            if listeners:
                event = Event(
                    name=name, at=time.time(), flow_slug=flow_slug, run_id=run_id, count=count
                )
                listeners.tell(event)
            return None
